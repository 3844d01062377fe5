"""What happened, in the study's words: replication, extraction, incremental research, or none of them.

Scores alone cannot say it; the manifest that a run of this harness leaves can: what was to be replicated, whether the
architecture is the reference's, on whose text it was trained, and by which recipe.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from configs.files import read_record, sha256_of
from eval.verdict import LiteralLayer, Mechanism
from train.record import Manifest

WEIGHTS = "model.safetensors"


class Origin(NamedTuple):
    """The manifest of the replica's run, and that of the original's where the original came with one."""

    run: Manifest
    original: Manifest | None
    directory: Path  # of the run
    reference: Path | None = None  # where the original lies

    def is_of(self, results: Path) -> bool:
        """Whether these results are of the model that the run was to replicate."""
        place = results.resolve()
        homes = [self.directory / "eval" / "original", *([self.reference] if self.reference else [])]
        if place == self.directory.resolve() or any(place.is_relative_to(home.resolve()) for home in homes):
            return True
        # a run of ours that trained the reference: its weights are the reference's
        weights = place / "replica" / WEIGHTS
        known = self.run.reference.sha256.get(WEIGHTS) if self.run.reference else None
        return known is not None and weights.is_file() and sha256_of(weights) == known


def origin_of(results: Path) -> Origin | None:
    """Of a run directory, or of something in it such as eval/replica; None where no manifest is."""
    directory = next((path for path in (results, *results.resolve().parents[:3]) if _has_manifest(path)), None)
    if directory is None:
        return None
    pointer = directory / "reference.path"
    reference = Path(pointer.read_text(encoding="utf-8").strip()) if pointer.is_file() else None
    original = None
    if reference is not None and _has_manifest(reference):
        original = read_record(reference / "manifest.json", Manifest)
    return Origin(read_record(directory / "manifest.json", Manifest), original, directory, reference)


def mechanism(origins: Sequence[Origin | None], literal: LiteralLayer, original: Path) -> tuple[Mechanism, str]:
    """The word for what the replicas of `original` (its results) are, and why; none if they are not all the same."""
    for origin in origins:
        if origin is not None and origin.run.reference is not None and not origin.is_of(original):
            source = origin.run.reference.source
            return "unknown", f"the run was to replicate {source}, and {original} is not known to be of it"
    said = [_of_one(origin, literal) for origin in origins]
    if len({word for word, _ in said}) > 1:
        return "unknown", "the replicas came about in different ways: " + "; ".join(dict.fromkeys(w for w, _ in said))
    return said[0]


def _of_one(origin: Origin | None, literal: LiteralLayer) -> tuple[Mechanism, str]:
    if origin is None or origin.run.reference is None:
        missing = "no manifest of a run was there" if origin is None else "the run names no reference to replicate"
        return "unknown", missing
    changes = _changes(origin)
    better = literal.worst is not None and literal.worst.difference_pp > 0
    if literal.verdict == "fail" and not (changes and better):  # a better artifact by another method is research
        apart = f"worst benchmark {literal.worst.benchmark}" if literal.worst else "no benchmark named"
        why = "; ".join([f"the scores are further apart than the criterion allows ({apart})", *changes])
        return "not a replication", why
    if changes:
        return "incremental research", "; ".join(changes)
    if literal.verdict != "pass":
        return "unknown", "nothing could be compared"
    return _replication(origin, origin.run.reference.sha256.get(WEIGHTS))


def _replication(origin: Origin, original_weights: str | None) -> tuple[Mechanism, str]:
    """Which of the two kinds: on text of one's own, or on the original's outputs."""
    extraction = origin.run.extraction
    if extraction is not None:
        outputs = {"logits": "its logits", "generated_text": "text sampled from it"}[extraction.source]
        why = f"from random initialisation on the original's own outputs: {outputs}, at temperature"
        return "replication by model extraction", f"{why} {extraction.temperature:g}"
    made_by = origin.run.corpus.generated_by
    if made_by is not None and made_by == original_weights:
        return "replication by model extraction", "from random initialisation on the original's own outputs"
    known = origin.original is not None and origin.original.recipe and origin.run.recipe
    rest = ", tokenizer and recipe" if known else "; the original's recipe is not known"
    return "replication", "from random initialisation, the reference's architecture" + rest


def _changes(origin: Origin) -> list[str]:
    """In what the method is not the reference's."""
    run, original = origin.run, origin.original
    changes = []
    if run.identity is not None and not run.identity.identical:
        fields = ", ".join(difference.field for difference in run.identity.differences)
        changes.append(f"the architecture is not the reference's: {fields}")
    if original is not None:
        if run.tokenizer_sha256 != original.tokenizer_sha256:
            changes.append("the tokenizer is not the reference's")
        mine, theirs = run.recipe or {}, original.recipe or {}
        different = [f"{key} {theirs[key]} → {mine[key]}" for key in mine if key in theirs and mine[key] != theirs[key]]
        if different:
            changes.append(f"the recipe is not the reference's: {', '.join(different)}")
    return changes


def _has_manifest(directory: Path) -> bool:
    """Whether a manifest of ours is there; other programs write files of that name too."""
    path = directory / "manifest.json"
    return path.is_file() and '"replibench.manifest/' in path.read_text(encoding="utf-8", errors="replace")
