"""`--on local`: the script of a machine without a scheduler starts a run again where that may help, and only there."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.bench.victim import last_step
from tests.cluster.memory_group import MemoryGroup
from tests.cluster.runs import config, ended, reach, worker_of
from tests.train.tiny import metrics
from train import exits


def test_a_killed_worker_is_started_again_and_one_that_the_kernel_killed_for_memory_is_not(tmp_path: Path) -> None:
    run_dir, said = tmp_path / "runs" / "local", tmp_path / "said"
    launch = (sys.executable, "-m", "scripts.cli", "launch", config(tmp_path, "local"), "--on", "local")
    try:
        group = MemoryGroup().__enter__()
    except OSError as error:
        pytest.skip(f"no control group with a memory limit can be made here: {error}")
    with said.open("w") as log:
        process = subprocess.Popen(
            group.inside(*launch, "--run-dir", str(run_dir)), cwd=tmp_path, stdout=log, stderr=log, env={**os.environ}
        )
        try:
            reach(run_dir, 30, process)
            worker_of(run_dir, 1).send_signal(signal.SIGKILL)
            killed = ended(run_dir, 1)
            assert (killed.kind, killed.rank, killed.again) == ("node_failure", 1, True), said.read_text()
            assert "was ended by SIGKILL" in killed.message
            reach(run_dir, last_step(run_dir / "metrics.jsonl") + 5, process)
            group.run_out(worker_of(run_dir, 0))
            assert process.wait(120) == 3, said.read_text()
        finally:
            process.kill()
            group.__exit__()
    end = exits.exits(run_dir)[-1]
    assert (end.kind, end.again) == ("out_of_memory", False), said.read_text()
    assert end.rank in (0, 1)  # the kernel may take both
    status = subprocess.run(
        [sys.executable, "-m", "scripts.cli", "status", str(run_dir), "--format", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(status.stdout)
    assert (told["state"], told["attempts"], told["step"]) == ("failed", 2, len(metrics(run_dir)))
