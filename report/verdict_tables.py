"""The verdict as tables, and what was found in order."""

from eval.verdict import BenchmarkVerdict, EvaluatedModel, EvidenceStatus, LiteralStatus, ReadingName, Verdict
from report.content import Cell, Column, Paragraph, Table, pairs, row
from report.formatting import count, interval_points, percent, points, probability, trimmed, yes_no
from report.words import (
    EVIDENCE_TONES,
    LITERAL_TONES,
    MEANS,
    conclusion,
    evidence_sentences,
    gate_sentence,
    needed,
    size,
    threshold,
)

MOST_DIFFERENCES = 6  # benchmarks of which the table of replicas has a column each

DETAIL_COLUMNS = (
    Column("benchmark"),
    Column("metric"),
    Column("shots", numeric=True),
    Column("method of the interval"),
    Column("independent units", numeric=True),
    Column("only original right", numeric=True),
    Column("only replica right", numeric=True),
    Column("chance %", numeric=True),
    Column("original above chance"),
    Column("p equivalence", numeric=True),
    Column("p beyond threshold", numeric=True),
    Column("needed", numeric=True),
)


def verdict_conclusion(verdict: Verdict) -> Paragraph:
    """The one line that a reader must not miss."""
    return Paragraph(conclusion(verdict), LITERAL_TONES[verdict.literal.verdict], strong=True)


def verdict_findings(verdict: Verdict) -> tuple[Table | Paragraph, ...]:
    """What was compared and what was found; the conclusion and the remarks stand before or after it."""
    tables = (
        *(models_table(verdict), benchmark_table(verdict), beside_table(verdict)),
        *(replicas_table(verdict), readings_table(verdict)),
    )
    held_out = [] if verdict.held_out_loss is None else [gate_sentence(verdict.held_out_loss)]
    return (*(table for table in tables if table is not None), *evidence_sentences(verdict), *held_out)


def models_table(verdict: Verdict) -> Table:
    """Which results were compared."""
    several = len(verdict.replicas) > 1
    replicas = ((f"replica {at}" if several else "replica", each) for at, each in enumerate(verdict.replicas, 1))
    controls = ((f"control {at}", each) for at, each in enumerate(verdict.controls, 1))
    what = " (control: a further run of the original's recipe)" if verdict.controls else ""
    return pairs(
        f"What was compared{what}",
        *((side, _named(model)) for side, model in (("original", verdict.original), *replicas, *controls)),
        heads=("side", "model (results)"),
    )


def _named(model: EvaluatedModel) -> str:
    return f"{model.model_name or 'unnamed'} ({model.path})"


# ---- benchmarks


def benchmark_table(verdict: Verdict) -> Table | None:
    """One row a benchmark: accuracies, difference, interval and the two layers' words; None where there is none."""
    if not verdict.benchmarks:
        return None
    edge = trimmed(verdict.threshold_pp)
    columns = (
        Column("benchmark"),
        Column("n", numeric=True, spare=4),
        Column("original %", numeric=True, spare=2),
        Column("replica %", numeric=True, spare=1),  # the first to go: original and difference say it
        Column("difference pp", numeric=True),
        Column("seed sd pp", numeric=True, spare=3),
        Column("90 % interval", numeric=True),
        Column(f"within ±{edge}", scale=verdict.threshold_pp),
        Column("literal", whole=True),
        Column("evidence", whole=True),
    )
    table = Table(
        f"Benchmarks evaluated for both. Differences are replica − original in percentage points (pp); "
        f"the threshold is ±{edge} pp, inclusive.",
        columns,
        tuple(_benchmark_row(benchmark, verdict.threshold_pp) for benchmark in verdict.benchmarks),
    )
    spread = any(benchmark.seed_sd_pp is not None for benchmark in verdict.benchmarks)
    return table if spread else table.without("seed sd pp")


def _benchmark_row(benchmark: BenchmarkVerdict, edge: float) -> tuple[Cell, ...]:
    middle, tone = benchmark.difference_pp, EVIDENCE_TONES[benchmark.evidence]
    low, high = benchmark.ci90_pp or (middle, middle)
    return row(
        benchmark.name,
        count(benchmark.n),
        percent(benchmark.original),
        percent(benchmark.replica),
        points(middle, edge),
        "–" if benchmark.seed_sd_pp is None else f"{benchmark.seed_sd_pp:.2f}",
        interval_points(benchmark.ci90_pp, edge),
        Cell("", tone, bar=(low, middle, high)),
        passed(benchmark.within),
        Cell(benchmark.evidence, tone),
    )


def beside_table(verdict: Verdict) -> Table | None:
    """The replica among further runs of the original's recipe; None without such."""
    if not verdict.beside_controls:
        return None
    columns = (
        Column("benchmark"),
        Column("runs", numeric=True, spare=2),
        Column("mean %", numeric=True),
        Column("lowest to highest %", numeric=True, spare=1),
        Column("sd pp", numeric=True),
        Column("replica − mean pp", numeric=True),
        Column("further seeds as far", numeric=True),
    )
    return Table(
        "The replica beside runs of the original's own recipe, the original among them. The last column: the share of "
        "further seeds of that recipe that would lie as far from the mean. It decides nothing.",
        columns,
        tuple(
            row(
                each.name,
                count(each.runs),
                percent(each.mean),
                f"{percent(each.lowest)} to {percent(each.highest)}",
                f"{each.sd_pp:.2f}",
                points(each.difference_pp, verdict.threshold_pp),
                probability(each.p_as_far),
            )
            for each in verdict.beside_controls
        ),
    )


def passed(value: bool | None) -> Cell:
    """pass or fail."""
    return Cell("–") if value is None else _literal("pass" if value else "fail")


def _literal(status: LiteralStatus) -> Cell:
    return Cell(status, LITERAL_TONES[status])


def _evidence(status: EvidenceStatus) -> Cell:
    return Cell(status, EVIDENCE_TONES[status])


def detail_table(verdict: Verdict) -> Table:
    """What stands behind each interval: method, discordant items, chance, p values."""
    return Table(
        "Behind the intervals. p equivalence is the larger of two one-sided p values; p beyond threshold is before "
        "Holm's correction; needed is what would show equivalence, where the evidence is “consistent” and more are "
        "needed than are there.",
        DETAIL_COLUMNS,
        tuple(_detail_row(benchmark) for benchmark in verdict.benchmarks),
    )


def _detail_row(benchmark: BenchmarkVerdict) -> tuple[Cell, ...]:
    return row(
        benchmark.name,
        benchmark.metric,
        count(benchmark.shots),
        benchmark.method,
        count(benchmark.n_units),
        count(benchmark.original_only_correct),
        count(benchmark.replica_only_correct),
        "not known" if benchmark.chance is None else percent(benchmark.chance),
        "not known" if benchmark.above_chance is None else yes_no(benchmark.above_chance),
        probability(benchmark.p_equivalence),
        probability(benchmark.p_beyond_margin),
        needed(benchmark) or "–",
    )


# ---- several replicas


def replicas_table(verdict: Verdict) -> Table | None:
    """Each of several replicas by itself; None where there is only one."""
    if not verdict.each_replica:
        return None
    edge = verdict.threshold_pp
    names = tuple(benchmark.name for benchmark in verdict.benchmarks)
    shown = names if len(names) <= MOST_DIFFERENCES else ()
    rows = []
    for each in verdict.each_replica:
        worst = "–" if each.worst is None else f"{each.worst.benchmark} {points(each.worst.difference_pp, edge)}"
        differences = (
            points(each.differences_pp[name], edge) if name in each.differences_pp else "–" for name in shown
        )
        rows.append(row(each.path, _literal(each.literal), _evidence(each.evidence), worst, *differences))
    return Table(
        f"Each replica by itself, as if it were the only one{'; differences in pp' if shown else ''}.",
        (
            Column("replica"),
            Column("literal", whole=True),
            Column("evidence", whole=True),
            Column("worst"),
            *(Column(name, numeric=True, spare=1) for name in shown),
        ),
        tuple(rows),
    )


# ---- literal


def readings_table(verdict: Verdict) -> Table | None:
    """The three readings of the definition, the one that decides marked; None where nothing was compared."""
    literal = verdict.literal
    if literal.worst is None:
        return None
    worst = points(literal.worst.difference_pp, verdict.threshold_pp)
    mean_absolute, absolute_mean = size(literal.mean_absolute_pp, verdict), size(literal.absolute_mean_pp, verdict)
    rows: tuple[tuple[ReadingName, str, str, bool | None], ...] = (
        ("every", f"worst: {literal.worst.benchmark}", worst, literal.every_benchmark),
        ("mean-absolute", MEANS["mean-absolute"], mean_absolute, literal.within_mean_absolute),
        ("absolute-mean", MEANS["absolute-mean"], absolute_mean, literal.within_absolute_mean),
    )
    return Table(
        f"Three readings of the definition, threshold {threshold(verdict)}.",
        (Column("reading"), Column("judged by"), Column("pp", numeric=True), Column("literal", whole=True), Column("")),
        tuple(
            row(name, what, number, passed(within), "decides" if name == literal.reading else "")
            for name, what, number, within in rows
        ),
    )
