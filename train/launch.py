"""Start this machine's part of a prepared run through torchrun, show its progress, end it, find the first error."""

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
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
from train.failures import LOST_PEER, NODE, failures, forget_failures, kind_of, leave_failure, left_in
from train.memory import oom_kills
from train.place import ATTEMPT, Place, here, local_address, network_environment
from train.processes import ROOT, worker_environment
from train.survivors import Signals, Survivors
from train.tail import Tail

# Files in the attempt's directory: what a signal says, where no signal can be sent; another machine is given up.
STOP, ABANDON = "stop", "abandon"
ERRORS = {error.kind: error for error in (WorkFailedError, NotFiniteError, HangError, OutOfMemoryError, NodeError)}
# What ends a worker from outside: somebody, or the kernel; torch's watchdog of NCCL; a file or memory that is gone.
OUTSIDE = ("SIGKILL", "SIGABRT", "SIGBUS")
REPORT = "FAILED\n"  # begins torchrun's report of workers that failed
_POLL_S = 0.2


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
    launch_in_turn([run_dir], train, lambda _, line: on_progress(line), say, place)


def launch_in_turn(
    run_dirs: Sequence[Path],
    train: TrainConfig,
    on_progress: Callable[[Path, dict[str, Any]], None],
    say: Callable[[str], None],
    place: Place | None = None,
) -> None:
    """The same for several runs, which the same processes train one after the other. `train`: of any of them.

    They agree on number of processes, threads and device. The logs of the processes lie with the first run.
    """
    place = place or here(train.world_size)
    logs, left = run_dirs[0] / "logs", [left_in(run_dir, place.attempt) for run_dir in run_dirs]
    tails = []
    for run_dir in run_dirs:
        (run_dir / "logs").mkdir(exist_ok=True)
        tails.append(Tail(run_dir / "metrics.jsonl", functools.partial(on_progress, run_dir)))
        tails.append(Tail(run_dir / events.FILE, lambda event: say(event["message"]), from_end=True))
    if not place.attempt:  # else the first node has done it, before any node began
        forget_failures(*left)
    path, memory = _torchrun_log(logs, place), oom_kills()
    begin = path.stat().st_size if path.is_file() else 0
    with path.open("a") as log:
        process = subprocess.Popen(
            _command(run_dirs, place),
            env=_environment(train, place),
            pass_fds=held_descriptors(),  # the directory is held until the last worker is gone
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone; we ask the workers for a checkpoint
        )
        survivors = Survivors(process.pid, left[0], place.processes)
        attempt = left[0] if place.attempt else None
        stopped = _watch(process, survivors, tails, attempt)
    if process.returncode == 0 and all((run_dir / "run.json").is_file() for run_dir in run_dirs) and not stopped:
        return
    if attempt is not None and (attempt / ABANDON).exists():
        raise NodeError("training failed: another machine of the run is gone, so this one's processes were ended")
    said = path.read_bytes()[begin:].decode(errors="replace")
    if process.returncode != 0 and not stopped:
        _leave_word_of_killed(left, said, survivors.killed, ran_out=oom_kills() > memory)
    code = process.returncode
    _raise_first_error(run_dirs, left, code, stopped, said)


def _environment(train: TrainConfig, place: Place) -> dict[str, str]:
    return {
        **worker_environment(train.threads_per_process, train.device),
        **network_environment(place),
        NODE: place.name,
        ATTEMPT: place.attempt,
    }


def _torchrun_log(logs: Path, place: Place) -> Path:
    return logs / ("torchrun.log" if len(place.names) == 1 else f"torchrun-{place.name}.log")


def _command(run_dirs: Sequence[Path], place: Place) -> list[str]:
    return [
        *(sys.executable, "-m", "train.torchrun"),
        *(f"--nnodes={len(place.names)}", f"--nproc-per-node={place.processes}", "--max-restarts=0"),
        *("--rdzv-backend=c10d", f"--rdzv-endpoint={place.rendezvous}"),
        f"--rdzv-id={place.attempt or time.strftime('%Y%m%dT%H%M%S')}",  # it names the attempt's logs
        f"--local-addr={local_address(place)}",
        f"--rdzv-conf=is_host={int(place.is_first)}",  # not by the name of this machine, which may lead nowhere else
        *("--log-dir", str(run_dirs[0] / "logs"), "--redirects=3"),
        *(str(ROOT / "train" / "worker.py"), *(str(run_dir.resolve()) for run_dir in run_dirs)),
    ]


def _watch(
    process: subprocess.Popen[bytes], survivors: Survivors, tails: list[Tail], attempt: Path | None
) -> int | None:
    """Wait for the end, passing on what is new. Returns the signal by which this process was asked to stop, if any.

    `attempt`: its directory, where there may be word from outside.
    """
    with Signals() as signals:
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                for tail in tails:
                    tail.pass_on()
                survivors.end_when_one_is_gone()
                if attempt is not None and (attempt / STOP).exists():
                    signals.first = signals.first or signal.SIGTERM
                if attempt is not None and (attempt / ABANDON).exists():
                    survivors.kill()
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


def _raise_first_error(
    run_dirs: Sequence[Path], left: Sequence[Path], code: int, stopped: int | None, said: str
) -> None:
    """`code`, `said`: torchrun's, which may have failed itself, before there was any worker."""
    logs, found = run_dirs[0] / "logs", failures(*left)
    if found and found[0]["kind"] != LOST_PEER:
        raise error_of(found[0])
    if stopped or (code == 0 and not found):  # without run.json: a worker was asked to stop
        raise _stopped(run_dirs, stopped)
    if found:
        raise NodeError(f"training failed: rank {found[0]['rank']} lost a peer: {found[0]['message']} (logs: {logs})")
    words = _last_words(logs) if REPORT in said else _last_line(said)
    kind = kind_of(RuntimeError(words))
    error = NodeError if kind == LOST_PEER else ERRORS[kind]
    raise error(f"training failed without a report (torchrun exit {code}): {words} (logs: {logs})")


def error_of(failure: dict[str, Any]) -> Exception:
    """What a rank left behind as an error of its class."""
    if failure["kind"] == "user_error":
        return BadInputError(failure["message"])
    return ERRORS[failure["kind"]](
        f"training failed: rank {failure['rank']}: {failure['message']} (traceback: {failure['path']})"
    )


def _stopped(run_dirs: Sequence[Path], stopped: int | None) -> InterruptedRunError:
    """What there is to go on from, and how."""
    at = next((run_dir for run_dir in run_dirs if not (run_dir / "run.json").is_file()), run_dirs[-1])
    newest = max((at / "checkpoints").glob("step-*"), default=None)
    where = f"a checkpoint is written at step {step_of(newest):,}" if newest else "nothing was trained yet"
    if (at / "run.json").is_file():
        where = "the training is done"
    if len(run_dirs) > 1:
        where = f"{at.name}: {where}"
    words = f"{where}; run the same command again to go on"
    if stopped == signal.SIGINT:
        return InterruptedRunError(f"interrupted; {words}")
    return RequeueError(f"stopped by {signal.Signals(stopped).name if stopped else 'a signal to a worker'}; {words}")


def _leave_word_of_killed(left: Sequence[Path], said: str, ours: Collection[int], *, ran_out: bool) -> None:
    """For a worker that a signal ended, which could say nothing itself: torchrun's report `said` of it.

    `ours`: those that we killed because another was gone. `ran_out`: the kernel killed for memory meanwhile.
    """
    spoke = {failure["rank"] for failure in failures(*left)}
    report = said.rpartition(REPORT)[2]
    ended = re.findall(r"rank +: (\d+) .*\n +exitcode +: -(\d+) \(pid: (\d+)\)", report)
    for rank, number, pid in reversed(ended):  # the first that torchrun saw is its last
        name = signal.Signals(int(number)).name
        if name != "SIGTERM" and int(rank) not in spoke and int(pid) not in ours:  # that is torchrun's word to the rest
            leave_failure(left[0], _killed(name, ran_out=ran_out), int(rank))
            return


def _killed(name: str, *, ran_out: bool) -> WorkFailedError:
    """What a worker could not say; a signal that is of its own doing would come again."""
    words = f"was ended by {name}"
    if name not in OUTSIDE:
        return WorkFailedError(words)
    if ran_out and name == "SIGKILL":
        return OutOfMemoryError(f"{words}: memory ran out, and the kernel chose it")
    return NodeError(f"{words}; the same command goes on from the last checkpoint")


def _last_words(logs: Path) -> str:
    """The last line that a worker of the newest attempt wrote to stderr."""
    newest = max(logs.glob("*/attempt_0/*/stderr.log"), key=lambda path: path.stat().st_mtime, default=None)
    return _last_line(newest.read_text(errors="replace") if newest else "")


def _last_line(said: str) -> str:
    return next((line.strip() for line in reversed(said.split("\n")) if line.strip()), "nobody said anything")
