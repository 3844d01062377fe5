"""The study's claims about when GPT-3 was due, and about trends."""

import math

import numpy as np

from configs.distributions import Z95
from extrapolate.arrival import combine, given_estimates, later
from extrapolate.claims import GPT3_FLOP, GPT3_PUBLISHED, NEEDS_GPUS, NEEDS_MODELS, Answer, Tables, agrees, listed, said
from extrapolate.trends import OUR_TABLE, fit_trend, read_models, select, year_of

HALF_WIDTH_MONTHS = 10.0  # of each estimate's 90 %, as the study has it
WEIGHTS = (0.3, 0.5, 0.2)  # of its three estimates, of which only the first is known here
OVERALL_MONTHS = (11.0, 5.0, 17.0)  # its result
TRENDS = ((17.0, 0.4), (9.0, 0.2), (75.0, 0.1), (33.0, 0.2), (22.0, 0.1))  # months, weight
THEIR_SLOPES = (0.8, 1.1, 0.4, 0.3)


def arrival_trends(_: Tables) -> Answer:
    """Weighted and plain mean, and standard deviation, of five trends' months."""
    months = np.array([each for each, _ in TRENDS])
    weighted = float(sum(each * weight for each, weight in TRENDS))
    plain, deviation = float(months.mean()), float(months.std(ddof=1))
    without = float(months[months != 75].std(ddof=1))
    return Answer(
        f"{weighted:.1f}; unweighted {plain:.1f}; standard deviation {deviation:.2f}, without 75 {without:.2f}",
        said(all(agrees(*pair) for pair in ((weighted, "25"), (plain, "31"), (deviation, "26"), (without, "10")))),
        "with the sample's standard deviation (n − 1)",
        {"weighted": weighted, "mean": plain, "deviation": deviation, "deviation_without_75": without},
    )


def first_estimate(_: Tables) -> Answer:
    """May 2020 + 25 ± 10 months."""
    dates = [later(GPT3_PUBLISHED, 25 + shift) for shift in (0, -10, 10)]
    told = [f"{date:%Y-%m}" for date in dates]
    return Answer(
        f"{told[0]} ({told[1]} to {told[2]})",
        said(told == ["2022-06", "2021-08", "2023-04"]),
        f"but 10 months is a standard deviation, used here as the half width of a 90 % interval, which would be "
        f"{Z95:.3f} times as much: ±{Z95 * 10:.1f} months",
        {"half_width_of_sd_10": Z95 * 10},
    )


def arrival_overall(_: Tables) -> Answer:
    """The width of three weighted estimates at several correlations: it depends on none of their middles."""
    estimates = given_estimates((0.0,) * len(WEIGHTS), HALF_WIDTH_MONTHS, WEIGHTS)
    independent, half, one = (combine(estimates, rho).p95 for rho in (0.0, 0.5, 1.0))
    theirs = (OVERALL_MONTHS[2] - OVERALL_MONTHS[1]) / 2
    same = "which is theirs" if agrees(independent, f"{theirs:.0f}") else f"theirs is {theirs:.0f}"
    return Answer(
        f"the half width alone: {independent:.1f} months if the three are independent, {same}; correlated 0.5: "
        f"{half:.1f}; 1: {one:.1f}",
        "not_computable",
        "the middle needs the second and the third estimate, of which this has only the weights; no months were chosen "
        "so that 11 comes out. Independence is the study's, whose author says himself that it should be wider",
        {"half_width": independent, "half_width_half": half, "half_width_one": one},
    )


def arrival_date(_: Tables) -> Answer:
    """Their 11 months (5 to 17) after May 2020, as dates."""
    told = [f"{later(GPT3_PUBLISHED, months):%Y-%m}" for months in OVERALL_MONTHS]
    theirs = ["2021-04", "2020-10", "2022-10"]
    wrong = [f"{date} is {ours}" for date, ours in zip(theirs, told, strict=True) if date != ours]
    return Answer(
        f"{told[0]} ({told[1]} to {told[2]})",
        "inconsistent" if wrong else "reproduced",
        f"with their own months; of their dates {', '.join(wrong)}, a misprint",
        {"months_to_2022_10": (year_of(GPT3_PUBLISHED.replace(year=2022, month=10)) - year_of(GPT3_PUBLISHED)) * 12},
    )


def trend_slopes(tables: Tables) -> Answer:
    """Orders of magnitude a year up to March 2020, of several selections, and when each reaches GPT-3."""
    cut = GPT3_PUBLISHED.replace(month=3, day=31)
    if tables.models is None:
        own = fit_trend("own", select(read_models(OUR_TABLE), "Language", until=cut), GPT3_FLOP)
        line = f"{own.oom_per_year:.2f} ± {own.oom_per_year_error:.2f} on the {own.rows} language models here"
        return Answer(line, "not_computable", NEEDS_MODELS, {"own": own.oom_per_year})
    selections = (
        ("Language from 2015-09", "Language", cut.replace(year=2015, month=9, day=1)),
        ("Language from 2010", "Language", cut.replace(year=2010, month=1, day=1)),
        ("all from 2015-09", "", cut.replace(year=2015, month=9, day=1)),
        ("all from 2010", "", cut.replace(year=2010, month=1, day=1)),
    )
    trends = [
        fit_trend(name, select(tables.models, domain, since, cut), GPT3_FLOP) for name, domain, since in selections
    ]
    months = [each.months_after(GPT3_PUBLISHED)[1] for each in trends]
    told = [
        f"{each.name} {each.oom_per_year:.2f} ± {each.oom_per_year_error:.2f} ({after:.0f} months)"
        for each, after in zip(trends, months, strict=True)
    ]
    met = [slope for slope in THEIR_SLOPES if any(agrees(each.oom_per_year, str(slope)) for each in trends)]
    figures = {each.name: each.oom_per_year for each in trends}
    return Answer(
        "; ".join(told),
        said(len(met) == len(THEIR_SLOPES)),
        f"of {listed(THEIR_SLOPES)} this has {listed(met) or 'none'}: the study chose its rows by hand, from the "
        "table as it was in 2022, and models were added to it since",
        {**figures, **{f"{each.name}, months": after for each, after in zip(trends, months, strict=True)}},
    )


def price_performance(tables: Tables) -> Answer:
    """Years in which FLOP/s per dollar double: least squares of its log2 on the date, with a bootstrap."""
    if tables.gpus is None:
        return Answer("", "not_computable", NEEDS_GPUS)
    points = np.array(tables.gpus)
    years, logs = points[:, 0], np.log2(points[:, 1])

    def doubling(rows: np.ndarray) -> float:
        x, y = years[rows], logs[rows]
        x = x - x.mean()
        return float((x * x).sum() / (x * y).sum())

    generator = np.random.default_rng(0)
    ours = doubling(np.arange(len(years)))
    again = [doubling(generator.integers(0, len(years), len(years))) for _ in range(2000)]
    low, high = (float(q) for q in np.quantile(again, (0.05, 0.95)))
    return Answer(
        f"{ours:.2f} years (bootstrap 90 % {low:.2f} to {high:.2f}), {len(years)} GPUs",
        said(agrees(ours, "2.5")),
        "",
        {"years": ours, "low": low, "high": high, "gpus": len(years)},
    )


def trillion_dollar_run(_: Tables) -> Answer:
    """Not a number of the study's own."""
    from_a_billion = math.log(1000) / math.log(3.2)
    return Answer(
        "",
        "not_computable",
        "the forecast behind it is not open: needs its trend of spending and where it starts. For scale: from "
        f"$1 billion to $1 trillion takes {from_a_billion:.1f} years at the 3.2 times a year that is said",
    )
