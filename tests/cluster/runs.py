"""What the tests here share: a tiny run on two nodes, and looking at it from outside."""

import contextlib
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

from scripts.bench.victim import is_worker, last_step
from tests.train.tiny import ARCHITECTURES
from train import exits
from train.exits import Exit

STEPS = 300
DATA = {"documents": 2400, "held_out_documents": 20}
TRAIN = {
    "steps": STEPS,
    "device": "cpu",
    "sequence_length": 32,
    "micro_batch_size": 1,
    "data_parallel_size": 2,
    "log_every_steps": 1,
    "collective_timeout_s": 10,  # a machine that is busy with other tests may keep a rank for seconds
    "checkpoint": {"every_steps": 20, "keep_last": 3},
}


def config(directory: Path, name: str, **train: Any) -> str:
    """A file of that run; `train`: other keys of the section."""
    tree = {"name": name, "architecture": ARCHITECTURES["gpt_neox"], "data": DATA, "train": TRAIN | train}
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return str(path)


def workers(run_dir: Path) -> dict[str, psutil.Process]:
    """The training processes, by the node they are of."""
    found = {}
    for process in psutil.process_iter():
        try:
            if str(run_dir) in process.cmdline() and is_worker(process):
                found[process.environ()["REPLIBENCH_NODE"]] = process
        except psutil.Error:
            continue
    return found


def worker_of(run_dir: Path, rank: int) -> psutil.Process:
    """The process of this rank, which there is."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(run_dir) in process.cmdline() and is_worker(process) and process.environ()["RANK"] == str(rank):
                return process
    raise LookupError(rank)


def reach(run_dir: Path, step: int, command: "subprocess.Popen[bytes] | None" = None) -> None:
    """Wait until `step` is logged by an attempt that is at work; `command`: in the foreground, which must go on."""
    deadline = time.monotonic() + 240
    while last_step(run_dir / "metrics.jsonl") < step or not workers(run_dir):
        assert time.monotonic() < deadline, log_of(run_dir)
        assert command is None or command.poll() is None
        time.sleep(0.05)


def ended(run_dir: Path, count: int) -> Exit:
    """How the last of `count` attempts ended."""
    deadline = time.monotonic() + 120
    while len(found := exits.exits(run_dir)) < count:
        assert time.monotonic() < deadline, log_of(run_dir)
        time.sleep(0.1)
    return found[-1]


def log_of(run_dir: Path) -> str:
    """What the job printed last."""
    return "\n".join(path.read_text()[-3000:] for path in (run_dir / "launch").glob("slurm-*.out"))
