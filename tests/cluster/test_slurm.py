"""A run under a real Slurm: everything happens to it, and in the end it is the run that nothing happened to."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.bench.victim import last_step
from tests.cluster.runs import DATA, STEPS, TRAIN, config, ended, log_of, reach, workers
from tests.cluster.slurm import NODES, Slurm
from tests.train.tiny import metrics, tiny_config, train_tiny
from train import exits


def command(*arguments: str, slurm: Slurm) -> "subprocess.CompletedProcess[str]":
    """`replibench …`, as a user types it where Slurm's commands are."""
    words = [sys.executable, "-m", "scripts.cli", *arguments]
    return subprocess.run(words, env=slurm.environment, capture_output=True, text=True, check=False, timeout=120)


def profile(shared: Path, **changes: Any) -> str:
    """A file of a site's own."""
    site = {"scheduler": "slurm", "partition": "main", "per_node": 1, "shared": str(shared), "warning_s": 60}
    path = shared.parent / "site.yaml"
    path.write_text(yaml.safe_dump({"launch": site | changes}))
    return str(path)


def what_counts(run_dir: Path, last: int) -> list[tuple[Any, ...]]:
    """Of the lines of metrics.jsonl up to step `last` that which is no time."""
    return [
        tuple(line[key] for key in ("step", "tokens", "loss", "grad_norm"))
        for line in metrics(run_dir)
        if line["step"] <= last
    ]


def test_warning_preemption_hang_and_a_lost_node_change_nothing(slurm: Slurm, shared: Path, tmp_path: Path) -> None:
    file = config(tmp_path, "tiny")
    submitted = command("launch", file, "--on", profile(shared), "--nodes", "2", slurm=slurm)
    assert submitted.returncode == 0, submitted.stderr
    run_dir = shared / "tiny"
    job = json.loads((run_dir / "launch" / "submission.json").read_text())["job"]
    settings = tiny_config(
        tmp_path, "gpt_neox", *(f"train.{key}={json.dumps(value)}" for key, value in TRAIN.items()), data=DATA
    )
    train_tiny(tmp_path / "undisturbed", settings)

    reach(run_dir, 30)  # the walltime's warning
    slurm.client("scancel", "--signal=USR1", "--batch", job)
    assert ended(run_dir, 1).kind == "requeue"
    slurm.start_now(job, *NODES)

    reach(run_dir, last_step(run_dir / "metrics.jsonl") + 20)  # a job of a higher partition takes both nodes
    other = slurm.client(
        "sbatch", "--parsable", "-p", "high", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "true"
    )
    assert ended(run_dir, 2).kind == "requeue"
    slurm.wait_for(lambda: slurm.state(other) == "COMPLETED")
    slurm.start_now(job, *NODES)

    reach(run_dir, last_step(run_dir / "metrics.jsonl") + 20)  # a rank that sleeps
    workers(run_dir)["n2"].send_signal(signal.SIGSTOP)
    hang = ended(run_dir, 3)
    assert (hang.kind, hang.again) == ("hang", True)
    assert "does not answer: stopped, or its machine is gone" in hang.message
    slurm.start_now(job, *NODES)

    before = last_step(run_dir / "metrics.jsonl")
    reach(run_dir, before + 20)  # a node is gone: on with the other, after conversion
    slurm.client("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    same = last_step(run_dir / "metrics.jsonl")
    slurm.wait_for(lambda: slurm.state(job) == "PENDING")
    slurm.client("scontrol", "update", f"JobId={job}", "NumNodes=1")
    slurm.start_now(job, "n1")
    slurm.wait_for(lambda: slurm.state(job) in ("COMPLETED", "FAILED"), 240)
    slurm.client("scontrol", "update", "NodeName=n2", "State=RESUME")

    assert [each.kind for each in exits.exits(run_dir)] == [
        *("requeue", "requeue", "hang", "node_failure", "finished")
    ], log_of(run_dir)
    assert slurm.state(job) == "COMPLETED"
    kept = metrics(run_dir)
    assert [line["step"] for line in kept] == list(range(1, STEPS + 1))
    saved = max(20 * (same // 20) - 20, before)  # what the last two-node attempt had saved for sure
    assert what_counts(run_dir, saved) == what_counts(tmp_path / "undisturbed", saved)
    ours, theirs = (json.loads((d / "run.json").read_text()) for d in (run_dir, tmp_path / "undisturbed"))
    assert ours["data_order_sha256"] == theirs["data_order_sha256"]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
    assert (ours["restarts"], ours["data_parallel_size"]) == (4, 1)
    assert not workers(run_dir)
    assert (run_dir / "replica" / "model.safetensors").is_file()
