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
    restarts: int
    lost_steps: int

    def elapsed_s(self) -> float:
        """Wall-clock seconds over all attempts so far."""
        return self.earlier_s + time.time() - self.started

    @classmethod
    def begin(cls, run_dir: Path, step: int, started: float, provenance: dict[str, Any], *, write: bool) -> Self:
        """Count this attempt, which goes on from `step`; `provenance` (code, versions) is kept with it.

        Cuts metrics.jsonl back to `step`: the lines after it will come again. Only the writing rank changes files.
        """
        metrics, log = run_dir / "metrics.jsonl", run_dir / "attempts.jsonl"
        lines = _whole_lines(metrics)
        past = _whole_lines(log)
        reached, elapsed_s = (lines[-1]["step"], lines[-1]["elapsed_s"]) if lines else (0, 0.0)
        this = {"started": started, "from_step": step, "lost_steps": max(0, reached - step), **provenance}
        # A stop right after a checkpoint loses nothing; what ran after the last line is not in the sum.
        if write:
            kept = [line for line in lines if line["step"] <= step]
            _rewrite(metrics, kept)
            _rewrite(log, [*past, this])
        lost = sum(attempt["lost_steps"] for attempt in [*past, this])
        return cls(started=started, earlier_s=elapsed_s, restarts=len(past), lost_steps=lost)


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
