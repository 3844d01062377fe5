"""Prices at a date: what is listed, what is carried along the trend, and what there is none of."""

import csv
import datetime as dt
import math
import statistics

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


def test_the_price_is_that_of_the_listings_in_the_window() -> None:
    """Read from the file apart: each seller's geometric mean, then mean and deviation of the logs."""
    by_seller: dict[str, list[float]] = {}
    with (FACTS / "accelerator_prices.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            days = abs((dt.date.fromisoformat(row["date"]) - dt.date(2025, 3, 1)).days)
            if row["accelerator"] == "h100-sxm-80gb" and row["on_demand"] and days <= 30:
                by_seller.setdefault(row["vendor"], []).append(float(row["on_demand"]))
    assert len(by_seller) >= 5
    logs = [statistics.fmean(map(math.log, prices)) for prices in by_seller.values()]
    found = price_at("h100-sxm-80gb", dt.date(2025, 3, 1), "on_demand", 30)
    assert found.belief.normal() == pytest.approx((statistics.fmean(logs), statistics.stdev(logs)))
    assert found.years == 0
    assert not found.warnings
    assert "Lambda Labs" in found.belief.source
    assert "CC-BY" in found.belief.source


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
    assert any("1 on-demand price of" in warning for warning in found.warnings)
    assert 0.1 < found.belief.normal()[1] < 1


@pytest.mark.parametrize(("date", "sign"), [(dt.date(2029, 3, 17), 1), (dt.date(2022, 11, 1), -1)])
def test_where_nothing_is_listed_the_nearest_is_carried(date: dt.date, sign: int) -> None:
    found = price_at("h100-sxm-80gb", date, "any", 90)
    assert math.copysign(1, found.years) == sign
    assert "carried" in found.warnings[0]
    if sign > 0:
        assert found.years == pytest.approx(4, abs=0.01)  # the last listing is of 2025-03-17


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
