"""From files to a verdict: read the scores, apply the criterion, say what happened."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from configs.errors import BadInputError
from eval.beside import beside_controls
from eval.criterion import DEFAULT_RULE, Rule, compare
from eval.mechanism import Origin, mechanism, origin_of
from eval.published_scores import read_published
from eval.results import Side, read_scores
from eval.scores import Scores
from eval.verdict import HeldOutLoss, IdentityDifference, Verdict


def judge_files(
    original: Path,
    replicas: Sequence[Path],
    *,
    controls: Sequence[Path] = (),
    beside: Sequence[Path] = (),
    revision: str | None = None,
    rule: Rule = DEFAULT_RULE,
    benchmarks: Collection[str] | None = None,
    metrics: Mapping[str, str] | None = None,
    held_out: HeldOutLoss | None = None,
) -> Verdict:
    """The verdict on result files, sample files, lm-eval directories or run directories.

    `benchmarks` are compared and no others, `metrics` override the rule. With `controls` the comparison is one of two
    recipes; runs of the original's recipe in `beside` leave it as it is, one replica against the original, and their
    spread is set beside its difference (with a warning where they are not known to be of the original's `revision`).
    Raises BadInputError for what cannot be read.
    Where a replica's run changed the architecture the comparison is refused, and no scores need to be there.
    """
    _each_once([original, *replicas, *controls, *beside])
    origins = [origin_of(replica) for replica in replicas]
    differences = [difference for origin in origins for difference in _differences(origin)]
    if differences:
        first, *others = [Scores(path=str(path), model_name=None, tasks={}) for path in (original, *replicas)]
        return _with_mechanism(compare(first, others, rule=rule, identity_differences=differences), original, origins)

    def read(path: Path, side: Side) -> Scores:
        return read_scores(path, side=side, benchmarks=benchmarks, overrides=metrics or {})

    verdict = compare(
        read(original, "original"),
        [read(replica, "replica") for replica in replicas],
        controls=[read(control, "original") for control in controls],
        rule=rule,
        held_out=held_out,
    )
    if beside and verdict.benchmarks and len(replicas) == 1:
        seeds = [read(path, "original") for path in beside]
        rows, said = beside_controls(read(original, "original"), read(replicas[0], "replica"), seeds, revision)
        verdict = verdict.model_copy(update={"beside_controls": rows, "warnings": (*verdict.warnings, *said)})
    return _with_mechanism(verdict, original, origins)


def judge_published(table: Path, *, rule: Rule = DEFAULT_RULE, benchmarks: Collection[str] | None = None) -> Verdict:
    """The verdict on a CSV of published scores. Raises BadInputError for what cannot be read."""
    original, replica = read_published(table, benchmarks)
    return compare(original, [replica], rule=rule)


def _differences(origin: Origin | None) -> list[IdentityDifference]:
    if origin is None or origin.run.identity is None:
        return []
    return [
        IdentityDifference(field=d.field, reference=str(d.reference), replica=str(d.replica))
        for d in origin.run.identity.differences
    ]


def _each_once(paths: Sequence[Path]) -> None:
    """The same results on both sides, or as two seeds, would show nothing. A run directory has both sides in it."""
    seen: set[Path] = set()
    for at, path in enumerate(paths):
        place = path.resolve()
        if place in seen and not (at == 1 and (path / "eval").is_dir()):
            raise BadInputError(f"{path}: is given twice; each of original, replicas and controls is another model")
        seen.add(place)


def _with_mechanism(verdict: Verdict, original: Path, origins: Sequence[Origin | None]) -> Verdict:
    word, reason = mechanism(origins, verdict.literal, original)
    return verdict.model_copy(update={"mechanism": word, "mechanism_reason": reason})
