"""A run under a real Slurm: everything happens to it, and in the end it is the run that nothing happened to."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs.loader import load_config
from configs.sweeps import HELD_OUT, load_sweep, members
from scripts.bench.victim import last_step
from tests.cluster.runs import STEPS, TRAIN, config, ended, log_of, reach, workers
from tests.cluster.slurm import NODES, Slurm
from tests.distributed import free_port
from tests.scripts.test_sweep import TINY
from tests.train.tiny import metrics, train_tiny
from train import events, exits
from train.checkpoints import all_of, name_of, step_of


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


def finish(slurm: Slurm, submitted: "subprocess.CompletedProcess[str]") -> None:
    """Wait until all tasks of the array are over, each with success."""
    job = submitted.stderr.split(" job ")[1].partition(";")[0]
    slurm.wait_for(lambda: "PENDING" not in (said := slurm.states(job)) and "RUNNING" not in said, 240)
    assert {*slurm.states(job)} == {"COMPLETED"}


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


def test_a_sweeps_ladder_and_evaluations_of_checkpoints_are_arrays(slurm: Slurm, shared: Path, tmp_path: Path) -> None:
    """Most of the ladder is trained before, which the array leaves as it is."""
    path, where = tmp_path / "tiny.yaml", profile(shared, exclusive=False)
    saving = {"checkpoint": {"every_steps": 60, "keep_last": 2}}
    path.write_text(yaml.safe_dump(TINY | {"base": TINY["base"] | {"train": TINY["base"]["train"] | saving}}))
    sweep, directory = load_sweep(path), shared / "tiny"
    found = {name: settings for name, settings in members(sweep).items() if name != HELD_OUT}
    *before, one, other = found
    (directory / "data").mkdir(parents=True)
    for name in before:
        (directory / name).mkdir()
        (directory / name / "data").symlink_to("../data")
        train_tiny(directory / name, found[name])
    times = {name: (directory / name / "run.json").stat().st_mtime for name in before}
    submitted = command("launch", str(path), "--on", where, slurm=slurm)
    assert submitted.returncode == 0, submitted.stderr
    finish(slurm, submitted)
    assert times == {name: (directory / name / "run.json").stat().st_mtime for name in before}
    for name in (one, other):
        assert [each.kind for each in exits.exits(directory / name)] == ["finished"]
    swept = command("sweep", str(path), "--run-dir", str(directory), slurm=slurm)  # goes on: predicts, trains the last
    assert swept.returncode == 0, swept.stderr
    assert len(exits.exits(directory / other)) == 1
    assert json.loads((directory / "sweep.json").read_text())["held_out"]["name"] == HELD_OUT

    run_dir, steps = directory / HELD_OUT, [step_of(each) for each in all_of(directory / HELD_OUT / "checkpoints")]
    arguments = (
        "--evaluate",
        ",".join(map(str, steps)),
        "--run-dir",
        str(run_dir),
        "--set",
        "evaluation.items={facts: 20}",
    )
    submitted = command("launch", str(run_dir / "config.yaml"), "--on", where, *arguments, slurm=slurm)
    assert submitted.returncode == 0, submitted.stderr
    finish(slurm, submitted)
    done = sorted(path.parts[-4] for path in run_dir.glob("evaluations/*/eval/replica/complete"))
    assert len(steps) == 2
    assert done == [name_of(step) for step in steps]
