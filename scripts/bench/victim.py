"""A training command as a user starts it, to be killed, stopped and started again; and what it leaves behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from train.processes import ROOT

SHARED_MEMORY = Path("/dev/shm")
_CACHE = "torchinductor_"  # torch's cache of compiled code, meant to stay
_NOT_OURS = "sem.mp-"  # semaphores of Python's multiprocessing, which training does not use; other programs do


def train_command(config: Path, run_dir: Path) -> list[str]:
    """`replibench train CONFIG --run-dir RUN_DIR`."""
    return [sys.executable, "-m", "scripts.cli", "train", str(config), "--run-dir", str(run_dir)]


class Victim:
    """A command that trains in `run_dir`, started. Its temporary files go to `temporary`."""

    def __init__(self, command: Sequence[str], run_dir: Path, temporary: Path) -> None:
        temporary.mkdir(exist_ok=True)
        self._metrics, self._log = run_dir / "metrics.jsonl", temporary.with_name("stderr.txt")
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": path, "PYTHONSAFEPATH": "1"},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        self._family: dict[int, psutil.Process] = {}

    def reach(self, step: int, timeout_s: float = 120.0) -> bool:
        """Wait until `step` is logged. False when the command ends before."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            if last_step(self._metrics) >= step and self.workers():
                return True
            if time.monotonic() > deadline:
                raise TimeoutError(f"no step {step} within {timeout_s:.0f} s: {self.words()}")
            time.sleep(0.02)
        return False

    def workers(self) -> list[psutil.Process]:
        """The training processes, by rank."""
        return [process for process in self._children() if is_worker(process)]

    def signal(self, number: signal.Signals, worker: int | None = None) -> None:
        """To the command, or to one of its workers."""
        self._children()  # so that all are known whom `gone_after` waits for
        if worker is None:
            self.process.send_signal(number)
        else:
            self.workers()[worker].send_signal(number)

    def wait(self, timeout_s: float = 120.0) -> int:
        """The exit code, once the command has ended."""
        return self.process.wait(timeout_s)

    def gone_after(self, timeout_s: float = 90.0) -> float:
        """Seconds until no process of it is left. Raises TimeoutError naming those that are."""
        start = time.monotonic()
        while alive := [process for process in self._family.values() if _is_alive(process)]:
            if time.monotonic() - start > timeout_s:
                raise TimeoutError(f"still there after {timeout_s:.0f} s: {alive}")
            time.sleep(0.02)
        return time.monotonic() - start

    def words(self) -> str:
        """What it said on stderr."""
        return self._log.read_text(encoding="utf-8")

    def _children(self) -> list[psutil.Process]:
        try:
            found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        self._family |= {process.pid: process for process in found}
        return found


def last_step(metrics: Path) -> int:
    """The step of the last whole line of metrics.jsonl; 0 without one."""
    lines = metrics.read_bytes().split(b"\n")[:-1] if metrics.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def is_worker(process: psutil.Process) -> bool:
    """A process of train/worker.py, not torchrun, which names it too."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return "train.torchrun" not in words and any(word.endswith("worker.py") for word in words)


def left_behind(run_dir: Path, temporary: Path, shared_before: set[str]) -> dict[str, list[str]]:
    """Processes that name the run directory, new shared memory, temporary files, and half-written things in the run."""
    processes = []
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(word.startswith(str(run_dir)) for word in words) and process.pid != os.getpid():
            processes.append(" ".join(words))
    temporaries = (path for path in temporary.rglob("*") if not path.name.startswith(_CACHE))
    return {
        "processes": processes,
        "shared_memory": sorted(_orphans(shared_memory() - shared_before)),
        "temporary_files": sorted(str(path.relative_to(temporary)) for path in temporaries),
        "half_written": sorted(path.name for path in (run_dir / "checkpoints").glob(".*")),
    }


def shared_memory() -> set[str]:
    """What is in shared memory now."""
    names = {path.name for path in SHARED_MEMORY.iterdir()} if SHARED_MEMORY.is_dir() else set()
    return {name for name in names if not name.startswith(_NOT_OURS)}


def _orphans(names: set[str]) -> set[str]:
    """Those of `names` in shared memory that no living process has mapped (other programs come and go too)."""
    time.sleep(1.0 if names else 0.0)
    mapped = ""
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            mapped += maps.read_text()
    return {name for name in names & shared_memory() if f"{SHARED_MEMORY}/{name}" not in mapped}


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
