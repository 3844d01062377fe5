"""Can these results be compared at all? What is refused, and what a reader must know before believing a verdict."""

from collections.abc import Sequence
from itertools import combinations

from eval.scores import UNKNOWN, Scores, TaskScores
from eval.verdict import UNPAIRED, BenchmarkVerdict, HeldOutLoss, IdentityDifference

IDENTICAL_TASKS = 3  # so many identical scores in a row are no chance


def refusals(
    original: Scores, others: Sequence[Scores], shared: Sequence[str], differences: Sequence[IdentityDifference]
) -> list[str]:
    """Why the original cannot be compared with the others, in words; empty when it can."""
    reasons = [
        f"architectures are not identical: {d.field} is {d.reference} in the original and {d.replica} in the replica"
        for d in differences
    ]
    for other in others:
        which = f"{other.path}: " if len(others) > 1 else ""
        reasons += [which + reason for reason in _pair_refusals(original, other, shared)]
    if len(others) > 1:
        for one, two in combinations([original, *others], 2):
            if bit_identical(one, two, shared):
                reasons.append(f"{two.path}: the same answers to the last bit as {one.path}: a copy is no further seed")
    return reasons


def _pair_refusals(original: Scores, replica: Scores, shared: Sequence[str]) -> list[str]:
    reasons = []
    if original.limit != replica.limit and UNKNOWN not in (original.limit, replica.limit):
        reasons.append(f"different limits: {original.limit or 'none'} and {replica.limit or 'none'}")
    for key in sorted(original.policy.keys() & replica.policy.keys()):
        if original.policy[key] != replica.policy[key]:
            reasons.append(
                f"different tokenizer, length or model policy: {key} {original.policy[key]} and {replica.policy[key]}"
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


def warnings_about(
    original: Scores,
    others: Sequence[Scores],
    shared: Sequence[str],
    benchmarks: Sequence[BenchmarkVerdict],
    held_out: HeldOutLoss | None,
) -> list[str]:
    """What a reader must know before believing the verdict."""
    everyone = [original, *others]
    warnings = [warning for scores in everyone for warning in scores.warnings]
    for scores in everyone:
        alone = sorted(scores.tasks.keys() - {*shared})
        if alone:
            warnings.append(f"{scores.path}: not evaluated for all, so not compared: {', '.join(alone)}")
    skipped = sorted({name for scores in everyone for name in scores.skipped})
    if skipped:
        warnings.append(f"no metric that is right or wrong item by item, not compared: {', '.join(skipped)}")
    warnings += [warning for other in others for warning in _copies(original, other, shared)]
    warnings += _about_benchmarks(benchmarks)
    if held_out is not None and held_out.passes is False:
        warnings.append(
            f"held-out loss differs by {held_out.replica - held_out.original:+.4f} nats per token, more than "
            f"good seeds do ({held_out.tolerance:.4f}): the benchmarks may not see what is wrong"
        )
    return warnings


def _copies(original: Scores, other: Scores, shared: Sequence[str]) -> list[str]:
    """Results that are too much alike for two trainings."""
    if bit_identical(original, other, shared):
        return [f"{other.path}: bit-identical log-likelihoods on every shared benchmark: the same weights, or a copy"]
    same = all(original.tasks[name].score == other.tasks[name].score for name in shared)
    known = any(original.tasks[name].answers_digest and other.tasks[name].answers_digest for name in shared)
    if not known and len(shared) >= IDENTICAL_TASKS and same:
        return [f"{other.path}: identical scores on every shared benchmark: perhaps the same weights, or a copy"]
    return []


def bit_identical(one: Scores, two: Scores, shared: Sequence[str]) -> bool:
    """Whether all log-likelihoods that both have are equal to the last bit."""
    digests = [(one.tasks[name].answers_digest, two.tasks[name].answers_digest) for name in shared]
    known = [(first, second) for first, second in digests if first is not None and second is not None]
    return bool(known) and all(first == second for first, second in known)


def _about_benchmarks(benchmarks: Sequence[BenchmarkVerdict]) -> list[str]:
    """What the verdict of some benchmarks rests on, or does not."""
    said = {
        "no per-item samples for both, so unpaired (wider intervals)": [b for b in benchmarks if b.method == UNPAIRED],
        "items or right answers are not counted, so there is no evidence": [b for b in benchmarks if b.ci90_pp is None],
        "chance level not known, so not checked against it": [
            b for b in benchmarks if b.chance is None and b.above_chance is None
        ],
        "the original is not above chance, so agreement says nothing": [
            b for b in benchmarks if b.above_chance is False
        ],
    }
    return [f"{what}: {', '.join(b.name for b in which)}" for what, which in said.items() if which]
