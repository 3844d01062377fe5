"""What a forecast of cost assumes: `costs/default.yaml`, or a user's own file with the same keys, typed."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from configs.distributions import Distribution, Multiplier, Positive, PositiveShare, Share, is_number
from configs.errors import BadInputError
from configs.loader import explain, parse_yaml

DEFAULT = Path(__file__).with_name("costs") / "default.yaml"

Contract = Literal["any", "on_demand", "one_year", "three_years"]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rental(_Section):
    """An accelerator by the hour. Without a price of one's own: those listed around the date."""

    contract: Contract = Field(description="which listed prices: on demand, committed for one or three years, or any")
    window_days: Annotated[int, BeforeValidator(is_number), Field(ge=1)] = Field(
        description="prices listed on the date or at most so many days before it count as of the date"
    )
    usd_per_accelerator_hour: Positive | None = Field(default=None, description="instead of the listed prices")


class Ownership(_Section):
    """An accelerator that is bought: its price over the hours that it is used, and their energy."""

    window_days: Annotated[int, BeforeValidator(is_number), Field(ge=1)] = Field(description="as for `rental`")
    purchase_usd: Positive | None = Field(default=None, description="of one accelerator, instead of the listed prices")
    server_and_network_multiplier: Multiplier = Field(description="of the purchase price")
    years: Positive = Field(description="until it is written off")
    utilisation: PositiveShare = Field(description="hours in use over all hours of those years")
    power_multiplier: Positive = Field(description="mean power of the whole server over the accelerators' TDP")
    pue: Multiplier = Field(description="power of the building over power of the servers")
    usd_per_kwh: Positive


class Staff(_Section):
    """Everybody who is paid for the project; people × months / 12 × salary × overhead."""

    people: Positive = Field(description="at full time; a part of a person counts as that part")
    months: Positive = Field(description="besides the days of the final run, which are added where they are known")
    usd_per_person_year: Positive = Field(description="salary, bonus and stock")
    overhead_multiplier: Multiplier = Field(description="what an employer pays over what the person gets")


class Sponsored(_Section):
    """Compute that somebody else pays: a share of it, or so many dollars' worth. Never both."""

    share: Share | None = None
    usd: Distribution | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.share is not None and self.usd is not None:
            raise ValueError("give a share or usd, not both")
        return self


class Correlation(_Section):
    """Of the normal scores of two inputs (a Gaussian copula): for two log-normals, of their logs."""

    between: tuple[str, str]
    correlation: Annotated[float, BeforeValidator(is_number), Field(ge=-1, le=1)]


class CostAssumptions(_Section):
    """Every belief behind a cost, each with its source."""

    compute: Literal["rental", "ownership"]
    rental: Rental
    ownership: Ownership
    price_performance_doubling_years: Positive = Field(
        description="carries a listed price to a date with none: it halves in so many years"
    )
    experiments_multiplier: Multiplier = Field(
        description="accelerator-hours of everything over those of the final run: experiments and failed attempts"
    )
    staff: Staff
    dataset_usd: Distribution = Field(description="collecting, cleaning, storing; a constant 0 for data there already")
    sponsored: Sponsored
    correlations: tuple[Correlation, ...] = ()

    @field_validator("correlations")
    @classmethod
    def _each_pair_once(cls, pairs: tuple[Correlation, ...]) -> tuple[Correlation, ...]:
        seen = [frozenset(pair.between) for pair in pairs]
        for pair in pairs:
            if len(frozenset(pair.between)) == 1:
                raise ValueError(f"{pair.between[0]} is correlated with itself; name two inputs")
            if seen.count(frozenset(pair.between)) > 1:
                raise ValueError(f"{' and '.join(pair.between)} are given twice")
        return pairs


def cost_assumptions(path: Path | None = None) -> CostAssumptions:
    """The assumptions in `path`, by default those that come with the harness.

    Raises BadInputError, naming the file and the key, for what cannot be read, an unknown key, or a range that is none.
    """
    path = path or DEFAULT
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"), path.name)
        return CostAssumptions.model_validate(tree)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    except ValidationError as error:
        raise BadInputError(f"{path.name}: {explain(error, CostAssumptions)}") from None
