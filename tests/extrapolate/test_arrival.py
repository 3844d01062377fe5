"""Trends against scipy's regression, combinations against formulas and draws, and what the command refuses."""

import datetime as dt
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from configs.errors import BadInputError
from extrapolate.arrival import Estimate, combine, given_estimates, later, mixture, preset_flop
from extrapolate.trends import (
    OUR_TABLE,
    DatedModel,
    Trend,
    date_of,
    fit_selections,
    fit_trend,
    read_models,
    select,
    year_of,
)
from scripts.cli import app

GPT3 = dt.date(2020, 5, 28)
ROWS = [m for m in read_models(OUR_TABLE) if m.date < GPT3]


def estimates(months: list[float], weights: list[float], half: float = 10.0) -> list[Estimate]:
    return given_estimates(months, half, weights)


THREE = estimates([25, 2, 12], [0.3, 0.5, 0.2])
SKEWED = [
    Estimate(name="a", months=4, p5=1, p95=30, weight=0.6),
    Estimate(name="b", months=9, p5=-6, p95=13, weight=0.4),
]


def test_a_trend_is_scipys_regression() -> None:
    trend = fit_trend("all", ROWS, 3.14e23)
    x, y = [year_of(m.date) for m in ROWS], np.log10([m.flop for m in ROWS])
    theirs = stats.linregress(x, y)
    assert (trend.oom_per_year, trend.oom_per_year_error) == pytest.approx((theirs.slope, theirs.stderr))
    assert trend.intercept == pytest.approx(theirs.intercept)
    assert theirs.intercept + theirs.slope * trend.crossing_year == pytest.approx(math.log10(3.14e23))
    assert trend.rows == len(ROWS) == 8


def lines_drawn(slope: float, noise: float, count: int) -> list[Trend | None]:
    """Trends through rows drawn again and again about one line; None where it was refused."""
    generator = np.random.default_rng(0)
    dates = [dt.date(2012 + i // 3, 1 + 4 * (i % 3), 1) for i in range(24)]
    found: list[Trend | None] = []
    for _ in range(count):
        logs = [18 + slope * (year_of(date) - 2012) + generator.normal(0, noise) for date in dates]
        models = [DatedModel("m", d, 10.0**y, "", None) for d, y in zip(dates, logs, strict=True)]
        try:
            found.append(fit_trend("x", models, 1e23))
        except BadInputError:
            found.append(None)
    return found


@pytest.mark.parametrize(("slope", "noise", "least_g", "most_g"), [(0.6, 0.3, 0.0, 0.02), (0.3, 0.9, 0.15, 0.3)])
def test_the_interval_of_a_crossing_covers_nine_times_in_ten(
    slope: float, noise: float, least_g: float, most_g: float
) -> None:
    """Of a clear slope and of a shallow one; the true crossing is before it as often as after it."""
    truth = 2012 + 5 / slope
    drawn = lines_drawn(slope, noise, 1000)
    trends = [trend for trend in drawn if trend is not None]
    assert least_g <= float(np.median([trend.g for trend in trends])) <= most_g
    refused = len(drawn) - len(trends)
    early = sum(truth < trend.p5_year for trend in trends) / len(drawn)
    late = sum(truth > trend.p95_year for trend in trends) / len(drawn)
    assert refused <= 0.05 * len(drawn)
    assert early == pytest.approx(0.05, abs=0.022)
    assert late == pytest.approx(0.05, abs=0.022)


def test_a_hardly_rising_line_is_late_without_end() -> None:
    """Fieller's bounds are where the line's own 90 % band meets the target (scipy's regression for the band)."""
    trend = fit_trend("Language", ROWS, 3.14e23)
    assert trend.g == pytest.approx(0.91, abs=0.005)
    assert (round(trend.p5_year, 1), round(trend.p95_year)) == (2020.5, 2123)
    x, y = np.array([year_of(m.date) for m in ROWS]), np.log10([m.flop for m in ROWS])
    line = stats.linregress(x, y)
    t95 = stats.t.ppf(0.95, len(x) - 2)
    for at, sign in ((trend.p5_year, 1), (trend.p95_year, -1)):
        of_mean = (line.stderr**2 * x.var()) ** 0.5
        band = t95 * math.hypot(of_mean, line.stderr * (at - x.mean()))
        assert y.mean() + line.slope * (at - x.mean()) + sign * band == pytest.approx(math.log10(3.14e23))


def test_years_and_dates_are_inverse() -> None:
    for date in (dt.date(2020, 1, 1), dt.date(2020, 12, 31), dt.date(2021, 2, 28), dt.date(2000, 2, 29)):
        assert date_of(year_of(date)) == date
    assert abs(later(GPT3, 12) - dt.date(2021, 5, 28)) <= dt.timedelta(days=1)  # 2020 is a leap year


@pytest.mark.parametrize("rho", [-0.4, 0.3])
def test_a_combination_is_that_of_correlated_draws(rho: float) -> None:
    halves = (4.0, 10.0, 20.0)
    each = [Estimate.within(e.name, e.months, h, e.weight) for e, h in zip(THREE, halves, strict=True)]
    sigma = np.array(halves) / 1.6448536
    covariance = np.outer(sigma, sigma) * (np.full((3, 3), rho) + (1 - rho) * np.eye(3))
    drawn = np.random.default_rng(0).multivariate_normal([25, 2, 12], covariance, 200_000) @ [0.3, 0.5, 0.2]
    found = combine(each, rho)
    assert (found.p5, found.median, found.p95) == pytest.approx(np.quantile(drawn, (0.05, 0.5, 0.95)), abs=0.15)


def test_a_mixture_is_that_of_draws() -> None:
    generator = np.random.default_rng(0)
    which = generator.choice(3, 400_000, p=[0.3, 0.5, 0.2])
    drawn = generator.normal(np.array([25, 2, 12])[which], 10 / 1.6448536)
    found = mixture(THREE)
    assert (found.p5, found.median, found.p95) == pytest.approx(np.quantile(drawn, (0.05, 0.5, 0.95)), abs=0.2)
    assert found.mean == pytest.approx(10.9)


def split_normals(generator: np.random.Generator, count: int) -> list[Any]:
    """Draws of SKEWED: the two halves of two normals, by the inverse of the probability."""
    found = []
    for each in SKEWED:
        z = generator.normal(size=count)
        below, above = (each.months - each.p5) / 1.6448536, (each.p95 - each.months) / 1.6448536
        found.append(each.months + z * np.where(z < 0, below, above))
    return found


def test_estimates_that_are_not_symmetric_keep_both_sides() -> None:
    generator = np.random.default_rng(0)
    a, b = split_normals(generator, 400_000)
    mixed = np.where(generator.random(len(a)) < 0.6, a, b)
    found = mixture(SKEWED)
    assert (found.p5, found.median, found.p95) == pytest.approx(np.quantile(mixed, (0.05, 0.5, 0.95)), abs=0.15)
    assert found.mean == pytest.approx(mixed.mean(), abs=0.1)
    together = combine(SKEWED, 0.0)
    assert together.mean == pytest.approx((0.6 * a + 0.4 * b).mean(), abs=0.1)
    assert together.p95 - together.median > 2 * (together.median - together.p5)
    # One error behind both: the bounds are the bounds' own weighted means.
    assert combine(SKEWED, 1.0).p5 == pytest.approx(0.6 * 1 + 0.4 * -6)
    assert combine(SKEWED, 1.0).p95 == pytest.approx(0.6 * 30 + 0.4 * 13)


def test_one_skewed_estimate_is_itself() -> None:
    alone = SKEWED[0].model_copy(update={"weight": 1.0})
    for found in (combine([alone], 0.3), mixture([alone])):
        assert (found.p5, found.median, found.p95) == pytest.approx((1, 4, 30))


def test_one_estimate_is_itself() -> None:
    alone = combine(estimates([7], [1.0]), 0.3)
    assert (alone.p5, alone.p95) == pytest.approx((-3, 17))


def test_two_estimates_may_cancel() -> None:
    certain = combine(estimates([5, 9], [0.5, 0.5]), -1.0)
    assert certain.p5 == pytest.approx(certain.p95)


@pytest.mark.parametrize(
    ("weights", "rho", "message"),
    [
        ([0.3, 0.5, 0.3], 0.0, "sum to 1, not 1.1"),
        ([1.3, -0.5, 0.2], 0.0, "0 or more"),
        ([0.3, 0.5, 0.2], -0.51, "3 estimates have -0.5 to 1"),
        ([0.3, 0.5, 0.2], 1.01, "3 estimates have"),
        ([0.3, 0.5, 0.2], math.nan, "3 estimates have"),
    ],
)
def test_impossible_combinations_are_refused(weights: list[float], rho: float, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        combine(estimates([25, 2, 12], weights), rho)


def _table(path: Path, rows: list[str]) -> Path:
    path.write_text("\n".join(["model,date,flop,domain", *rows]), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a,2019-01-01,1e20,x", "b,2019-06-01,1e21,x"], "2 rows; a line with an error needs 3"),
        (["a,2019-01-01,1e20,x"] * 3, "all 3 rows are of 2019-01-01"),
        (["a,2019-01-01,1e20,x", "b,2019-06-01,1e19,x", "c,2019-09-01,1e18,x"], "never gets there"),
        (["a,2019-01-01,1e20,x", "b,2019-06-01,1e20,x", "c,2019-09-01,1.00001e20,x"], "which may be none"),
        ([f"m,{2010 + i}-01-01,{10 ** (15 + i / 1000):.9e},x" for i in range(4)], "in no calendar"),
        (["a,2019-13-01,1e20,x"], "line 2: '2019-13-01'"),
        (["a,2019-01-01,lots,x"], "line 2: .*'lots'"),
        (["a,2019-01-01,-1e20,x"], "no number of FLOPs"),
        (["a,2019-01-01,nan,x"], "no number of FLOPs"),
        (["a,,1e20,x"], "no row has a date"),
    ],
)
def test_a_table_without_a_trend_is_refused(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        fit_trend("all", read_models(_table(tmp_path / "t.csv", rows)), 3e23)


def test_rows_are_chosen_by_domain_date_and_notability(tmp_path: Path) -> None:
    text = (
        "Model,Publication date,Training compute (FLOP),Domain,Notability criteria\n"
        'a,2015-01-01,1e20,"Vision,Language",SOTA\nb,2016-01-01,1e20,Language,\nc,2017-01-01,1e20,Vision,SOTA\n'
    )
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    models = read_models(tmp_path / "t.csv")
    assert [m.model for m in select(models, "language")] == ["a"]
    assert [m.model for m in select(models, since=dt.date(2016, 1, 1))] == ["c"]
    assert [m.model for m in select(models, until=dt.date(2015, 1, 1))] == ["a"]


def arrived(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["extrapolate", "arrival", *arguments, "--format", "json"])
    assert result.exit_code == 0, result.stderr
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_the_command_without_options_is_gpt3_by_our_table() -> None:
    answer = arrived()
    assert answer["schema"] == "replibench.arrival/1"
    assert (answer["target"], answer["target_flop"]) == ("gpt3-175b", 3.14e23)
    assert answer["trends"] == [fit_trend("all", ROWS, 3.14e23).model_dump(mode="json")]
    months = answer["combined"]["months"]
    assert months["p95"] - months["median"] > 10 * (months["median"] - months["p5"])
    assert "g = 0.91" in answer["warnings"][0]


def test_the_command_combines_months_that_are_given() -> None:
    three = ("--estimates", "25,2,12", "--weights", "0.3,0.5,0.2", "--spread", "10")
    answer = arrived(*three)
    assert answer["combined"]["months"]["median"] == pytest.approx(10.9)
    assert [each["correlation"] for each in answer["others"]] == [0.5, 1.0, None]
    assert answer["combined"]["dates"] == ["2020-10-19", "2021-04-25", "2021-10-30"]
    assert arrived(*three, "--correlation", "0.5")["combined"] == answer["others"][0]


def test_the_command_fits_any_table_and_model(tmp_path: Path) -> None:
    """A line of one order of magnitude a year through 1e20 in 2015 reaches 1e24 in 2019."""
    table = _table(tmp_path / "t.csv", [f"m,{2010 + i}-01-01,{10.0 ** (15 + i)},x" for i in range(8)])
    of = ("--table", str(table), "--target-flop", "1e24", "--published", "2018-01-01", "--spread", "3")
    answer = arrived(*of)
    assert answer["trends"][0]["crossing"] == "2019-01-01"
    assert answer["combined"]["months"]["median"] == pytest.approx(12, abs=0.02)
    assert answer["combined"]["months"]["p95"] == pytest.approx(15, abs=0.02)
    two = arrived(*of, "--trend", "all", "--trend", "x:2013-01", "--weights", "0.25,0.75")
    assert [each["rows"] for each in two["trends"]] == [8, 5]
    assert [each["weight"] for each in two["estimates"]] == [0.25, 0.75]


def test_a_preset_is_a_target() -> None:
    assert arrived("--target", "opt-175b", "--published", "2022-05-02")["target_flop"] == 4.3e23
    bloom = arrived("--target", "bloom-176b", "--published", "2022-07-11")
    assert bloom["target_flop"] == pytest.approx(6 * 176.2e9 * 366e9, rel=0.001)  # nothing published: 6ND


def test_flop_of_a_target_without_tokens_are_not_known() -> None:
    assert preset_flop("opt-175b") == 4.3e23
    with pytest.raises(BadInputError, match="unknown architecture"):
        preset_flop("gpt5")


def test_each_selection_is_a_line_of_its_own() -> None:
    both = fit_selections(ROWS, ("all", "Language:2014-09"), GPT3, 3.14e23)
    assert [each.rows for each in both] == [8, 8]
    late = fit_selections(ROWS, ("language:2018-06-11",), GPT3, 3.14e23)
    assert (late[0].rows, late[0].first) == (5, dt.date(2018, 6, 11))
    with pytest.raises(BadInputError, match="2 rows"):
        fit_selections(ROWS, ("all:2019-10",), GPT3, 3.14e23)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--estimates", "25,2,12", "--spread", "10", "--weights", "0.3,0.5"], "--weights: 2 for 3 estimates"),
        (["--estimates", "5,2,1", "--spread", "1", "--weights", "0.3,0.5,0.3"], "--weights: must be 0 or more and"),
        (["--weights", "a,b,c"], "--weights: 'a,b,c' is not numbers"),
        (["--weights", "nan,1,0"], "--weights: 'nan,1,0' must be finite"),
        (["--estimates", "5,2,1", "--spread", "1", "--correlation", "-0.6"], "--correlation -0.6: 3 estimates have"),
        (["--spread", "-1"], "its spread a finite number above 0"),
        (["--estimates", "5,6"], "--spread: with --estimates, give"),
        (["--estimates", "5", "--table", "x.csv"], "--estimates: are months"),
        (["--target-flop", "nan"], "--target-flop: nan"),
        (["--target-flop", "1e24"], "--published: say when"),
        (["--target", "opt-175b"], "--published: say when opt-175b was"),
        (["--target", "gpt5"], "--target: unknown architecture"),
        (["--target", "gpt3-175b", "--target-flop", "1e23"], "give one"),
        (["--trend", "Astrology"], "--trend Astrology: no rows"),
        (["--trend", "all:soon"], "--trend all:soon: 'soon' is not a date"),
        (["--published", "2022"], "--published: '2022' is not a date"),
        (["--table", "none.csv"], "none.csv: cannot be read"),
    ],
)
def test_the_command_refuses_in_one_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["extrapolate", "arrival", *arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_tables_are_drawn() -> None:
    result = CliRunner().invoke(app, ["extrapolate", "arrival", "--trend", "Language"])
    assert result.exit_code == 0
    assert "mixture: one estimate" in result.stdout
