"""A sweep as tables: its ladder about the law, and the prediction beside what came true."""

from configs.sweeps import short
from extrapolate.sweep import SweepMember, SweepResult
from extrapolate.sweep_plan import PlannedMember, SweepPlan
from report.content import Cell, Column, Paragraph, Table, row
from report.formatting import count, loss, percent, scientific, seconds, significant

COLUMNS = (
    Column("run"),
    Column("parameters", numeric=True),
    Column("tokens", numeric=True),
    Column("loss", numeric=True),
    Column("law", numeric=True),
    Column("off %", numeric=True),
    Column("seconds", numeric=True, spare=1),
)


def sweep_tables(result: SweepResult) -> tuple[Table | Paragraph, ...]:
    """The ladder, the held-out run, and how far off the prediction was."""
    ladder = Table(
        f"The ladder of {result.name}: held-out loss in nats per token, and the law of these runs at the same place, "
        f"off by {significant(result.residual_rms_percent, 3)} % (root mean square).",
        COLUMNS,
        tuple(_row(member) for member in result.members),
    )
    return (ladder, _held_out(result), *_remarks(result))


def _held_out(result: SweepResult) -> Table:
    predicted = result.prediction.loss
    return Table(
        f"{result.held_out.name}: {short(result.held_out.parameters)} parameters on {short(result.held_out.tokens)} "
        f"tokens, {significant(predicted.extrapolation_factor, 3)} times the compute of the ladder's largest run; "
        f"predicted at {result.prediction.created}, before its training.",
        (Column(""), Column("nats", numeric=True)),
        (
            row("predicted", loss(predicted.median)),
            row("90 % interval", f"{loss(predicted.p5)}–{loss(predicted.p95)}"),
            row("truth", loss(result.held_out.loss)),
            row("truth − predicted", f"{result.error_nats:+.4f}"),
            row("the same, of the predicted", f"{result.error_percent:+.2f} %"),
            row("interval held", Cell("yes", "good") if result.interval_held else Cell("no", "bad")),
        ),
    )


def _remarks(result: SweepResult) -> tuple[Paragraph, ...]:
    prediction = result.prediction
    coverage = prediction.loss.coverage
    checked = () if coverage is None else (f"Such intervals held for {percent(coverage, 0)} % of the rollout's runs.",)
    training = f"All members trained for {seconds(result.training_s)}."
    warnings = (f"Warning: {warning}." for warning in prediction.loss.warnings)
    return tuple(Paragraph(text) for text in (*checked, *warnings, training))


def _row(member: SweepMember) -> tuple[Cell, ...]:
    return row(
        member.name,
        count(member.parameters),
        count(member.tokens),
        loss(member.loss),
        loss(member.by_law),
        f"{100 * (member.loss / member.by_law - 1):+.2f}",
        significant(member.wall_clock_s, 3),
    )


def plan_tables(plan: SweepPlan) -> tuple[Table | Paragraph, ...]:
    """What a sweep would train."""
    timed = [member.time for member in plan.members if member.time]
    total = "" if not timed else f"; {len(timed)} of them take {seconds(plan.median_s or 0)} on {plan.cluster}"
    table = Table(
        f"The members of {plan.name}, least compute first, the one that is predicted last: "
        f"{scientific(plan.model_flop)} model FLOP{total}.",
        (
            Column("run"),
            Column("parameters", numeric=True),
            Column("tokens", numeric=True),
            Column("steps", numeric=True),
            Column("FLOP", numeric=True),
            Column("hours, 90 %", numeric=True),
        ),
        tuple(_planned(member) for member in plan.members),
    )
    return (table, *(Paragraph(f"Warning: {warning}.") for warning in plan.warnings))


def _planned(member: PlannedMember) -> tuple[Cell, ...]:
    time = member.time
    hours = "–"
    if time is not None:
        middle, low, high = (significant(value / 3600, 2) for value in (time.median_s, time.p5_s, time.p95_s))
        hours = f"{middle} ({low}–{high})"
    return row(
        member.name,
        count(member.parameters),
        short(member.tokens),
        count(member.steps),
        scientific(member.model_flop, 3),
        hours,
    )
