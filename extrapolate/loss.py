"""The loss of a forecast's target: by the law of the user's own runs, or, without any, by that of published ones."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field

from configs.errors import BadInputError
from configs.files import Record, read_record
from configs.prices import FACTS
from extrapolate.rollout import PUBLISHED_LAW, CalibratedLaw, Calibration, calibrated
from extrapolate.runs import Runs, read_runs
from extrapolate.scaling_law import Bootstrap, LawFit
from train.record import RunRecord

PUBLISHED_RUNS = FACTS / "hoffmann2022_runs.csv"
PUBLISHED_DROPPED = 5  # the highest losses, as Besiroglu et al. 2024 leave them out
PUBLISHED = "240 runs of Hoffmann et al. 2022, on their corpus (MassiveText) with their tokenizer"
DIGITS = 10  # of a stored draw: far more than an interval is good for


class LossForecast(Record):
    """Nats per token: the law's (`median`), the central 90 %, and how many held-out runs such intervals held.

    `sequential_held` of `sequential_predictions` is the test, of a width that was found from smaller runs alone (None:
    not tested); `coverage` is of the rollout that chose the width. `widening` and `widening_source` are those of
    `LossInterval` (extrapolate/rollout.py). `law` says whose runs: a loss is of one corpus and one tokenizer.
    """

    median: float
    p5: float
    p95: float
    widening: float
    widening_source: Literal["own", "hoffmann2022"]
    sequential_held: int | None
    sequential_predictions: int | None
    sequential_coverage: float | None
    coverage: float | None
    extrapolation_factor: float = Field(description="target's 6ND over the largest run's")
    law: str


class StoredLaw(Record):
    """A calibrated law without its runs: the rollout takes ten seconds, for which a forecast does not wait."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.stored-law/1"] = Field(default="replibench.stored-law/1", alias="schema")
    law: LawFit
    calibration: Calibration
    draws: tuple[tuple[float, float, float, float, float], ...] = Field(
        description="of the bootstrap: log A, log B, log E, alpha, beta"
    )

    @classmethod
    def of(cls, found: CalibratedLaw) -> "StoredLaw":
        """What is to be stored of it."""
        draws = tuple(tuple(float(f"{value:.{DIGITS}g}") for value in row) for row in found.drawn.theta)
        return cls.model_validate({"law": found.law, "calibration": found.calibration, "draws": draws})


def loss_forecast(
    parameters: int, tokens: int, runs: Sequence[RunRecord] = (), ladder: Runs | None = None
) -> tuple[LossForecast | None, tuple[str, ...]]:
    """The loss of N parameters trained on D tokens, and what to know of it; None where no law can be had.

    The law is that of `ladder`, else of the held-out losses of `runs`, else the published one. Raises BadInputError for
    a loss that is not a finite number above 0, for a target below the smallest of the user's runs, and for a `ladder`
    that gives no law: it was given for nothing else.
    """
    if ladder is None and not runs:
        law, name = published_law(), PUBLISHED
        small = parameters < law.runs.parameters.min() or tokens < law.runs.tokens.min()
        if small:
            return None, (f"loss: none, since the target is smaller than the published runs ({PUBLISHED})",)
        return _predicted(law, name, parameters, tokens, "which says nothing of another corpus or tokenizer")
    own = ladder if ladder is not None else _of_records(runs)
    if own is None:
        return None, ("loss: none, since no run has a held-out loss",)
    try:
        own.refuse_smaller(parameters, "parameters")
        own.refuse_smaller(tokens, "tokens")
    except BadInputError as error:
        raise BadInputError(f"target: {error}") from None
    try:
        law = calibrated(own)
    except BadInputError as error:  # the runs are well-formed: they are too few, or their losses do not fall
        if ladder is not None:
            raise
        return None, (f"loss: none, since {str(error).removeprefix(f'{own.source}: ')}",)
    return _predicted(law, f"{len(own)} runs of your own", parameters, tokens, "for the same data and recipe")


@functools.cache
def published_law() -> CalibratedLaw:
    """The law of the published runs, as `python -m scripts.publish_law` stored it."""
    stored = read_record(PUBLISHED_LAW, StoredLaw)
    kept = read_runs([PUBLISHED_RUNS]).without_highest(PUBLISHED_DROPPED)
    return CalibratedLaw(kept, stored.law, Bootstrap(np.array(stored.draws)), stored.calibration)


def publish(path: Path = PUBLISHED_LAW) -> StoredLaw:
    """Fit, calibrate and store the law of the published runs: what `published_law` reads."""
    found = StoredLaw.of(calibrated(read_runs([PUBLISHED_RUNS]), PUBLISHED_DROPPED))
    path.write_text(found.model_dump_json(by_alias=True) + "\n", encoding="utf-8")
    return found


def _predicted(
    law: CalibratedLaw, name: str, parameters: int, tokens: int, holds: str
) -> tuple[LossForecast, tuple[str, ...]]:
    found = law.predict(parameters, tokens)
    kept = found.model_dump(include=set(LossForecast.model_fields) - {"law"})
    warnings = (f"loss: by the law of {name}, {holds}", *(f"loss: {warning}" for warning in found.warnings))
    return LossForecast(**kept, law=name), warnings


def _of_records(runs: Sequence[RunRecord]) -> Runs | None:
    rows = [(run.flops.parameters_all, run.tokens, run.held_out_loss.replica) for run in runs if run.held_out_loss]
    if not rows:
        return None
    parameters, tokens, losses = np.array(rows, np.float64).T
    return Runs(parameters, tokens, losses, "runs", tuple(run.name for run in runs if run.held_out_loss))
