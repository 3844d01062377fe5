"""The forecast as tables: what is forecast, each estimate with its interval, and what it was drawn from."""

from collections.abc import Callable
from typing import NamedTuple

from extrapolate.cost import Assumption
from extrapolate.distributions import Quantiles
from extrapolate.forecast import Forecast
from extrapolate.throughput import Plan
from report.content import Cell, Column, Paragraph, Table, pairs, row
from report.formatting import count, loss, percent, scientific, significant, trimmed, usd

MET = {True: Cell("met", "good"), False: Cell("not met", "bad"), None: Cell("not known", "unsure")}


class Estimate(NamedTuple):
    """One line of the forecast. `unit` is what the axis of its plot is in."""

    label: str
    unit: str
    quantiles: Quantiles


def estimates(forecast: Forecast) -> tuple[Estimate, ...]:
    """Time and dollars, in the order in which they follow from one another."""
    dollars = forecast.cost_usd
    found = [
        Estimate("final run, accelerator-hours", "accelerator-hours", forecast.accelerator_hours),
        Estimate("final run, days", "days", forecast.wall_clock_days),
        Estimate("compute, experiments included", "USD", dollars.compute),
        Estimate("staff", "USD", dollars.staff),
        Estimate("total", "USD", dollars.total),
    ]
    if dollars.dataset.p95 > 0:
        found.insert(-1, Estimate("data set", "USD", dollars.dataset))
    if dollars.to_pay != dollars.total:
        found.append(Estimate("total, less sponsored compute", "USD", dollars.to_pay))
    return tuple(found)


def forecast_tables(forecast: Forecast) -> tuple[Table | Paragraph, ...]:
    """All that a terminal shows; the inputs with their sources stand in the report and in the JSON."""
    return (
        target_table(forecast),
        estimate_table(forecast),
        driver_table(forecast),
        *(Paragraph(f"Warning: {warning}", "unsure") for warning in forecast.warnings),
    )


def estimate_table(forecast: Forecast) -> Table:
    """Each estimate: median, 90 % interval and mean."""
    rows = [
        row(each.label, *_four(each.quantiles, usd if each.unit == "USD" else significant))
        for each in estimates(forecast)
    ]
    rows += [
        row("USD an accelerator-hour", *_four(forecast.usd_per_accelerator_hour, lambda value: significant(value, 3))),
        row("share of compute in compute + staff, %", *_four(forecast.compute_share, lambda share: percent(share, 1))),
        row("compute : staff", *_four(forecast.compute_to_labour, lambda ratio: significant(ratio, 3))),
    ]
    if forecast.loss is not None:
        at = (forecast.loss.median, forecast.loss.p5, forecast.loss.p95)
        rows.append(row("loss, nats per token", *(loss(value) for value in at), "–"))
    heads = ("median", "5 %", "95 %", "mean")
    return Table(
        f"Forecast for {forecast.target} on {count(forecast.cluster.accelerator_count)} × "
        f"{forecast.cluster.accelerator}, prices of {forecast.price_date} ({count(forecast.samples)} samples, seed "
        f"{forecast.seed}). The final run is one training from start to end with its lost work.",
        (Column("estimate"), *(Column(head, numeric=True) for head in heads)),
        tuple(rows),
    )


def _four(found: Quantiles, write: Callable[[float], str]) -> tuple[str, ...]:
    return tuple(write(value) for value in (found.median, found.p5, found.p95, found.mean))


def target_table(forecast: Forecast) -> Table:
    """What is forecast, on what, how it is split, and how far it is from what was measured."""
    cluster, factor = forecast.cluster, forecast.extrapolation_factor
    ideal = forecast.wall_clock_days.ideal
    return pairs(
        "What is forecast",
        (
            "target",
            f"{forecast.target}: {count(forecast.parameters)} parameters, {count(forecast.tokens)} tokens in sequences "
            f"of {count(forecast.sequence_length)}",
        ),
        ("target's model FLOPs", f"{scientific(forecast.flop.model_exact)} (exact, attention in full)"),
        ("target's 6ND", f"{scientific(forecast.flop.six_nd)} (all parameters)"),
        ("published", published(forecast)),
        ("GPT-3-like", forecast.gpt3_like.verdict),
        ("cluster", f"{count(cluster.accelerator_count)} × {cluster.accelerator}"),
        ("peak", f"{scientific(cluster.peak_flop_per_s)} FLOP/s each, dense, {cluster.dtype}"),
        ("plan", "none: no step can be timed there" if forecast.plan is None else _split(forecast, forecast.plan)),
        None if forecast.plan is None else ("its speed", _speed(forecast.plan)),
        None
        if ideal is None
        else ("ideal", f"{significant(ideal, 3)} days: at the median MFU in practice, nothing lost"),
        ("measured runs", _runs(forecast)),
        None
        if factor is None
        else ("extrapolation", f"× {significant(factor, 3)} in model FLOPs from the largest run"),
        ("loss by the law of", _law(forecast)),
        heads=("fact", "value"),
    )


def _split(forecast: Forecast, plan: Plan) -> str:
    return (
        f"tensor × pipeline × data parallel {plan.tensor_parallel_size} × {plan.pipeline_parallel_size} × "
        f"{plan.data_parallel_size}, ZeRO-{plan.zero_stage}, micro-batch {plan.micro_batch_size} of "
        f"{count(forecast.batch)} sequences, recompute {plan.recompute}"
    )


def _speed(plan: Plan) -> str:
    return (
        f"{significant(plan.step_time_s, 3)} s a step: MFU {percent(plan.mfu, 1)} %, HFU {percent(plan.hfu, 1)} %, as "
        "well tuned as a published benchmark"
    )


def _runs(forecast: Forecast) -> Cell | str:
    if not forecast.runs:
        return Cell("none: time and cost from published runs and assumptions", "muted")
    largest = max(forecast.runs, key=lambda run: run.model_flop)
    others = f", and {len(forecast.runs) - 1} smaller" if len(forecast.runs) > 1 else ""
    return (
        f"{largest.name}: {scientific(largest.model_flop)} model FLOPs, {count(largest.tokens)} tokens on "
        f"{largest.n_devices} × {largest.device_name}{others}"
    )


def _law(forecast: Forecast) -> Cell | str:
    found = forecast.loss
    if found is None:
        return Cell("none: see the warnings", "muted")
    tested = "its interval was not tested on other runs"
    if found.sequential_predictions:
        tested = f"as far, {found.sequential_held} of {found.sequential_predictions} held by smaller runs alone"
    return f"{found.law}; × {significant(found.extrapolation_factor, 3)} in 6ND; {tested}"


def published(forecast: Forecast) -> str:
    """The published FLOPs of the target and the two counts' distance from it."""
    comparison = forecast.published
    if comparison is None:
        return "nothing published for this number of tokens"
    return (
        f"{scientific(comparison.published_flop)} FLOP ({comparison.source}): model FLOPs "
        f"{comparison.model_exact_difference_percent:+.2f} %, 6ND {comparison.six_nd_difference_percent:+.2f} %"
    )


def driver_table(forecast: Forecast) -> Table:
    """Which inputs the total depends on, the most important first; what is below a hundredth is left out."""
    return Table(
        "What the total's spread comes from: share of the variance of its logarithm that goes when the input is known",
        (Column("input"), Column("%", numeric=True)),
        tuple(row(each.input, percent(each.share, 0)) for each in forecast.drivers if each.share >= 0.01),
    )


def gpt3_like_table(forecast: Forecast) -> Table:
    """The four criteria of a GPT-3-like model."""
    return Table(
        f"GPT-3-like: {forecast.gpt3_like.verdict}",
        (Column("criterion"), Column("", whole=True), Column("because")),
        tuple((Cell(each.criterion), MET[each.met], Cell(each.text)) for each in forecast.gpt3_like.reasons),
    )


def input_table(forecast: Forecast) -> Table:
    """Every input as it was drawn, with its source."""
    return Table(
        "Inputs as they were drawn: 90 % range, and mean and standard deviation of the normal (of the log or logit)",
        (
            Column("input"),
            Column("unit"),
            Column("distribution"),
            Column("90 % low", numeric=True),
            Column("90 % high", numeric=True),
            Column("normal (mu, sigma)", numeric=True),
            Column("never below", numeric=True),
            Column("source"),
        ),
        tuple(_input_row(each) for each in forecast.assumptions),
    )


def _input_row(one: Assumption) -> tuple[Cell, ...]:
    known = one.parameters
    low, high = known.get("low", known.get("value")), known.get("high", known.get("value"))
    normal, source = "–", one.source
    if "mu" in known:
        of = "log" if one.distribution == "lognormal" else "logit"
        normal = f"{of}: {trimmed(known['mu'])}, {trimmed(known['sigma'])}"
    return row(
        one.name,
        one.unit,
        one.distribution.replace("_", "-"),
        "–" if low is None else trimmed(low),
        "–" if high is None else trimmed(high),
        normal,
        trimmed(known["minimum"]) if "minimum" in known else "–",
        Cell(source, href=source) if source.startswith(("https://", "http://")) and " " not in source else source,
    )
