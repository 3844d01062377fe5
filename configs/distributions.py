"""An uncertain input as a user writes it: the name of a distribution, its range, and where that is from."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MOST_SAMPLES = 10_000_000  # of a forecast: some gigabytes of memory
Z95 = 1.6448536269514722  # the standard normal's 95th percentile

Kind = Literal["lognormal", "logit_normal", "uniform", "constant"]


def is_number(value: Any) -> Any:
    """Refuse YAML's `yes` and `on`: they become True, and pydantic would read True as 1."""
    if isinstance(value, bool):
        raise ValueError("is a truth value, not a number")
    return value


Number = Annotated[float, BeforeValidator(is_number), Field(ge=0, allow_inf_nan=False)]


class Distribution(BaseModel):
    """What is believed of a number that is not negative.

    `lognormal` and `logit_normal` (of a share) have their central 90 % between `low` and `high`; `uniform` lies between
    them; `constant` is `value`. Draws below `minimum` are set to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    distribution: Kind
    low: Number | None = None
    high: Number | None = None
    value: Number | None = None
    minimum: Number | None = None
    source: str = "given by the user"

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        if self.distribution == "constant":
            if self.value is None or self.low is not None or self.high is not None or self.minimum is not None:
                raise ValueError("a constant has a `value`, and neither low, high nor minimum")
            return self
        if self.low is None or self.high is None or self.value is not None:
            raise ValueError(f"a {self.distribution} has `low` and `high`, and no value")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}; for a certainty, a constant")
        if self.distribution != "uniform" and self.low == 0:
            raise ValueError(f"low must be above 0: a {self.distribution} never reaches it")
        if self.distribution == "logit_normal" and self.high >= 1:
            raise ValueError(f"is a share: high {self.high:g} must be below 1")
        if self.minimum is not None and self.minimum >= self.high:
            raise ValueError(f"minimum {self.minimum:g} must be below high {self.high:g}")
        return self

    @property
    def least(self) -> float:
        """No draw is below it."""
        if self.distribution == "constant":
            return float(self.value or 0)
        return max(self.minimum or 0.0, (self.low or 0.0) if self.distribution == "uniform" else 0.0)

    def normal(self) -> tuple[float, float]:
        """Mean and standard deviation of the normal of the log (lognormal) or of the logit (logit_normal)."""
        if self.low is None or self.high is None or self.distribution not in ("lognormal", "logit_normal"):
            raise ValueError(f"a {self.distribution} has no normal")
        low, high = (
            math.log(x) if self.distribution == "lognormal" else math.log(x / (1 - x)) for x in (self.low, self.high)
        )
        return (low + high) / 2, (high - low) / 2 / Z95


def _above_zero(belief: Distribution) -> Distribution:
    if belief.value == 0 or belief.high == 0:
        raise ValueError("must be above 0")
    return belief


def _share(belief: Distribution) -> Distribution:
    if belief.distribution == "lognormal" or max(belief.value or 0, belief.high or 0) > 1:
        raise ValueError("is a share, 0 to 1: give a logit_normal, a uniform or a constant")
    return belief


def _at_least_one(belief: Distribution) -> Distribution:
    if belief.least < 1:
        raise ValueError("counts the final run too, so it is never below 1: set `minimum: 1`")
    return belief


Positive = Annotated[Distribution, AfterValidator(_above_zero)]
Share = Annotated[Distribution, AfterValidator(_share)]
PositiveShare = Annotated[Distribution, AfterValidator(_share), AfterValidator(_above_zero)]
Multiplier = Annotated[Distribution, AfterValidator(_at_least_one)]
