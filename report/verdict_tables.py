"""The verdict as tables and sentences."""

from eval.verdict import CLUSTERED, NEEDED_POWER, BenchmarkVerdict, MacroMean, Reading, Verdict
from eval.verdict import HeldOutLoss as GatedLoss
from report.content import Cell, Column, Paragraph, Table, pairs, row
from report.formatting import count, interval_points, loss, percent, points, probability, significant, yes_no
from report.words import EVIDENCE_TONES

BENCHMARK_COLUMNS = (
    Column("benchmark"),
    Column("n", numeric=True),
    Column("original %", numeric=True),
    Column("replica %", numeric=True),
    Column("difference pp", numeric=True),
    Column("90 % interval", numeric=True),
    Column("literal"),
    Column("evidence"),
)
DETAIL_COLUMNS = (
    Column("benchmark"),
    Column("metric"),
    Column("method of the interval"),
    Column("independent units", numeric=True),
    Column("only original right", numeric=True),
    Column("only replica right", numeric=True),
    Column("chance %", numeric=True),
    Column("original above chance"),
    Column("p equivalence", numeric=True),
    Column("p beyond margin", numeric=True),
    Column("needed", numeric=True),
)


def passed(value: bool) -> Cell:
    """pass or fail."""
    return Cell("pass", "good") if value else Cell("fail", "bad")


def _benchmark_row(benchmark: BenchmarkVerdict, margin_pp: int) -> tuple[Cell, ...]:
    return row(
        benchmark.name,
        count(benchmark.original.n_items)
        if benchmark.original.n_items == benchmark.replica.n_items
        else f"{count(benchmark.original.n_items)} / {count(benchmark.replica.n_items)}",
        percent(benchmark.original.accuracy),
        percent(benchmark.replica.accuracy),
        points(benchmark.difference_pp, margin_pp),
        interval_points(benchmark.low_pp, benchmark.high_pp),
        passed(benchmark.literal_pass),
        Cell(benchmark.status, EVIDENCE_TONES[benchmark.status]),
    )


def benchmark_table(verdict: Verdict) -> Table:
    """One row a benchmark: both accuracies, the difference, its interval and the two layers' words."""
    return Table(
        f"Benchmarks evaluated for both models. Differences are replica − original in percentage points (pp); "
        f"the margin is ±{verdict.margin_pp} pp, inclusive.",
        BENCHMARK_COLUMNS,
        tuple(_benchmark_row(benchmark, verdict.margin_pp) for benchmark in verdict.benchmarks),
    )


def _detail_row(benchmark: BenchmarkVerdict) -> tuple[Cell, ...]:
    def optional(value: int | None) -> str:
        return "–" if value is None else count(value)

    return row(
        benchmark.name,
        benchmark.metric,
        benchmark.method,
        optional(benchmark.n_units),
        optional(benchmark.original_only_correct),
        optional(benchmark.replica_only_correct),
        "not known" if benchmark.chance is None else percent(benchmark.chance),
        "not known" if benchmark.above_chance is None else yes_no(benchmark.above_chance),
        probability(benchmark.p_equivalence),
        probability(benchmark.p_beyond_margin),
        _needed(benchmark) or "–",
    )


def detail_table(verdict: Verdict) -> Table:
    """What stands behind each interval: method, discordant items, chance, p values."""
    return Table(
        "Behind the intervals. p equivalence is the larger of two one-sided p values; p beyond margin is before Holm's "
        "correction; needed is what would show equivalence, where the evidence is “consistent” and more are needed "
        "than are there.",
        DETAIL_COLUMNS,
        tuple(_detail_row(benchmark) for benchmark in verdict.benchmarks),
    )


def _reading(name: str, reading: Reading, margin_pp: int, what: str = "") -> tuple[Cell, ...]:
    number = points(reading.value_pp, margin_pp).removeprefix("+")
    return row(name, number, passed(reading.passes), what)


def readings_table(verdict: Verdict) -> Table | None:
    """The three readings of the criterion side by side, and the macro mean; None where nothing was compared."""
    readings = verdict.literal.readings
    if readings is None:
        return None
    worst = f"worst: {verdict.literal.worst_benchmark}" if verdict.literal.worst_benchmark else ""
    margin = verdict.margin_pp
    return Table(
        f"Three readings of the criterion, margin {margin} pp. The first is the default and decides.",
        (Column("reading"), Column("pp", numeric=True), Column("literal"), Column("")),
        (
            _reading("every benchmark (largest |difference|)", readings.every_benchmark, margin, worst),
            _reading("mean of |difference|", readings.mean_absolute_difference, margin),
            _reading("|mean of difference|", readings.absolute_mean_difference, margin),
        ),
    )


def macro_mean_sentence(verdict: Verdict, mean: MacroMean) -> str:
    """The macro mean with its interval and why it is the weaker claim."""
    inside = "inside" if mean.equivalent else "not inside"
    return (
        f"Macro mean: {points(mean.difference_pp, verdict.margin_pp)} pp, "
        f"{percent(verdict.evidence.level, 0)} % interval {interval_points(mean.low_pp, mean.high_pp)}, "
        f"{inside} ±{verdict.margin_pp} pp ({mean.label}; {mean.method})"
    )


def gate_sentence(held_out: GatedLoss) -> Paragraph:
    """Held-out losses of both models, and the gate where the calibration gave a tolerance."""
    losses = f"Held-out loss: original {loss(held_out.original)}, replica {loss(held_out.replica)} nats per token"
    if held_out.tolerance is None or held_out.passes is None:
        return Paragraph(f"{losses}; no gate: no calibration gave a tolerance.")
    word = "pass" if held_out.passes else "fail"
    return Paragraph(
        f"{losses}; gate |difference| ≤ {significant(held_out.tolerance, 3)}: {word} "
        "(beside the verdict, no part of the definition).",
        "good" if held_out.passes else "bad",
    )


def needed_sentences(verdict: Verdict) -> list[str]:
    """How many units or items would show equivalence, for each `consistent` benchmark; or why no number says it."""
    open_ = [each for each in verdict.benchmarks if each.status == "consistent"]
    counted = [f"{each.name}: {_needed(each)} needed (has {count(_there(each))})" for each in open_ if _needed(each)]
    sentences = []
    if counted:
        start = f"To show equivalence, with {percent(NEEDED_POWER, 0)} % power if the true difference is nil: "
        sentences.append(start + "; ".join(counted))
    if any(each.units_needed is not None for each in open_):
        sentences.append("More items from the same units are not more independent units.")
    sentences += [
        f"{each.name}: no number of {_kind(each)} can be named: the {count(_there(each))} there are should have shown "
        f"equivalence, with {percent(NEEDED_POWER, 0)} % power, if the true difference were nil"
        for each in open_
        if not _needed(each)
    ]
    return sentences


def _needed(benchmark: BenchmarkVerdict) -> str:
    """`140 independent units`, `9,412 items`, or nothing where the record has neither."""
    number = benchmark.units_needed if benchmark.items_needed is None else benchmark.items_needed
    return "" if number is None else f"{count(number)} {_kind(benchmark)}"


def _kind(benchmark: BenchmarkVerdict) -> str:
    """What the interval of a benchmark depends on the number of."""
    return "independent units" if benchmark.method == CLUSTERED else "items"


def _there(benchmark: BenchmarkVerdict) -> int:
    """How many of that kind there are."""
    if benchmark.method == CLUSTERED and benchmark.n_units is not None:
        return benchmark.n_units
    return benchmark.original.n_items


def identity_table(verdict: Verdict) -> Table | None:
    """Field by field, in what the two models are not the same thing; None where they are."""
    if not verdict.identity_differences:
        return None
    return Table(
        "The two models are not identical in these fields",
        (Column("field"), Column("reference"), Column("replica")),
        tuple(row(each.field, each.reference, each.replica) for each in verdict.identity_differences),
    )


def models_table(verdict: Verdict) -> Table:
    """Which results were compared."""
    sides = (("original", verdict.original), ("replica", verdict.replica))
    return pairs(
        "What was compared",
        *((side, f"{model.model_name or 'unnamed'} ({model.path})") for side, model in sides),
        heads=("side", "model (results)"),
    )


def one_sided_sentences(verdict: Verdict) -> list[str]:
    """Benchmarks that only one side has: named, not compared."""
    sides = (("original", verdict.only_original), ("replica", verdict.only_replica))
    return [f"Evaluated for the {side} only, not compared: {', '.join(names)}" for side, names in sides if names]
