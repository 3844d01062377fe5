"""Published runs of which both is known, what training counted and what was booked for it (booked.yaml)."""

import functools
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from accounting.accelerators import Dtype
from configs.errors import BadInputError
from configs.loader import explain, parse_yaml

ORIGIN = "configs/booked.yaml"
PATH = Path(__file__).resolve().with_name("booked.yaml")


class GoodputRow(BaseModel):
    """The share of the booked time that is in the model: printed, or days over days."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: Annotated[float, Field(gt=0, lt=1)] | None = None
    useful_days: PositiveFloat | None = None
    booked_days: PositiveFloat | None = None
    at_least: bool = False
    source: str

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        days = (self.useful_days, self.booked_days)
        if (self.share is None) == (days == (None, None)) or (None in days and days != (None, None)):
            raise ValueError("needs share, or useful_days and booked_days")
        if not 0 < self.value < 1:
            raise ValueError(f"useful_days {self.useful_days} are not less than booked_days {self.booked_days}")
        return self

    @property
    def value(self) -> float:
        """The share."""
        return self.share if self.share is not None else (self.useful_days or 0) / (self.booked_days or 1)


class EffectiveRow(BaseModel):
    """A training run: what it trained, and the accelerator-hours. `booked`: lost time is in them.

    `cluster`, `batch` and `team` are of a machine whose steps can be timed, and of the team's row in throughput.yaml.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    tokens: PositiveInt
    accelerator: str
    dtype: Dtype
    accelerator_hours: PositiveFloat
    booked: bool = True
    cluster: str | None = None
    batch: PositiveInt | None = None
    team: str | None = None
    source: str

    @model_validator(mode="after")
    def _batch_of_a_cluster(self) -> Self:
        if (self.cluster is None) != (self.batch is None):
            raise ValueError("cluster and batch go together")
        return self


class BookedRuns(BaseModel):
    """Both tables, by run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    goodput: Annotated[dict[str, GoodputRow], Field(min_length=2)]
    effective_mfu: Annotated[dict[str, EffectiveRow], Field(min_length=2)]


@functools.cache
def booked_runs() -> BookedRuns:
    """The file. Raises BadInputError, naming the key, for a wrong one."""
    return parse_booked(PATH.read_text(encoding="utf-8"))


def parse_booked(text: str) -> BookedRuns:
    """Such a file. Raises BadInputError as `booked_runs` does."""
    tree: Any = parse_yaml(text, ORIGIN)
    try:
        return BookedRuns.model_validate(tree)
    except ValidationError as error:
        raise BadInputError(f"{ORIGIN}: {explain(error, BookedRuns)}") from None
