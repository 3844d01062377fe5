"""A run under a real Slurm: everything happens to it, and in the end it is the run that nothing happened to."""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from configs.loader import load_config
from scripts.bench.victim import last_step
from tests.cluster.runs import STEPS, TRAIN, config, ended, log_of, reach, workers
from tests.cluster.slurm import NODES, Slurm
from tests.cluster.submitting import command, profile
from tests.train.tiny import metrics, train_tiny
from train import events, exits


def what_counts(run_dir: Path, last: int) -> list[tuple[Any, ...]]:
    """Of the lines of metrics.jsonl up to step `last` that which is no time."""
    return [
        tuple(line[key] for key in ("step", "tokens", "loss", "grad_norm"))
        for line in metrics(run_dir)
        if line["step"] <= last
    ]


def check_kept(run_dir: Path, undisturbed: Path, saved: int) -> None:
    """Up to step `saved`, on two nodes, every bit is that of the undisturbed run; then on one node the rounding."""
    assert [line["step"] for line in metrics(run_dir)] == list(range(1, STEPS + 1))
    assert what_counts(run_dir, saved) == what_counts(undisturbed, saved)
    ours, theirs = (json.loads((directory / "run.json").read_text()) for directory in (run_dir, undisturbed))
    assert ours["data_order_sha256"] == theirs["data_order_sha256"]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-4)
    assert (run_dir / "replica" / "model.safetensors").is_file()


def check_told(run_dir: Path) -> None:
    """What the run's records say of four restarts, the last one on one node."""
    run = json.loads((run_dir / "run.json").read_text())
    assert (run["restarts"], run["data_parallel_size"]) == (4, 1)
    resumed = [event.message for event in events.read(run_dir) if event.kind == "resumed"]
    assert "(data_parallel_size=2" in resumed[-1]
    assert "now with data_parallel_size=1" in resumed[-1]
    goodput = run["goodput"]
    parts = sum(goodput[key] for key in goodput if key not in ("booked_s", "waiting_s"))
    assert parts == pytest.approx(goodput["booked_s"])
    assert goodput["lost_s"] > TRAIN["collective_timeout_s"]  # the hang at least
    assert goodput["waiting_s"] > 4 * 3  # before each start
    (first,) = run_dir.glob("attempts/*-0/links.json")
    assert json.loads(first.read_text())["between"]["n1"]["n2"] > 0


def test_warning_preemption_hang_and_a_lost_node_change_nothing(slurm: Slurm, shared: Path, tmp_path: Path) -> None:
    file = config(tmp_path, "tiny")
    submitted = command("launch", file, "--on", profile(shared), "--nodes", "1-2", slurm=slurm)
    assert submitted.returncode == 0, submitted.stderr
    run_dir = shared / "tiny"
    job = json.loads((run_dir / "launch" / "submission.json").read_text())["job"]
    train_tiny(tmp_path / "undisturbed", load_config(file))

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
    assert (hang.kind, hang.node, hang.again) == ("hang", "n2", True)
    assert f"rank {hang.rank} on n2 does not answer: stopped, or its machine is gone" in hang.message
    slurm.start_now(job, *NODES)

    before = last_step(run_dir / "metrics.jsonl")
    reach(run_dir, before + 20)  # a node is gone: on with the other, after conversion
    slurm.crash("n2")
    same = last_step(run_dir / "metrics.jsonl")
    assert ended(run_dir, 4).kind == "node_failure"
    slurm.client("scontrol", "update", "NodeName=n2", "State=DOWN", "Reason=test")
    slurm.start_now(job, "n1")
    slurm.wait_for(lambda: slurm.state(job) in ("COMPLETED", "FAILED"), 240)
    slurm.boot("n2")

    assert [each.kind for each in exits.exits(run_dir)] == [
        *("requeue", "requeue", "hang", "node_failure", "finished")
    ], log_of(run_dir)
    assert slurm.state(job) == "COMPLETED"
    saved = max(20 * (same // 20) - 20, before)  # what the last two-node attempt had saved for sure
    check_kept(run_dir, tmp_path / "undisturbed", saved)
    check_told(run_dir)
    assert not workers(run_dir)


def test_an_unknown_partition_is_refused_before_anything_is_queued(slurm: Slurm, shared: Path, tmp_path: Path) -> None:
    where = profile(shared, partition="gpu")
    refused = command("launch", config(tmp_path, "tiny"), "--on", where, "--nodes", "2", slurm=slurm)
    assert refused.returncode == 2
    assert "nvalid partition" in refused.stderr
    assert "(partitions here: main high)" in refused.stderr
    assert slurm.client("squeue", "-h") == ""


def test_a_node_without_its_accelerators_is_named_before_the_first_step(
    slurm: Slurm, shared: Path, tmp_path: Path
) -> None:
    file, where = config(tmp_path, "unfit", device="auto"), Path(profile(shared, max_requeues=0))
    where.write_text(where.read_text() + "accelerator: h100-sxm-80gb\n")
    submitted = command("launch", file, "--on", str(where), "--nodes", "2", slurm=slurm)
    assert submitted.returncode == 0, submitted.stderr
    end = ended(shared / "unfit", 1)
    assert (end.kind, end.again) == ("node_failure", False)
    assert re.search(
        r"pre-flight: n1: has \d devices, and 1 are needed|device 0 is .* and the profile says", end.message
    )
    assert not (shared / "unfit" / "attempts.jsonl").exists()
    slurm.wait_for(lambda: slurm.client("squeue", "-h") == "")
    assert slurm.state(submitted.stderr.split(" job ")[1].partition(";")[0]) == "FAILED"  # and it stays so
