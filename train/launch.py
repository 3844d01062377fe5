"""Start this machine's part of a prepared run through torchrun, show its progress, end it, find the first error."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.errors import (
    BadInputError,
    HangError,
    InterruptedRunError,
    NodeError,
    NotFiniteError,
    OutOfMemoryError,
    RequeueError,
    WorkFailedError,
)
from configs.locks import held_descriptors
from configs.schema import TrainConfig
from train import events
from train.checkpoints import step_of
from train.failures import LOST_PEER, NODE, failures
from train.place import ATTEMPT, Place, here, local_address, network_environment
from train.processes import ROOT, worker_environment
from train.survivors import Signals, Survivors
from train.tail import Tail

STOP = "stop"  # a file in the attempt's directory: what a signal says, where no signal can be sent
ERRORS = {error.kind: error for error in (WorkFailedError, NotFiniteError, HangError, OutOfMemoryError, NodeError)}
_POLL_S = 0.2
_KILLED = re.compile(r"exitcode\s*: -9 ")


def launch(
    run_dir: Path,
    train: TrainConfig,
    on_progress: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
    place: Place | None = None,
) -> None:
    """Run train/worker.py on this machine until it ends; with `place`, together with the other nodes of the run.

    Calls `on_progress` with each new line of metrics.jsonl and `say` with the message of each new event. Raises
    BadInputError or WorkFailedError with the first real error of any rank; once the checkpoint is written,
    InterruptedRunError after Ctrl-C, and RequeueError after SIGTERM or SIGUSR1 to this process or to a worker.
    """
    place = place or here(train.world_size)
    logs = run_dir / "logs"
    logs.mkdir(exist_ok=True)
    if place.is_first and len(place.names) == 1:
        forget_failures(run_dir)
    tails = [
        Tail(run_dir / "metrics.jsonl", on_progress),
        Tail(run_dir / events.FILE, lambda event: say(event["message"]), from_end=True),
    ]
    path = _torchrun_log(logs, place)
    begin = path.stat().st_size if path.is_file() else 0
    with path.open("a") as log:
        process = subprocess.Popen(
            _command(run_dir, place),
            env=_environment(train, place),
            pass_fds=held_descriptors(),  # the directory is held until the last worker is gone
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone; we ask the workers for a checkpoint
        )
        stop_file = run_dir / "attempts" / place.attempt / STOP if place.attempt else None
        stopped = _watch(process, Survivors(process.pid, logs, place.processes), tails, stop_file)
    if process.returncode == 0 and (run_dir / "run.json").is_file():
        return
    _raise_first_error(logs, process.returncode, stopped, path.read_text(errors="replace")[begin:])


def forget_failures(run_dir: Path) -> None:
    """Before an attempt: what the ranks of an earlier one left. Nobody else may be at work yet."""
    for old in [*(run_dir / "logs").glob("failure-*.json"), *(run_dir / "logs").glob("ended-*")]:
        old.unlink()


def _environment(train: TrainConfig, place: Place) -> dict[str, str]:
    return {
        **worker_environment(train.threads_per_process, train.device),
        **network_environment(place),
        NODE: place.name,
        ATTEMPT: place.attempt,
    }


def _torchrun_log(logs: Path, place: Place) -> Path:
    return logs / ("torchrun.log" if len(place.names) == 1 else f"torchrun-{place.name}.log")


def _command(run_dir: Path, place: Place) -> list[str]:
    return [
        *(sys.executable, "-m", "train.torchrun"),
        *(f"--nnodes={len(place.names)}", f"--nproc-per-node={place.processes}", "--max-restarts=0"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={place.rendezvous}", f"--rdzv-id={place.attempt or 'here'}"),
        f"--local-addr={local_address(place.rendezvous)}",
        *("--log-dir", str(run_dir / "logs"), "--redirects=3"),
        *(str(ROOT / "train" / "worker.py"), str(run_dir.resolve())),
    ]


def _watch(
    process: subprocess.Popen[bytes], survivors: Survivors, tails: list[Tail], stop_file: Path | None
) -> int | None:
    """Wait for the end, passing on what is new. Returns the signal by which this process was asked to stop, if any."""
    with Signals() as signals:
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                for tail in tails:
                    tail.pass_on()
                survivors.end_when_one_is_gone()
                if stop_file is not None and stop_file.exists():
                    signals.first = signals.first or signal.SIGTERM
                if signals.first is not None:  # again and again: one that is still importing does not listen yet
                    survivors.ask_to_stop()
                if signals.count > 1 and signals.last == signal.SIGINT:  # asked twice: do not wait for the checkpoint
                    survivors.kill()
                    os.killpg(process.pid, signal.SIGKILL)
            for tail in tails:
                tail.pass_on()
        finally:
            if process.poll() is None:
                survivors.kill()
                os.killpg(process.pid, signal.SIGKILL)
        return signals.first


def _raise_first_error(logs: Path, code: int, stopped: int | None, said: str) -> None:
    """`said`: by torchrun, in this attempt."""
    found = failures(logs)
    if found and found[0]["kind"] != LOST_PEER:
        first = found[0]
        where = f"rank {first['rank']}"
        if first["kind"] == "user_error":
            raise BadInputError(first["message"])
        log = logs / f"failure-{first['rank']}.json"
        raise ERRORS[first["kind"]](f"training failed: {where}: {first['message']} (traceback: {log})")
    if stopped or (code == 0 and not found):  # without run.json: a worker was asked to stop
        newest = max((logs.parent / "checkpoints").glob("step-*"), default=None)
        where = f"a checkpoint is written at step {step_of(newest):,}" if newest else "nothing was trained yet"
        words = f"{where}; run the same command again to go on"
        if stopped == signal.SIGINT:
            raise InterruptedRunError(f"interrupted; {words}")
        raise RequeueError(f"stopped by {signal.Signals(stopped).name if stopped else 'a signal to a worker'}; {words}")
    echo = f"rank {found[0]['rank']} lost a peer: {found[0]['message']}" if found else _last_words(logs)
    ended = _KILLED.search(said)
    raise (NodeError if found or ended else WorkFailedError)(
        f"training failed without a report (torchrun exit {code}): {echo} "
        f"(no words: a worker may have been killed, for instance for memory; logs: {logs})"
    )


def _last_words(logs: Path) -> str:
    """The last line that a worker of the newest attempt wrote to stderr."""
    newest = max(logs.glob("*/attempt_0/*/stderr.log"), key=lambda path: path.stat().st_mtime, default=None)
    lines = newest.read_text(errors="replace").split("\n") if newest else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "-")
