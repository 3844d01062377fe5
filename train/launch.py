"""Start a prepared run on this machine through torchrun, show its progress, end it cleanly, find the first error."""

import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from configs.errors import BadInputError, InterruptedRunError, RequeueError, WorkFailedError
from configs.locks import held_descriptors
from configs.schema import TrainConfig
from train import events
from train.checkpoints import step_of
from train.processes import ROOT, worker_environment
from train.survivors import Signals, Survivors
from train.tail import Tail

_POLL_S = 0.2


def launch(
    run_dir: Path,
    train: TrainConfig,
    on_progress: Callable[[dict[str, Any]], None],
    say: Callable[[str], None],
) -> None:
    """Run train/worker.py on this machine until it ends.

    Calls `on_progress` with each new line of metrics.jsonl and `say` with the message of each new event. Raises
    BadInputError or WorkFailedError with the first real error of any rank; once the checkpoint is written,
    InterruptedRunError after Ctrl-C, and RequeueError after SIGTERM or SIGUSR1 to this process or to a worker.
    """
    launch_in_turn([run_dir], train, lambda _, line: on_progress(line), say)


def launch_in_turn(
    run_dirs: Sequence[Path],
    train: TrainConfig,
    on_progress: Callable[[Path, dict[str, Any]], None],
    say: Callable[[str], None],
) -> None:
    """The same for several runs, which the same processes train one after the other. `train`: of any of them.

    They agree on number of processes, threads and device. The logs of the processes lie with the first run.
    """
    logs = [run_dir / "logs" for run_dir in run_dirs]
    tails = []
    for run_dir in run_dirs:
        (run_dir / "logs").mkdir(exist_ok=True)
        for old in [*run_dir.glob("logs/failure-*.json"), *run_dir.glob("logs/ended-*")]:
            old.unlink()
        tails.append(Tail(run_dir / "metrics.jsonl", functools.partial(on_progress, run_dir)))
        tails.append(Tail(run_dir / events.FILE, lambda event: say(event["message"]), from_end=True))
    with (logs[0] / "torchrun.log").open("a") as log:
        process = subprocess.Popen(
            _command(run_dirs, train),
            env=worker_environment(train.threads_per_process, train.device),
            pass_fds=held_descriptors(),  # the directory is held until the last worker is gone
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone; we ask the workers for a checkpoint
        )
        stopped = _watch(process, Survivors(process.pid, logs[0], train.world_size), tails)
    if process.returncode == 0 and all((run_dir / "run.json").is_file() for run_dir in run_dirs) and not stopped:
        return
    _raise_first_error(run_dirs, process.returncode, stopped)


def _command(run_dirs: Sequence[Path], train: TrainConfig) -> list[str]:
    return [
        *(sys.executable, "-m", "train.torchrun"),
        # port 0: a fresh rendezvous port for each run
        *("--nnodes=1", f"--nproc-per-node={train.world_size}", "--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"),
        *("--local-addr=127.0.0.1", time.strftime("--rdzv-id=%Y%m%dT%H%M%S")),  # the id names the attempt's logs
        *("--log-dir", str(run_dirs[0] / "logs"), "--redirects=3"),
        *(str(ROOT / "train" / "worker.py"), *(str(run_dir.resolve()) for run_dir in run_dirs)),
    ]


def _watch(process: subprocess.Popen[bytes], survivors: Survivors, tails: list[Tail]) -> int | None:
    """Wait for the end, passing on what is new. Returns the signal by which this process was asked to stop, if any."""
    with Signals() as signals:
        try:
            while process.poll() is None:
                time.sleep(_POLL_S)
                for tail in tails:
                    tail.pass_on()
                survivors.end_when_one_is_gone()
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


def _raise_first_error(run_dirs: Sequence[Path], code: int, stopped: int | None) -> None:
    logs = run_dirs[0] / "logs"
    reports = [path for run_dir in run_dirs for path in run_dir.glob("logs/failure-*.json")]
    failures = [(json.loads(path.read_text()), path) for path in reports]
    failures.sort(key=lambda failure: (failure[0]["is_echo"], failure[0]["time"]))
    killed = None if stopped or code == 0 else _killed(logs, {failure["rank"] for failure, _ in failures})
    if killed and (not failures or failures[0][0]["is_echo"]):
        raise WorkFailedError(f"training failed: {killed} (log: {logs / 'torchrun.log'})")
    if failures:
        first, log = failures[0]
        where = f"rank {first['rank']}: "
        if first["kind"] == "bad_input":
            raise BadInputError(first["message"])
        raise WorkFailedError(f"training failed: {where}{first['message']} (traceback: {log})")
    if stopped or code == 0:  # without run.json: a worker was asked to stop
        at = next((run_dir for run_dir in run_dirs if not (run_dir / "run.json").is_file()), run_dirs[-1])
        newest = max((at / "checkpoints").glob("step-*"), default=None)
        where = f"a checkpoint is written at step {step_of(newest):,}" if newest else "nothing was trained yet"
        if (at / "run.json").is_file():
            where = "the training is done"
        if len(run_dirs) > 1:
            where = f"{at.name}: {where}"
        words = f"{where}; run the same command again to go on"
        if stopped == signal.SIGINT:
            raise InterruptedRunError(f"interrupted; {words}")
        raise RequeueError(f"stopped by {signal.Signals(stopped).name if stopped else 'a signal to a worker'}; {words}")
    raise WorkFailedError(
        f"training failed without a report (torchrun exit {code}): {_last_words(logs)} (log: {logs / 'torchrun.log'})"
    )


def _killed(logs: Path, spoke: set[int]) -> str | None:
    """Which worker a signal ended, as torchrun reports it, that is none of those who `spoke`; None without one."""
    report = (logs / "torchrun.log").read_text(errors="replace").rpartition("FAILED\n")[2]
    ended = re.findall(r"rank +: (\d+) .*\n +exitcode +: -\d+ .*\((SIG\w+)\)", report)
    for rank, name in ended:
        if name != "SIGTERM" and int(rank) not in spoke:  # torchrun's own word to the others
            memory = ", for instance because the machine ran out of memory" if name == "SIGKILL" else ""
            return f"rank {rank} was ended by {name}{memory}; the same command goes on from the last checkpoint"
    return None


def _last_words(logs: Path) -> str:
    """The last line that a worker of the newest attempt wrote to stderr."""
    newest = max(logs.glob("*/attempt_0/*/stderr.log"), key=lambda path: path.stat().st_mtime, default=None)
    lines = newest.read_text(errors="replace").split("\n") if newest else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "no worker said anything")
