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
ENOUGH = 3  # sellers, to have a spread of their own
MOST_YEARS = 3  # that a price is carried: in three it more than halves, by a trend that is of new hardware

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
    """The price of an accelerator at a date, as its listings of at most `window_days` before it say.

    What was listed later was not known at the date. The price is log-normal, with the mean and standard deviation of
    the log price of a seller drawn by lot and one of its contracts drawn by lot: sellers count alike, however much each
    of them lists. Fewer than three sellers have no spread of their own and get that of all accelerators, with a
    warning. Where nothing is listed in the window, the last listings before the date are taken, or the first ones after
    it, and `years` says how far they are to be carried. Raises BadInputError for an accelerator that is unknown, that
    has no listed price at all, or that there was not yet, and for a date that is more than `MOST_YEARS` from a listing.
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
        centre = max((each.date for each in listings if each.date <= date), default=listings[0].date)
        used = _within(listings, centre, window_days)
        warnings.append(
            f"no {_words(what)} price of {accelerator} is listed in the {window_days} days before {date}: those of "
            f"{centre} are carried along the price-performance trend, which is of new hardware's purchase"
        )
    years = (date - centre).days / DAYS_PER_YEAR
    if abs(years) > MOST_YEARS:
        raise BadInputError(
            f"{accelerator}: the {_words(what)} price listed nearest to {date} is of {centre}, {abs(years):.1f} years "
            f"away, and none is carried for more than {MOST_YEARS}; take a nearer date, or {own}"
        )
    sellers = _by_seller(used, what)
    if len(sellers) < ENOUGH:
        warnings.append(
            f"{_counted(len(sellers), what)} of {accelerator} in the window: how far sellers differ is taken from all "
            "accelerators"
        )
    if any(each.accelerator != accelerator for each in used):
        warnings.append(
            f"some of the prices are of {used[0].accelerator.split('-')[0]} in general, not of {accelerator}"
        )
    return PriceAtDate(_lognormal(sellers, used, what), years, tuple(warnings))


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
    return [each for each in listings if 0 <= (date - each.date).days <= days]


def _by_seller(listings: Sequence[ListedPrice], what: What) -> list[list[float]]:
    """Of each seller the log price under each contract: the mean of its listings.

    Who sells is often not said for a purchase: there each page counts.
    """
    groups: dict[str, dict[str, list[float]]] = {}
    for each in listings:
        for contract, price in _values(each, what).items():
            groups.setdefault(each.vendor or each.listed_at, {}).setdefault(contract, []).append(math.log(price))
    return [[statistics.fmean(logs) for logs in contracts.values()] for contracts in groups.values()]


def _lognormal(sellers: Sequence[Sequence[float]], used: Sequence[ListedPrice], what: What) -> Distribution:
    """The log-normal of that mixture's moments: the variance between sellers and the mean one within them."""
    means = [statistics.fmean(logs) for logs in sellers]
    mu = statistics.fmean(means)
    between = statistics.stdev(means) if len(means) >= ENOUGH else 0.0
    between = between or _usual_spread(what)  # the same price three times is no certainty either
    sigma = math.hypot(between, math.sqrt(statistics.fmean(statistics.pvariance(logs) for logs in sellers)))
    names = sorted({each.vendor for each in used} - {""})
    said = f" ({', '.join(names)})" if names else ""
    prices = [price for each in used for price in _values(each, what).values()]
    first, last = used[0].date, used[-1].date
    return Distribution(
        distribution="lognormal",
        low=math.exp(mu - Z95 * sigma),
        high=math.exp(mu + Z95 * sigma),
        source=f"{_counted(len(sellers), what)}, listed {first} to {last}{said}, "
        f"{min(prices):,.2f} to {max(prices):,.2f} USD; {SOURCE}",
    )


def _usual_spread(what: What) -> float:
    """Standard deviation of sellers' log prices of one accelerator in one year, over all accelerators and years."""
    groups: dict[tuple[str, int], list[ListedPrice]] = {}
    for each in listed_prices():
        groups.setdefault((each.accelerator, each.date.year), []).append(each)
    deviations, free = 0.0, 0
    for group in groups.values():
        means = [statistics.fmean(logs) for logs in _by_seller(group, what)]
        if len(means) > 1:
            deviations += statistics.variance(means) * (len(means) - 1)
            free += len(means) - 1
    return math.sqrt(deviations / free)


def _counted(sellers: int, what: What) -> str:
    return f"{_words(what)} prices of {sellers} seller{'s' if sellers > 1 else ''}"


def _words(what: What) -> str:
    return {"any": "rental", "purchase": "purchase"}.get(what, what.replace("_", "-"))
