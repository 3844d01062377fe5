"""The case studies, typed: what is said of each model, cell by cell with its source, and what comes out here.

`cases.yaml` holds the nine of the study; a file of the user's own, in the same form, holds finished runs beside them.
Sizes, tokens and the authors' FLOP are the architecture preset's and stand there alone.
"""

import datetime
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, Self, TypeVar, cast, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    ValidationError,
    model_validator,
)

from accounting.accelerators import Dtype
from accounting.architecture import Architecture
from accounting.estimate import SpeedKind
from accounting.flops import Recompute
from configs import presets
from configs.errors import BadInputError, first_line
from configs.files import write_text
from configs.loader import explain, parse_yaml

PATH = Path(__file__).resolve().with_name("cases.yaml")
USERS = Path("cases.yaml")  # in the current directory

# How a developer came by the model, or others by its weights: the study's words. `original`: by none of them.
Mechanism = Literal[
    "original",
    "replication",
    "replication by model extraction",
    "incremental research",
    "multiple discovery",
    "open publication",
    "leak",
    "theft",
    "extortion",
    "not a replication",
    "unknown",
]
MECHANISMS = cast(tuple[Mechanism, ...], get_args(Mechanism))

# model: each operation of the mathematics once. hardware: what was run, recompute included. utilisation-derived:
# accelerator-hours × peak × a utilisation that was reported or assumed, so either of the two.
FlopKind = Literal["model", "hardware", "utilisation-derived", "unknown"]

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
T = TypeVar("T")


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Fact(_Part, Generic[T]):
    """One cell: the value, who says so, and the central 90 % where it is known. `note` is what else to know."""

    value: T
    interval90: tuple[float, float] | None = None
    source: Text
    note: Text | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.interval90 is not None:
            low, high = self.interval90
            if not (isinstance(self.value, int | float) and low <= self.value <= high):
                raise ValueError(f"interval90 {low:g} to {high:g} is not around the value {self.value}")
        return self


class FlopFact(Fact[PositiveFloat]):
    """Training FLOP as somebody published them. `convention` is the count of ours that they are, where it is known."""

    kind: FlopKind
    convention: presets.PublishedConvention = "unknown"

    def field_of_ours(self) -> str:
        """Which of our counts is like it: the one of that convention, else the usual one of its kind."""
        if self.convention != "unknown":
            return self.convention
        return "hardware_full_recompute" if self.kind == "hardware" else "six_nd"


class SpeedFact(Fact[PositiveFloat]):
    """A reported speed, in one of the four ways to say it, with the recompute that it was reached with."""

    kind: SpeedKind
    recompute: Recompute = "none"

    def words(self) -> str:
        """The speed as one says it: `147 TFLOP/s each with full recompute`."""
        said = {
            "mfu": f"MFU {100 * self.value:.4g} %",
            "hfu": f"HFU {100 * self.value:.4g} %",
            "flop_per_s_per_accelerator": f"{self.value / 1e12:.4g} TFLOP/s each",
            "tokens_per_s_per_accelerator": f"{self.value:,.0f} tokens/s each",
        }[self.kind]
        return said if self.recompute == "none" else f"{said} with {self.recompute} recompute"


class AcceleratorFact(Fact[Text]):
    """What it was trained on. `row` is its row of accelerators.yaml, `precision` what the peak is of."""

    row: str | None = None
    precision: Dtype = "bf16"


class Project(_Part):
    """Model and project."""

    developer: Fact[Text] | None = None
    organisation: Fact[Text] | None = None
    country: Fact[Text] | None = None
    paper: Fact[Text] | None = None
    aim: Fact[Text] | None = None


class Release(_Part):
    """Release and mechanism. `mechanism`: how the developer came by it; `onward`: how others come by its weights."""

    published: Fact[datetime.date] | None = None
    training_began: Fact[datetime.date] | None = None
    training_ended: Fact[datetime.date] | None = None
    publication_delay_months: Fact[PositiveFloat] | None = None
    months_before_trend: Fact[PositiveFloat] | None = None
    mechanism: Fact[Mechanism] | None = None
    onward: Fact[Mechanism] | None = None
    weights: Fact[Text] | None = None
    training_code: Fact[Text] | None = None
    people_with_weights: Fact[PositiveFloat] | None = None


class Resources(_Part):
    """Compute, hardware, cost, team and data."""

    training_flop: tuple[FlopFact, ...] = ()  # beside the authors' own, which the preset has
    accelerator: AcceleratorFact | None = None
    accelerators: Fact[PositiveInt] | None = None
    training_hours: Fact[PositiveFloat] | None = None
    accelerator_hours: Fact[PositiveFloat] | None = None
    speed: SpeedFact | None = None
    final_run_usd: Fact[PositiveFloat] | None = None
    power_w: Fact[PositiveFloat] | None = None
    compute_from: Fact[Text] | None = None
    authors: Fact[PositiveInt] | None = None
    people: Fact[Text] | None = None
    data_set: Fact[Text] | None = None
    data_set_tokens: Fact[PositiveFloat] | None = None
    epochs: Fact[PositiveFloat] | None = None


class Factors(_Part):
    """What made it easier or sooner, and what stood in its way."""

    accelerating: tuple[Fact[Text], ...] = ()
    hindering: tuple[Fact[Text], ...] = ()


class Other(_Part):
    """What fits nowhere else."""

    remarks: tuple[Fact[Text], ...] = ()


class Case(_Part):
    """One model: an architecture preset, whose figures are linked, or a shape and tokens of its own."""

    title: Text
    preset: str | None = None
    architecture: Architecture | None = None
    tokens: PositiveInt | None = None
    sequence_length: PositiveInt | None = None  # the model's context
    model_source: Text | None = None  # of architecture and tokens
    project: Project = Project()
    release: Release = Release()
    resources: Resources = Resources()
    factors: Factors = Factors()
    other: Other = Other()

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        own = (self.architecture, self.tokens, self.model_source)
        if (self.preset is None) == (None in own) or (self.preset is not None and own != (None, None, None)):
            raise ValueError("needs preset, or architecture, tokens and model_source, and not both")
        if self.preset is not None and self._published().tokens is None:
            raise ValueError(f"preset {self.preset} has no published tokens")
        if self.resources.accelerator is not None and self.resources.accelerator.row is not None:
            presets.accelerator(self.resources.accelerator.row)
        return self

    def _published(self) -> presets.Published:
        published = presets.architecture_preset(self.preset or "").published
        if published is None:
            raise ValueError(f"preset {self.preset} has no published figures")
        return published

    def shape(self) -> Architecture:
        """The architecture, the preset's or its own."""
        return self.architecture or presets.architecture(self.preset or "")

    def training_tokens(self) -> int:
        """Tokens seen in training, published or its own."""
        return self.tokens or self._published().tokens or 0

    def parameters_fact(self) -> Fact[float]:
        """Parameters as published; of a run of one's own, as counted."""
        if self.preset is None:
            return Fact(value=float(self.shape().parameter_counts().total), source=self.model_source or "")
        published = self._published()
        counted = float(self.shape().parameter_counts().total)
        return Fact(value=published.parameters or counted, source=published.source)

    def tokens_fact(self) -> Fact[int]:
        """Tokens seen, with their source."""
        source = self.model_source if self.preset is None else self._published().source
        return Fact(value=self.training_tokens(), source=source or "")

    def date_fact(self) -> Fact[datetime.date] | None:
        """When it was published; of what was not, when training ended or began."""
        return self.release.published or self.release.training_ended or self.release.training_began

    def flop_facts(self) -> tuple[FlopFact, ...]:
        """Every published number of training FLOP, the authors' own first, each with its kind."""
        if self.preset is None:
            return self.resources.training_flop
        theirs = self._published()
        if theirs.training_flop is None or theirs.training_flop_convention is None:
            return self.resources.training_flop
        convention = theirs.training_flop_convention
        kind: FlopKind = "hardware" if convention.startswith("hardware") else "model"
        own = FlopFact(value=theirs.training_flop, kind=kind, convention=convention, source=theirs.source)
        return (own, *self.resources.training_flop)


class Entry(NamedTuple):
    """A cell of a case by its place. A field that holds several facts has an entry for each."""

    group: str
    field: str
    fact: Fact[Any] | None  # None: no source at hand


GROUPS: dict[str, str] = {
    "project": "model and project",
    "release": "release and mechanism",
    "resources": "resources",
    "factors": "accelerating and hindering factors",
    "other": "other",
}


def entries(case: Case) -> Iterator[Entry]:
    """Every cell in the order of the groups, the linked ones among them; an empty field is one entry without a fact."""
    linked: dict[str, tuple[Fact[Any], ...]] = {
        "parameters": (case.parameters_fact(),),
        "tokens": (case.tokens_fact(),),
        "training_flop": case.flop_facts(),
    }
    for group in GROUPS:
        part: BaseModel = getattr(case, group)
        fields = {name: getattr(part, name) for name in type(part).model_fields}
        if group == "project":
            fields = {"parameters": (), "tokens": (), **fields}
        for field, value in fields.items():
            facts = linked.get(field, value if isinstance(value, tuple) else (value,) if value else ())
            for fact in facts or (None,):
                yield Entry(group, field, fact)


@functools.cache
def case_studies() -> Mapping[str, Case]:
    """The nine of the study, by name, in the order of their publication."""
    return parse_cases(PATH.read_text(encoding="utf-8"), "configs/cases.yaml")


def users_cases(path: Path) -> dict[str, Case]:
    """Those in a file of the user's; none where it is not there. Raises BadInputError as `parse_cases` does."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {first_line(error)}") from None
    return parse_cases(text, str(path))


def parse_cases(text: str, origin: str) -> dict[str, Case]:
    """The cases of such a file by name. Raises BadInputError naming `origin`, the case and the key."""
    tree = parse_yaml(text, origin)
    if tree is None:  # an empty file
        return {}
    if not isinstance(tree, dict) or not all(
        isinstance(name, str) and isinstance(row, dict) for name, row in tree.items()
    ):
        raise BadInputError(f"{origin}: must be a mapping of names, each with a mapping of keys")
    return {name: _case(row, f"{origin}: {name}") for name, row in tree.items()}


def add_case(path: Path, name: str, case: Case) -> None:
    """Append a case to a user's file, atomically. Raises BadInputError for a case or a name that is there already.

    What is in the file already stays as it is written, comments included.
    """
    there = users_cases(path)
    same = next((known for known, one in there.items() if one == case), None)
    if same is not None:
        raise BadInputError(f"{path}: this run is there already, as {same}")
    if name in there or name in case_studies():
        where = str(path) if name in there else "the case studies"
        raise BadInputError(f"--name: {name} is in {where} already; give another name")
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    tree = {name: case.model_dump(mode="json", exclude_defaults=True)}
    added = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=120)
    text = f"{before.rstrip()}\n\n{added}" if before.strip() else added
    parse_cases(text, str(path))  # what is there may be written so that nothing can be appended
    write_text(path, text)


def _case(row: dict[str, Any], origin: str) -> Case:
    try:
        return Case.model_validate(row)
    except ValidationError as error:
        raise BadInputError(f"{origin}: {explain(error, Case)}") from None
    except BadInputError as error:  # an unknown preset or accelerator
        raise BadInputError(f"{origin}: {error}") from None
