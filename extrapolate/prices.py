"""What an accelerator cost at a date: the prices that were listed then, or the nearest ones carried along a trend."""

import datetime as dt
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from configs import presets
from configs.costs import Contract
from configs.distributions import Z95, Distribution
from configs.errors import BadInputError
from configs.prices import SOURCE, ListedPrice, listed_prices, releases

DAYS_PER_YEAR = 365.25
ENOUGH = 3  # prices, to have a spread of their own

What = Contract | Literal["purchase"]
KEYS = {"purchase": "ownership.purchase_usd"}  # how a user gives a price of their own; else the rental's
CONTRACTS = ("on_demand", "one_year", "three_years")


@dataclass(frozen=True)
class PriceAtDate:
    """A log-normal price in USD, `years` (of the date after its listings) still to be carried along the trend."""

    belief: Distribution
    years: float
    warnings: tuple[str, ...]


def price_at(accelerator: str, date: dt.date, what: What, window_days: int) -> PriceAtDate:
    """The price of an accelerator at a date, as its listings of at most `window_days` around it say.

    Each seller and contract counts once, with the geometric mean of its listings; the price is log-normal with the mean
    and standard deviation of their logs. Fewer than three prices have no spread of their own and get that of all
    accelerators. Where there is no listing in the window, those around the nearest one are taken, and `years` says how
    far they are to be carried. Raises BadInputError for an accelerator that is unknown, that has no listed price at
    all, or that there was not yet.
    """
    presets.accelerator(accelerator)
    listings = _listings(accelerator, what)
    own = f"give {KEYS.get(what, 'rental.usd_per_accelerator_hour')}"
    if not listings:
        raise BadInputError(f"{accelerator}: no {_words(what)} price is listed in configs/facts; {own}")
    _check_existed(accelerator, date, listings[0].date, window_days, own)
    centre, warnings = date, []
    used = _within(listings, date, window_days)
    if not used:
        centre = min((each.date for each in listings), key=lambda listed: abs(listed - date))
        used = _within(listings, centre, window_days)
        warnings.append(
            f"no {_words(what)} price of {accelerator} is listed within {window_days} days of {date}: those around "
            f"{centre} are carried along the price-performance trend, which is of new hardware's purchase"
        )
    prices = _by_seller(used, what)
    if len(prices) < ENOUGH:
        warnings.append(
            f"{len(prices)} {_words(what)} price{'s' if len(prices) > 1 else ''} of {accelerator}: the spread is that "
            "of all accelerators"
        )
    if any(each.accelerator != accelerator for each in used):
        warnings.append(
            f"some of the prices are of {used[0].accelerator.split('-')[0]} in general, not of {accelerator}"
        )
    return PriceAtDate(_lognormal(prices, used, what), (date - centre).days / DAYS_PER_YEAR, tuple(warnings))


def _listings(accelerator: str, what: What) -> list[ListedPrice]:
    found = [each for each in listed_prices() if each.is_of(accelerator) and _values(each, what)]
    return sorted(found, key=lambda each: each.date)


def _values(listing: ListedPrice, what: What) -> dict[str, float]:
    """The prices of a listing that are asked for, by contract."""
    names = CONTRACTS if what == "any" else (what,)
    return {name: getattr(listing, name) for name in names if getattr(listing, name) is not None}


def _check_existed(accelerator: str, date: dt.date, listed: dt.date, window_days: int, own: str) -> None:
    released = releases().get(accelerator)
    first = listed - dt.timedelta(days=window_days) if released is None else min(released, listed)
    if date >= first:
        return
    if released is None:
        raise BadInputError(
            f"{accelerator}: no price is listed before {listed}, and when it came out is not in configs/facts, so "
            f"there is none for {date}; take a later date, or {own}"
        )
    raise BadInputError(f"{accelerator}: there was none on {date}: it came out on {first}; take a later date, or {own}")


def _within(listings: Sequence[ListedPrice], date: dt.date, days: int) -> list[ListedPrice]:
    return [each for each in listings if abs((each.date - date).days) <= days]


def _by_seller(listings: Sequence[ListedPrice], what: What) -> list[float]:
    """One price a seller and contract: the geometric mean. Who sells is often not said for a purchase: each counts."""
    groups: dict[tuple[str, str], list[float]] = {}
    for each in listings:
        for contract, price in _values(each, what).items():
            groups.setdefault((each.vendor or each.listed_at, contract), []).append(price)
    return [statistics.geometric_mean(prices) for prices in groups.values()]


def _lognormal(prices: Sequence[float], used: Sequence[ListedPrice], what: What) -> Distribution:
    logs = [math.log(price) for price in prices]
    mu = statistics.fmean(logs)
    sigma = statistics.stdev(logs) if len(logs) >= ENOUGH else 0.0
    sigma = sigma or _usual_spread(what)  # the same price three times is no certainty either
    sellers = sorted({each.vendor for each in used} - {""})
    said = f" ({', '.join(sellers)})" if sellers else ""
    first, last = used[0].date, used[-1].date
    return Distribution(
        distribution="lognormal",
        low=math.exp(mu - Z95 * sigma),
        high=math.exp(mu + Z95 * sigma),
        source=f"{len(prices)} {_words(what)} price{'s' if len(prices) > 1 else ''} listed {first} to {last}{said}, "
        f"{min(prices):,.2f} to {max(prices):,.2f} USD; {SOURCE}",
    )


def _usual_spread(what: What) -> float:
    """Standard deviation of the log of prices of one accelerator in one year, over all accelerators and years."""
    groups: dict[tuple[str, int], list[ListedPrice]] = {}
    for each in listed_prices():
        groups.setdefault((each.accelerator, each.date.year), []).append(each)
    deviations, free = 0.0, 0
    for group in groups.values():
        logs = [math.log(price) for price in _by_seller(group, what)]
        if len(logs) > 1:
            deviations += statistics.variance(logs) * (len(logs) - 1)
            free += len(logs) - 1
    return math.sqrt(deviations / free)


def _words(what: What) -> str:
    return {"any": "rental", "purchase": "purchase"}.get(what, what.replace("_", "-"))
