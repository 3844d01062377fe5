"""The replication criterion: two sets of scores in, one verdict out. Literal and evidence layers, never merged.

What is refused, warned of and decided is in `docs/criterion.md`; the statistics are in `eval.statistics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from eval.results import Scores, TaskScores
from eval.statistics import (
    ScoreTest,
    above_chance,
    design_effect,
    holm,
    items_needed,
    macro_mean_interval,
    paired_counts,
    paired_test,
    units_needed,
    unpaired_test,
)
from eval.verdict import (
    CLUSTERED,
    INTERVAL_LEVEL,
    MARGIN_PP,
    NEEDED_POWER,
    PAIRED,
    UNPAIRED,
    BenchmarkVerdict,
    EvaluatedModel,
    EvidenceLayer,
    EvidenceStatus,
    HeldOutLoss,
    IdentityDifference,
    LiteralLayer,
    MacroMean,
    MethodLabel,
    Reading,
    Readings,
    Tally,
    Verdict,
)

_SIGNIFICANCE = 0.05
_MARGIN = MARGIN_PP / 100


def compare(
    original: Scores,
    replica: Scores,
    *,
    identity_differences: Sequence[IdentityDifference] = (),
    held_out: HeldOutLoss | None = None,
) -> Verdict:
    """Apply the criterion. Never raises on comparable types: what cannot be compared becomes an `invalid` verdict.

    `identity_differences`: fields in which the two architectures differ, from whoever read their configurations; any
    one makes the comparison invalid. `held_out`: see `held_out_loss`; it stands beside the verdict, decides nothing.
    """
    shared = sorted(original.tasks.keys() & replica.tasks.keys())
    reasons = _refusals(original, replica, shared, identity_differences)
    pairs = [(original.tasks[name], replica.tasks[name]) for name in shared]
    if reasons or not shared:
        benchmarks: tuple[BenchmarkVerdict, ...] = ()
        status: Literal["invalid", "not_evaluated"] = "invalid" if reasons else "not_evaluated"
        literal, evidence = LiteralLayer(status=status), EvidenceLayer(status=status)
        reasons = reasons or ["no benchmark was evaluated for both models"]
    else:
        benchmarks = _judge([_Comparison.of(*pair) for pair in pairs])
        literal, evidence = _literal(benchmarks), _evidence(benchmarks)
    return Verdict(
        original=EvaluatedModel(path=original.path, model_name=original.model_name),
        replica=EvaluatedModel(path=replica.path, model_name=replica.model_name),
        literal=literal,
        evidence=evidence,
        benchmarks=benchmarks,
        only_original=tuple(sorted(original.tasks.keys() - replica.tasks.keys())),
        only_replica=tuple(sorted(replica.tasks.keys() - original.tasks.keys())),
        identity_differences=tuple(identity_differences),
        reasons=tuple(reasons),
        warnings=tuple(_warnings(original, replica, shared, benchmarks, held_out)),
        held_out_loss=held_out,
    )


def held_out_loss(original: float, replica: float, tolerance: float | None = None) -> HeldOutLoss:
    """Both models' mean held-out loss in nats per token, gated by |difference| ≤ tolerance when one is known."""
    passes = None if tolerance is None else bool(abs(replica - original) <= tolerance)
    return HeldOutLoss(original=original, replica=replica, tolerance=tolerance, passes=passes)


# ---- literal: integer counts, exact


def within_margin(correct_1: int, n_1: int, correct_2: int, n_2: int) -> bool:
    """|c2/n2 − c1/n1| ≤ 2 points, inclusive, in integers: as floats 0.86 − 0.84 is 2.0000000000000018 points."""
    return abs(correct_2 * n_1 - correct_1 * n_2) * 100 <= MARGIN_PP * n_1 * n_2


def literal_readings(counts: Sequence[tuple[int, int, int, int]]) -> Readings:
    """The three readings of the definition, exact, from (original correct, n, replica correct, n) per benchmark."""
    differences = [100 * (Fraction(c2, n2) - Fraction(c1, n1)) for c1, n1, c2, n2 in counts]
    absolute = [abs(difference) for difference in differences]
    values = max(absolute), sum(absolute, Fraction()) / len(absolute), abs(sum(differences, Fraction())) / len(absolute)
    every, mean_absolute, absolute_mean = (Reading(value_pp=float(v), passes=v <= MARGIN_PP) for v in values)
    return Readings(
        every_benchmark=every, mean_absolute_difference=mean_absolute, absolute_mean_difference=absolute_mean
    )


def _literal(benchmarks: Sequence[BenchmarkVerdict]) -> LiteralLayer:
    readings = literal_readings(
        [(b.original.correct, b.original.n_items, b.replica.correct, b.replica.n_items) for b in benchmarks]
    )
    return LiteralLayer(
        status="pass" if readings.every_benchmark.passes else "fail",
        readings=readings,
        worst_benchmark=max(benchmarks, key=lambda b: abs(b.difference_pp)).name,
    )


# ---- evidence: one benchmark


@dataclass(frozen=True)
class _Comparison:
    """One benchmark of both models and the test that its data allow."""

    original: TaskScores
    replica: TaskScores
    test: ScoreTest
    method: MethodLabel
    variance: float  # of one item's difference
    effect: float  # design effect of the difference
    units: tuple[str, ...] | None = None
    n_units: int | None = None
    b: int | None = None
    c: int | None = None

    @classmethod
    def of(cls, original: TaskScores, replica: TaskScores) -> "_Comparison":
        """Paired when both sides have items, clustered when the items say which unit they belong to."""
        if original.items is None or replica.items is None:
            c1, n1, c2, n2 = original.correct, original.n_items, replica.correct, replica.n_items
            p1, p2 = c1 / n1, c2 / n2
            variance = p1 * (1 - p1) + p2 * (1 - p2)
            return cls(original, replica, unpaired_test(c1, n1, c2, n2), UNPAIRED, variance, effect=1.0)
        units = _units(original)
        counts = paired_counts(
            np.array([item.correct for item in original.items]),
            np.array([item.correct for item in replica.items]),
            units,
        )
        return cls(
            original,
            replica,
            paired_test(counts),
            CLUSTERED if counts.clustered else PAIRED,
            variance=(counts.b + counts.c + 2) / (counts.n + 2),  # two added: none seen is not none
            effect=counts.design_effect,
            units=units if counts.clustered else None,
            n_units=counts.n_units,
            b=counts.b,
            c=counts.c,
        )

    def original_above_chance(self) -> bool | None:
        """Whether the original beats guessing, with its own items' clustering; None when chance is not known."""
        task = self.original
        if task.chance is None:
            return None if task.correct else False  # nothing right is above no chance level
        effect = 1.0
        if self.units is not None and task.items is not None:
            effect = design_effect(np.array([float(item.correct) for item in task.items]), self.units)
        return above_chance(task.correct, task.n_items, task.chance, effect=effect, significance=_SIGNIFICANCE)

    def needed(self) -> tuple[int | None, int | None]:
        """(`items_needed`, `units_needed`) of the record: the one that the interval depends on, if more than are there.

        With no disagreement a clustered interval depends on the number of units alone, so items are no answer there.
        """
        n_items = self.original.n_items
        if self.method != CLUSTERED or self.n_units is None:
            items = items_needed(self.variance, _MARGIN, power=NEEDED_POWER)
            return (items if items > n_items else None), None
        effective = n_items / self.effect / self.n_units
        units = units_needed(self.variance, _MARGIN, items_per_unit=effective, power=NEEDED_POWER)
        return None, (units if units > self.n_units else None)


def _units(task: TaskScores) -> tuple[str, ...] | None:
    """The unit of each item; an item without one stands alone. None when no item has one."""
    items = task.items or ()
    if all(item.unit is None for item in items):
        return None
    return tuple(f"item {item.doc_id}" if item.unit is None else f"unit {item.unit}" for item in items)


def _judge(comparisons: Sequence[_Comparison]) -> tuple[BenchmarkVerdict, ...]:
    """Every benchmark's verdict; a difference is declared only after Holm over the benchmarks."""
    beyond = [comparison.test.p_beyond(_MARGIN) for comparison in comparisons]
    return tuple(
        _benchmark(comparison, p, differs=adjusted <= _SIGNIFICANCE)
        for comparison, p, adjusted in zip(comparisons, beyond, holm(beyond), strict=True)
    )


def _benchmark(comparison: _Comparison, p_beyond: float, *, differs: bool) -> BenchmarkVerdict:
    one, two = comparison.original, comparison.replica
    literal = within_margin(one.correct, one.n_items, two.correct, two.n_items)
    low, high = comparison.test.interval(INTERVAL_LEVEL)
    above = comparison.original_above_chance()
    equivalent = literal and low > -_MARGIN and high < _MARGIN
    status = _status(literal=literal, equivalent=equivalent, differs=differs, above=above)
    items, units = comparison.needed() if status == "consistent" else (None, None)
    return BenchmarkVerdict(
        name=one.name,
        metric=one.metric,
        original=Tally(correct=one.correct, n_items=one.n_items, accuracy=one.correct / one.n_items),
        replica=Tally(correct=two.correct, n_items=two.n_items, accuracy=two.correct / two.n_items),
        difference_pp=float(100 * (Fraction(two.correct, two.n_items) - Fraction(one.correct, one.n_items))),
        literal_pass=literal,
        low_pp=100 * low,
        high_pp=100 * high,
        method=comparison.method,
        n_units=comparison.n_units,
        original_only_correct=comparison.b,
        replica_only_correct=comparison.c,
        chance=one.chance,
        above_chance=above,
        p_equivalence=comparison.test.p_equivalence(_MARGIN),
        p_beyond_margin=p_beyond,
        status=status,
        items_needed=items,
        units_needed=units,
    )


def _status(*, literal: bool, equivalent: bool, differs: bool, above: bool | None) -> EvidenceStatus:
    """A shown difference is one even where the original only guesses; equality there shows nothing."""
    if differs:
        return "not_replicated"
    if above is False:
        return "uninformative"
    if equivalent:
        return "replicated"
    return "consistent" if literal else "inconclusive"


# ---- evidence: all benchmarks


def _evidence(benchmarks: Sequence[BenchmarkVerdict]) -> EvidenceLayer:
    """Intersection–union (Berger, Technometrics 24 (1982) 295–300): replicated only if every benchmark is.

    Each test keeps its 5 %, no correction is needed to claim all. A benchmark at chance neither helps nor blocks as
    long as its difference is within the margin literally.
    """
    statuses = {b.status for b in benchmarks}
    overall: EvidenceStatus
    if "not_replicated" in statuses:
        overall = "not_replicated"
    elif statuses == {"uninformative"}:
        overall = "uninformative"
    elif not all(b.literal_pass for b in benchmarks):
        overall = "inconclusive"
    else:
        overall = "replicated" if statuses <= {"replicated", "uninformative"} else "consistent"
    mean, low, high = macro_mean_interval(
        [b.difference_pp for b in benchmarks], [(b.low_pp, b.high_pp) for b in benchmarks]
    )
    macro = MacroMean(
        difference_pp=mean,
        low_pp=low,
        high_pp=high,
        equivalent=low > -MARGIN_PP and high < MARGIN_PP,
        method="unweighted mean over benchmarks, MOVER of their intervals",
    )
    return EvidenceLayer(status=overall, macro_mean=macro)


# ---- what is refused, what is warned of


def _refusals(
    original: Scores, replica: Scores, shared: Sequence[str], differences: Sequence[IdentityDifference]
) -> list[str]:
    """Why the two cannot be compared, in words; empty when they can."""
    reasons = [
        f"architectures are not identical: {d.field} is {d.reference} in the original and {d.replica} in the replica"
        for d in differences
    ]
    if original.limit != replica.limit:
        reasons.append(f"different limits: {original.limit or 'none'} and {replica.limit or 'none'}")
    for key in sorted(original.policy.keys() & replica.policy.keys()):
        if original.policy[key] != replica.policy[key]:
            reasons.append(
                f"different tokenizer or length policy: {key} {original.policy[key]} and {replica.policy[key]}"
            )
    for name in shared:
        reasons += [f"{name}: {reason}" for reason in _task_refusals(original.tasks[name], replica.tasks[name])]
    return reasons


def _task_refusals(one: TaskScores, two: TaskScores) -> list[str]:
    """Why one benchmark's two results are not of the same questions, asked and counted in the same way."""
    reasons = [
        f"different {what}: {a} and {b}"
        for what, a, b in (
            ("metrics", one.metric, two.metric),
            ("shots", one.n_shot, two.n_shot),
            ("task versions", one.version, two.version),
            ("numbers of items", one.n_items, two.n_items),
        )
        if a is not None and b is not None and a != b
    ]
    if one.items is not None and two.items is not None:
        theirs = {item[:2] for item in two.items}
        missing = sum(item[:2] not in theirs for item in one.items)
        if missing:
            reasons.append(f"different documents: {missing} of {one.n_items} differ by doc_id or doc_hash")
        elif [item.unit for item in one.items] != [item.unit for item in two.items]:
            reasons.append("different units for the same documents")
    if not reasons and _same_kind(one.requests_digest, two.requests_digest):
        reasons.append("different prompts or targets for the same task (their hashes differ)")
    for side, task in (("original", one), ("replica", two)):
        if task.finite is False:
            reasons.append(f"log-likelihoods of the {side} are not all finite numbers")
    return reasons


def _same_kind(one: str | None, two: str | None) -> bool:
    """Whether both digests are known, of one kind, and differ."""
    return one is not None and two is not None and one.partition(":")[0] == two.partition(":")[0] and one != two


def _warnings(
    original: Scores,
    replica: Scores,
    shared: Sequence[str],
    benchmarks: Sequence[BenchmarkVerdict],
    held_out: HeldOutLoss | None,
) -> list[str]:
    """What a reader must know before believing the verdict."""
    warnings = [
        f"evaluated for the {side} only, not compared: {', '.join(sorted(mine.tasks.keys() - other.tasks.keys()))}"
        for side, mine, other in (("original", original, replica), ("replica", replica, original))
        if mine.tasks.keys() - other.tasks.keys()
    ]
    skipped = sorted({*original.skipped, *replica.skipped})
    if skipped:
        warnings.append(f"no metric that is right or wrong item by item, not compared: {', '.join(skipped)}")
    digests = [(original.tasks[name].answers_digest, replica.tasks[name].answers_digest) for name in shared]
    known = [(one, two) for one, two in digests if one is not None and two is not None]
    if known and all(one == two for one, two in known):
        warnings.append("bit-identical log-likelihoods on every shared benchmark: the same weights, or a copy")
    elif not known and len(shared) >= 3 and all(original.tasks[n].correct == replica.tasks[n].correct for n in shared):
        warnings.append("identical scores on every shared benchmark: perhaps the same weights, or a copy")
    unpaired = [b.name for b in benchmarks if b.method == UNPAIRED]
    if unpaired:
        warnings.append(f"no per-item samples for both, so unpaired (wider intervals): {', '.join(unpaired)}")
    unknown = [b.name for b in benchmarks if b.chance is None]
    if unknown:
        warnings.append(f"chance level not known, so not checked against it: {', '.join(unknown)}")
    guessing = [b.name for b in benchmarks if b.above_chance is False]
    if guessing:
        warnings.append(f"the original is not above chance, so agreement says nothing: {', '.join(guessing)}")
    if held_out is not None and held_out.passes is False:
        warnings.append(
            f"held-out loss differs by {held_out.replica - held_out.original:+.4f} nats per token, more than "
            f"good seeds do ({held_out.tolerance:.4f}): the benchmarks may not see what is wrong"
        )
    return warnings
