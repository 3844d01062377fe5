"""The verdict in plain words: what each status means, and the one line that concludes."""

from eval.verdict import EvidenceStatus, LiteralStatus, Verdict
from report.content import Tone, visible
from report.formatting import points

LITERAL_TONES: dict[LiteralStatus, Tone] = {"pass": "good", "fail": "bad", "not_evaluated": "muted", "invalid": "bad"}

EVIDENCE_TONES: dict[EvidenceStatus, Tone] = {
    "replicated": "good",
    "not_replicated": "bad",
    "consistent": "unsure",
    "inconclusive": "unsure",
    "uninformative": "muted",
    "not_evaluated": "muted",
    "invalid": "bad",
}

EVIDENCE_MEANINGS: dict[EvidenceStatus, str] = {
    "replicated": "equivalence within {margin} points is shown on every benchmark",
    "not_replicated": "a difference of more than {margin} points is shown",
    "consistent": "equivalence within {margin} points is not shown everywhere: too few independent units or items",
    "inconclusive": "neither equivalence nor a difference of more than {margin} points is shown",
    "uninformative": "the original is not above chance, so nothing can be learned from it",
    "not_evaluated": "no benchmark was evaluated for both models",
    "invalid": "the two results cannot be compared",
}

LITERAL_WORDS: dict[LiteralStatus, str] = {
    "pass": "PASS",
    "fail": "FAIL",
    "not_evaluated": "NOT EVALUATED",
    "invalid": "INVALID",
}


def evidence_words(verdict: Verdict) -> str:
    """The overall evidence and its meaning: `consistent (equivalence … not shown …)`."""
    return f"{verdict.evidence.status} ({evidence_meaning(verdict)})"


def evidence_meaning(verdict: Verdict) -> str:
    """What the overall evidence status says, without the status itself."""
    return EVIDENCE_MEANINGS[verdict.evidence.status].format(margin=verdict.margin_pp)


def literal_meaning(verdict: Verdict) -> str:
    """What the literal layer found, in a few words."""
    number, margin = len(verdict.benchmarks), verdict.margin_pp
    if verdict.literal.status == "pass":
        every = "the one benchmark" if number == 1 else f"every one of {number} benchmarks"
        return f"{every} within {margin} percentage points"
    if verdict.literal.status == "fail":
        beyond = sum(not benchmark.literal_pass for benchmark in verdict.benchmarks)
        found = f"{beyond} of {number} benchmarks more than {margin} percentage points apart"
        return found + worst(verdict)
    if verdict.literal.status == "not_evaluated":
        return _first_reason(verdict) or "no benchmark was evaluated for both models"
    return f"the two results cannot be compared: {_first_reason(verdict) or 'no reason was recorded'}"


def _first_reason(verdict: Verdict) -> str:
    """The first reason and how many more there are; all of them are listed beside."""
    more = len(verdict.reasons) - 1
    return "".join(verdict.reasons[:1]) + (f" (and {more} more)" if more > 0 else "")


def worst(verdict: Verdict) -> str:
    """`, worst facts (-26.30)`, or nothing where the record names none."""
    for benchmark in verdict.benchmarks:
        if benchmark.name == verdict.literal.worst_benchmark:
            return f", worst {benchmark.name} ({points(benchmark.difference_pp, verdict.margin_pp)})"
    return ""


def conclusion(verdict: Verdict) -> str:
    """The verdict in one line of plain words, the literal criterion first and the evidence beside it."""
    word = LITERAL_WORDS[verdict.literal.status]
    by = {"pass": "replication by the literal criterion: ", "fail": "no replication by the literal criterion: "}
    line = f"{word}: {by.get(verdict.literal.status, '')}{literal_meaning(verdict)}"
    if verdict.literal.status in by:
        line += f"; evidence: {evidence_words(verdict)}"
    return visible(line)
