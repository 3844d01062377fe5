"""What is said of a rank that makes no progress."""

import sys
import threading
from typing import Any

from train.watchdog import where, words


def _note(rank: int, collective: str | None = None, line: str | None = None, step: int = 12) -> dict[str, Any]:
    return {
        "rank": rank,
        "step": step,
        "phase": "data" if line else "optimizer",
        "collective": collective,
        "line": line,
    }


def test_who_waits_and_who_does_not_come() -> None:
    said = words([_note(1, line="read (nfs.py:7)"), _note(0, collective="all_reduce")], 2, 600)
    assert said.startswith("no progress at step 12 for train.collective_timeout_s (600 s): rank 0 waits in all_reduce")
    assert "rank 1 is at read (nfs.py:7) (step 12, data)" in said


def test_who_leaves_no_note_does_not_answer() -> None:
    said = words([_note(0, collective="all_reduce"), _note(3, collective="all_reduce")], 4, 5)
    assert "rank 1 does not answer" in said
    assert "rank 2 does not answer" in said


def test_a_thread_outside_a_collective_is_at_a_line_of_code() -> None:
    release, started = threading.Event(), threading.Event()

    def wait_for_a_file() -> None:
        started.set()
        release.wait()

    thread = threading.Thread(target=wait_for_a_file)
    thread.start()
    started.wait()
    place = where(sys._current_frames()[thread.ident or 0])
    release.set()
    thread.join()
    assert place["collective"] is None
    assert place["line"].startswith("wait (threading.py:")
