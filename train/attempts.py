"""How often a run was started, how far each attempt came, and what was lost when it was stopped."""

import contextlib
import json
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from configs.files import write_text
from train.failures import node_name
from train.place import ATTEMPT
from train.record import Goodput

REACHED = "reached.json"  # how far the run came, when, and what that took: one line, written over after each step
SUBMITTED = "REPLIBENCH_SUBMITTED"  # seconds since the epoch, where no file of the submission is in the run directory
BEGAN = "REPLIBENCH_BEGAN"  # when this attempt had its nodes, seconds since the epoch
_WIDTH = 512  # bytes of that line, blanks included, so that each covers the one before it


@dataclass
class Attempts:
    """All attempts at a run up to this one."""

    started: float  # of this attempt, seconds since the epoch
    n_devices: int  # of this attempt
    earlier_s: float  # wall-clock of the attempts before it
    earlier_device_s: float  # the same, each times its number of devices
    earlier_joules: float | None  # energy of those attempts; None where one did not measure it
    energy_sources: tuple[str, ...]  # what was measured, in all attempts
    reached: int  # the last step that one of them finished
    restarts: int
    lost_steps: int
    lost_s: float  # of the attempts before: after the checkpoint that the next one began from
    silent_s: float  # of them: after their last finished step, which `earlier_s` has not
    prepared_s: float  # before each training, on the nodes that it then had: corpus, pre-flight
    waiting_s: float | None  # for those nodes, since the attempt before or since it was submitted; None: not known
    _file: int | None = field(default=None, repr=False)  # REACHED, open for writing
    _joules: float | None = field(default=None, repr=False)  # all, as last told

    def totals(self, joules: float | None) -> dict[str, float]:
        """Over all attempts so far: `elapsed_s`, wall-clock seconds, and, where it is known, `energy_joules`.

        `joules`: of this attempt; None: not known.
        """
        totals = {"elapsed_s": self.earlier_s + self._elapsed_s()}
        self._joules = None
        if joules is not None and self.earlier_joules is not None:
            self._joules = totals["energy_joules"] = self.earlier_joules + joules
        return totals

    def device_s(self, elapsed_s: float) -> float:
        """Seconds × devices over all attempts, each with the devices it had, at `elapsed_s` of `totals`."""
        return self.earlier_device_s + (elapsed_s - self.earlier_s) * self.n_devices

    def goodput(self, elapsed_s: float, productive_s: float, phases: dict[str, float]) -> Goodput:
        """What became of the time of all attempts, at `elapsed_s` of `totals`.

        `phases`: seconds by phase (train/meters.py) of what no restart undid; what lies after a checkpoint that was
        gone back to is lost.
        """
        booked_s, lost_s = elapsed_s + self.silent_s + self.prepared_s, self.lost_s + self.silent_s
        known = {f"{name}_s": phases[name] for name in ("start_up", "checkpoint", "evaluation")}
        known["start_up_s"] += self.prepared_s
        return Goodput(
            booked_s=booked_s,
            productive_s=productive_s,
            lost_s=lost_s,
            other_s=booked_s - productive_s - lost_s - sum(known.values()),
            waiting_s=self.waiting_s,
            **known,
        )

    def came_to(self, step: int) -> None:
        """`step` is done. On the writing rank this is on disk before the next begins, so that a kill -9 loses none."""
        if self._file is None:
            return
        elapsed_s = self.earlier_s + self._elapsed_s()
        line = {
            "step": step,
            "elapsed_s": elapsed_s,
            "device_s": self.device_s(elapsed_s),
            "energy_joules": self._joules,
            "time": time.time(),
            "attempt": os.environ.get(ATTEMPT, ""),
            "node": node_name(),
        }
        # One short write at the start of an open file: microseconds, and the kernel keeps it when the process dies.
        os.pwrite(self._file, json.dumps(line).ljust(_WIDTH - 1).encode() + b"\n", 0)

    def close(self) -> None:
        """Nothing more is noted."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _elapsed_s(self) -> float:
        return time.time() - self.started

    @classmethod
    def begin(
        cls,
        run_dir: Path,
        step: int,
        started: float,
        n_devices: int,
        energy_source: str | None,
        provenance: dict[str, Any],
        *,
        write: bool,
    ) -> Self:
        """Count this attempt, which goes on from `step`; `provenance` (code, versions) is kept with it.

        Cuts metrics.jsonl back to `step`: the lines after it will come again. Only the writing rank changes files.
        """
        metrics, log = run_dir / "metrics.jsonl", run_dir / "attempts.jsonl"
        lines, past = whole_lines(metrics), whole_lines(log)
        before = _reached(run_dir, lines, past)
        this = {
            "started": started,
            "from_step": step,
            "lost_steps": max(0, before["step"] - step),
            **_gap(run_dir, started, past, before["elapsed_s"]),
            "earlier_s": before["elapsed_s"],
            "kept_s": _kept_s(before, step, lines, past),
            "attempt": os.environ.get(ATTEMPT, ""),
            "n_devices": n_devices,
            "energy_source": energy_source,
            **provenance,
        }
        every = [*past, this]
        waits = [attempt["waiting_s"] for attempt in every]
        attempts = cls(
            started=started,
            n_devices=n_devices,
            earlier_s=before["elapsed_s"],
            earlier_device_s=before["device_s"],
            earlier_joules=before["energy_joules"] if past else 0.0,
            energy_sources=tuple(dict.fromkeys(a["energy_source"] for a in every if a["energy_source"])),
            reached=max(attempt["from_step"] + attempt["lost_steps"] for attempt in every),
            restarts=len(past),
            lost_steps=sum(attempt["lost_steps"] for attempt in every),
            lost_s=_lost_s(every),
            silent_s=sum(attempt["silent_s"] for attempt in every),
            prepared_s=sum(attempt["prepared_s"] for attempt in every),
            waiting_s=None if None in waits else sum(waits),
        )
        if write:
            _rewrite(metrics, [line for line in lines if line["step"] <= step])
            _rewrite(log, every)
            attempts._file = os.open(run_dir / REACHED, os.O_WRONLY | os.O_CREAT, 0o644)
            attempts._joules = attempts.earlier_joules if energy_source else None
            attempts.came_to(step)
        return attempts


def reached(run_dir: Path) -> dict[str, Any] | None:
    """What the attempt at work, or the last one, left in REACHED: `step`, `time`, `node`, `attempt` among it."""
    with contextlib.suppress(OSError, ValueError):
        return dict(json.loads((run_dir / REACHED).read_text(encoding="utf-8")))
    return None


def _reached(run_dir: Path, lines: list[dict[str, Any]], past: list[dict[str, Any]]) -> dict[str, Any]:
    """What the last attempt left in REACHED; its last logged line, where the machine died and that came to less."""
    known: list[dict[str, Any]] = [{"step": 0, "elapsed_s": 0.0, "device_s": 0.0, "energy_joules": None}]
    left = reached(run_dir)
    if left is not None:
        known.append(left)
    if lines and past:
        elapsed_s = lines[-1]["elapsed_s"]
        line = {"step": lines[-1]["step"], "elapsed_s": elapsed_s, "device_s": elapsed_s * past[-1]["n_devices"]}
        known.append({**line, "energy_joules": lines[-1].get("energy_joules")})
    return max(known, key=lambda line: float(line["elapsed_s"]))


def _kept_s(before: dict[str, Any], step: int, lines: list[dict[str, Any]], past: list[dict[str, Any]]) -> float:
    """Of the seconds so far, those before the checkpoint of `step`: what comes after them is done again."""
    if past and past[-1]["from_step"] == step:  # no checkpoint since: of the attempt before nothing is kept
        return float(past[-1]["kept_s"])
    if before["step"] <= step:
        return float(before["elapsed_s"])
    return max((float(line["elapsed_s"]) for line in lines if line["step"] <= step), default=0.0)


def _lost_s(every: list[dict[str, Any]]) -> float:
    """Each attempt took up at `kept_s` what had come to `earlier_s`. Such spans may overlap: a second counts once."""
    lost_s, counted_from = 0.0, math.inf
    for attempt in reversed(every):  # `earlier_s` grows, so what is counted is everything after `counted_from`
        lost_s += max(0.0, min(attempt["earlier_s"], counted_from) - attempt["kept_s"])
        counted_from = min(counted_from, attempt["kept_s"])
    return lost_s


def _gap(run_dir: Path, started: float, past: list[dict[str, Any]], elapsed_s: float) -> dict[str, float | None]:
    """What lies between the last finished step and this start: `silent_s` of an attempt's end, `waiting_s` of nothing,
    `prepared_s` on the nodes of this one.

    An attempt ended with its exit record, or else with its last step; one that did not come to train is waiting.
    Before the first, waiting began when the run was submitted.
    """
    began = min(started, float(os.environ.get(BEGAN, started)))
    prepared_s = started - began
    if not past:
        submitted = _submitted(run_dir, began)
        waiting_s = None if submitted is None else max(0.0, began - submitted)
        return {"silent_s": 0.0, "prepared_s": prepared_s, "waiting_s": waiting_s}
    reached = past[-1]["started"] + elapsed_s - past[-1]["earlier_s"]
    record = run_dir / "attempts" / past[-1]["attempt"] / "exit.json"
    said = float(json.loads(record.read_text(encoding="utf-8"))["time"]) if record.is_file() else reached
    ended = min(began, max(reached, said))
    return {"silent_s": max(0.0, ended - reached), "prepared_s": prepared_s, "waiting_s": began - ended}


def _submitted(run_dir: Path, started: float) -> float | None:
    """When the run was handed to a scheduler; None: nobody noted it. Without a scheduler nobody waits."""
    path = run_dir / "launch" / "submission.json"
    if noted := os.environ.get(SUBMITTED):
        return float(noted)
    if path.is_file():
        return float(json.loads(path.read_text(encoding="utf-8"))["time"])
    return None if os.environ.get(ATTEMPT) else started


def whole_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file; a last line that a kill cut short is left out."""
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def _rewrite(path: Path, lines: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
