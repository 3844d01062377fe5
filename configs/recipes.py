"""How published models were trained, as far as that is known: `recipes/*.yaml`, typed, each value with its source."""

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from accounting.architecture import Architecture
from configs import presets
from configs.errors import BadInputError
from configs.files import Record
from configs.loader import explain, parse_yaml
from configs.schema import Count, Fraction, HalfOpenFraction, Initialisation, Natural, NonNegative, Positive

DIRECTORY = Path(__file__).with_name("recipes")

# What a recipe says, in the groups that one source speaks of.
Part = Literal[
    "batch", "learning_rate", "optimizer", "schedule", "initialisation", "precision", "tokens", "tasks", "controls"
]
Floats = Literal["fp32", "bf16", "fp16"]
NEEDED: Final[tuple[Part, ...]] = ("batch", "learning_rate", "optimizer", "schedule", "tokens")


class TrainedModel(Record):
    """What of a suite's recipe is one model's own. Its name is that of an architecture preset.

    `hub`: the ids of models that were trained so. `seeds`: further runs ID-seed1, ID-seed2, … of the first of them.
    `precision`: of the ids where it is not the suite's. `initialisation` (in words) and `initialise` (the value of
    `train.initialisation` that does it) likewise. `sources` has the origins of these, `notes` what sources disagree on.
    """

    hub: tuple[str, ...] = ()
    learning_rate: Positive
    batch_rows: Count
    seeds: Natural = 0
    precision: Mapping[str, Floats] = Field(default_factory=dict)
    initialisation: str | None = None
    initialise: Initialisation = "paper"
    sources: Mapping[Part, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _own_values_have_an_origin(self) -> Self:
        for part in ("precision", "initialisation"):
            if bool(getattr(self, part)) and part not in self.sources:
                raise ValueError(f"its own {part} needs an entry in its sources")
        strange = sorted(self.precision.keys() - {*self.hub})
        if strange:
            raise ValueError(f"precision: {strange[0]} is none of the ids in hub")
        if (self.initialisation is None) != (self.initialise == "paper"):
            raise ValueError("needs both initialisation and initialise, or neither")
        return self


class RevisionSteps(Record):
    """The steps of a model's revisions stepN: `early` ones, then one in `every` to the end."""

    early: tuple[Natural, ...]
    every: Count


class Recipe(Record):
    """The recipe of a suite of models. A part is published (`sources`) or somebody else's (`stand_ins`), or not there.

    Warm-up is a fraction of all tokens or a number of them; the decay goes to `final_fraction` of the peak over
    `decay_tokens` (all, where that is None). `tasks` are lm-eval's names of the benchmarks that its authors report as
    accuracies, `left_out` says which of theirs are not among them, and why.
    """

    suite: str
    sequence_length: Count
    tokens: Count
    betas: tuple[HalfOpenFraction, HalfOpenFraction]
    eps: Positive
    weight_decay: NonNegative
    gradient_clipping: NonNegative
    schedule: Literal["linear", "cosine"]
    warmup_fraction: HalfOpenFraction | None = None
    warmup_tokens: Count | None = None
    decay_tokens: Count | None = None
    final_fraction: Fraction
    precision: Floats | None = None
    initialisation: str | None = None
    corpus: str
    shots: Natural
    tasks: tuple[str, ...]
    left_out: str
    revision_steps: RevisionSteps | None = None
    sources: Mapping[Part, str]
    stand_ins: Mapping[Part, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    models: Annotated[Mapping[str, TrainedModel], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_part_has_an_origin(self) -> Self:
        for part in NEEDED:
            if (part in self.sources) == (part in self.stand_ins):
                raise ValueError(f"{part} needs an entry in sources or in stand_ins, and not in both")
        if (self.warmup_fraction is None) == (self.warmup_tokens is None):
            raise ValueError("needs warmup_fraction or warmup_tokens, and not both")
        return self


class KnownRecipe(NamedTuple):
    """A recipe and the model of it that was asked for. `by`: how it was recognised.

    `hub_id`: which of the model's ids it is taken for, of a preset the first; None without published weights, and for
    a shape that several ids have.
    """

    name: str
    model: TrainedModel
    recipe: Recipe
    by: Literal["id", "shape", "preset"]
    hub_id: str | None

    @property
    def precision(self) -> Floats | None:
        """Of the training; None where it is not published."""
        return self.model.precision.get(self.hub_id or "", self.recipe.precision)

    @property
    def initialisation(self) -> str | None:
        """In words; None where it is not published."""
        return self.model.initialisation or self.recipe.initialisation

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of the suite's recipe and of this model's."""
        notes = (*self.recipe.notes, *self.model.notes)
        if self.hub_id is not None or not self.model.precision:
            return notes
        each = (f"{name} in {self.model.precision.get(name, self.recipe.precision)}" for name in self.model.hub)
        return (*notes, f"Which of them this is its shape does not say: {', '.join(each)}; {self.precision} is taken.")

    def origin(self, part: Part) -> str:
        """Where a part of it is from, in words: a source, what stands in for one, or that there is none."""
        own = part in self.model.sources and (part != "precision" or self.hub_id in self.model.precision)
        source = self.model.sources[part] if own else self.recipe.sources.get(part)
        if source is not None:
            return source
        stand_in = self.recipe.stand_ins.get(part)
        return f"not published; taken instead: {stand_in}" if stand_in else "not published"

    @property
    def batch_tokens(self) -> int:
        """Tokens of an optimizer step."""
        return self.model.batch_rows * self.recipe.sequence_length

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole training."""
        return round(self.recipe.tokens / self.batch_tokens)

    @property
    def warmup_fraction(self) -> float:
        """Of the learning rate's horizon."""
        recipe = self.recipe
        if recipe.warmup_fraction is not None:
            return recipe.warmup_fraction
        return (recipe.warmup_tokens or 0) / (recipe.decay_tokens or recipe.tokens)

    @property
    def horizon_steps(self) -> int:
        """Steps until the learning rate is at its lowest."""
        return round((self.recipe.decay_tokens or self.recipe.tokens) / self.batch_tokens)

    @property
    def revision_steps(self) -> tuple[int, ...]:
        """The steps of which there are revisions stepN."""
        steps = self.recipe.revision_steps
        return () if steps is None else (*steps.early, *range(steps.every, self.steps + 1, steps.every))

    def controls(self, hub_id: str) -> tuple[str, ...]:
        """Hub ids of the other seeds of the very recipe by which `hub_id` was trained, itself one of them."""
        first = next(iter(self.model.hub), "")
        runs = (first, *(f"{first}-seed{n}" for n in range(1, self.model.seeds + 1)))
        return tuple(run for run in runs if run != hub_id) if hub_id in runs else ()


@functools.cache
def recipes() -> tuple[Recipe, ...]:
    """Every file of configs/recipes. Raises BadInputError, naming file and key, for one that is none."""
    return tuple(_read(path) for path in sorted(DIRECTORY.glob("*.yaml")))


def recipe_of_preset(name: str) -> KnownRecipe | None:
    """The recipe of an architecture preset; None where none is known."""
    return next((known for known in _all() if known.name == name), None)


def recipe_of_hub_id(hub_id: str) -> KnownRecipe | None:
    """The recipe of the model of that id; None where none is known. Another seed's id has its suite's recipe."""
    wanted = re.sub(r"-seed\d+$", "", hub_id)
    found = next((known for known in _all() if wanted in known.model.hub), None)
    return found._replace(by="id", hub_id=wanted) if found else None


def recipe_of_shape(shape: Architecture) -> KnownRecipe | None:
    """The recipe of the published model of that very architecture: a likely guess, and to be called one.

    Only of models with weights; where several have the shape, none. What is one hub id's own is not taken where the
    model has several: a copy of either has the shape.
    """
    same = [
        known for known in _all() if known.model.hub and _padded(presets.architecture(known.name)) == _padded(shape)
    ]
    if len(same) != 1:
        return None
    return same[0]._replace(by="shape", hub_id=same[0].hub_id if len(same[0].model.hub) == 1 else None)


def _padded(shape: Architecture) -> Architecture:
    # a config.json gives the rows of the embedding alone, a preset the tokenizer's entries as well
    return shape.model_copy(update={"vocab_size": shape.padded_vocab_size})


def _all() -> list[KnownRecipe]:
    return [
        KnownRecipe(name, model, recipe, "preset", next(iter(model.hub), None))
        for recipe in recipes()
        for name, model in recipe.models.items()
    ]


def _read(path: Path) -> Recipe:
    origin = f"configs/recipes/{path.name}"
    try:
        recipe = Recipe.model_validate(parse_yaml(path.read_text(encoding="utf-8"), origin))
    except ValidationError as error:
        raise BadInputError(f"{origin}: {explain(error, Recipe)}") from None
    for name in recipe.models:
        if name not in presets.architecture_names():
            raise BadInputError(f"{origin}: models.{name}: no such architecture preset")
    return recipe
