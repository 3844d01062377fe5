"""What is said of a rank that makes no progress."""

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from train import failures, watchdog
from train.failures import forget_failures, left_in
from train.meters import PhaseClock
from train.watchdog import Watchdog, where, words


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


def _hang(run_dir: Path, monkeypatch: pytest.MonkeyPatch, notes: dict[Path, int]) -> list[dict[str, Any]]:
    """What rank 0 of two leaves when it hangs in attempt 9-1, and these notes (of ranks) are there."""
    monkeypatch.setenv("REPLIBENCH_ATTEMPT", "9-1")
    monkeypatch.setattr(watchdog, "OTHERS_S", 0.1)
    gave_up = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda code: gave_up.set())
    left = left_in(run_dir)
    left.mkdir(parents=True, exist_ok=True)
    for directory, rank in notes.items():
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"stuck-{rank}.json").write_text(json.dumps(_note(rank, collective="all_reduce")))
    clock = PhaseClock(torch.device("cpu"), ())
    with Watchdog(run_dir, 0, 2, clock, 0.2) as watched, clock.phase("optimizer"):
        watched.nodes = ["n1", "n2"]
        assert gave_up.wait(10)
    watched._thread.join()  # before _exit is the real one again
    return failures.failures(left)


def test_a_note_of_more_nodes_than_there_are_does_not_hide_a_hang(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (failure,) = _hang(tmp_path, monkeypatch, {tmp_path / "attempts" / "9-1": 3})
    assert (failure["kind"], failure["rank"], failure["node"]) == ("hang", 1, "n2")


def test_a_note_of_another_attempt_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (failure,) = _hang(tmp_path, monkeypatch, {tmp_path / "attempts" / "9-0": 1, tmp_path / "logs": 1})
    assert "rank 1 on n2 does not answer" in failure["message"]


def test_a_note_that_cannot_be_read_does_not_hide_a_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "attempts" / "9-1" / "stuck-1.json").mkdir(parents=True)
    assert _hang(tmp_path, monkeypatch, {}) == []  # nothing could be said, and the process ended all the same


def test_before_an_attempt_all_words_are_forgotten(tmp_path: Path) -> None:
    for name in ("failure-0.json", "ended-1", "stuck-2.json", "torchrun.log"):
        (tmp_path / name).touch()
    forget_failures(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["torchrun.log"]
