"""What became of the time of a run that was started more than once, to the second."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from train.attempts import SUBMITTED, Attempts
from train.place import ATTEMPT

STEP_S, START_UP_S, CHECKPOINT_S = 8.0, 20.0, 4.0


class Run:
    """Runs without a model: its clock is moved by hand, a checkpoint and a logged line come each ten steps."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory, self.now, self._patch = directory, 1000.0, monkeypatch
        self._kept = {0: (0.0, 0.0)}  # step of a checkpoint → start-up and checkpoint seconds, as it has them
        monkeypatch.setattr("time.time", lambda: self.now)

    def attempt(self, name: str, step: int, until: int) -> Attempts:
        """From the checkpoint of `step`; it has done `until` when it dies."""
        self._patch.setenv(ATTEMPT, name)
        started, (start_up_s, checkpoint_s) = self.now, self._kept[step]
        self.now += START_UP_S
        attempts = Attempts.begin(self.directory, step, started, 8, None, {}, write=True)
        for each in range(step + 1, until + 1):
            self.now += STEP_S
            attempts.came_to(each)
            if each % 10 == 0:
                with (self.directory / "metrics.jsonl").open("a") as stream:
                    stream.write(json.dumps({"step": each, "elapsed_s": attempts.totals(None)["elapsed_s"]}) + "\n")
                self._kept[each] = start_up_s + START_UP_S, checkpoint_s
                checkpoint_s += CHECKPOINT_S
                self.now += CHECKPOINT_S
        self.phases = {"start_up": start_up_s + START_UP_S, "checkpoint": checkpoint_s, "evaluation": 0.0}
        attempts.close()
        return attempts

    def ends(self, name: str) -> None:
        """Its exit record is written."""
        path = self.directory / "attempts" / name / "exit.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"time": self.now}))

    def check(self, attempts: Attempts, steps: int, *, lost_s: float, waiting_s: float | None) -> None:
        """Every second of the run, which has ended with `attempts` after `steps`, is in the part it belongs to."""
        found = attempts.goodput(attempts.totals(None)["elapsed_s"], steps * STEP_S, self.phases)
        assert found.lost_s == pytest.approx(lost_s)
        assert found.waiting_s == pytest.approx(waiting_s)
        assert found.other_s == pytest.approx(0.0, abs=1e-6)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Submitted ten seconds before its first attempt."""
    monkeypatch.setenv(SUBMITTED, "990.0")
    with monkeypatch.context() as patch:
        yield Run(tmp_path, patch)


def test_seconds_lost_before_are_not_lost_again(run: Run) -> None:
    """Two attempts die on the way from step 10 to 20, and the third comes to 30."""
    run.attempt("7-0", 0, until=15)  # loses the checkpoint's own time and five steps
    run.attempt("7-1", 10, until=12)  # loses its start, and two steps
    last = run.attempt("7-2", 10, until=30)
    run.check(last, 30, lost_s=(CHECKPOINT_S + 5 * STEP_S) + (START_UP_S + 2 * STEP_S), waiting_s=10.0)
    assert last.lost_steps == 5 + 2


def test_an_attempt_that_does_no_step_is_lost_whole(run: Run) -> None:
    run.attempt("7-0", 0, until=10)
    run.ends("7-0")  # after its checkpoint, and no further step
    run.attempt("7-1", 10, until=10)
    run.check(run.attempt("7-2", 10, until=20), 20, lost_s=CHECKPOINT_S + START_UP_S, waiting_s=10.0)


def test_what_was_kept_is_lost_where_its_checkpoint_is_damaged(run: Run) -> None:
    run.attempt("7-0", 0, until=15)
    run.attempt("7-1", 10, until=25)
    last = run.attempt("7-2", 10, until=30)  # the checkpoint of step 20 cannot be read
    lost_s = (CHECKPOINT_S + 5 * STEP_S) + (START_UP_S + 15 * STEP_S + CHECKPOINT_S)
    run.check(last, 30, lost_s=lost_s, waiting_s=10.0)


def test_a_queue_is_waiting_also_where_a_pre_flight_failed_in_it(run: Run) -> None:
    run.attempt("7-0", 0, until=15)
    run.now += 30.0  # hangs, and is found
    run.ends("7-0")
    run.now += 36_000.0
    run.ends("7-1")  # a bad node was named
    run.now += 600.0
    last = run.attempt("7-2", 10, until=20)
    run.check(last, 20, lost_s=CHECKPOINT_S + 5 * STEP_S + 30.0, waiting_s=10.0 + 36_600.0)


def test_waiting_is_not_known_where_nobody_noted_the_submission(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SUBMITTED)
    run.attempt("7-0", 0, until=10)
    run.now += 600.0
    run.check(run.attempt("7-1", 10, until=20), 20, lost_s=0.0, waiting_s=None)
