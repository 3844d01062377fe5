"""The study's claims and an arrival, as blocks for the terminal and for pages."""

from extrapolate.arrival import Arrival, Combined
from extrapolate.claims import Agreement
from extrapolate.study import Study
from report.content import Cell, Column, Paragraph, Table, Tone, pairs, row
from report.formatting import scientific, significant

WORDS: dict[Agreement, tuple[str, Tone]] = {
    "reproduced": ("reproduced", "good"),
    "not_reproduced": ("not reproduced", "bad"),
    "inconsistent": ("inconsistent", "bad"),
    "not_computable": ("not computable", "unsure"),
}


def study_paragraphs(study: Study) -> tuple[Paragraph, ...]:
    """Each claim, ours, whether they agree and why not: too long for columns on a terminal."""
    found = []
    for each in study.claims:
        word, tone = WORDS[each.agreement]
        found.append(Paragraph(f"{each.claim}: {word}", tone, strong=True))
        if each.ours:
            found.append(Paragraph(f"  ours: {each.ours}"))
        if each.because:
            found.append(Paragraph(f"  {each.because}", "muted"))
    return (*found, Paragraph(_counts(study), strong=True))


def study_table(study: Study) -> Table:
    """The same as a table."""
    return Table(
        _counts(study),
        (Column("claim"), Column("ours"), Column("agreement"), Column("why not, or when")),
        tuple(row(each.claim, each.ours, Cell(*WORDS[each.agreement]), each.because) for each in study.claims),
    )


def arrival_tables(arrival: Arrival) -> tuple[Table | Paragraph, ...]:
    """The trends, if there are any, the estimates, and what they give together, also under other assumptions."""
    flop = None if arrival.target_flop is None else ("target", f"{scientific(arrival.target_flop)} FLOP")
    about = pairs(
        "When it was due: months after its publication, so positive ones are how early it came",
        ("model", arrival.target),
        flop,
        ("published", str(arrival.published)),
        ("source", arrival.source),
    )
    trends = (_trend_table(arrival),) if arrival.trends else ()
    warnings = (Paragraph(f"Caveat: {warning}", "unsure") for warning in arrival.warnings)
    return (about, *trends, _estimate_table(arrival), _combined_table(arrival), *warnings)


def _trend_table(arrival: Arrival) -> Table:
    return Table(
        "Trends: least squares of log10 FLOP on the date, with the slope's standard error",
        (
            Column("trend"),
            Column("rows", numeric=True),
            Column("first", whole=True, spare=2),
            Column("last", whole=True, spare=1),
            Column("orders of magnitude a year", numeric=True),
            Column("reaches the target", whole=True),
        ),
        tuple(
            row(
                each.name,
                str(each.rows),
                str(each.first),
                str(each.last),
                f"{each.oom_per_year:.2f} ± {each.oom_per_year_error:.2f}",
                str(each.crossing),
            )
            for each in arrival.trends
        ),
    )


def _estimate_table(arrival: Arrival) -> Table:
    return Table(
        "Estimates, in months, with 90 % intervals",
        (
            Column("estimate"),
            *(Column(head, numeric=True) for head in ("months", "90 % low", "90 % high", "weight")),
        ),
        tuple(
            row(
                each.name,
                significant(each.months, 3),
                significant(each.p5, 3),
                significant(each.p95, 3),
                significant(each.weight, 2),
            )
            for each in arrival.estimates
        ),
    )


def _combined_table(arrival: Arrival) -> Table:
    return Table(
        "Together, in months, with 90 % intervals; the first line is what was asked for",
        (
            Column("errors of the estimates"),
            *(Column(head, numeric=True) for head in ("median", "mean", "90 % low", "90 % high")),
            Column("date", whole=True),
            Column("90 %", whole=True),
        ),
        tuple(_combined_row(each) for each in (arrival.combined, *arrival.others)),
    )


def _combined_row(each: Combined) -> tuple[Cell, ...]:
    how = "mixture: one estimate is right" if each.correlation is None else f"correlated {each.correlation:g}"
    low, middle, high = (f"{date:%Y-%m}" for date in each.dates)
    months = each.months
    numbers = (f"{number:.1f}" for number in (months.median, months.mean, months.p5, months.p95))
    return row("independent" if each.correlation == 0 else how, *numbers, middle, f"{low} to {high}")


def _counts(study: Study) -> str:
    told = ", ".join(f"{count} {WORDS[agreement][0]}" for agreement, count in study.counts.items())
    return f"{len(study.claims)} claims: {told}."
