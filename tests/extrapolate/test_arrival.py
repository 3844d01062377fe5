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
from extrapolate.arrival import Estimate, combine, later, mixture
from extrapolate.trends import OUR_TABLE, DatedModel, date_of, fit_trend, read_models, select, year_of
from scripts.cli import app

GPT3 = dt.date(2020, 5, 28)
ROWS = [m for m in read_models(OUR_TABLE) if m.date < GPT3]


def estimates(months: list[float], weights: list[float], half: float = 10.0) -> list[Estimate]:
    return [
        Estimate(name=str(m), months=m, half_width_months=half, weight=w) for m, w in zip(months, weights, strict=True)
    ]


STUDY = estimates([25, 2, 12], [0.3, 0.5, 0.2])


def test_a_trend_is_scipys_regression() -> None:
    trend = fit_trend("all", ROWS, 3.14e23)
    x, y = [year_of(m.date) for m in ROWS], np.log10([m.flop for m in ROWS])
    theirs = stats.linregress(x, y)
    assert (trend.oom_per_year, trend.oom_per_year_error) == pytest.approx((theirs.slope, theirs.stderr))
    assert trend.intercept == pytest.approx(theirs.intercept)
    assert theirs.intercept + theirs.slope * trend.crossing_year == pytest.approx(math.log10(3.14e23))
    assert trend.rows == len(ROWS) == 8


def test_the_interval_of_a_crossing_covers_nine_times_in_ten() -> None:
    """Lines drawn again and again from a known one: how often the interval holds the true crossing."""
    generator = np.random.default_rng(0)
    dates = [dt.date(2012 + i // 3, 1 + 4 * (i % 3), 1) for i in range(24)]
    truth = 2012 + (23.0 - 18.0) / 0.6
    held = 0
    for _ in range(400):
        logs = [18 + 0.6 * (year_of(date) - 2012) + generator.normal(0, 0.3) for date in dates]
        models = [DatedModel("m", d, 10.0**y, "", None) for d, y in zip(dates, logs, strict=True)]
        trend = fit_trend("x", models, 1e23)
        held += abs(trend.crossing_year - truth) * 12 <= trend.half_width_months
    assert 0.86 <= held / 400 <= 0.94


def test_years_and_dates_are_inverse() -> None:
    for date in (dt.date(2020, 1, 1), dt.date(2020, 12, 31), dt.date(2021, 2, 28), dt.date(2000, 2, 29)):
        assert date_of(year_of(date)) == date
    assert abs(later(GPT3, 12) - dt.date(2021, 5, 28)) <= dt.timedelta(days=1)  # 2020 is a leap year


def test_the_studys_eleven_months_need_independence() -> None:
    """4.7 to 17.1; correlated 2.6 to 19.2, and with 1 the half width of each."""
    found = {rho: combine(STUDY, rho) for rho in (0.0, 0.5, 1.0)}
    assert [(round(q.p5, 1), round(q.p95, 1)) for q in found.values()] == [(4.7, 17.1), (2.6, 19.2), (0.9, 20.9)]
    assert [q.median for q in found.values()] == pytest.approx([10.9] * 3)


@pytest.mark.parametrize("rho", [-0.4, 0.3])
def test_a_combination_is_that_of_correlated_draws(rho: float) -> None:
    halves = (4.0, 10.0, 20.0)
    each = [e.model_copy(update={"half_width_months": h}) for e, h in zip(STUDY, halves, strict=True)]
    sigma = np.array(halves) / 1.6448536
    covariance = np.outer(sigma, sigma) * (np.full((3, 3), rho) + (1 - rho) * np.eye(3))
    drawn = np.random.default_rng(0).multivariate_normal([25, 2, 12], covariance, 200_000) @ [0.3, 0.5, 0.2]
    found = combine(each, rho)
    assert (found.p5, found.median, found.p95) == pytest.approx(np.quantile(drawn, (0.05, 0.5, 0.95)), abs=0.15)


def test_a_mixture_is_that_of_draws() -> None:
    generator = np.random.default_rng(0)
    which = generator.choice(3, 400_000, p=[0.3, 0.5, 0.2])
    drawn = generator.normal(np.array([25, 2, 12])[which], 10 / 1.6448536)
    found = mixture(STUDY)
    assert (found.p5, found.median, found.p95) == pytest.approx(np.quantile(drawn, (0.05, 0.5, 0.95)), abs=0.2)
    assert found.mean == pytest.approx(10.9)


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
        (["a,2019-01-01,1e20,x", "b,2019-06-01,1e20,x", "c,2019-09-01,1.00001e20,x"], "in no calendar"),
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


def test_the_command_without_options_is_the_study() -> None:
    answer = arrived()
    assert answer["schema"] == "replibench.arrival/1"
    assert answer["combined"]["months"]["median"] == pytest.approx(10.9)
    assert [each["correlation"] for each in answer["others"]] == [0.5, 1.0, None]
    assert answer["combined"]["dates"] == ["2020-10-19", "2021-04-25", "2021-10-30"]
    assert arrived("--correlation", "0.5")["combined"] == answer["others"][0]


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "0.3,0.5"], "--weights: 2 for 3 estimates"),
        (["--weights", "0.3,0.5,0.3"], "--weights: must be 0 or more and sum to 1"),
        (["--weights", "a,b,c"], "--weights: 'a,b,c' is not numbers"),
        (["--weights", "nan,1,0"], "--weights: 'nan,1,0' must be finite"),
        (["--correlation", "-0.6"], "--correlation -0.6: 3 estimates have -0.5 to 1"),
        (["--spread", "-1"], "its spread a finite number above 0"),
        (["--estimates", "5,6"], "--spread: give"),
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
