"""Copy a trained run into configs/references: the checkpoint, its manifest, and what it reached.

python -m scripts.publish_reference runs/tinyworld-reference configs/references/tinyworld-434k
"""

import shutil
import sys
from pathlib import Path

KEEP = ("manifest.json", "run.json", "metrics.jsonl")


def main(run_dir: Path, target: Path) -> None:
    """Replace `target` by the run's exported checkpoint with its records beside it."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(run_dir / "replica", target)
    for name in KEEP:
        shutil.copyfile(run_dir / name, target / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
