"""Start a prepared run on this machine through torchrun, show its progress, end it cleanly, find the first error."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from configs.errors import BadInputError, InterruptedRunError, WorkFailedError
from configs.locks import held_descriptors
from configs.schema import TrainConfig
from train.processes import ROOT, worker_environment


def launch(run_dir: Path, train: TrainConfig, on_progress: Callable[[dict[str, Any]], None]) -> None:
    """Run train/worker.py on this machine until it ends. Calls `on_progress` with each new line of metrics.jsonl.

    Raises BadInputError or WorkFailedError with the first real error of any rank, InterruptedRunError after Ctrl-C or
    SIGTERM once the checkpoint is written.
    """
    logs = run_dir / "logs"
    logs.mkdir(exist_ok=True)
    for old in logs.glob("failure-*.json"):
        old.unlink()
    with (logs / "torchrun.log").open("a") as log:
        process = subprocess.Popen(
            _command(run_dir, train),
            env=worker_environment(train.threads_per_process, train.device),
            pass_fds=held_descriptors(),  # the directory is held until the last worker is gone
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone; we ask the workers for a checkpoint
        )
        stopped = _watch(process, run_dir / "metrics.jsonl", on_progress)
    if process.returncode == 0 and not stopped:
        return
    _raise_first_error(logs, process.returncode, stopped)


def _command(run_dir: Path, train: TrainConfig) -> list[str]:
    return [
        *(sys.executable, "-m", "train.torchrun"),
        # port 0: a fresh rendezvous port for each run
        *("--nnodes=1", f"--nproc-per-node={train.world_size}", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"),
        "--local-addr=127.0.0.1",
        *("--log-dir", str(run_dir / "logs"), "--redirects=3"),
        *(str(ROOT / "train" / "worker.py"), str(run_dir.resolve())),
    ]


def _watch(process: subprocess.Popen[bytes], metrics: Path, on_progress: Callable[[dict[str, Any]], None]) -> bool:
    """Wait for the end, passing on progress. Returns whether the user asked to stop."""
    stopped, position = False, 0
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while process.poll() is None:
            try:
                time.sleep(0.2)
                position = _pass_on(metrics, position, on_progress)
                if stopped:  # again and again: a worker that is still importing does not listen yet
                    _ask_to_stop(process)
            except KeyboardInterrupt:
                if stopped:  # asked twice: do not wait for the checkpoint
                    os.killpg(process.pid, signal.SIGKILL)
                stopped = True
        _pass_on(metrics, position, on_progress)
    finally:
        signal.signal(signal.SIGTERM, previous)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return stopped


def _ask_to_stop(process: subprocess.Popen[bytes]) -> None:
    """SIGUSR1 to each worker: a checkpoint, then an orderly end. torchrun gives each a session of its own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for worker in psutil.Process(process.pid).children():
            worker.send_signal(signal.SIGUSR1)


def _pass_on(metrics: Path, position: int, on_progress: Callable[[dict[str, Any]], None]) -> int:
    """Read whole new lines from `position`; a file that became shorter (a resume cut it) is read from its start."""
    if not metrics.is_file():
        return 0
    if metrics.stat().st_size < position:
        position = 0
    with metrics.open("rb") as stream:
        stream.seek(position)
        for line in stream:
            if not line.endswith(b"\n"):
                break
            position += len(line)
            on_progress(json.loads(line))
    return position


def _raise_first_error(logs: Path, code: int, stopped: bool) -> None:
    failures = sorted((json.loads(path.read_text()) for path in logs.glob("failure-*.json")), key=lambda f: f["time"])
    if failures:
        first = failures[0]
        where = f"rank {first['rank']}: "
        if first["kind"] == "bad_input":
            raise BadInputError(first["message"])
        log = logs / f"failure-{first['rank']}.json"
        raise WorkFailedError(f"training failed: {where}{first['message']} (traceback: {log})")
    if stopped:
        newest = max((logs.parent / "checkpoints").glob("step-*"), default=None)
        where = f"a checkpoint is written at step {int(newest.name[5:]):,}" if newest else "nothing was trained yet"
        raise InterruptedRunError(f"interrupted; {where}; run the same command again to go on")
    raise WorkFailedError(
        f"training failed without a report (torchrun exit {code}): {_last_words(logs)} "
        f"(no words: a worker may have been killed, for instance for memory; logs: {logs})"
    )


def _last_words(logs: Path) -> str:
    """The last line that a worker of the newest attempt wrote to stderr."""
    newest = max(logs.glob("*/attempt_0/*/stderr.log"), key=lambda path: path.stat().st_mtime, default=None)
    lines = newest.read_text(errors="replace").split("\n") if newest else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "-")
