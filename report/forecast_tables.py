"""The forecast and its inputs as tables."""

from extrapolate.forecast import Forecast, InputDistribution, Interval
from report.content import Cell, Column, Table, pairs, row
from report.formatting import count, scientific, significant, trimmed, usd

ESTIMATES = (
    ("final_run_accelerator_hours", "final run, accelerator-hours"),
    ("final_run_days", "final run, days"),
    ("final_run_usd", "final run, USD"),
    ("total_accelerator_hours", "total, accelerator-hours"),
    ("total_usd", "total, USD"),
)
MFU_KINDS = {
    "effective": "effective: over the whole wall-clock, lost work included",
    "while_training": "while training: lost work is added apart",
}


def estimates(forecast: Forecast) -> tuple[tuple[str, str, Interval], ...]:
    """Field, label and interval of each estimate."""
    return tuple((field, label, getattr(forecast, field)) for field, label in ESTIMATES)


def estimate_table(forecast: Forecast) -> Table:
    """Each estimate: median, 90 % interval and mean."""
    rows = []
    for field, label, interval in estimates(forecast):
        write = usd if field.endswith("_usd") else significant
        numbers = (interval.median, interval.low, interval.high, interval.mean)
        rows.append(row(label, *(write(number) for number in numbers)))
    heads = ("median", "90 % low", "90 % high", "mean")
    return Table(
        f"Forecast for {forecast.target.name} on {count(forecast.cluster.accelerator_count)} × "
        f"{forecast.cluster.accelerator}, 90 % intervals ({count(forecast.draws)} draws, seed {forecast.seed}). "
        "The final run is one training from start to end with its lost work; the total adds experiments and failed "
        "attempts; salaries are not in it.",
        (Column("estimate"), *(Column(head, numeric=True) for head in heads)),
        tuple(rows),
    )


def target_table(forecast: Forecast) -> Table:
    """What is forecast, on what, and how far it is from what was measured."""
    target, cluster, run = forecast.target, forecast.cluster, forecast.run
    factor = forecast.extrapolation_factor
    return pairs(
        "What is forecast",
        (
            "target",
            f"{target.name}: {count(target.flops.parameters_all)} parameters, {count(target.flops.tokens)} tokens",
        ),
        ("target's source", target.source),
        ("target's model FLOPs", f"{scientific(target.flops.model_flop)} (exact, attention in full)"),
        ("target's 6ND", f"{scientific(target.flops.six_n_d_all_flop)} (all parameters)"),
        ("published", published(forecast)),
        ("cluster", f"{cluster.name}: {count(cluster.accelerator_count)} × {cluster.accelerator}"),
        ("peak", f"{scientific(cluster.peak_flop_per_s)} FLOP/s each, dense, {cluster.dtype} ({cluster.peak_source})"),
        ("MFU", MFU_KINDS[forecast.mfu_kind]),
        (
            "measured run",
            Cell("none: forecast from the inputs alone", "muted")
            if run is None
            else f"{run.name}: {scientific(run.flops.model_flop)} model FLOPs, {count(run.tokens)} tokens "
            f"on {run.n_devices} × {run.device_name}",
        ),
        None if factor is None else ("extrapolation", f"× {significant(factor, 3)} in model FLOPs from run to target"),
        heads=("fact", "value"),
    )


def published(forecast: Forecast) -> str:
    """The published FLOPs of the target and the two counts' distance from it."""
    comparison = forecast.target.published
    if comparison is None:
        return "nothing published for this number of tokens"
    return (
        f"{scientific(comparison.published_flop)} FLOP ({comparison.source}): model FLOPs "
        f"{comparison.model_flop_difference_percent:+.2f} %, 6ND {comparison.six_n_d_all_difference_percent:+.2f} %"
    )


def _input_row(distribution: InputDistribution) -> tuple[Cell, ...]:
    of = {"lognormal": "log", "logit_normal": "logit", "constant": ""}[distribution.kind]
    normal = "–"
    if distribution.mu is not None and distribution.sigma is not None:
        normal = f"{of}: {trimmed(distribution.mu)}, {trimmed(distribution.sigma)}"
    source = distribution.source
    return row(
        distribution.name,
        distribution.unit,
        distribution.kind.replace("_", "-"),
        trimmed(distribution.low),
        trimmed(distribution.high),
        normal,
        "–" if distribution.minimum is None else trimmed(distribution.minimum),
        Cell(source, href=source) if source.startswith(("https://", "http://")) and " " not in source else source,
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
        tuple(_input_row(distribution) for distribution in forecast.inputs),
    )
