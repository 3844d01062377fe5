"""A user of the tests' Slurm: the command, and a profile of the site."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.slurm import Slurm
from tests.distributed import free_port


def command(*arguments: str, slurm: Slurm) -> "subprocess.CompletedProcess[str]":
    """`replibench …`, as a user types it where Slurm's commands are."""
    words = [sys.executable, "-m", "scripts.cli", *arguments]
    return subprocess.run(words, env=slurm.environment, capture_output=True, text=True, check=False, timeout=120)


def profile(shared: Path, **changes: Any) -> str:
    """A file of a site's own."""
    site = {"scheduler": "slurm", "partition": "main", "per_node": 1, "shared": str(shared), "warning_s": 60}
    site["port"] = min(free_port(), 64_000)  # other tests on this machine have a Slurm with a job 2 as well
    path = shared.parent / "site.yaml"
    path.write_text(yaml.safe_dump({"launch": site | changes}))
    return str(path)
