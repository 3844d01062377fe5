"""The named presets beside this file, from YAML to typed values: architectures, accelerators, clusters."""

import difflib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError

from accounting.accelerators import Accelerator, Dtype
from accounting.architecture import Architecture, from_hf_config
from configs.errors import BadInputError
from configs.forecast import Range90
from configs.loader import explain, parse_yaml

PRESETS = Path(__file__).resolve().parent

M = TypeVar("M", bound=BaseModel)


class PublishedTraining(BaseModel):
    """What the original's authors say its training took, in FLOP, for so many tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    training_flop: PositiveFloat
    tokens: PositiveInt
    source: str


class ArchitecturePreset(BaseModel):
    """An architecture with where it comes from, what to know about it, and its published training FLOP if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: Architecture
    source: str
    notes: tuple[str, ...] = ()
    published: PublishedTraining | None = None


class Cluster(BaseModel):
    """So many accelerators of one kind, the data type they train in, and the price of one for an hour."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    accelerator: Accelerator
    count: PositiveInt
    dtype: Dtype
    price_usd_per_accelerator_hour: Range90
    source: str


def architecture_names() -> list[str]:
    """The names that `architecture` takes."""
    return _names_in("architectures")


def cluster_names() -> list[str]:
    """The names that `cluster` takes."""
    return _names_in("clusters")


def architecture(name: str) -> Architecture:
    """The architecture of that name. Raises BadInputError, naming the nearest choices, for one that is not there."""
    return architecture_preset(name).architecture


@functools.cache
def architecture_preset(name: str) -> ArchitecturePreset:
    """The architecture of that name with its sources; BadInputError as above, and for a file that is not one."""
    _check_known("architecture", name, architecture_names())
    origin, tree = _read(f"architectures/{name}.yaml")
    try:
        tree["architecture"] = from_hf_config(tree.pop("hf_config", {}))
    except ValidationError as error:
        raise BadInputError(f"{origin}: hf_config: {explain(error, Architecture)}") from None
    except ValueError as error:
        raise BadInputError(f"{origin}: hf_config: {error}") from None
    return _validated(ArchitecturePreset, {"name": name, **tree}, origin)


@functools.cache
def accelerators() -> tuple[Accelerator, ...]:
    """Every row of accelerators.yaml, in its order."""
    origin, tree = _read("accelerators.yaml")
    return tuple(_validated(Accelerator, {"name": name, **row}, f"{origin}: {name}") for name, row in tree.items())


def accelerator(name: str) -> Accelerator:
    """The accelerator of that name. Raises BadInputError, naming the nearest choices, for one that is not there."""
    rows = {row.name: row for row in accelerators()}
    _check_known("accelerator", name, list(rows))
    return rows[name]


@functools.cache
def cluster(name: str) -> Cluster:
    """The cluster of that name. Raises BadInputError, naming the nearest choices, for one that is not there."""
    _check_known("cluster", name, cluster_names())
    origin, tree = _read(f"clusters/{name}.yaml")
    tree["accelerator"] = accelerator(str(tree.get("accelerator")))
    return _validated(Cluster, {"name": name, **tree}, origin)


def _names_in(directory: str) -> list[str]:
    return sorted(path.stem for path in (PRESETS / directory).glob("*.yaml"))


def _check_known(kind: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.4)
    nearest = f"; did you mean {' or '.join(close)}?" if close else ""
    raise BadInputError(f"unknown {kind} {name!r}{nearest} (choices: {', '.join(known)})")


def _read(relative: str) -> tuple[str, dict[str, Any]]:
    origin = f"configs/{relative}"
    try:
        tree = parse_yaml((PRESETS / relative).read_text(encoding="utf-8"), origin)
    except OSError as error:
        raise BadInputError(f"{origin}: cannot be read: {error.strerror}") from None
    if not isinstance(tree, dict):
        raise BadInputError(f"{origin}: must be a mapping of keys")
    return origin, tree


def _validated(kind: type[M], tree: dict[str, Any], origin: str) -> M:
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise BadInputError(f"{origin}: {explain(error, kind)}") from None
