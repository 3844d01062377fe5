"""Case studies as tables: the listing, and one case whole."""

import datetime
from collections.abc import Sequence
from typing import Any, Final

from configs.cases import GROUPS, AcceleratorFact, Entry, Fact, FlopFact, SpeedFact, entries
from extrapolate.case_study import CaseStudy, Comparison
from report.content import Cell, Column, Paragraph, Table, Tone, row
from report.formatting import count, scientific, significant

ANSWER_TONES: Final[dict[str, Tone]] = {"pass": "good", "fail": "bad", "unknown": "unsure"}
MET: Final[dict[bool | None, Cell]] = {
    True: Cell("met", "good"),
    False: Cell("not met", "bad"),
    None: Cell("not known", "unsure"),
}
LABELS: Final = {
    "mechanism": "developer's mechanism",
    "onward": "others' mechanism",
    "publication_delay_months": "publication delay",
    "months_before_trend": "before the trend",
    "training_flop": "training FLOP",
    "accelerator_hours": "accelerator-hours",
    "final_run_usd": "final run's cost",
    "power_w": "power",
}
UNITS: Final = {
    "training_hours": "h",
    "final_run_usd": "USD of 2023",
    "power_w": "W",
    "training_flop": "FLOP",
    "publication_delay_months": "months",
    "months_before_trend": "months",
}


def listing(studies: Sequence[CaseStudy]) -> Table:
    """One line a case."""
    return Table(
        f"{len(studies)} case{'s' if len(studies) != 1 else ''}. FLOP: 6·N·D, every parameter. "
        "Kaplan, Hoffmann: tokens that the law wants over tokens seen; above 1 is undertrained.",
        (
            Column("case", whole=True),
            Column("developer", spare=5),
            Column("date", whole=True),
            Column("mechanism"),
            Column("parameters", numeric=True, spare=2),
            Column("tokens", numeric=True, spare=3),
            Column("FLOP", numeric=True),
            Column("published FLOP", numeric=True, spare=1),
            Column("of kind", whole=True, spare=1),
            Column("GPT-3-like", whole=True),
            Column("Kaplan", numeric=True, spare=4),
            Column("Hoffmann", numeric=True, spare=4),
        ),
        tuple(_line(each) for each in studies),
    )


def _line(study: CaseStudy) -> tuple[Cell, ...]:
    case, judged = study.case, study.gpt3_like
    flop = case.flop_facts()
    short = judged.undertrained
    return row(
        study.name,
        _plain(case.project.developer),
        _plain(case.date_fact()),
        _plain(case.release.mechanism),
        quantity(case.parameters_fact().value),
        quantity(case.training_tokens()),
        "–" if judged.model_flop is None else scientific(judged.model_flop, 3),
        scientific(flop[0].value, 3) if flop else "–",
        flop[0].kind if flop else "",
        Cell(judged.verdict, ANSWER_TONES[judged.verdict]),
        _factor(short.kaplan.factor if short else None),
        _factor(short.hoffmann.factor if short else None),
    )


def whole(study: CaseStudy) -> tuple[Table | Paragraph, ...]:
    """All of a case: its groups of cells, whether it is GPT-3-like, ours beside what was published, the sources."""
    sources: list[str] = []
    blocks: list[Table | Paragraph] = [Paragraph(f"{study.case.title} ({study.name})", strong=True)]
    for group, title in GROUPS.items():
        blocks += _group(title, [entry for entry in entries(study.case) if entry.group == group], sources)
    blocks += [gpt3_like_table(study), comparison_table(study.comparisons)]
    return (*blocks, *(Paragraph(f"[{at}] {source}", "muted") for at, source in enumerate(sources, 1)))


def _group(title: str, found: Sequence[Entry], sources: list[str]) -> list[Table | Paragraph]:
    lines = []
    for entry in found:
        if entry.fact is None:
            continue
        if entry.fact.source not in sources:
            sources.append(entry.fact.source)
        interval = entry.fact.interval90
        between = "" if interval is None else f"{quantity(interval[0])} to {quantity(interval[1])}"
        text = f"{_value(entry)}{f' ({entry.fact.note})' if entry.fact.note else ''}"
        lines.append(row(label(entry.field), text, between, f"[{sources.index(entry.fact.source) + 1}]"))
    columns = (Column("", whole=True), Column("value"), Column("90 %", numeric=True), Column("source", numeric=True))
    table = Table(title.capitalize(), columns, tuple(lines))
    if not any(line[2].text for line in lines):
        table = table.without("90 %")
    missing = [label(entry.field) for entry in found if entry.fact is None]
    absent = Paragraph(f"{title.capitalize()}: no source at hand for {', '.join(missing)}.", "muted")
    return [*([table] if lines else []), *([absent] if missing else [])]


def gpt3_like_table(study: CaseStudy) -> Table:
    """The four criteria with their numbers."""
    judged = study.gpt3_like
    return Table(
        f"GPT-3-like: {judged.verdict}",
        (Column("criterion", whole=True), Column("", whole=True), Column("numbers")),
        tuple(row(reason.criterion, MET[reason.met], reason.text) for reason in judged.reasons),
    )


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """What was published beside ours, like with like."""
    return Table(
        "Published beside ours, each FLOP beside the count of ours that is of its kind",
        (
            Column("quantity", whole=True),
            Column("published", numeric=True),
            Column("which is"),
            Column("ours", numeric=True),
            Column("90 %", numeric=True),
            Column("counted as"),
            Column("ours / theirs", numeric=True),
        ),
        tuple(_compared(each) for each in comparisons),
    )


def _compared(each: Comparison) -> tuple[Cell, ...]:
    def size(value: float) -> str:
        return scientific(value, 3) if each.quantity == "training_flop" else quantity(value)

    return row(
        label(each.quantity),
        "–" if each.published is None else size(each.published),
        each.published_as,
        size(each.ours),
        "" if each.interval90 is None else f"{size(each.interval90[0])} to {size(each.interval90[1])}",
        each.ours_as,
        "–" if each.ratio is None else f"{each.ratio:.2f}",
    )


def label(field: str) -> str:
    """A field's name in words."""
    return LABELS.get(field, field.replace("_", " "))


def quantity(value: float) -> str:
    """`174.6e9`, `3.14e23`, `1,024`: as each size is written in the field."""
    if value >= 1e15:
        return scientific(value, 3)
    if value >= 1e9:
        return f"{value / 1e9:.4g}e9" if value < 1e13 else scientific(value, 3)
    if value >= 1e4:
        return count(round(value))
    return f"{value:,.4g}"


def _value(entry: Entry) -> str:
    fact = entry.fact
    if isinstance(fact, SpeedFact):
        return fact.words()
    if isinstance(fact, FlopFact):
        return f"{scientific(fact.value, 3)} FLOP, {fact.kind}"
    if isinstance(fact, AcceleratorFact) and fact.row is not None:
        return f"{fact.value}, {fact.row} in {fact.precision}"
    return f"{_plain(fact)} {UNITS.get(entry.field, '')}".rstrip()


def _plain(fact: Fact[Any] | None) -> str:
    if fact is None:
        return "–"
    if isinstance(fact.value, datetime.date):
        return fact.value.isoformat()
    return quantity(fact.value) if isinstance(fact.value, int | float) else str(fact.value)


def _factor(factor: float | None) -> str:
    return "–" if factor is None else significant(factor, 2)
