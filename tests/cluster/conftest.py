"""One Slurm for all tests here, and no process of it left behind."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.slurm import Slurm, why_not


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    running = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        running.__enter__()
    except (OSError, subprocess.SubprocessError, TimeoutError) as error:
        pytest.skip(f"Slurm does not start here: {error}")
    try:
        yield running
    finally:
        running.__exit__()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """What all nodes see."""
    path = tmp_path / "shared"
    path.mkdir()
    return path
