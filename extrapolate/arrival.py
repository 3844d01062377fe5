"""When trends would have had a model: several estimates in months after its publication, weighted and combined."""

import datetime as dt
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from pydantic import ConfigDict, Field

from configs import presets
from configs.distributions import Z95
from configs.errors import BadInputError
from configs.files import Record
from extrapolate.cost import MONTHS_PER_YEAR
from extrapolate.distributions import Quantiles
from extrapolate.trends import Trend, date_of, year_of

CORRELATIONS = (0.0, 0.5, 1.0)  # shown beside the one that is asked for
CLEAR_SLOPE_G = 0.2  # above it, Fieller's interval is far from symmetric and its late side is long
MIXTURE: Literal["mixture"] = "mixture"


class Estimate(Record):
    """One way to say how many months after its publication a model was due.

    It is as likely late as early; 90 % lie from `p5` to `p95`, half of a normal on either side of `months`.
    """

    name: str
    months: float
    p5: float
    p95: float
    weight: float

    @classmethod
    def within(cls, name: str, months: float, half_width: float, weight: float) -> "Estimate":
        """90 % as far to either side: a normal."""
        return cls(name=name, months=months, p5=months - half_width, p95=months + half_width, weight=weight)

    @property
    def sigmas(self) -> tuple[float, float]:
        """Standard deviation of the normal below the middle, and above it."""
        return (self.months - self.p5) / Z95, (self.p95 - self.months) / Z95

    @property
    def mean(self) -> float:
        """Of both halves: later than the middle where the late one is longer."""
        early, late = self.sigmas
        return self.months + (late - early) / math.sqrt(2 * math.pi)

    def share_before(self, months: float) -> float:
        """The probability of less than `months`."""
        return NormalDist(0, self.sigmas[months > self.months]).cdf(months - self.months)


class Combined(Record):
    """All estimates together. `correlation` of their errors; None: a mixture, one estimate at a time being right."""

    correlation: float | None
    months: Quantiles
    dates: tuple[dt.date, dt.date, dt.date] = Field(description="published + p5, median and p95 of the months")


class Arrival(Record):
    """When a model was due: positive months are how early it came."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.arrival/1"] = Field(default="replibench.arrival/1", alias="schema")
    target: str
    target_flop: float | None
    published: dt.date
    trends: tuple[Trend, ...]
    estimates: tuple[Estimate, ...]
    combined: Combined
    others: tuple[Combined, ...] = Field(description="the same with other correlations, and as a mixture")
    source: str
    warnings: tuple[str, ...]


def arrival(
    target: str,
    published: dt.date,
    estimates: Sequence[Estimate],
    correlation: float,
    source: str,
    trends: Sequence[Trend] = (),
    target_flop: float | None = None,
) -> Arrival:
    """Combine the estimates at `correlation`, and at 0, 0.5, 1 and as a mixture beside it.

    Raises BadInputError as `combine` does.
    """
    correlations = [c for c in CORRELATIONS if c != correlation]
    combined = _dated(published, combine(estimates, correlation), correlation)
    others = [_dated(published, combine(estimates, other), other) for other in correlations]
    others.append(_dated(published, mixture(estimates), None))
    return Arrival(
        target=target,
        target_flop=target_flop,
        published=published,
        trends=tuple(trends),
        estimates=tuple(estimates),
        combined=combined,
        others=tuple(others),
        source=source,
        warnings=tuple(_warnings(estimates, trends, published)),
    )


def combine(estimates: Sequence[Estimate], correlation: float) -> Quantiles:
    """The weighted mean of estimates whose errors all have the same correlation with one another.

    Each bound is away from the middle by √(Σᵢ Σⱼ wᵢ wⱼ dᵢ dⱼ ρᵢⱼ), d being how far the estimates' own bounds on that
    side are: exact for normals, and recovered from the bounds (Zou and Donner 2008, MOVER) where the sides differ.
    Raises BadInputError for weights that do not sum to 1, and a correlation that n numbers cannot have, below
    −1/(n−1) or above 1.
    """
    _check(estimates)
    lowest = -1 / (len(estimates) - 1) if len(estimates) > 1 else -1.0
    if not lowest <= correlation <= 1:
        raise BadInputError(f"--correlation {correlation:g}: {len(estimates)} estimates have {lowest:.3g} to 1")

    def away(distances: Sequence[float]) -> float:
        own, shared = sum(part**2 for part in distances), sum(distances) ** 2
        return math.sqrt(max(0.0, (1 - correlation) * own + correlation * shared))

    middle = sum(each.weight * each.months for each in estimates)
    return Quantiles(
        p5=middle - away([each.weight * (each.months - each.p5) for each in estimates]),
        median=middle,
        mean=sum(each.weight * each.mean for each in estimates),
        p95=middle + away([each.weight * (each.p95 - each.months) for each in estimates]),
    )


def mixture(estimates: Sequence[Estimate]) -> Quantiles:
    """The distribution that is each estimate's with the probability of its weight."""
    _check(estimates)
    from scipy.optimize import brentq

    low = min(each.months - 10 * each.sigmas[0] for each in estimates)
    high = max(each.months + 10 * each.sigmas[1] for each in estimates)

    def quantile(p: float) -> float:
        def above(months: float) -> float:
            return sum(each.weight * each.share_before(months) for each in estimates) - p

        return float(brentq(above, low, high, xtol=1e-9))

    mean = sum(each.weight * each.mean for each in estimates)
    return Quantiles(p5=quantile(0.05), median=quantile(0.5), mean=mean, p95=quantile(0.95))


def given_estimates(months: Sequence[float], half_width: float, weights: Sequence[float]) -> list[Estimate]:
    """Estimates that are given in months, with 90 % within the same half width of each."""
    return [
        Estimate.within(f"{each:g} months", each, half_width, weight)
        for each, weight in zip(months, weights, strict=True)
    ]


def estimates_from_trends(
    trends: Sequence[Trend], published: dt.date, weights: Sequence[float], half_width: float | None = None
) -> list[Estimate]:
    """Each trend's crossing, as months after the publication, with the interval of its line or the one given."""
    found = []
    for trend, weight in zip(trends, weights, strict=True):
        p5, months, p95 = trend.months_after(published)
        if half_width is None:
            found.append(Estimate(name=trend.name, months=months, p5=p5, p95=p95, weight=weight))
        else:
            found.append(Estimate.within(trend.name, months, half_width, weight))
    return found


def preset_flop(preset: str) -> float:
    """A target's training FLOP: as its authors published them, else 6·N·D.

    Raises BadInputError for a preset that does not exist or has no published tokens.
    """
    found = presets.architecture_preset(preset)
    if found.published is None or found.published.tokens is None:
        raise BadInputError(f"{preset} has no published tokens, so no FLOPs; give --target-flop")
    return found.published.training_flop or 6.0 * found.architecture.parameter_counts().total * found.published.tokens


def later(published: dt.date, months: float) -> dt.date:
    """The day so many months after another."""
    return date_of(year_of(published) + months / MONTHS_PER_YEAR)


def _check(estimates: Sequence[Estimate]) -> None:
    total = math.fsum(each.weight for each in estimates)
    if any(not each.weight >= 0 for each in estimates) or not abs(total - 1) <= 1e-6:
        raise BadInputError(f"--weights: must be 0 or more and sum to 1, not {total:g}")
    for each in estimates:
        if not (math.isfinite(each.p95 - each.p5) and each.p5 < each.months < each.p95):
            raise BadInputError(f"estimate {each.name}: months must be finite, and its spread a finite number above 0")


def _dated(published: dt.date, months: Quantiles, correlation: float | None) -> Combined:
    p5, median, p95 = (later(published, each) for each in (months.p5, months.median, months.p95))
    return Combined(correlation=correlation, months=months, dates=(p5, median, p95))


def _warnings(estimates: Sequence[Estimate], trends: Sequence[Trend], published: dt.date) -> list[str]:
    said = []
    for trend in trends:
        if trend.g > CLEAR_SLOPE_G:
            said.append(
                f"trend {trend.name}: its slope is hardly above 0 (g = {trend.g:.2f}; above {CLEAR_SLOPE_G:g} a line "
                "says little of when it gets there): look at the interval, not at its middle"
            )
    if len(estimates) > 1:
        said.append(
            "the correlation of the estimates' errors is not known: independent ones narrow the interval as if each "
            "had new evidence, which estimates from one table do not"
        )
    if any(trend.last >= published for trend in trends):
        said.append("a trend was fitted on models as late as the target itself")
    return said
