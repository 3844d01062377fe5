"""Case studies as CSV: a line a case, and of each cell its value, its interval, its source and its note.

Where a field holds several facts, each stands in a line of its own within the cell, and so do their sources and kinds.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final, get_args

from configs.cases import Case, Fact, FlopFact, Project, Release, Resources, SpeedFact, entries
from extrapolate.case_study import CaseStudy, Comparison

KINDS: Final = {"training_flop": ("training_flop_kind",), "speed": ("speed_kind", "speed_recompute")}
INTERVAL: Final = ("low90", "high90")
SAID: Final = ("source", "note")
JUDGED: Final = (
    "gpt3_like",
    "gpt3_like_reasons",
    "model_flop",
    "undertrained_kaplan",
    "undertrained_hoffmann",
)
COMPARED: Final = ("parameters", "training_flop", "accelerator_hours")


def _numbers() -> frozenset[str]:
    """The fields whose facts are numbers, which can have an interval."""
    found = {"parameters", "tokens"}
    for part in (Project, Release, Resources):
        for name, field in part.model_fields.items():
            kind = get_args(field.annotation)[0]  # of `Fact[…] | None` and of `tuple[FlopFact, ...]`
            if kind.model_fields["value"].annotation in (int, float):
                found.add(name)
    return frozenset(found)


NUMBERS: Final = _numbers()


def columns() -> tuple[str, ...]:
    """The heads, the same whatever was filtered. The order is that of `replibench cases show NAME`."""
    described: list[str] = []
    for field in dict.fromkeys(entry.field for entry in entries(Case(title="any", preset="gpt3-175b"))):
        parts = (*INTERVAL, *SAID) if field in NUMBERS else SAID
        described += [field, *(f"{field}_{part}" for part in parts), *KINDS.get(field, ())]
    ours = [f"{quantity}_{part}" for quantity in COMPARED for part in ("ours", "ours_low90", "ours_high90", "ours_as")]
    return ("case", "title", *described, *JUDGED, *ours)


def cases_csv(studies: Sequence[CaseStudy]) -> str:
    """All of them, RFC 4180 with lines ended as on this machine's terminals; empty where there is no source at hand."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(), lineterminator="\n", restval="")
    writer.writeheader()
    for study in studies:
        writer.writerow({"case": study.name, "title": study.case.title, **_facts(study.case), **_judged(study)})
    return text.getvalue()


def _facts(case: Case) -> dict[str, str]:
    cells: dict[str, list[Fact[Any]]] = {}
    for entry in entries(case):
        if entry.fact is not None:
            cells.setdefault(entry.field, []).append(entry.fact)
    line: dict[str, str] = {}
    for field, facts in cells.items():
        line[field] = _lines(fact.value for fact in facts)
        for at, part in enumerate(INTERVAL if field in NUMBERS else ()):
            line[f"{field}_{part}"] = _lines("" if fact.interval90 is None else fact.interval90[at] for fact in facts)
        line[f"{field}_source"] = _lines(fact.source for fact in facts)
        line[f"{field}_note"] = _lines(fact.note or "" for fact in facts)
        for fact in facts:
            if isinstance(fact, SpeedFact):
                line |= {"speed_kind": fact.kind, "speed_recompute": fact.recompute}
        if field == "training_flop":
            line["training_flop_kind"] = _lines(fact.kind for fact in facts if isinstance(fact, FlopFact))
    return line


def _judged(study: CaseStudy) -> dict[str, str]:
    judged, short = study.gpt3_like, study.gpt3_like.undertrained
    line = {
        "gpt3_like": judged.verdict,
        "gpt3_like_reasons": _lines(f"{reason.criterion}: {reason.text}" for reason in judged.reasons),
        "model_flop": str(judged.model_flop or ""),
        "undertrained_kaplan": str(short.kaplan.factor if short else ""),
        "undertrained_hoffmann": str(short.hoffmann.factor if short else ""),
    }
    for quantity in COMPARED:
        found = [each for each in study.comparisons if each.quantity == quantity]
        line |= {f"{quantity}_{part}": text for part, text in _ours(found).items()}
    return line


def _ours(found: Sequence[Comparison]) -> dict[str, str]:
    return {
        "ours": _lines(each.ours for each in found),
        "ours_low90": _lines("" if each.interval90 is None else each.interval90[0] for each in found),
        "ours_high90": _lines("" if each.interval90 is None else each.interval90[1] for each in found),
        "ours_as": _lines(each.ours_as for each in found),
    }


def _lines(values: Iterable[object]) -> str:
    """One a line; nothing where all are empty."""
    texts = [str(value) for value in values]
    return "\n".join(texts) if any(texts) else ""
