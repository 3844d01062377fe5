"""What a forecast is of: the target, the machine, the date of the prices, and the beliefs that replace the defaults."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from configs.distributions import MOST_SAMPLES, PositiveShare, is_number
from configs.errors import BadInputError
from configs.prices import parse_date

Count = Annotated[int, BeforeValidator(is_number), Field(ge=1)]


class ForecastConfig(BaseModel):
    """The target, the machine and the date of one forecast."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: str = Field(default="gpt3-175b", description="an architecture preset")
    tokens: Count | None = Field(default=None, description="to train on; null: those published of the target")
    sequence_length: Count | None = Field(default=None, description="null: the target's context")
    cluster: str = Field(
        default="1024xa100-sxm-80gb",
        description="COUNTxACCELERATOR, or a cluster preset; this one is the size of OPT-175B's",
    )
    batch: Count | None = Field(
        default=None, description="sequences a step, over all devices; null: as GPT-3's (docs/forecast.md)"
    )
    price_date: str = Field(default="2025-03", description="of the accelerators' prices; the latest that are listed")
    assumptions: str | None = Field(default=None, description="a file like configs/costs/default.yaml; null: that one")
    goodput: PositiveShare | None = Field(
        default=None,
        description="share of booked hours that ends up in the model; null: your own run's, or published",
    )
    samples: Annotated[int, BeforeValidator(is_number), Field(ge=1_000, le=MOST_SAMPLES)] = Field(
        default=100_000, description="Monte Carlo draws"
    )
    seed: Annotated[int, BeforeValidator(is_number), Field(ge=0)] = Field(default=0, description="of the draws")

    @field_validator("target", "cluster", "price_date")
    @classmethod
    def _can_be_found(cls, value: str, info: Any) -> str:
        from configs import presets  # late: presets needs the loader, which needs this module

        look_up: dict[str, Callable[[str], object]] = {
            "target": presets.architecture,
            "cluster": presets.cluster,
            "price_date": parse_date,
        }
        try:
            look_up[info.field_name](value)
        except BadInputError as error:
            raise ValueError(str(error)) from None
        return value
