"""`status` and `logs` say what a run's directory says."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from configs.errors import BadInputError
from configs.loader import load_config, write_config
from scripts import follow
from scripts.cli import app
from train import events, exits
from train.attempts import BEGAN, SUBMITTED, Attempts
from train.place import ATTEMPT

NOW = time.time()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A prepared run of a thousand steps, whose attempt has begun."""
    write_config(tmp_path / "run" / "config.yaml", load_config("smoke", ("train.steps=1000",)))
    (tmp_path / "run" / "logs").mkdir()
    return tmp_path / "run"


def _begin(run_dir: Path, attempt: str, ago_s: float) -> None:
    path = run_dir / "attempts" / attempt
    path.mkdir(parents=True)
    os.utime(path, (NOW - ago_s, NOW - ago_s))


def _at_work(run_dir: Path) -> Attempts:
    return Attempts.begin(run_dir, 100, time.time(), 1, None, {}, write=True)


def _line(run_dir: Path, step: int) -> None:
    line = {"step": step, "loss": 2.5, "step_time_s": 0.5, "tokens_per_s": 100.0, "elapsed_s": 0.5 * step}
    with (run_dir / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")


def test_from_preparing_to_requeued(run_dir: Path) -> None:
    assert follow.status(run_dir).state == "preparing"
    _begin(run_dir, "7-0", 50)
    _line(run_dir, 100)
    _at_work(run_dir).came_to(104)
    found = follow.status(run_dir)
    assert (found.state, found.step, found.steps) == ("training", 104, 1000)
    assert found.eta_s == pytest.approx(448)
    assert follow.status(run_dir, now=time.time() + 121).state == "silent"
    exits.conclude(run_dir, "7-0", exits.RequeueError("SIGUSR1; step 110 is saved"), may_repeat=True)
    assert follow.status(run_dir).state == "requeued"
    assert "attempt 7-0 ended: requeue: SIGUSR1; step 110 is saved" in follow.words(follow.status(run_dir))
    assert follow.status(run_dir).step == 104
    (run_dir / "attempts" / "7-0" / "stop").touch()  # somebody's wish: nothing starts it again
    assert follow.status(run_dir).state == "stopped"


def test_what_is_under_way_goes_by_attempt(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLIBENCH_ATTEMPT", "7-0")
    _begin(run_dir, "7-0", 0)
    _at_work(run_dir).came_to(104)
    (run_dir / "attempts" / "7-0" / "stuck-1.json").touch()  # after the last step
    os.utime(run_dir / "attempts" / "7-0", (time.time() + 60, time.time() + 60))
    assert follow.status(run_dir).state == "training"
    exits.conclude(run_dir, "7-0", exits.RequeueError("SIGUSR1"), may_repeat=True)
    assert follow.status(run_dir).state == "requeued"
    _begin(run_dir, "7-1", 0)  # in the same second
    assert follow.status(run_dir).state == "preparing"
    (run_dir / "attempts" / "7-0" / "failure-1.json").touch()  # a late word
    assert follow.status(run_dir).state == "preparing"
    monkeypatch.setenv("REPLIBENCH_ATTEMPT", "7-1")
    _at_work(run_dir).came_to(105)
    assert follow.status(run_dir).state == "training"


def test_a_failure_is_shown_with_its_rank(run_dir: Path) -> None:
    _begin(run_dir, "7-0", 50)
    failure = {"time": NOW, "rank": 3, "node": "n2", "kind": "nan", "message": "nan", "traceback": ""}
    (run_dir / "attempts" / "7-0" / "failure-3.json").write_text(json.dumps(failure))
    exits.conclude(run_dir, "7-0", exits.WorkFailedError("its loss is nan"), may_repeat=True)
    result = CliRunner().invoke(app, ["status", str(run_dir)])
    assert result.exit_code == 0
    assert "failed, step 0 of 1,000" in result.stdout
    assert "ended: error (rank 3 on n2): its loss is nan" in result.stdout
    assert json.loads(CliRunner().invoke(app, ["status", str(run_dir), "--format", "json"]).stdout)["state"] == "failed"
    assert str(run_dir) in CliRunner().invoke(app, ["status", str(run_dir.parent)]).stdout


def test_logs_are_by_rank_and_the_story_by_time(run_dir: Path) -> None:
    (run_dir / "logs" / "rank-1-7-0.stderr").write_text("one\ntwo\nthree\n")
    assert follow.log_lines(run_dir, 1, 2)[1:] == ["two", "three"]
    events.note(run_dir, 20, "stop_requested", "asked to stop")
    assert follow.log_lines(run_dir, None, 5)[-1].endswith("step 20: asked to stop")
    with pytest.raises(BadInputError, match=r"--rank 5: has no log"):
        follow.log_lines(run_dir, 5, 2)
    with pytest.raises(BadInputError, match="is no run directory"):
        follow.status(run_dir.parent)


def test_waiting_and_lost_time_are_told_apart(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt logs 100 s, hangs for 40, is found; the queue takes 60; the next goes on from step 80."""
    monkeypatch.setenv(ATTEMPT, "7-0")
    submission = {"time": 1000.0 - 30.0}
    (run_dir / "launch").mkdir()
    (run_dir / "launch" / "submission.json").write_text(json.dumps(submission))
    first = Attempts.begin(run_dir, 0, 1000.0, 1, None, {}, write=True)
    assert (first.waiting_s, first.lost_s, first.silent_s) == (30.0, 0.0, 0.0)
    for step in range(10, 201, 10):
        _line(run_dir, step)  # half a second a step
    reached = {"step": 200, "elapsed_s": 100.0, "device_s": 100.0, "energy_joules": None}
    (run_dir / "reached.json").write_text(json.dumps(reached))
    (run_dir / "attempts" / "7-0").mkdir(parents=True)
    (run_dir / "attempts" / "7-0" / "exit.json").write_text(json.dumps({"time": 1140.0}))
    second = Attempts.begin(run_dir, 80, 1200.0, 1, None, {}, write=True)
    assert (second.waiting_s, second.lost_s, second.silent_s) == (90.0, 60.0, 40.0)
    assert (second.lost_steps, second.earlier_s) == (120, 100.0)


def test_preparing_on_the_nodes_is_start_up_and_no_waiting(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted at 970, the nodes are there at 980, the corpus is made until 1,000; 15 s of training's own start."""
    monkeypatch.setenv(SUBMITTED, "970.0")
    monkeypatch.setenv(BEGAN, "980.0")
    attempts = Attempts.begin(run_dir, 0, 1000.0, 1, None, {}, write=True)
    found = attempts.goodput(100.0, 70.0, {"start_up": 15.0, "checkpoint": 10.0, "evaluation": 5.0})
    assert (found.waiting_s, found.booked_s, found.start_up_s, found.other_s) == (10.0, 120.0, 35.0, 0.0)
