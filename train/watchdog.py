"""A rank that makes no progress ends the run, and says who waits, where, and who does not answer.

A thread of each process looks at its own training thread. When that has not moved for `train.collective_timeout_s`, it
leaves a note of where it is (`stuck-RANK.json`), waits a little for the others' notes, and reports them together.
Before and after the steps, where one rank may be long at work alone, only a rank that waits for others ends the run.
A process that is stopped, or whose machine is gone, leaves no note: that is how it is known.
"""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from configs.errors import HangError
from train.failures import leave_failure, left_in
from train.meters import PhaseClock, Progress

OTHERS_S = 3.0  # how much later than the first the others may notice
_LONG_WORK = ("start_up", "evaluation")  # building, converting, exporting: no step, and a rank may be long alone at it


class Watchdog:
    """While entered, watches the thread that made it."""

    def __init__(self, run_dir: Path, rank: int, world_size: int, clock: PhaseClock, timeout_s: float) -> None:
        self.progress = Progress()  # where training stands, once that is known
        self.nodes: list[str] = []  # of the ranks, once that is known
        self._left = left_in(run_dir)
        self._note = self._left / f"stuck-{rank}.json"
        self._rank, self._world_size, self._timeout_s = rank, world_size, timeout_s
        self._clock = clock
        self._watched = threading.get_ident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._note.unlink(missing_ok=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._done.set()

    def _watch(self) -> None:
        last, since = (-1, -1), time.monotonic()
        while not self._done.wait(min(1.0, self._timeout_s / 10)):
            now = (self.progress.step, self._clock.beats)
            if now != last:
                last, since = now, time.monotonic()
                self._note.unlink(missing_ok=True)  # of long work that came to its end
            elif time.monotonic() - since > self._timeout_s:
                with contextlib.suppress(OSError):  # then the others say that it does not answer
                    self._leave_note()
                if self._waits():
                    self._give_up()

    def _waits(self) -> bool:
        """A step that takes so long is stuck, wherever it is; start-up and evaluation may be long work of one rank."""
        here = where(sys._current_frames().get(self._watched))
        return self._clock.current not in _LONG_WORK or here["collective"] is not None

    def _leave_note(self) -> None:
        place = where(sys._current_frames().get(self._watched))
        note = {"rank": self._rank, "step": self.progress.step + 1, "phase": self._clock.current, **place}
        new = self._note.with_suffix(".new")
        new.write_text(json.dumps(note), encoding="utf-8")
        new.rename(self._note)

    def _give_up(self) -> None:
        """Read the others' notes, report, end this process: the training thread may never come back."""
        self._done.wait(OTHERS_S)
        try:
            self._report()
        except Exception:  # a file system that is gone, too: whatever can be said, nobody may wait for this rank
            traceback.print_exc()
        os._exit(1)

    def _report(self) -> None:
        notes = [note for rank in range(self._world_size) if (note := _read(self._left / f"stuck-{rank}.json"))]
        error = HangError(words(notes, self._world_size, self._timeout_s, self.nodes))
        silent = _silent(notes, self._world_size)
        if silent:  # the first that does not answer is the first real error, and cannot say so itself
            node = self.nodes[silent[0]] if self.nodes else None
            leave_failure(self._left, error, silent[0], node)
        else:
            leave_failure(self._left, error)


def where(frame: FrameType | None) -> dict[str, Any]:
    """In which collective a thread waits, or, where it does not, which line it is at."""
    innermost = frame
    while frame is not None:
        if f"{os.sep}distributed{os.sep}" in frame.f_code.co_filename and not frame.f_code.co_name.startswith(
            ("_", "wrapper")
        ):
            return {"collective": frame.f_code.co_name, "line": None}
        frame = frame.f_back
    if innermost is None:
        return {"collective": None, "line": None}
    code = innermost.f_code
    return {"collective": None, "line": f"{code.co_name} ({Path(code.co_filename).name}:{innermost.f_lineno})"}


def _read(path: Path) -> dict[str, Any] | None:
    """A rank's note; None where it has left none, or has just gone on."""
    with contextlib.suppress(FileNotFoundError):
        return dict(json.loads(path.read_text(encoding="utf-8")))
    return None


def _silent(notes: list[dict[str, Any]], world_size: int) -> list[int]:
    """Ranks that left no note."""
    return sorted(set(range(world_size)) - {note["rank"] for note in notes})


def words(notes: list[dict[str, Any]], world_size: int, timeout_s: float, nodes: Sequence[str] = ()) -> str:
    """All ranks' notes in one line; a rank without one does not answer. `nodes`: of the ranks, where there are more."""
    step = min(note["step"] for note in notes)
    parts = []
    for note in sorted(notes, key=lambda n: n["rank"]):
        doing = f"waits in {note['collective']}" if note["collective"] else f"is at {note['line']}"
        parts.append(f"{_called(note['rank'], nodes)} {doing} (step {note['step']:,}, {note['phase']})")
    parts += [
        f"{_called(rank, nodes)} does not answer: stopped, or its machine is gone"
        for rank in _silent(notes, world_size)
    ]
    return (
        f"no progress at step {step:,} for train.collective_timeout_s ({timeout_s:g} s): {'; '.join(parts)}; "
        "the last checkpoint, if there is one, is whole"
    )


def _called(rank: int, nodes: Sequence[str]) -> str:
    """With its node, where there are several."""
    return f"rank {rank} on {nodes[rank]}" if len({*nodes}) > 1 else f"rank {rank}"
