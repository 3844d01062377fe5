"""`--on local`: the script of a machine without a scheduler starts a run again where that may help, and only there."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scripts.bench.victim import last_step
from scripts.cli import app
from tests.cluster.memory_group import MemoryGroup
from tests.cluster.runs import config, ended, reach, worker_of
from tests.train.tiny import metrics
from train import exits
from train.checkpoints import all_of, step_of


def test_a_stopped_run_is_saved_a_killed_worker_started_again_and_one_killed_for_memory_is_not(tmp_path: Path) -> None:
    run_dir, said = tmp_path / "runs" / "local", tmp_path / "said"
    launch = (sys.executable, "-m", "scripts.cli", "launch", config(tmp_path, "local"), "--on", "local")
    try:
        group = MemoryGroup().__enter__()
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    try:
        with started(said, group.inside(*launch, "--run-dir", str(run_dir))) as process:
            reach(run_dir, 30, process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 75, said.read_text()
        assert exits.exits(run_dir)[0].kind == "requeue"
        assert step_of(all_of(run_dir / "checkpoints")[-1]) == last_step(run_dir / "metrics.jsonl")

        with started(said, group.inside(*launch, "--run-dir", str(run_dir))) as process:
            reach(run_dir, last_step(run_dir / "metrics.jsonl") + 5, process)
            worker_of(run_dir, 1).send_signal(signal.SIGKILL)
            killed = ended(run_dir, 2)
            assert (killed.kind, killed.rank, killed.again) == ("node_failure", 1, True), said.read_text()
            assert "was ended by SIGKILL" in killed.message
            reach(run_dir, last_step(run_dir / "metrics.jsonl") + 5, process)
            group.run_out(worker_of(run_dir, 0))
            assert process.wait(120) == 3, said.read_text()
    finally:
        group.__exit__()
    end = exits.exits(run_dir)[-1]
    assert (end.kind, end.again) == ("out_of_memory", False), said.read_text()
    assert end.rank in (0, 1)  # the kernel may take both
    told = json.loads(CliRunner().invoke(app, ["status", str(run_dir), "--format", "json"]).stdout)
    assert (told["state"], told["attempts"], told["step"]) == ("failed", 3, len(metrics(run_dir)))


@contextmanager
def started(said: Path, command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    """The command, which is not left behind."""
    with said.open("a") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
