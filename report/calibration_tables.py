"""The operating characteristics of a suite: how often good seeds pass and how often a broken recipe does."""

from eval.calibration import GOOD, BenchmarkSpread, Calibration, PairGroup, PassRate
from report.content import Cell, Column, Paragraph, Table, row
from report.formatting import count, loss, percent, significant

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
    """`good against good`, or the control's name against good."""
    return "good pairs" if group.recipe == GOOD else f"control {group.recipe}"


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


def _spread_row(spread: BenchmarkSpread, calibration: Calibration) -> tuple[Cell, ...]:
    failures = (count(group.failures.get(spread.name, 0)) for group in groups(calibration))
    if spread is calibration.macro_mean:
        failures = ("–" for _ in groups(calibration))
    deviation = "one run" if spread.sd_pp is None else f"{spread.sd_pp:.2f}"
    return row(spread.name, f"{spread.mean_pp:.2f}", deviation, *failures)


def spread_table(calibration: Calibration) -> Table:
    """Each benchmark over the good seeds, and how many pairs of each group failed on it."""
    return Table(
        "Benchmarks over the good seeds (mean %, standard deviation in pp), and how many pairs of each group are more "
        "than the margin apart on them",
        (
            Column("benchmark"),
            Column("mean %", numeric=True),
            Column("sd pp", numeric=True),
            *(
                Column(f"failed by {group_name(group)} (of {len(group.pairs)})", numeric=True)
                for group in groups(calibration)
            ),
        ),
        tuple(_spread_row(spread, calibration) for spread in (*calibration.benchmarks, calibration.macro_mean)),
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
        spread_table(calibration),
        Paragraph(loss_sentence(calibration)),
    )
