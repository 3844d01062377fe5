"""The operating characteristics of a suite: how often good seeds pass and how often a broken recipe does."""

from eval.calibration import GOOD, Calibration, PairGroup, PassRate
from report.content import Cell, Column, Paragraph, Table, row
from report.formatting import loss, percent, significant

TESTS = {
    "every_benchmark": "every benchmark",
    "mean_absolute_difference": "mean of |difference|",
    "absolute_mean_difference": "|mean of difference|",
    "held_out_loss": "held-out loss alone",
    "every_benchmark + held_out_loss": "every benchmark + loss",
    "mean_absolute_difference + held_out_loss": "mean of |difference| + loss",
    "absolute_mean_difference + held_out_loss": "|mean of difference| + loss",
}


def groups(calibration: Calibration) -> tuple[PairGroup, ...]:
    """The good pairs, then each control."""
    return (calibration.good, *calibration.controls)


def group_name(group: PairGroup) -> str:
    """`good`, or which control it is."""
    return "good" if group.recipe == GOOD else f"control: {group.recipe}"


def _rate_row(group: PairGroup, test: str, rate: PassRate) -> tuple[Cell, ...]:
    return row(
        group_name(group),
        TESTS.get(test, test),
        f"{rate.passed}/{rate.pairs}",
        percent(rate.rate, 1),
        f"{percent(rate.low_by_seeds, 0)}–{percent(rate.high_by_seeds, 0)}",
        f"{percent(rate.low_if_independent, 0)}–{percent(rate.high_if_independent, 0)}",
    )


def rate_table(calibration: Calibration) -> Table:
    """Pass rates by group and test, with both intervals."""
    return Table(
        f"How often pairs of runs pass, margin {calibration.margin_pp} pp. Good pairs should pass, controls (recipes "
        "known to be worse, against a good run) should not. Intervals are 95 %.",
        (
            Column("pairs"),
            Column("test"),
            Column("passed", numeric=True),
            Column("rate %", numeric=True),
            Column("by seeds %", numeric=True),
            Column("if independent %", numeric=True),
        ),
        tuple(_rate_row(group, test, rate) for group in groups(calibration) for test, rate in group.rates.items()),
    )


def spread_table(calibration: Calibration) -> Table:
    """Each benchmark over the good seeds."""
    spreads = (*calibration.benchmarks, calibration.macro_mean)
    return Table(
        "Benchmarks over the good seeds",
        (Column("benchmark"), Column("mean %", numeric=True), Column("sd pp", numeric=True)),
        tuple(
            row(each.name, f"{each.mean_pp:.2f}", "one run" if each.sd_pp is None else f"{each.sd_pp:.2f}")
            for each in spreads
        ),
    )


def failure_table(calibration: Calibration) -> Table:
    """The benchmarks on which pairs were more than the margin apart, by group."""
    return Table(
        "Which benchmarks tell them apart: pairs that are more than the margin apart on a benchmark",
        (Column("pairs"), Column("benchmark"), Column("apart", numeric=True)),
        tuple(
            row(group_name(group), name, f"{failed}/{len(group.pairs)}")
            for group in groups(calibration)
            for name, failed in group.failures.items()
        ),
    )


def loss_sentence(calibration: Calibration) -> str:
    """The held-out loss over the good seeds and the gate that follows from it."""
    if calibration.loss_mean is None:
        return "Held-out loss: not given for the good runs, so there is no gate."
    spread = "" if calibration.loss_sd is None else f", standard deviation {significant(calibration.loss_sd, 3)}"
    gate = "no gate: too few losses"
    if calibration.loss_tolerance is not None:
        gate = (
            f"the gate for a new pair is |difference| ≤ {significant(calibration.loss_tolerance, 3)} "
            f"({percent(calibration.gate_level, 0)} %)"
        )
    return f"Held-out loss over the good seeds: mean {loss(calibration.loss_mean)} nats per token{spread}; {gate}."


def runs_sentence(calibration: Calibration) -> str:
    """How many runs stand behind the rates."""
    runs = ", ".join(f"{group.runs} {group.recipe}" for group in groups(calibration))
    return f"Runs: {runs}. {calibration.remark}"


def calibration_tables(calibration: Calibration) -> tuple[Table | Paragraph, ...]:
    """All there is to say of a calibration, in order."""
    return (
        rate_table(calibration),
        Paragraph(runs_sentence(calibration), "muted"),
        failure_table(calibration),
        spread_table(calibration),
        Paragraph(loss_sentence(calibration)),
    )
