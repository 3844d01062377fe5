"""Reading a run directory: every file that is there, None for each that is not."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from configs.errors import BadInputError
from configs.files import Record, read_record
from eval.calibration import Calibration
from eval.verdict import Verdict
from extrapolate.forecast import Forecast
from train.events import Event
from train.events import read as read_events
from train.record import Manifest, RunRecord

RESULTS = ("run.json", "verdict.json", "forecast.json")

R = TypeVar("R", bound=Record)


class MetricLine(BaseModel):
    """One line of metrics.jsonl. Only the step is certain to be there: metrics that came from elsewhere have less."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    step: int
    tokens: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    step_time_s: float | None = None
    tokens_per_s: float | None = None
    elapsed_s: float | None = None


@dataclass(frozen=True)
class Metrics:
    """The logged steps in order, each step once, and what had to be left out to get there."""

    lines: tuple[MetricLine, ...]
    repeated_steps: int = 0
    cut_off: bool = False


@dataclass(frozen=True)
class RunFiles:
    """What a run directory holds; None is a file that is not there."""

    name: str
    config: str | None
    manifest: Manifest | None
    metrics: Metrics | None
    original_metrics: Metrics | None
    run: RunRecord | None
    verdict: Verdict | None
    forecast: Forecast | None
    calibration: Calibration | None
    events: tuple[Event, ...] = ()


def read_run(run_dir: Path) -> RunFiles:
    """Read a run directory. Raises BadInputError where it is none, and for a file that cannot be understood."""
    if not run_dir.is_dir():
        raise BadInputError(f"{run_dir}: no such run directory; start one with `replibench run CONFIG`")
    if not any((run_dir / name).is_file() for name in RESULTS):
        raise BadInputError(
            f"{run_dir}: nothing to report: none of {', '.join(RESULTS)} is there; "
            "write them with `replibench run CONFIG`, or a verdict of anybody's results with "
            "`replibench compare ORIGINAL REPLICA --output RUN_DIR/verdict.json`"
        )
    config = run_dir / "config.yaml"
    manifest = _record(run_dir / "manifest.json", Manifest)
    run = _record(run_dir / "run.json", RunRecord)
    return RunFiles(
        name=run.name if run else manifest.name if manifest else run_dir.resolve().name,
        config=config.read_text(encoding="utf-8", errors="replace") if config.is_file() else None,
        manifest=manifest,
        metrics=read_metrics(run_dir / "metrics.jsonl"),
        original_metrics=read_metrics(run_dir / "original_metrics.jsonl"),
        run=run,
        verdict=_record(run_dir / "verdict.json", Verdict),
        forecast=_record(run_dir / "forecast.json", Forecast),
        calibration=_record(run_dir / "calibration.json", Calibration),
        events=tuple(read_events(run_dir)),
    )


def _record(path: Path, kind: type[R]) -> R | None:
    return read_record(path, kind) if path.is_file() else None


def read_metrics(path: Path) -> Metrics | None:
    """Read a metrics file; None where there is none.

    A run that was killed may leave half a last line, which is left out; a run that was restarted logs some steps
    again, of which the later counts. Both are told. Raises BadInputError for any other line that is not a metric.
    """
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    numbered = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    by_step: dict[int, MetricLine] = {}
    cut_off = False
    for number, line in numbered:
        try:
            metric = MetricLine.model_validate(json.loads(line))
        except (json.JSONDecodeError, ValidationError) as error:
            if number == numbered[-1][0] and not text.endswith("\n"):
                cut_off = True
                break
            raise BadInputError(f"{path}: line {number} is not a metric ({_first(error)}); mend or remove it") from None
        by_step[metric.step] = metric
    ordered = tuple(by_step[step] for step in sorted(by_step))
    return Metrics(ordered, len(numbered) - cut_off - len(ordered), cut_off)


def _first(error: json.JSONDecodeError | ValidationError) -> str:
    if isinstance(error, ValidationError):
        problem = error.errors()[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'line'}: {problem['msg']}"
    return f"column {error.colno}: {error.msg}"
