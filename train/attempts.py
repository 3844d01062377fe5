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
        lines = _whole_lines(metrics)
        past = _whole_lines(log)
        last = lines[-1] if lines else {"step": 0, "elapsed_s": 0.0, "energy_joules": 0.0}
        before = (last["elapsed_s"], last.get("energy_joules"))
        if past and past[-1]["earlier_s"] > before[0]:  # the attempt before this one logged no line of its own
            before = (past[-1]["earlier_s"], past[-1]["earlier_joules"])
        this = {
            "started": started,
            "from_step": step,
            "lost_steps": max(0, last["step"] - step),
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
        )


def _whole_lines(path: Path) -> list[dict[str, Any]]:
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
