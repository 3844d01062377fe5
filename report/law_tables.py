"""A loss law as tables: the fit, what the rollout says of its intervals, predictions, and the laws beside it."""

from extrapolate.law import LawReport
from extrapolate.rollout import Band, LossInterval
from extrapolate.scaling_law import PARAMETERS, Range
from report.content import Cell, Column, Paragraph, Table, row
from report.formatting import count, loss, percent, scientific, significant


def law_tables(report: LawReport) -> tuple[Table | Paragraph, ...]:
    """All of it, in the order in which it follows from one another; warnings last."""
    blocks: list[Table | Paragraph] = [_fit(report)]
    if report.calibration.bands:
        blocks.append(_calibration(report))
    blocks.append(_predictions(report))
    if report.allocations:
        blocks.append(_allocations(report))
    if report.compute_law is not None or report.isoflop is not None:
        blocks.append(_beside(report))
    places: dict[str, list[str]] = {}
    for prediction in report.predictions:
        for warning in prediction.warnings:
            places.setdefault(warning, []).append(_place(prediction))
    warnings = [*report.warnings, *(f"{'; '.join(where)}: {warning}" for warning, where in places.items())]
    return (*blocks, *(Paragraph(f"Warning: {warning}", "unsure") for warning in warnings))


def _fit(report: LawReport) -> Table:
    rows = [
        row(
            name,
            significant(getattr(report, name)),
            significant(report.standard_errors[name], 2),
            _range(report.ranges[name], 4),
        )
        for name in PARAMETERS
    ]
    return Table(
        f"L(N, D) = E + A/N^alpha + B/D^beta of {count(report.n_points)} runs ({count(report.dropped)} highest losses "
        f"dropped); summed Huber loss {significant(report.objective, 6)}. Standard error and central 90 % of the "
        "bootstrap over runs, not calibrated.",
        (
            Column("parameter"),
            Column("fit", numeric=True),
            Column("standard error", numeric=True),
            Column("5–95 %", numeric=True),
        ),
        tuple(rows),
    )


def _calibration(report: LawReport) -> Table:
    heads = ("widened", "in sequence", "covered", "before")
    return Table(
        f"Rollout: the law of the runs below each of {count(report.calibration.cuts)} cuts in compute predicts those "
        f"above, by distance. Intervals are widened until {percent(report.calibration.level, 0)} % of one cut more "
        "would hold. In sequence, the test: predictions that held with a width found only from below each cut. "
        "Covered: those from which the width was found, so no test; before: unwidened.",
        (
            Column("farther by", whole=True),
            Column("cuts", numeric=True),
            Column("tried", numeric=True),
            *(Column(head, numeric=True) for head in heads),
        ),
        tuple(_band(band) for band in report.calibration.bands),
    )


def _band(band: Band) -> tuple[Cell, ...]:
    return row(
        f"{band.above:,.0f}–{band.up_to:,.0f}",
        count(band.cuts),
        count(band.predictions),
        "too few" if band.widening is None else significant(band.widening, 3),
        _tested(band.sequential_held, band.sequential_predictions),
        _share(band.coverage),
        _share(band.unwidened_coverage),
    )


def _predictions(report: LawReport) -> Table:
    level = percent(report.calibration.level, 0)
    rows = [
        row(
            _place(prediction),
            significant(prediction.extrapolation_factor, 3),
            loss(prediction.median),
            f"{loss(prediction.p5)}–{loss(prediction.p95)}",
            significant(prediction.widening, 3) + ("" if prediction.widening_source == "own" else " (published)"),
            _tested(prediction.sequential_held, prediction.sequential_predictions),
        )
        for prediction in report.predictions
    ]
    return Table(
        f"Loss of one new run, nats per token, and the {level} % interval, widened by the rollout "
        "of these runs, or of published ones, if larger and these not tested; in sequence, as above, as far. The "
        "largest run took "
        f"{scientific(report.largest_flop)} FLOP (6ND).",
        (
            Column("parameters on tokens"),
            Column("times the largest", numeric=True),
            Column("loss", numeric=True),
            Column(f"{level} %", numeric=True),
            Column("widened", numeric=True),
            Column("in sequence", numeric=True),
        ),
        tuple(rows),
    )


def _allocations(report: LawReport) -> Table:
    rows = [
        row(
            scientific(best.flop, 3),
            f"{scientific(best.parameters, 3)} ({_large(best.parameters_range)})",
            f"{scientific(best.tokens, 3)} ({_large(best.tokens_range)})",
            f"{significant(best.tokens_per_parameter, 3)} ({_range(best.tokens_per_parameter_range)})",
        )
        for best in report.allocations
    ]
    return Table(
        "Compute-optimal models by the law, C = 6ND, and the bootstrap's central 90 %, not calibrated.",
        (
            Column("FLOP", whole=True),
            Column("parameters", numeric=True),
            Column("tokens", numeric=True),
            Column("tokens per parameter", numeric=True),
        ),
        tuple(rows),
    )


def _beside(report: LawReport) -> Table:
    rows = [row("optimal N by the law", "N ~ C^a", f"a = {significant(report.beta / (report.alpha + report.beta), 3)}")]
    if report.isoflop is not None:
        found = report.isoflop
        rows.append(
            row(
                f"IsoFLOP parabolas, {count(len(found.budgets))} budgets",
                "N ~ C^a",
                f"a = {significant(found.exponent, 3)} ({_range(found.exponent_range)})",
            )
        )
    if report.compute_law is not None:
        curve = report.compute_law
        rows.append(
            row(
                f"frontier, {count(curve.n_frontier)} runs",
                "L = E + (C0/C)^gamma",
                f"E = {significant(curve.E)} ({_range(curve.ranges['E'])}), C0 = {scientific(curve.C0, 3)}, "
                f"gamma = {significant(curve.gamma, 3)} ({_range(curve.ranges['gamma'])})",
            )
        )
    return Table("Beside it", (Column("from"), Column("form", whole=True), Column("fit, 5–95 %")), tuple(rows))


def _place(prediction: LossInterval) -> str:
    return f"{scientific(prediction.parameters, 3)} on {scientific(prediction.tokens, 3)}"


def _tested(held: int | None, predictions: int | None) -> str:
    return f"{count(held)} of {count(predictions)}" if predictions else "not tested"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{percent(value, 0)} %"


def _range(found: Range, digits: int = 3) -> str:
    return f"{significant(found.p5, digits)}–{significant(found.p95, digits)}"


def _large(found: Range) -> str:
    return f"{scientific(found.p5, 3)}–{scientific(found.p95, 3)}"
