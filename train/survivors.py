"""The launcher's side of signals: those it gets itself, and those it sends to the workers."""

import contextlib
import os
import signal
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import psutil

GRACE_S = 5.0  # for the others to find out, and say, that one is gone


class Signals:
    """While entered, SIGINT, SIGTERM and SIGUSR1 are counted instead of ending this process."""

    _NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self.count = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._note) for number in self._NUMBERS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.first = self.first or number
        self.last = number
        self.count += 1


class Survivors:
    """The workers torchrun started here. When one is gone, here or elsewhere, the others wait, on GPUs without end.

    `left`: where the ranks of this attempt leave word (train/failures.py).
    """

    def __init__(self, torchrun: int, left: Path, processes: int) -> None:
        self._torchrun, self._left, self._processes = torchrun, left, processes
        self._seen: dict[int, psutil.Process] = {}
        self._first_gone: float | None = None
        self._all_gone: float | None = None
        self.killed: set[int] = set()  # by us, as process ids

    def ask_to_stop(self) -> None:
        """SIGUSR1 to each worker: a checkpoint, then an orderly end. torchrun gives each a session of its own."""
        for worker in self._living():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.send_signal(signal.SIGUSR1)

    def end_when_one_is_gone(self) -> None:
        """Kill the others where one has been gone for some seconds without having come to its end.

        One of another node has left its failure where all see it.
        """
        living = self._living()
        if any(self._left.glob("ended-*")):
            return
        if not living:
            self._end_torchrun()
            return
        if len(living) == len(self._seen) and not any(self._left.glob("failure-*.json")):
            return
        self._first_gone = self._first_gone or time.monotonic()
        if time.monotonic() - self._first_gone > GRACE_S:
            self.kill()

    def _end_torchrun(self) -> None:
        """It waits for minutes for one of another machine that is gone, with nothing left to look after."""
        if not self._seen:
            return
        self._all_gone = self._all_gone or time.monotonic()
        if time.monotonic() - self._all_gone > GRACE_S:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._torchrun, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to all of them."""
        for worker in self._living():
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
                self.killed.add(worker.pid)

    def _living(self) -> list[psutil.Process]:
        if len(self._seen) < self._processes:  # looking through all processes has its price
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(self._torchrun).children()
                self._seen |= {child.pid: child for child in children if _is_worker(child)}
        return [worker for worker in self._seen.values() if _is_living(worker)]


def _is_worker(process: psutil.Process) -> bool:
    """Not torchrun's own helpers, which come and go."""
    words = process.cmdline()
    return "train.torchrun" not in words and any(word.endswith("worker.py") for word in words)


def _is_living(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
