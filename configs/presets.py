"""The named presets beside this file, from YAML to typed values: architectures, accelerators, nodes, clusters."""

import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PositiveFloat, PositiveInt, ValidationError, model_validator

from accounting.accelerators import Accelerator, Dtype
from accounting.architecture import Architecture
from accounting.hf_config import from_hf_config, sizes_left_out
from configs.errors import BadInputError
from configs.loader import explain, parse_yaml

PRESETS = Path(__file__).resolve().parent
MOST_ACCELERATORS = 10**6
FEW = 6  # choices that are listed beside the nearest ones

M = TypeVar("M", bound=BaseModel)


# Which of our counts a published number of FLOP is (docs/accounting.md); unknown where none of them reproduces it.
PublishedConvention = Literal[
    "six_nd",
    "six_nd_non_embedding",
    "model_exact",
    "model_exact_causal",
    "hardware_full_recompute",
    "hardware_selective_recompute",
    "unknown",
]


class Deviation(BaseModel):
    """How far a published figure is from ours beyond its last digit, and what they count otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    percent: PositiveFloat
    because: str


class Published(BaseModel):
    """What the original's authors say of it. None: they do not, or no source was found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameters: PositiveFloat | None = None
    parameters_deviation: Deviation | None = None
    tokens: PositiveInt | None = None
    training_flop: PositiveFloat | None = None
    training_flop_deviation: Deviation | None = None
    training_flop_convention: PublishedConvention | None = None
    source: str

    @model_validator(mode="after")
    def _flop_with_its_convention(self) -> Self:
        if (self.training_flop is None) != (self.training_flop_convention is None):
            raise ValueError("training_flop and training_flop_convention go together")
        return self


class ArchitecturePreset(BaseModel):
    """An architecture with where it comes from, what to know about it, and what was published of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    architecture: Architecture
    source: str
    notes: tuple[str, ...] = ()
    published: Published | None = None


class Node(BaseModel):
    """Accelerators that stand together, and what they can send to others, in one direction, all adapters at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    accelerators: PositiveInt
    bandwidth_bytes_per_s: PositiveFloat
    source: str


class Cluster(BaseModel):
    """So many accelerators of one kind in equal nodes, and the data type they train in. No node: none is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    accelerator: Accelerator
    count: PositiveInt
    node: Node | None
    dtype: Dtype
    source: str


def architecture_names() -> list[str]:
    """The names that `architecture` takes."""
    return _names_in("architectures")


def cluster_names() -> list[str]:
    """The names that `cluster` takes: files with an accelerator that the planner can count."""
    return [name for name in _names_in("clusters") if "count" in _read(f"clusters/{name}.yaml")[1]]


def architecture(name: str) -> Architecture:
    """The architecture of that name. Raises BadInputError, naming the nearest choices, for one that is not there."""
    return architecture_preset(name).architecture


@functools.cache
def architecture_preset(name: str) -> ArchitecturePreset:
    """The architecture of that name with its sources; BadInputError as above, and for a file that is not one."""
    _check_known("architecture", name, architecture_names())
    origin, tree = _read(f"architectures/{name}.yaml")
    if ("hf_config" in tree) == ("architecture" in tree):
        raise BadInputError(f"{origin}: needs hf_config or architecture, and not both")
    if "hf_config" in tree:
        shape = _from_hf_config(tree.pop("hf_config"), f"{origin}: hf_config")
        used = {"vocab_size": tree.pop("vocab_size")} if "vocab_size" in tree else {}
        tree["architecture"] = {**shape.model_dump(), **used}
    return _validated(ArchitecturePreset, {"name": name, **tree}, origin)


def model_architecture(model: str) -> tuple[Architecture, tuple[str, ...]]:
    """The architecture of a preset's name, a Hugging Face checkpoint's directory, or a config.json.

    With it the sizes that a config.json leaves to its family's defaults. Raises BadInputError for what is none of
    the three, and for a config.json that cannot be counted, naming its key.
    """
    path = Path(model)
    if model in architecture_names() or not model.strip():  # ./NAME is how to say the directory
        return architecture(model), ()
    if path.is_dir():
        path = path / "config.json"
    elif not path.exists() and path.suffix != ".json":
        try:
            return architecture(model), ()
        except BadInputError as error:
            raise BadInputError(f"{error} Nor is it a path: give a checkpoint's directory or its config.json") from None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: is not JSON: {error}") from None
    return _from_hf_config(config, str(path)), sizes_left_out(config)


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
    """The cluster of that name, or `COUNTxACCELERATOR`, such as 1024xa100-sxm-80gb, in that accelerator's usual nodes.

    Raises BadInputError, naming the nearest choices, for a preset, a count or an accelerator that cannot be.
    """
    if name[:1].isdigit() or name[:1] in ("-", "+"):
        return _of_accelerators(name)
    try:
        _check_known("cluster", name, cluster_names())
    except BadInputError as error:
        raise BadInputError(f"{error}; or give COUNTxACCELERATOR, such as 1024xa100-sxm-80gb") from None
    origin, tree = _read(f"clusters/{name}.yaml")
    tree.pop("launch", None)  # configs/profiles.py
    tree["accelerator"] = accelerator(str(tree.get("accelerator")))
    return _validated(Cluster, {"name": name, "node": nodes().get(tree["accelerator"].name), **tree}, origin)


@functools.cache
def nodes() -> Mapping[str, Node]:
    """The usual node of each accelerator that has one: nodes.yaml."""
    origin, tree = _read("nodes.yaml")
    return {name: _validated(Node, row, f"{origin}: {name}") for name, row in tree.items()}


def _of_accelerators(name: str) -> Cluster:
    count, _, kind = name.partition("x")
    if not (count.isdecimal() and 1 <= int(count) <= MOST_ACCELERATORS):
        raise BadInputError(
            f"{name}: {count!r} is not a number of accelerators; write COUNTxACCELERATOR with a whole number from 1 to "
            f"{MOST_ACCELERATORS:,}, such as 1024xa100-sxm-80gb"
        )
    try:
        row = accelerator(kind)
    except BadInputError as error:
        raise BadInputError(f"{name}: {error}") from None
    dtype: Dtype = "bf16" if row.peak("bf16") else "fp16"
    return Cluster(
        name=name, accelerator=row, count=int(count), node=nodes().get(kind), dtype=dtype, source="given by the user"
    )


def _from_hf_config(config: Any, origin: str) -> Architecture:
    if not isinstance(config, dict):
        raise BadInputError(f"{origin}: must be a mapping of keys")
    try:
        return from_hf_config(config)
    except ValidationError as error:
        raise BadInputError(f"{origin}: {explain(error, Architecture)}") from None
    except ValueError as error:
        raise BadInputError(f"{origin}: {error}") from None


def _names_in(directory: str) -> list[str]:
    return sorted(path.stem for path in (PRESETS / directory).glob("*.yaml"))


def _check_known(kind: str, name: str, known: Sequence[str]) -> None:
    if name in known:
        return
    begun = [choice for choice in known if name and choice.startswith(name.lower())]
    close = (begun + [c for c in difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4) if c not in begun])[:3]
    nearest = f"; did you mean {' or '.join(close)}?" if close else ""
    all_of_them = "" if close and len(known) > FEW else f" (choices: {', '.join(known)})"
    raise BadInputError(f"unknown {kind} {name!r}{nearest}{all_of_them}")


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
