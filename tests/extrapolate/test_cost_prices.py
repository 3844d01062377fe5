"""Prices at a date: what is listed, what is carried along the trend, and what there is none of."""

import csv
import datetime as dt
import math
import statistics
from typing import Literal

import pytest

from configs import presets
from configs.errors import BadInputError
from configs.prices import FACTS, listed_prices, parse_date, releases
from extrapolate.prices import price_at

JANUARY_2022 = dt.date(2022, 1, 15)


def test_every_listing_is_of_an_accelerator_or_a_family() -> None:
    names = [row.name for row in presets.accelerators()]
    for listing in listed_prices():
        assert any(listing.is_of(name) for name in names), listing.accelerator
    assert set(releases()) <= set(names)


def test_an_accelerator_was_listed_once_it_was_out() -> None:
    """Within the months that Epoch's dates of release and of prices differ by."""
    for listing in listed_prices():
        for name, released in releases().items():
            if listing.accelerator == name and not listing.purchase:
                assert listing.date >= released - dt.timedelta(days=31), listing


def by_seller(accelerator: str, date: dt.date, window: int, *contracts: str) -> dict[str, dict[str, list[float]]]:
    """Logs of the listed prices by vendor and contract, from the file itself."""
    found: dict[str, dict[str, list[float]]] = {}
    with (FACTS / "accelerator_prices.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            days = (date - dt.date.fromisoformat(row["date"])).days
            if row["accelerator"] == accelerator and 0 <= days <= window:
                for contract in contracts:
                    if row[contract]:
                        sold = found.setdefault(row["vendor"], {})
                        sold.setdefault(contract, []).append(math.log(float(row[contract])))
    return found


def test_the_price_is_that_of_the_listings_before_the_date() -> None:
    """Read from the file apart: each seller's geometric mean, then mean and deviation of the logs."""
    date = dt.date(2025, 3, 17)
    sellers = by_seller("h100-sxm-80gb", date, 30, "on_demand")
    assert len(sellers) >= 5
    logs = [statistics.fmean(contracts["on_demand"]) for contracts in sellers.values()]
    found = price_at("h100-sxm-80gb", date, "on_demand", 30)
    assert found.belief.normal() == pytest.approx((statistics.fmean(logs), statistics.stdev(logs)))
    assert found.years == 0
    assert not found.warnings
    assert "Lambda Labs" in found.belief.source
    assert "CC-BY" in found.belief.source


def test_any_contract_is_a_seller_by_lot_and_one_of_its_contracts_by_lot() -> None:
    """The log-normal has the moments of that lottery, drawn here; what is between sellers is theirs as a sample."""
    date, contracts = dt.date(2025, 3, 17), ("on_demand", "one_year", "three_years")
    sellers = [
        [statistics.fmean(logs) for logs in sold.values()]
        for sold in by_seller("a100-sxm-80gb", date, 183, *contracts).values()
    ]
    assert len(sellers) >= 3 and len({len(logs) for logs in sellers}) > 1
    many = math.lcm(*(len(logs) for logs in sellers))
    lottery = [each for logs in sellers for each in logs * (many // len(logs))]
    count = len(sellers)
    between = statistics.pvariance([statistics.fmean(logs) for logs in sellers])
    sigma = math.sqrt(statistics.pvariance(lottery) + between * (count / (count - 1) - 1))
    found = price_at("a100-sxm-80gb", date, "any", 183)
    assert found.belief.normal() == pytest.approx((statistics.fmean(lottery), sigma))


def test_the_tariffs_of_one_seller_are_no_market() -> None:
    """Three contracts of Azure are one seller: the tariff and the spread of all accelerators, and a warning."""
    found = price_at("a100-sxm-80gb", JANUARY_2022, "any", 183)
    assert any("rental prices of 1 seller of a100-sxm-80gb" in warning for warning in found.warnings)
    tariff = statistics.pstdev(map(math.log, (3.4, 2.35, 1.36)))
    assert found.belief.normal()[0] == pytest.approx(statistics.fmean(map(math.log, (3.4, 2.35, 1.36))))
    alone = price_at("a100-sxm-80gb", JANUARY_2022, "on_demand", 183)
    assert found.belief.normal()[1] > math.hypot(tariff, 0.3) and alone.belief.normal()[1] > 0.3


def test_what_was_listed_after_the_date_is_not_known_at_it() -> None:
    """On 2022-04-15 the 80 GB card is listed at 4.10 for the first time: no price of the day before has it."""
    before, after = (
        price_at("a100-sxm-80gb", dt.date(2022, 4, day), "on_demand", 90).belief.source for day in (14, 15)
    )
    assert "3.40 to 3.40 USD" in before
    assert "3.40 to 4.10 USD" in after


def test_any_contract_spans_the_three() -> None:
    spread = {
        what: price_at("a100-sxm-80gb", JANUARY_2022, what, 183).belief
        for what in ("on_demand", "one_year", "three_years", "any")
    }
    middle = {what: math.exp(belief.normal()[0]) for what, belief in spread.items()}
    assert middle["three_years"] < middle["one_year"] < middle["on_demand"]
    assert middle["three_years"] < middle["any"] < middle["on_demand"]


def test_prices_of_a_family_count_and_are_said_to() -> None:
    found = price_at("a100-sxm-80gb", JANUARY_2022, "any", 183)
    assert any("of a100 in general" in warning for warning in found.warnings)


def test_few_prices_get_the_spread_of_all() -> None:
    found = price_at("a100-sxm-80gb", JANUARY_2022, "on_demand", 183)
    assert any("on-demand prices of 1 seller" in warning for warning in found.warnings)
    assert 0.1 < found.belief.normal()[1] < 1


@pytest.mark.parametrize(("date", "sign"), [(dt.date(2028, 3, 15), 1), (dt.date(2022, 10, 1), -1)])
def test_where_nothing_is_listed_the_nearest_is_carried(date: dt.date, sign: int) -> None:
    found = price_at("h100-sxm-80gb", date, "any", 90)
    assert math.copysign(1, found.years) == sign
    assert "carried" in found.warnings[0]
    if sign > 0:
        assert found.years == pytest.approx(3, abs=0.01)  # the last listing is of 2025-03-17


@pytest.mark.parametrize(
    ("what", "own"), [("any", "rental.usd_per_accelerator_hour"), ("purchase", "ownership.purchase_usd")]
)
def test_nothing_is_carried_for_decades(what: Literal["any", "purchase"], own: str) -> None:
    """Without the bound, an A100 of 2040 rents for five cents an hour."""
    with pytest.raises(BadInputError, match=f"nearest to 2040-01-15 is of 2025-03-.*give {own}$") as raised:
        price_at("a100-sxm-80gb", parse_date("2040-01"), what, 183)
    assert "\n" not in str(raised.value)
    with pytest.raises(BadInputError, match="nearest to 2028-03-20"):
        price_at("h100-sxm-80gb", dt.date(2028, 3, 20), "any", 183)


@pytest.mark.parametrize(
    ("accelerator", "date", "message"),
    [
        ("h100-sxm-80gb", "2021-06", "there was none on 2021-06-15: it came out on 2022-09-20"),
        ("rtx-4090-24gb", "2024-01", "no rental price is listed"),
        ("h100-nvl-94gb", "2023-01", "no price is listed before 2025-03-17"),
        ("a100", "2022-01", "unknown accelerator 'a100'"),
    ],
)
def test_a_date_without_prices_is_one_clear_line(accelerator: str, date: str, message: str) -> None:
    with pytest.raises(BadInputError, match=message) as raised:
        price_at(accelerator, parse_date(date), "any", 183)
    assert "\n" not in str(raised.value)


def test_dates_are_days_or_months() -> None:
    assert parse_date("2022-01") == dt.date(2022, 1, 15)
    assert parse_date("2022-01-20") == dt.date(2022, 1, 20)
    for wrong in ("2022", "2022-13", "January 2022", "2022-02-30", ""):
        with pytest.raises(BadInputError, match="not a date"):
            parse_date(wrong)
