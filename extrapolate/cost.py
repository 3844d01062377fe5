"""Accelerator-hours to dollars: compute, staff and data, each with its interval, and what they depend on most."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field

from accounting.accelerators import Accelerator
from configs import presets
from configs.costs import CostAssumptions
from configs.distributions import MOST_SAMPLES, Distribution, Kind
from configs.errors import BadInputError
from configs.files import Record
from extrapolate.distributions import (
    SHARES_FROM,
    Correlated,
    Draws,
    Quantiles,
    draws,
    first_order_shares,
    normal_scores,
    quantiles,
)
from extrapolate.prices import PriceAtDate, price_at

HOURS_PER_YEAR = 8766
DAYS_PER_MONTH = 365.25 / 12
MONTHS_PER_YEAR = 12
DRIVERS = "first-order share of the variance of log total"


class Assumption(Record):
    """An input as it was drawn; `given`: as draws, by the forecast that asked."""

    name: str
    unit: str
    distribution: Kind | Literal["given"]
    parameters: dict[str, float] = Field(
        description="low, high, minimum or value as written; mu and sigma of the log or logit; of draws, quantiles"
    )
    source: str

    @classmethod
    def of(cls, name: str, unit: str, belief: Distribution) -> "Assumption":
        """The belief under its name, with the normal that it is drawn from."""
        parameters = {key: getattr(belief, key) for key in ("value", "low", "high", "minimum")}
        if belief.distribution in ("lognormal", "logit_normal"):
            parameters["mu"], parameters["sigma"] = belief.normal()
        return cls(
            name=name,
            unit=unit,
            distribution=belief.distribution,
            parameters={key: value for key, value in parameters.items() if value is not None},
            source=belief.source,
        )


class Driver(Record):
    """An input and how much of the variance of the total's log goes when it is known."""

    input: str
    share: float


class CostUsd(Record):
    """Dollars. `total` is compute, staff and data; `to_pay` is the total less sponsored compute."""

    compute: Quantiles
    staff: Quantiles
    dataset: Quantiles
    total: Quantiles
    to_pay: Quantiles


class CostForecast(Record):
    """What it costs, with 90 % intervals, and every belief behind it.

    Compute and staff are one ratio: `compute_to_labour` is r, `compute_share` is r / (1 + r), draw by draw. Percentiles
    and median of the share are those of the ratio; its mean is not.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.cost/1"] = Field(default="replibench.cost/1", alias="schema")
    accelerator: str
    price_date: dt.date
    usd_per_accelerator_hour: Quantiles
    cost_usd: CostUsd
    compute_share: Quantiles
    compute_to_labour: Quantiles
    drivers: tuple[Driver, ...] = Field(description=DRIVERS)
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]
    samples: int
    seed: int


@dataclass(frozen=True)
class _Input:
    """A belief with its name and unit, before it is drawn."""

    belief: Distribution
    unit: str


def cost(
    accelerator_hours: Draws | float | Distribution,
    accelerator: str,
    date: dt.date,
    assumptions: CostAssumptions,
    *,
    days: Draws | float | None = None,
    hours_from: Mapping[str, Draws] | None = None,
    seed: int = 0,
    samples: int = 100_000,
) -> CostForecast:
    """The cost of a training run of so many accelerator-hours at the prices of `date`.

    `accelerator_hours` is of the final run, lost work included: draws (shape: samples), a number, or a distribution.
    `days` is how long the final run takes, draws that belong to the hours' or a number; they are paid for on top of
    `staff.months`. `hours_from` is what the hours were computed from, draws by name: `drivers` has them instead of the
    hours. What is multiplied: hours × `experiments_multiplier` × price of an hour; people × months / 12 ×
    salary × overhead. Inputs are independent but for `correlations`, in which hours are called `accelerator_hours`.
    The same arguments give the same numbers. Raises BadInputError for draws that are not positive numbers or not
    `samples` of them, an accelerator without a price at that date, and correlations that cannot be.
    """
    if not 1_000 <= samples <= MOST_SAMPLES:
        raise BadInputError(f"samples: {samples} is not between 1,000 and {MOST_SAMPLES:,}")
    machine = presets.accelerator(accelerator)
    given = _given(accelerator_hours, days, samples)
    inputs, price = _inputs(assumptions, machine, date, accelerator_hours)
    pairs = [Correlated(*pair.between, pair.correlation) for pair in assumptions.correlations]
    constants = [name for name, one in inputs.items() if one.belief.distribution == "constant"]
    scores = normal_scores(
        [name for name in inputs if name not in constants],
        pairs,
        seed,
        samples,
        {name: values for name, values in given.items() if name == "accelerator_hours"},
        constants,
    )
    drawn = {name: draws(one.belief, scores.get(name, np.zeros(samples))) for name, one in inputs.items()} | given
    hourly = _usd_per_hour(drawn, price.years, machine)
    parts = _parts(drawn, hourly)
    ratio = parts["compute"] / parts["staff"]
    labour = quantiles(ratio)
    return CostForecast(
        accelerator=accelerator,
        price_date=date,
        usd_per_accelerator_hour=quantiles(hourly),
        cost_usd=_cost_usd(parts),
        compute_share=_share(labour, ratio),
        compute_to_labour=labour,
        drivers=_drivers(parts["total"], drawn, hours_from),
        assumptions=tuple(_assumption(name, inputs.get(name), values) for name, values in drawn.items()),
        warnings=(*price.warnings, *_warnings(assumptions)),
        samples=samples,
        seed=seed,
    )


def _given(hours: Draws | float | Distribution, days: Draws | float | None, samples: int) -> dict[str, Draws]:
    """What comes from outside, each of `samples` draws."""
    found = {}
    for name, value in (("accelerator_hours", hours), ("days", days)):
        if value is None or isinstance(value, Distribution):
            continue
        values = np.asarray(value, dtype=np.float64)
        if values.ndim and values.shape != (samples,):
            raise BadInputError(f"{name}: {values.size} draws, where samples is {samples}")
        if not (np.isfinite(values).all() and (values > 0).all()):
            raise BadInputError(f"{name}: must be finite numbers above 0")
        found[name] = np.broadcast_to(values, (samples,))
    return found


def _inputs(
    beliefs: CostAssumptions, machine: Accelerator, date: dt.date, hours: Draws | float | Distribution
) -> tuple[dict[str, _Input], PriceAtDate]:
    """Every input that this way of paying needs, by the key a user knows it by."""
    inputs = {"accelerator_hours": _Input(hours, "hours")} if isinstance(hours, Distribution) else {}
    if beliefs.compute == "rental":
        own = beliefs.rental.usd_per_accelerator_hour
        price = (
            PriceAtDate(own, 0.0, ())
            if own
            else price_at(machine.name, date, beliefs.rental.contract, beliefs.rental.window_days)
        )
        inputs["rental.usd_per_accelerator_hour"] = _Input(price.belief, "USD")
    else:
        owned = beliefs.ownership
        own = owned.purchase_usd
        price = PriceAtDate(own, 0.0, ()) if own else price_at(machine.name, date, "purchase", owned.window_days)
        if machine.power_w is None:
            raise BadInputError(f"{machine.name}: has no power_w in configs/accelerators.yaml; set `compute: rental`")
        inputs |= {
            "ownership.purchase_usd": _Input(price.belief, "USD"),
            "ownership.server_and_network_multiplier": _Input(owned.server_and_network_multiplier, "times the price"),
            "ownership.years": _Input(owned.years, "years"),
            "ownership.utilisation": _Input(owned.utilisation, "share of hours"),
            "ownership.power_multiplier": _Input(owned.power_multiplier, "times the TDP"),
            "ownership.pue": _Input(owned.pue, "times the servers' power"),
            "ownership.usd_per_kwh": _Input(owned.usd_per_kwh, "USD"),
        }
    if price.years:
        inputs["price_performance_doubling_years"] = _Input(beliefs.price_performance_doubling_years, "years")
    inputs |= {
        "experiments_multiplier": _Input(beliefs.experiments_multiplier, "times the final run"),
        "staff.people": _Input(beliefs.staff.people, "full-time people"),
        "staff.months": _Input(beliefs.staff.months, "months"),
        "staff.usd_per_person_year": _Input(beliefs.staff.usd_per_person_year, "USD"),
        "staff.overhead_multiplier": _Input(beliefs.staff.overhead_multiplier, "times the salary"),
        "dataset_usd": _Input(beliefs.dataset_usd, "USD"),
    }
    if beliefs.sponsored.share is not None:
        inputs["sponsored.share"] = _Input(beliefs.sponsored.share, "share of compute")
    if beliefs.sponsored.usd is not None:
        inputs["sponsored.usd"] = _Input(beliefs.sponsored.usd, "USD")
    return inputs, price


def _usd_per_hour(drawn: Mapping[str, Draws], years: float, machine: Accelerator) -> Draws:
    """The price of an accelerator-hour; a listed price halves with every doubling of what a dollar buys."""
    trend = np.exp2(-years / drawn["price_performance_doubling_years"]) if years else 1.0
    if "rental.usd_per_accelerator_hour" in drawn:
        return drawn["rental.usd_per_accelerator_hour"] * trend
    one = {name.removeprefix("ownership."): values for name, values in drawn.items()}
    hours = one["years"] * HOURS_PER_YEAR * one["utilisation"]
    capital = one["purchase_usd"] * trend * one["server_and_network_multiplier"] / hours
    kilowatts = (machine.power_w or 0) / 1000 * one["power_multiplier"] * one["pue"]
    return capital + kilowatts * one["usd_per_kwh"]


def _parts(drawn: Mapping[str, Draws], hourly: Draws) -> dict[str, Draws]:
    """Dollars by what they are spent on, and together. Nobody is paid for more compute than there is."""
    compute = drawn["accelerator_hours"] * drawn["experiments_multiplier"] * hourly
    months = drawn["staff.months"] + (drawn["days"] / DAYS_PER_MONTH if "days" in drawn else 0)
    salary = drawn["staff.usd_per_person_year"] * drawn["staff.overhead_multiplier"]
    staff = drawn["staff.people"] * (months / MONTHS_PER_YEAR) * salary
    dataset = drawn["dataset_usd"]
    total = compute + staff + dataset
    parts = {"compute": compute, "staff": staff, "dataset": dataset, "total": total}
    if "sponsored.share" in drawn:
        parts["to_pay"] = total - compute * drawn["sponsored.share"]
    elif "sponsored.usd" in drawn:
        parts["to_pay"] = total - np.minimum(compute, drawn["sponsored.usd"])
    return parts


def _cost_usd(parts: Mapping[str, Draws]) -> CostUsd:
    found = {name: quantiles(usd) for name, usd in parts.items()}
    return CostUsd(**{"to_pay": found["total"], **found})


def _share(labour: Quantiles, ratio: Draws) -> Quantiles:
    """r / (1 + r) rises with r, so its percentiles are those of r; its mean has to be taken over the draws."""
    p5, median, p95 = (r / (1 + r) for r in (labour.p5, labour.median, labour.p95))
    return Quantiles(p5=p5, median=median, mean=float((ratio / (1 + ratio)).mean()), p95=p95)


def _drivers(
    total: Draws, drawn: Mapping[str, Draws], hours_from: Mapping[str, Draws] | None = None
) -> tuple[Driver, ...]:
    """Sponsored compute changes no total, and the days are the hours over the number of accelerators."""
    left_out = ("sponsored.", "days", *(("accelerator_hours",) if hours_from else ()))
    inputs = {name: values for name, values in drawn.items() if not name.startswith(left_out)} | dict(hours_from or {})
    shares = first_order_shares(np.log(total[:SHARES_FROM]), inputs)
    return tuple(Driver(input=name, share=share) for name, share in shares.items())


def _assumption(name: str, one: _Input | None, values: Draws) -> Assumption:
    if one is None:
        unit = "days" if name == "days" else "hours"
        parameters = quantiles(values).model_dump()
        return Assumption(name=name, unit=unit, distribution="given", parameters=parameters, source="the forecast")
    return Assumption.of(name, one.unit, one.belief)


def _warnings(beliefs: CostAssumptions) -> tuple[str, ...]:
    said = ["experiments and failed attempts cost accelerator-hours; the staff's time for them is in staff.months"]
    if not beliefs.correlations:
        said.append("the inputs are drawn independently of one another")
    if beliefs.dataset_usd.value == 0:
        said.append("the data set costs nothing here")
    return tuple(said)
