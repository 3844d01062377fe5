"""The file of `replibench init`: estimated, written, and read back by the loader before it is kept."""

import tempfile
from pathlib import Path

from configs.errors import BadInputError
from configs.files import write_text
from configs.loader import load_config
from scripts.init import Start
from scripts.init_estimate import on_cluster, on_this_machine
from scripts.init_text import text


def written(
    start: Start, command: str, cluster: str | None, *, name: str | None = None, here: bool = True
) -> tuple[str, str]:
    """(name, YAML). `here`: with an estimate for this machine. BadInputError names --cluster where that is wrong."""
    estimates, layout = [], None
    if here:
        estimates.append(f"this machine, {on_this_machine(start.budget)}")
    if cluster is not None:
        try:
            taken = on_cluster(start.budget, cluster)
        except BadInputError as error:
            raise BadInputError(f"--cluster: {error}") from None
        estimates.append(taken.words)
        layout = taken.layout
        if layout is None:
            estimates.append(
                f"{cluster} as it is laid out below: not known; none of its fastest layouts can be trained here"
            )
    yaml = text(start, name, command, estimates, layout)
    with tempfile.TemporaryDirectory() as directory:
        draft = Path(directory) / "run.yaml"
        write_text(draft, yaml)
        return load_config(draft).name, yaml


def write(start: Start, command: str, cluster: str | None, output: Path | None) -> Path:
    """Write the file; an existing one is left alone. Raises BadInputError as `written`, and where it exists."""
    name, yaml = written(start, command, cluster)
    path = output or Path(f"{name}.yaml")
    if path.exists():
        raise BadInputError(f"--output {path}: is there already; name another file or delete it")
    write_text(path, yaml)
    return path
