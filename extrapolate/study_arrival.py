"""The study's claims about when GPT-3 was due, and about trends."""

import math

import numpy as np

from configs.distributions import Z95
from extrapolate.arrival import Estimate, combine, later, mixture
from extrapolate.claims import GPT3_FLOP, GPT3_PUBLISHED, NEEDS_GPUS, NEEDS_MODELS, Answer, Tables, agrees, listed, said
from extrapolate.trends import MONTHS_PER_YEAR, OUR_TABLE, fit_trend, read_models, select, year_of

HALF_WIDTH_MONTHS = 10.0  # of each estimate's 90 %, as the study has it
# The first is in the study. The other two are not in its summary: 2 and 12 are the only whole months with which the
# weighted mean of 10.9 and the mixture's 90 % (−5.8 to 30.9) come out.
OVERALL = (("first", 25.0, 0.3), ("second", 2.0, 0.5), ("third", 12.0, 0.2))
OVERALL_SOURCE = (
    "the study's weights and half width; its first estimate is 25 months, the other two are inferred from its mean and "
    "the mixture of the three"
)
TRENDS = ((17.0, 0.4), (9.0, 0.2), (75.0, 0.1), (33.0, 0.2), (22.0, 0.1))  # months, weight
THEIR_SLOPES = (0.8, 1.1, 0.4, 0.3)


def overall_estimates() -> list[Estimate]:
    """The study's three estimates of how early GPT-3 came."""
    return [
        Estimate(name=name, months=months, half_width_months=HALF_WIDTH_MONTHS, weight=weight)
        for name, months, weight in OVERALL
    ]


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
    """Three weighted estimates, at several correlations."""
    estimates = overall_estimates()
    at = {rho: combine(estimates, rho) for rho in (0.0, 0.5, 1.0)}
    mixed = mixture(estimates)
    independent = at[0.0]
    return Answer(
        f"{independent.mean:.1f} ({independent.p5:.1f} to {independent.p95:.1f}) if independent; correlated 0.5: "
        f"{at[0.5].p5:.1f} to {at[0.5].p95:.1f}; 1: {at[1.0].p5:.1f} to {at[1.0].p95:.1f}; mixture: {mixed.p5:.1f} to "
        f"{mixed.p95:.1f}",
        said(agrees(independent.mean, "11") and agrees(independent.p5, "5") and agrees(independent.p95, "17")),
        "only if the three are independent; the author himself says it should be wider",
        {
            "mean": independent.mean,
            "p5": independent.p5,
            "p95": independent.p95,
            "p5_half": at[0.5].p5,
            "p95_half": at[0.5].p95,
            "p5_one": at[1.0].p5,
            "p95_one": at[1.0].p95,
            "p5_mixture": mixed.p5,
            "p95_mixture": mixed.p95,
        },
    )


def arrival_date(_: Tables) -> Answer:
    """May 2020 + 11 months (5 to 17), as dates."""
    combined = combine(overall_estimates(), 0.0)
    told = [f"{later(GPT3_PUBLISHED, months):%Y-%m}" for months in (combined.median, combined.p5, combined.p95)]
    return Answer(
        f"{told[0]} ({told[1]} to {told[2]})",
        "inconsistent" if told == ["2021-04", "2020-10", "2021-10"] else "not_reproduced",
        "a misprint: 17 months after May 2020 is October 2021, not October 2022; the other two dates are right",
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
    months = [(each.crossing_year - year_of(GPT3_PUBLISHED)) * MONTHS_PER_YEAR for each in trends]
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
