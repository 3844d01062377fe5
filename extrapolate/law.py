"""All that a table of runs says of larger ones, in one record: what `replibench extrapolate law` prints."""

from collections.abc import Sequence
from typing import Literal

from pydantic import ConfigDict, Field

from configs.files import Record
from extrapolate.isoflop import IsoFlop, fit_isoflop
from extrapolate.kaplan import ComputeLaw, fit_compute_law
from extrapolate.rollout import CalibratedLaw, Calibration, LossInterval
from extrapolate.scaling_law import Allocation, Range

BUDGETS = (1.0, 10.0, 100.0)  # times the largest run's compute, where nothing was asked for


class LawReport(Record):
    """L(N, D) = E + A/N^α + B/D^β with its uncertainty, predictions, and two laws that do not share its form.

    `standard_errors` and `ranges` (central 90 %) are of the bootstrap over runs and not calibrated, as a law's
    parameters are never seen; `predictions` are widened by `calibration` or, where it tests nothing, by that of
    published runs if larger. `compute_law` and `isoflop` are None where the runs do not allow them, and a warning says
    so.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.law/1"] = Field(default="replibench.law/1", alias="schema")
    E: float
    A: float
    B: float
    alpha: float
    beta: float
    objective: float
    n_points: int
    dropped: int
    standard_errors: dict[str, float]
    ranges: dict[str, Range]
    largest_flop: float
    calibration: Calibration
    predictions: tuple[LossInterval, ...]
    allocations: tuple[Allocation, ...]
    compute_law: ComputeLaw | None
    isoflop: IsoFlop | None
    warnings: tuple[str, ...]


def law_report(
    law: CalibratedLaw, targets: Sequence[tuple[float, float]] = (), budgets: Sequence[float] = ()
) -> LawReport:
    """The record, with the loss of each target (N, D), and of the compute-optimal model of each budget in FLOP.

    Where neither is given: of the largest run's compute, ten and a hundred times as much. Raises BadInputError for what
    is smaller than the runs.
    """
    largest = float(law.runs.flop.max())
    if not targets and not budgets:
        budgets = [factor * largest for factor in BUDGETS]
    allocations = tuple(law.allocate(flop) for flop in budgets)
    places = [*targets, *((allocation.parameters, allocation.tokens) for allocation in allocations)]
    compute_law, isoflop = fit_compute_law(law.runs), fit_isoflop(law.runs)
    warnings = []
    if compute_law is None:
        warnings.append("L(C): fewer than six runs are better than all of less compute")
    if isoflop is None:
        warnings.append("IsoFLOP: fewer than three budgets have five sizes or more on both sides of a minimum")
    return LawReport(
        **law.law.model_dump(),
        standard_errors=law.drawn.standard_errors(),
        ranges=law.drawn.ranges(),
        largest_flop=largest,
        calibration=law.calibration,
        predictions=tuple(law.predict(parameters, tokens) for parameters, tokens in places),
        allocations=allocations,
        compute_law=compute_law,
        isoflop=isoflop,
        warnings=tuple(warnings),
    )
