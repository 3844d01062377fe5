"""The commands `status` and `logs`: where a run stands, by its own directory, so the same under every scheduler."""

import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from configs.errors import BadInputError
from configs.files import Record, read_record
from configs.loader import load_config
from scripts.launch import SUBMISSION, Submission
from train import events, exits
from train.attempts import reached, whole_lines
from train.failures import ATTEMPTS
from train.launch import STOP
from train.record import RunRecord

# Without a step: longer than a small run's checkpoint, and than NFS takes to show what another machine wrote.
SILENT_S = 120.0
State = Literal["waiting", "preparing", "training", "silent", "requeued", "stopped", "failed", "finished"]


class Status(Record):
    """What a run's directory says of it."""

    schema_: Literal["replibench.status/1"] = Field("replibench.status/1", alias="schema")
    run_dir: str
    state: State
    step: int
    steps: int
    eta_s: float | None = Field(None, description="of the training, at the last step time; None: not training")
    heartbeat_age_s: float | None = Field(None, description="since the last finished step")
    node: str | None = Field(None, description="of the process that finished the last step")
    tokens_per_s: float | None = None
    loss: float | None = None
    attempts: int
    lost_steps: int
    last_exit: exits.Exit | None = None
    submission: Submission | None = None


def check_run(run_dir: Path) -> None:
    """Raises BadInputError for a directory that is no run's."""
    if not (run_dir / "config.yaml").is_file() and not (run_dir / SUBMISSION).is_file():
        raise BadInputError(f"{run_dir}: is no run directory: neither prepared nor launched")


def status(run_dir: Path, now: float | None = None) -> Status:
    """Where the run stands. Raises BadInputError for a directory that is no run's."""
    now = time.time() if now is None else now
    check_run(run_dir)
    submission = read_record(run_dir / SUBMISSION, Submission) if (run_dir / SUBMISSION).is_file() else None
    beat = reached(run_dir) or {"step": 0, "time": 0.0, "node": None, "attempt": ""}
    lines, ends = whole_lines(run_dir / "metrics.jsonl"), exits.exits(run_dir)
    line = lines[-1] if lines else {}
    state = _state(run_dir, beat, ends, now)
    step = beat["step"] or line.get("step", 0)
    steps = _steps(run_dir)
    attempts = whole_lines(run_dir / "attempts.jsonl")
    is_at_work = state == "training" and bool(line)
    return Status(
        run_dir=str(run_dir),
        state=state,
        step=step,
        steps=steps,
        eta_s=(steps - step) * line["step_time_s"] if is_at_work else None,
        heartbeat_age_s=now - beat["time"] if beat["time"] else None,
        node=beat["node"],
        tokens_per_s=line.get("tokens_per_s"),
        loss=line.get("loss"),
        attempts=len(attempts),
        lost_steps=sum(each["lost_steps"] for each in attempts),
        last_exit=ends[-1] if ends else None,
        submission=submission,
    )


def _steps(run_dir: Path) -> int:
    if (run_dir / "run.json").is_file():
        return read_record(run_dir / "run.json", RunRecord).steps
    path = run_dir / "config.yaml"
    return load_config(path if path.is_file() else run_dir / "launch" / "config.yaml").train.steps


def _state(run_dir: Path, beat: dict[str, Any], ends: Sequence[exits.Exit], now: float) -> State:
    if (run_dir / "run.json").is_file():
        return "finished"
    last = ends[-1] if ends else None
    ended = {each.attempt for each in ends}
    under_way = [path for path in (run_dir / ATTEMPTS).glob("*/") if path.name not in ended]
    if beat["attempt"]:
        steps = beat["attempt"] not in ended
    else:  # a command without a scheduler has no number, and leaves no word when it ends
        before = [last.time] if last else []
        steps = beat["time"] > max([0.0, *before, *map(_began, under_way)])
    if steps:
        return "training" if now - beat["time"] < SILENT_S else "silent"
    if under_way:
        return "preparing"
    if last is not None:
        if last.again and not (run_dir / ATTEMPTS / last.attempt / STOP).is_file():
            return "requeued"  # and not by somebody's wish, which nothing starts again
        return "stopped" if last.kind == "requeue" else "failed"
    return "preparing" if (run_dir / "config.yaml").is_file() else "waiting"


def _began(attempt: Path) -> float:
    """When its nodes reported, or its directory was made, if earlier: other files come into that until its end."""
    return min(path.stat().st_mtime for path in [attempt, *attempt.glob("node-*.json")])


def all_runs(directory: Path) -> list[Path]:
    """The run directories in `directory`. Raises BadInputError where there is none."""
    found = sorted(path.parent for path in directory.glob("*/config.yaml"))
    found += sorted(path.parents[1] for path in directory.glob("*/launch/submission.json"))
    if not found:
        raise BadInputError(f"{directory}: no run is in it; give a run directory")
    return list(dict.fromkeys(found))


def words(found: Status) -> str:
    """One run in a line or two."""
    parts = [f"{found.run_dir}: {found.state}, step {found.step:,} of {found.steps:,}"]
    if found.loss is not None:
        parts.append(f"loss {found.loss:.3f}")
    if found.eta_s is not None:
        parts.append(f"{_duration(found.eta_s)} left")
    if found.state in ("training", "silent") and found.heartbeat_age_s is not None:
        parts.append(f"last step {_duration(found.heartbeat_age_s)} ago on {found.node}")
    if found.attempts > 1:
        parts.append(f"{found.attempts - 1} restarts, {found.lost_steps:,} steps done again")
    line = ", ".join(parts)
    end = found.last_exit
    if end is None or found.state in ("finished", "training"):
        return line
    where = f" (rank {end.rank} on {end.node})" if end.rank is not None else ""
    return f"{line}\n  attempt {end.attempt} ended: {end.kind}{where}: {end.message}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def log_lines(run_dir: Path, rank: int | None, count: int) -> list[str]:
    """The last `count` lines: of `rank` in its newest attempt, or else of what happened in the run and how it ended.

    Raises BadInputError for a rank that has no log.
    """
    check_run(run_dir)
    if rank is None:
        return _story(run_dir)[-count:]
    logs = sorted(run_dir.glob(f"logs/rank-{rank}-*.stderr"), key=lambda path: path.stat().st_mtime)
    if not logs:
        raise BadInputError(f"--rank {rank}: has no log in {run_dir / 'logs'}; it never started there")
    lines: list[str] = []
    for stream in (logs[-1].with_suffix(".stdout"), logs[-1]):
        if stream.is_file():
            lines += [f"==> {os.path.relpath(stream.resolve(), run_dir)}", *_tail(stream, count)]
    return lines


def _story(run_dir: Path) -> list[str]:
    """Attempts, events and exits, in the order of their time."""
    told = [(each.time, f"step {each.step:,}: {each.message}") for each in events.read(run_dir)]
    told += [
        (each["started"], f"attempt {number} starts from step {each['from_step']:,}")
        for number, each in enumerate(whole_lines(run_dir / "attempts.jsonl"))
    ]
    told += [(each.time, f"attempt {each.attempt} ended: {each.kind}: {each.message}") for each in exits.exits(run_dir)]
    return [f"{time.strftime('%F %T', time.localtime(at))}  {text.rstrip(': ')}" for at, text in sorted(told)]


def _tail(path: Path, count: int) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as stream:
        return [line.rstrip("\n") for line in deque(stream, maxlen=count)]
