"""The study's claims about dollars, shares, ratios and ranges: log-normals and logit-normals, and a forward model."""

import datetime as dt
import math

import numpy as np

from configs import presets
from configs.booked import booked_runs
from configs.cases import case_studies
from configs.costs import CostAssumptions, cost_assumptions
from configs.distributions import Distribution
from extrapolate.claims import GPT3_FLOP, GPT3_PUBLISHED, Answer, Tables, agrees, agrees_in_digits, said
from extrapolate.cost import cost
from extrapolate.distributions import Quantiles, draws, normal_scores, quantiles

SAMPLES = 200_000
SEED = 0
A100_2022 = ("a100-sxm-80gb", dt.date(2022, 1, 15))
RATIO = Distribution(distribution="lognormal", low=3, high=81)
SHARE = Distribution(distribution="logit_normal", low=0.64, high=0.98)
CLAIMED_USD = (1e6, 10e6)
# Model FLOP over chip-hours at the dense peak: geometric mean 31 %, 90 % 16 to 58 %. An input of this command's own,
# and not what the runs of configs/booked.yaml give: docs/throughput.md says how it comes about, what forecasts have.
EFFECTIVE_MFU = Distribution(distribution="lognormal", low=0.16, high=0.58)


def share_87(_: Tables) -> Answer:
    """The logit-normal share of compute with that 90 % interval."""
    share = drawn("share", SHARE)
    ratio = drawn("share", _of_ratio(SHARE))
    return Answer(
        f"mean {100 * share.mean:.1f} %, median {100 * share.median:.1f} %; as a ratio {ratio.p5:.1f} to "
        f"{ratio.p95:.0f}, median {ratio.median:.1f}, mean {ratio.mean:.1f}",
        said(agrees(100 * share.mean, "87")),
        "87 % is the mean of a logit-normal share, not its median",
        {"mean": share.mean, "median": share.median, "ratio_median": ratio.median, "ratio_mean": ratio.mean},
    )


def ratio_16(_: Tables) -> Answer:
    """The log-normal ratio with that 90 % interval."""
    ratio = drawn("ratio", RATIO)
    share = shares("ratio", RATIO)
    return Answer(
        f"median {ratio.median:.1f}, mean {ratio.mean:.1f}; as a share {100 * share.p5:.0f} to "
        f"{100 * share.p95:.1f} %, mean {100 * share.mean:.1f} %",
        said(agrees(ratio.median, "16")),
        "16 is the median of a log-normal ratio, not its mean",
        {
            "median": ratio.median,
            "mean": ratio.mean,
            "share_mean": share.mean,
            "share_p5": share.p5,
            "share_p95": share.p95,
        },
    )


def share_against_ratio(_: Tables) -> Answer:
    """Are 87 % (64 to 98) and 16 (3 to 81) one variable? r / (1 + r) turns one into the other."""
    (mu_share, sigma_share), (mu_ratio, sigma_ratio) = SHARE.normal(), RATIO.normal()
    shift = math.exp(mu_ratio - mu_share)
    low, high = (each / (1 + each) for each in (RATIO.low or 0, RATIO.high or 0))
    return Answer(
        f"ln ratio has σ {sigma_share:.3f} by the share and {sigma_ratio:.3f} by the ratio, shifted by ×{shift:.2f}; "
        f"3 to 81 is a share of {100 * low:.0f} to {100 * high:.0f} %, and 16/17 is {100 * 16 / 17:.0f} %",
        "reproduced" if agrees(100 * low, "64") and agrees(100 * high, "98") else "inconsistent",
        "the same spread about another middle: no one distribution has both. Every forecast here has one ratio, "
        "and prints it both ways",
        {"sigma_share": sigma_share, "sigma_ratio": sigma_ratio, "shift": shift, "share_of_16": 16 / 17},
    )


def compute_usd(_: Tables) -> Answer:
    """GPT-3's final run on three machines, and OPT's own hours, at listed prices."""
    beliefs = _final_run_only(cost_assumptions())
    cases = {
        "V100 in May 2020": ("v100-sxm-32gb", GPT3_PUBLISHED),
        "A100 in January 2022": A100_2022,
        "H100 in March 2025": ("h100-sxm-80gb", dt.date(2025, 3, 15)),
    }
    found = {
        name: cost(_hours(machine), machine, date, beliefs).cost_usd.compute for name, (machine, date) in cases.items()
    }
    found["OPT's own hours"] = cost(_opt_hours(), *A100_2022, beliefs).cost_usd.compute
    told = [
        f"{name} ${q.p5 / 1e6:.1f} to {q.p95 / 1e6:.1f}M (median {q.median / 1e6:.1f})" for name, q in found.items()
    ]
    low, high = CLAIMED_USD
    leave = [name for name, q in found.items() if not low <= q.p5 <= q.p95 <= high]
    medians = sum(low <= q.median <= high for q in found.values())
    return Answer(
        "; ".join(told),
        said(not leave),
        f"our 90 % leave ${low / 1e6:.0f} to {high / 1e6:.0f}M for {', '.join(leave) or 'none'}; {medians} of "
        f"{len(found)} medians are inside. Of the final run alone; GPT-3's hours at {_share_of_peak()}",
        {f"{name}, {part}": getattr(q, part) for name, q in found.items() for part in ("p5", "median", "p95")},
    )


def forward_share(_: Tables) -> Answer:
    """Share of compute from hours, prices and salaries: with experiments, of the final run alone, and of OPT's."""
    beliefs = _study_staff(cost_assumptions())
    machine = ("v100-sxm-32gb", GPT3_PUBLISHED)
    hours = _hours(machine[0])
    found = {
        "with experiments (×1.2 to 4)": cost(hours, *machine, beliefs),
        "at half the salary": cost(hours, *machine, _half_the_salary(beliefs)),
        "final run alone": cost(hours, *machine, _final_run_only(beliefs)),
        "OPT's final run": cost(_opt_hours(), *A100_2022, _final_run_only(beliefs)),
    }
    share = {name: forecast.compute_share for name, forecast in found.items()}
    whole, half = share["with experiments (×1.2 to 4)"], share["at half the salary"]
    return Answer(
        "; ".join(f"{name}: {_percent(each)}" for name, each in share.items()),
        said(agrees(100 * whole.mean, "87")),
        f"the salary decides, and is an assumption of ours: half of it gives a mean of {100 * half.mean:.0f} %. "
        "Without experiments the share is smaller still, and OPT's never comes near. GPT-3's hours at "
        f"{_share_of_peak()}",
        {f"{name}, {part}": getattr(each, part) for name, each in share.items() for part in ("p5", "mean", "p95")},
    )


def dataset_usd(_: Tables) -> Answer:
    """A rule of thumb without a cost behind it."""
    return Answer(
        "",
        "not_computable",
        "the study gives no cost of data: needs `dataset_usd` in a file of costs. Its rule, one to two orders of "
        "magnitude below compute, is no cost",
    )


def speed_up(_: Tables) -> Answer:
    """6 (1 to 18) months as a log-normal."""
    return _lognormal_mean("speed_up", 1, 18, "6")


def opt_access(_: Tables) -> Answer:
    """1000 (200 to 3000) people as a log-normal."""
    people = case_studies()["opt-175b"].release.people_with_weights
    if people is None or people.interval90 is None:
        raise ValueError("opt-175b needs people_with_weights with an interval")
    low, high = people.interval90
    found = drawn("opt_access", Distribution(distribution="lognormal", low=low, high=high))
    return Answer(
        f"mean {found.mean:.0f}, median {found.median:.0f}",
        said(agrees_in_digits(found.mean, people.value, 1)),
        "to the one digit of 1000, 200 and 3000, as the mean of a log-normal (Guesstimate's convention), not its "
        "median",
        {"mean": found.mean, "median": found.median},
    )


def drawn(name: str, belief: Distribution) -> Quantiles:
    """The four numbers of a distribution, from draws."""
    return quantiles(_values(name, belief))


def shares(name: str, ratio: Distribution) -> Quantiles:
    """r / (1 + r), draw by draw."""
    values = _values(name, ratio)
    return quantiles(values / (1 + values))


def _values(name: str, belief: Distribution) -> np.ndarray:
    return draws(belief, normal_scores([name], (), SEED, SAMPLES)[name])


def _of_ratio(share: Distribution) -> Distribution:
    """The log-normal ratio whose share is that logit-normal: logit(share) is ln(ratio)."""
    low, high = share.low or 0, share.high or 0
    return Distribution(distribution="lognormal", low=low / (1 - low), high=high / (1 - high))


def _hours(accelerator: str) -> Distribution:
    """Accelerator-hours of GPT-3's FLOPs at EFFECTIVE_MFU."""
    peak = presets.accelerator(accelerator).peak_flop_per_s.fp16 or 0.0
    low, high = (GPT3_FLOP / (peak * (mfu or 1) * 3600) for mfu in (EFFECTIVE_MFU.high, EFFECTIVE_MFU.low))
    return Distribution(distribution="lognormal", low=low, high=high, source="GPT-3's FLOPs at EFFECTIVE_MFU")


def _opt_hours() -> float:
    """What was booked for the last 90 % of OPT-175B's tokens, for all of them at that pace."""
    row = booked_runs().effective_mfu["opt-175b"]
    return row.accelerator_hours * case_studies()["opt-175b"].training_tokens() / row.tokens


def _share_of_peak() -> str:
    low, high = (100 * (each or 0) for each in (EFFECTIVE_MFU.low, EFFECTIVE_MFU.high))
    return f"{low:.0f} to {high:.0f} % of peak, an input of this command's own"


def _final_run_only(beliefs: CostAssumptions) -> CostAssumptions:
    once = Distribution(distribution="constant", value=1, source="the final run alone")
    return beliefs.model_copy(update={"experiments_multiplier": once})


def _study_staff(beliefs: CostAssumptions) -> CostAssumptions:
    """8.2 months; people and salaries are our defaults, of which the people are those of the study's model."""
    months = Distribution(distribution="constant", value=8.2, source="the study's forward model")
    return beliefs.model_copy(update={"staff": beliefs.staff.model_copy(update={"months": months})})


def _half_the_salary(beliefs: CostAssumptions) -> CostAssumptions:
    full = beliefs.staff.usd_per_person_year
    half = full.model_copy(update={"low": (full.low or 0) / 2, "high": (full.high or 0) / 2})
    return beliefs.model_copy(update={"staff": beliefs.staff.model_copy(update={"usd_per_person_year": half})})


def _percent(share: Quantiles) -> str:
    mean, median, low, high = (100 * each for each in (share.mean, share.median, share.p5, share.p95))
    return f"mean {mean:.0f} %, median {median:.0f} % (90 % {low:.0f} to {high:.0f})"


def _lognormal_mean(name: str, low: float, high: float, theirs: str) -> Answer:
    found = drawn(name, Distribution(distribution="lognormal", low=low, high=high))
    return Answer(
        f"mean {found.mean:.2f}, median {found.median:.2f}",
        said(agrees(found.mean, theirs)),
        "as the mean of a log-normal (Guesstimate's convention), not its median",
        {"mean": found.mean, "median": found.median},
    )
