"""Write the presets of published models, configs/runs/*.yaml, as `replibench init` does from the presets' names.

python -m scripts.publish_runs
"""

from pathlib import Path

from configs.files import write_text
from configs.loader import PRESETS
from scripts.init import start
from scripts.init_file import written

CLUSTER = "8xh100-sxm-80gb"
# By the file's name, the architecture preset with the recipe.
RUNS = {
    "pythia-14m": "pythia-14m",
    "pythia-70m": "pythia-70m",
    "pythia-160m": "pythia-160m",
    "gpt2-124m": "gpt2-124m",
    "gpt2-350m": "gpt2-355m",
    "opt-125m": "opt-125m",
    "gpt3-xl-1.3b-8xh100": "gpt3-1.3b",
}


def path_of(name: str) -> Path:
    """Where the run of that name lies."""
    return PRESETS / "runs" / f"{name}.yaml"


def published(name: str) -> str:
    """The YAML of one of them."""
    command = f"replibench init {RUNS[name]} --cluster {CLUSTER}"
    return written(start(RUNS[name], None, None), command, CLUSTER, name=name, here=False)[1]


if __name__ == "__main__":
    for each in RUNS:
        write_text(path_of(each), published(each))
