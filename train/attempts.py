"""How often a run was started, and what was lost when it was stopped."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from configs.files import write_text


@dataclass(frozen=True)
class Attempts:
    """All attempts at a run up to this one."""

    started: float  # of this attempt, seconds since the epoch
    earlier_s: float  # wall-clock of the attempts before it, each up to its last logged step
    earlier_joules: float | None  # energy of those attempts, likewise; None where one did not measure it
    energy_sources: tuple[str, ...]  # what was measured, in all attempts
    reached: int  # the last step that one of them logged
    restarts: int
    lost_steps: int
    lost_s: float  # of the attempts before: after the checkpoint that the next one began from
    unlogged_s: float  # of them: after their last logged line, which `earlier_s` has not
    waiting_s: float  # between attempts, and since the run was submitted

    def totals(self, joules: float | None) -> dict[str, float]:
        """Over all attempts so far: `elapsed_s`, wall-clock seconds, and, where it is known, `energy_joules`.

        `joules`: of this attempt; None: not known.
        """
        totals = {"elapsed_s": self.earlier_s + time.time() - self.started}
        if joules is not None and self.earlier_joules is not None:
            totals["energy_joules"] = self.earlier_joules + joules
        return totals

    @classmethod
    def begin(
        cls,
        run_dir: Path,
        step: int,
        started: float,
        energy_source: str | None,
        provenance: dict[str, Any],
        *,
        write: bool,
    ) -> Self:
        """Count this attempt, which goes on from `step`; `provenance` (code, versions) is kept with it.

        Cuts metrics.jsonl back to `step`: the lines after it will come again. Only the writing rank changes files.
        """
        metrics, log = run_dir / "metrics.jsonl", run_dir / "attempts.jsonl"
        lines = whole_lines(metrics)
        past = whole_lines(log)
        last = lines[-1] if lines else {"step": 0, "elapsed_s": 0.0, "energy_joules": 0.0}
        before = (last["elapsed_s"], last.get("energy_joules"))
        if past and past[-1]["earlier_s"] > before[0]:  # the attempt before this one logged no line of its own
            before = (past[-1]["earlier_s"], past[-1]["earlier_joules"])
        saved_s = max((line["elapsed_s"] for line in lines if line["step"] <= step), default=0.0)
        this = {
            "started": started,
            "from_step": step,
            "lost_steps": max(0, last["step"] - step),
            "lost_s": before[0] - saved_s,
            **_gap(run_dir, started, past, before[0]),
            "earlier_s": before[0],
            "earlier_joules": before[1],
            "energy_source": energy_source,
            **provenance,
        }
        # A stop right after a checkpoint loses nothing; what ran after the last line is not in the sum.
        if write:
            kept = [line for line in lines if line["step"] <= step]
            _rewrite(metrics, kept)
            _rewrite(log, [*past, this])
        lost = sum(attempt["lost_steps"] for attempt in [*past, this])
        return cls(
            started=started,
            earlier_s=before[0],
            earlier_joules=before[1],
            energy_sources=tuple(dict.fromkeys(a["energy_source"] for a in [*past, this] if a["energy_source"])),
            reached=max(attempt["from_step"] + attempt["lost_steps"] for attempt in [*past, this]),
            restarts=len(past),
            lost_steps=lost,
            **{key: sum(attempt[key] for attempt in [*past, this]) for key in ("lost_s", "unlogged_s", "waiting_s")},
        )


def _gap(run_dir: Path, started: float, past: list[dict[str, Any]], elapsed_s: float) -> dict[str, float]:
    """What lies between the last logged line and this start: `unlogged_s` of an attempt's end, `waiting_s` of nothing.

    An attempt ended with its exit record, or else with its last heartbeat; before the first, waiting began when the
    run was submitted. A command without a scheduler waits for nobody: what lies between its attempts is the user's.
    """
    if not past:
        return {"unlogged_s": 0.0, "waiting_s": max(0.0, started - _submitted(run_dir, started))}
    logged = past[-1]["started"] + elapsed_s - past[-1]["earlier_s"]
    beat = run_dir / "heartbeat.json"
    marks = [*run_dir.glob("attempts/*/exit.json"), *([beat] if beat.is_file() else [])]
    times = [json.loads(path.read_text(encoding="utf-8"))["time"] for path in marks]
    ended = min(started, max([logged, *(each for each in times if each <= started)]))
    return {"unlogged_s": ended - logged, "waiting_s": started - ended}


def _submitted(run_dir: Path, started: float) -> float:
    path = run_dir / "launch" / "submission.json"
    return float(json.loads(path.read_text(encoding="utf-8"))["time"]) if path.is_file() else started


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
