"""Are a reference's revisions what their names say? Published suites have had copies and swaps of them.

Of every revision that is looked at the sha256 of its tensors is compared with all others'. Of one and its neighbours in
training the distances are, too (with torch): weights move away from where they were, so of three in a row the first and
the last are the farthest apart. Where another pair is, by a margin, the middle one is not where it belongs. main comes
after the last step, of which it may be a copy.
"""

import hashlib
import json
import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field

from configs.errors import BadInputError
from configs.files import Record, sha256_of
from train import hub

# Distances of stationary noise are all alike, those of a random walk grow as the square root of the steps: by 1.41 from
# one step to two. Between the two, so that neither a model that has converged nor a swap of neighbours is misread.
MARGIN: Final = 1.15
MAIN = "main"


class RevisionFacts(Record):
    """One revision: `step` by its name, None for main and others; the sha256 of all its tensors together."""

    name: str
    step: int | None
    weights_sha256: str
    config_sha256: str | None = None
    tokenizer_sha256: str | None = None


class Finding(Record):
    """Something that is not as it should be, the revisions that it is about, and a sentence."""

    kind: Literal["identical", "out_of_order", "other_config", "other_tokenizer", "no_safetensors"]
    revisions: tuple[str, ...]
    words: str


class Diagnosis(Record):
    """What `replibench doctor` found of a reference."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.doctor/1"] = Field("replibench.doctor/1", alias="schema")
    reference: str
    revisions: tuple[RevisionFacts, ...] = Field(description="in the order of training, main last")
    order_checked: tuple[str, ...] = Field(description="the revisions of which three in a row were compared")
    findings: tuple[Finding, ...]


def examine(reference: str, revision: str | None = None) -> Diagnosis:
    """Compare all revisions; or `revision`, its neighbours and main. Of a directory revisions are its subdirectories.

    Of a hub id the weights' sha256 are had without a download; only `revision` and its neighbours are fetched, for the
    distances. Raises BadInputError for a reference without revisions, WorkFailedError where the hub cannot be reached.
    """
    directory = Path(reference)
    if directory.is_dir():
        names = [path.name for path in directory.iterdir() if any(path.glob(hub.WEIGHTS))]
    elif "/" in reference and hub.looks_like_an_id(reference):
        names = list(hub.branches(reference))
    else:
        raise BadInputError(f"{reference}: no such directory, and not a hub id such as EleutherAI/pythia-70m")
    chosen = _chosen(_in_order(names), revision, reference)
    last = max((step_of(name) or 0 for name in names), default=0)
    steps = [name for name in chosen if step_of(name) is not None]
    if MAIN in chosen and last in map(step_of, steps):
        steps.append(MAIN)
    without: list[str] = []
    if directory.is_dir():
        places = {name: directory / name for name in chosen}
        facts = [_facts_of_directory(name, place) for name, place in places.items()]
    else:
        described = {name: hub.describe(reference, name) for name in chosen}
        facts = [_facts_of_hub(found) for found in described.values() if found.weights_sha256]
        without = [name for name, found in described.items() if not found.weights_sha256]
        steps = [] if revision is None else [name for name in steps if name not in without]
        places = {name: hub.snapshot(reference, name) for name in steps}
    findings = (
        *_without(without),
        *_identical(facts, last),
        *_other_files(facts),
        *_out_of_order({name: places[name] for name in steps}),
    )
    checked = tuple(steps) if len(steps) > 2 else ()
    return Diagnosis(reference=reference, revisions=tuple(facts), order_checked=checked, findings=findings)


def step_of(name: str) -> int | None:
    """The step that a revision's name ends with: step1000, step-00001000, global_step512."""
    match = re.fullmatch(r".*step[-_]?(\d+)", name)
    return int(match[1]) if match else None


def tensors_sha256(directory: Path) -> str:
    """Of every tensor of a directory's safetensors: names, types, shapes and bytes; not of how they are filed.

    Raises BadInputError for a file that is cut off or none.
    """
    found: dict[str, str] = {}
    for path in sorted(directory.glob(hub.WEIGHTS)):
        try:
            found |= _tensors_of(path)
        except (OSError, ValueError, KeyError, struct.error) as error:
            raise BadInputError(f"{path}: is no safetensors file, or cut off: {error}") from None
    if not found:
        raise BadInputError(f"{directory}: no weights (*.safetensors) in it")
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def distance(one: Path, other: Path) -> float:
    """Of two directories' weights, Euclidean, over all tensors. Raises BadInputError where their tensors differ."""
    import torch
    from safetensors import safe_open

    total = 0.0
    where = [{key: path for path in sorted(d.glob(hub.WEIGHTS)) for key in _header(path)[0]} for d in (one, other)]
    if where[0].keys() != where[1].keys():
        key = sorted(where[0].keys() ^ where[1].keys())[0]
        raise BadInputError(f"{one.name} and {other.name}: are not of one architecture: only one has {key}")
    for key in where[0]:
        with safe_open(where[0][key], framework="pt") as a, safe_open(where[1][key], framework="pt") as b:
            x, y = a.get_tensor(key), b.get_tensor(key)
        if x.shape != y.shape:
            raise BadInputError(f"{one.name} and {other.name}: are not of one architecture: {key} differs in shape")
        if x.is_floating_point():
            total += float(torch.linalg.vector_norm((x.float() - y.float()).double())) ** 2
    return float(total**0.5)


def _in_order(names: Sequence[str]) -> list[str]:
    """By step; those without one after them, main last."""
    return sorted(names, key=lambda name: (step_of(name) is None, step_of(name) or 0, name == MAIN, name))


def _chosen(names: Sequence[str], revision: str | None, reference: str) -> list[str]:
    if len(names) < 2:
        raise BadInputError(
            f"{reference}: has no revisions to compare: it needs two subdirectories or branches at least"
        )
    if revision is None:
        return list(names)
    if revision not in names:
        raise BadInputError(f"--revision: {revision}: {reference} has no such one{hub.nearest(revision, names)}")
    if step_of(revision) is None and revision != MAIN:  # of no place in the training, so without neighbours
        return [name for name in names if name in (revision, MAIN)]
    row = [name for name in names if step_of(name) is not None or name == MAIN]
    at = min(max(row.index(revision), 1), max(1, len(row) - 2))  # an end has its two neighbours on one side
    return [name for name in names if name in (*row[at - 1 : at + 2], MAIN)]


def _facts_of_directory(name: str, place: Path) -> RevisionFacts:
    files = {
        key: place / file for key, file in (("config_sha256", "config.json"), ("tokenizer_sha256", "tokenizer.json"))
    }
    others = {key: sha256_of(path) for key, path in files.items() if path.is_file()}
    return RevisionFacts(name=name, step=step_of(name), weights_sha256=tensors_sha256(place), **others)


def _facts_of_hub(found: hub.Revision) -> RevisionFacts:
    together = hashlib.sha256(json.dumps(found.weights_sha256, sort_keys=True).encode()).hexdigest()
    return RevisionFacts(name=found.name, step=step_of(found.name), weights_sha256=together)


def _without(names: Sequence[str]) -> Iterator[Finding]:
    if names:
        words = f"{', '.join(names)}: no safetensors weights, and pickled ones are never loaded; not compared"
        yield Finding(kind="no_safetensors", revisions=tuple(names), words=words)


def _identical(facts: Sequence[RevisionFacts], last: int) -> Iterator[Finding]:
    same: dict[str, list[RevisionFacts]] = defaultdict(list)
    for each in facts:
        same[each.weights_sha256].append(each)
    for group in same.values():
        # main is the last step, and may be
        if len(group) > 1 and {each.name for each in group if each.step != last} != {MAIN}:
            names = tuple(each.name for each in group)
            yield Finding(
                kind="identical", revisions=names, words=f"{', '.join(names)} have the same weights, to the bit"
            )


def _other_files(facts: Sequence[RevisionFacts]) -> Iterator[Finding]:
    """Revisions of one training have one configuration and one tokenizer."""
    for kind, field, what in (
        ("other_config", "config_sha256", "config.json"),
        ("other_tokenizer", "tokenizer_sha256", "tokenizer.json"),
    ):
        known = [(each.name, getattr(each, field)) for each in facts if getattr(each, field) is not None]
        values = [value for _, value in known]
        common = max(set(values), key=values.count, default=None)
        names = tuple(name for name, value in known if value != common)
        if names:
            words = f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} another {what} than the others"
            yield Finding.model_validate({"kind": kind, "revisions": names, "words": words})


def _out_of_order(places: Mapping[str, Path]) -> Iterator[Finding]:
    """Three in a row at a time: the outer two should be the farthest apart."""
    names = list(places)
    if len(names) < 3:
        return
    beside = {pair: distance(places[pair[0]], places[pair[1]]) for pair in pairwise(names)}
    for first, middle, last in zip(names, names[1:], names[2:], strict=False):
        ends = distance(places[first], places[last])
        before, after = beside[first, middle], beside[middle, last]
        if max(before, after) > MARGIN * ends:
            words = (
                f"{middle} does not lie between {first} and {last}: it is {before:.3g} from the one and {after:.3g} "
                "from "
                f"the other, which are {ends:.3g} apart; one of the three holds the weights of another step"
            )
            yield Finding(kind="out_of_order", revisions=(first, middle, last), words=words)


def _tensors_of(path: Path) -> dict[str, str]:
    header, start = _header(path)
    found = {}
    with path.open("rb") as stream:
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            stream.seek(start + begin)
            data = stream.read(end - begin)
            if len(data) < end - begin:
                raise ValueError(f"{name} is not there whole")
            what = f"{entry['dtype']} {entry['shape']} ".encode()
            found[name] = hashlib.sha256(what + data).hexdigest()
    return found


def _header(path: Path) -> tuple[dict[str, dict[str, list[int]]], int]:
    """The tensors of a safetensors file, and where their bytes start (huggingface/safetensors: 8 bytes, JSON, data)."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return header, 8 + length
