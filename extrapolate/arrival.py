"""When trends would have had a model: several estimates in months after its publication, weighted and combined."""

import datetime as dt
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

from pydantic import ConfigDict, Field

from configs.distributions import Z95
from configs.errors import BadInputError
from configs.files import Record
from extrapolate.distributions import Quantiles
from extrapolate.trends import MONTHS_PER_YEAR, Trend, date_of, year_of

CORRELATIONS = (0.0, 0.5, 1.0)  # shown beside the one that is asked for
MIXTURE: Literal["mixture"] = "mixture"


class Estimate(Record):
    """One way to say how many months after its publication a model was due: 90 % within `half_width_months` of it."""

    name: str
    months: float
    half_width_months: float
    weight: float


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
    """The weighted mean of normal estimates whose errors all have the same correlation with one another.

    Its variance is Σᵢ Σⱼ wᵢ wⱼ σᵢ σⱼ ρᵢⱼ, σ = half width / 1.645. Raises BadInputError for weights that do not sum
    to 1, and a correlation that n numbers cannot have, below −1/(n−1) or above 1.
    """
    _check(estimates)
    lowest = -1 / (len(estimates) - 1) if len(estimates) > 1 else -1.0
    if not lowest <= correlation <= 1:
        raise BadInputError(f"--correlation {correlation:g}: {len(estimates)} estimates have {lowest:.3g} to 1")
    parts = [each.weight * each.half_width_months for each in estimates]
    own, shared = sum(part**2 for part in parts), sum(parts) ** 2
    half = math.sqrt(max(0.0, (1 - correlation) * own + correlation * shared))
    mean = sum(each.weight * each.months for each in estimates)
    return Quantiles(p5=mean - half, median=mean, mean=mean, p95=mean + half)


def mixture(estimates: Sequence[Estimate]) -> Quantiles:
    """The distribution that is each estimate's with the probability of its weight."""
    _check(estimates)
    from scipy.optimize import brentq

    normals = [NormalDist(each.months, each.half_width_months / Z95) for each in estimates]
    low = min(one.mean - 10 * one.stdev for one in normals)
    high = max(one.mean + 10 * one.stdev for one in normals)

    def quantile(p: float) -> float:
        def above(months: float) -> float:
            return sum(each.weight * one.cdf(months) for each, one in zip(estimates, normals, strict=True)) - p

        return float(brentq(above, low, high, xtol=1e-9))

    mean = sum(each.weight * each.months for each in estimates)
    return Quantiles(p5=quantile(0.05), median=quantile(0.5), mean=mean, p95=quantile(0.95))


def estimates_from_trends(trends: Sequence[Trend], published: dt.date, weights: Sequence[float]) -> list[Estimate]:
    """Each trend's crossing, as months after the publication, with the error of its line."""
    return [
        Estimate(
            name=trend.name,
            months=(trend.crossing_year - year_of(published)) * MONTHS_PER_YEAR,
            half_width_months=trend.half_width_months,
            weight=weight,
        )
        for trend, weight in zip(trends, weights, strict=True)
    ]


def later(published: dt.date, months: float) -> dt.date:
    """The day so many months after another."""
    return date_of(year_of(published) + months / MONTHS_PER_YEAR)


def _check(estimates: Sequence[Estimate]) -> None:
    total = math.fsum(each.weight for each in estimates)
    if any(not each.weight >= 0 for each in estimates) or not abs(total - 1) <= 1e-6:
        raise BadInputError(f"--weights: must be 0 or more and sum to 1, not {total:g}")
    for each in estimates:
        if not (math.isfinite(each.months) and math.isfinite(each.half_width_months) and each.half_width_months > 0):
            raise BadInputError(f"estimate {each.name}: months must be finite, and its spread a finite number above 0")


def _dated(published: dt.date, months: Quantiles, correlation: float | None) -> Combined:
    p5, median, p95 = (later(published, each) for each in (months.p5, months.median, months.p95))
    return Combined(correlation=correlation, months=months, dates=(p5, median, p95))


def _warnings(estimates: Sequence[Estimate], trends: Sequence[Trend], published: dt.date) -> list[str]:
    said = []
    for trend in trends:
        if trend.oom_per_year < 2 * trend.oom_per_year_error:
            said.append(f"trend {trend.name}: its slope is not clearly above 0, and its crossing may never come")
    if len(estimates) > 1:
        said.append(
            "the correlation of the estimates' errors is not known: independent ones narrow the interval as if each "
            "had new evidence, which estimates from one table do not"
        )
    if any(trend.last >= published for trend in trends):
        said.append("a trend was fitted on models as late as the target itself")
    return said
