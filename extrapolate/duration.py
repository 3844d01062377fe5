"""From FLOP to accelerator-hours and days, with lost work in them exactly once.

Either the MFU of steps that count and a goodput (`WhileTraining`), or an MFU over everything that was booked
(`Effective`): the two are different types, and neither has room for the other's numbers.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accounting.flops import flop_ledger
from configs import presets
from configs.booked import EffectiveRow, booked_runs
from configs.distributions import Z95
from configs.errors import BadInputError
from configs.files import Record
from extrapolate.widening import EVERYTHING, LEFT_OUT, Held, held_by_the_others, widening
from train.record import RunRecord

SECONDS_PER_HOUR = 3600
HOURS_PER_DAY = 24

# A number, or one for each draw.
Values = float | npt.NDArray[np.float64]


class Prior(Record):
    """A share that is not known: the logit is normal (`mu`, `sigma`); `low` to `high` is the central 90 %.

    `runs` is of how many published runs or teams it was made; `sigma` is that of the normal whose 90 % is theirs.
    """

    name: str
    median: float
    low: float
    high: float
    mu: float
    sigma: float
    runs: int
    source: str

    def draws(self, count: int, seed: int) -> npt.NDArray[np.float64]:
        """So many of it; the same seed, the same draws."""
        values: npt.NDArray[np.float64] = np.random.default_rng([seed, *self.name.encode()]).standard_normal(count)
        values *= -self.sigma  # in place: a million draws take as long to allocate as to compute
        values -= self.mu
        np.exp(values, out=values)
        values += 1
        return np.divide(1, values, out=values)


@dataclass(frozen=True)
class WhileTraining:
    """MFU of steps that count, and the share of the booked time that is spent in them."""

    mfu: Values
    goodput: Values

    @property
    def booked_mfu(self) -> Values:
        """Over everything that was booked."""
        _check_share("mfu", self.mfu)
        _check_share("goodput", self.goodput)
        return self.mfu * self.goodput


@dataclass(frozen=True)
class Effective:
    """MFU over everything that was booked: restarts and lost work are inside it, so it takes no goodput."""

    mfu: Values

    @property
    def booked_mfu(self) -> Values:
        """The same."""
        _check_share("mfu", self.mfu)
        return self.mfu


class MeasuredGoodput(NamedTuple):
    """Of a user's own run: the share of its wall-clock that its steps took, and what to know before carrying it."""

    share: float
    warnings: tuple[str, ...]


def accelerator_hours(flop: float, peak_flop_per_s: float, utilisation: WhileTraining | Effective) -> Values:
    """Booked accelerator-hours of so many model FLOP, at one accelerator's peak; one for each draw where there are."""
    return flop / (peak_flop_per_s * utilisation.booked_mfu) / SECONDS_PER_HOUR


def ideal_accelerator_hours(flop: float, peak_flop_per_s: float, mfu: Values) -> Values:
    """Without failures, restarts and lost work: `mfu` is of steps that count."""
    _check_share("mfu", mfu)
    return flop / (peak_flop_per_s * mfu) / SECONDS_PER_HOUR


def days(hours: Values, accelerators: int) -> Values:
    """Of the wall-clock, on so many accelerators at a time."""
    if accelerators < 1:
        raise BadInputError(f"{accelerators} accelerators never finish; give at least one")
    return hours / accelerators / HOURS_PER_DAY


def goodput_prior(without: str | None = None) -> Prior:
    """From the published runs of configs/booked.yaml: 90 % prediction interval for one more run.

    `without` a run: as if it were not known, so that what is predicted of it is held out.
    """
    rows = {name: row for name, row in booked_runs().goodput.items() if name != without}
    return prediction(
        "goodput",
        [row.value for row in rows.values()],
        f"90 % prediction interval from {len(rows)} published runs ({', '.join(rows)}); docs/throughput.md",
    )


def effective_mfu_prior(without: str | None = None, factor: float | None = None) -> Prior:
    """Likewise, of model FLOPs over the peak of the booked hours; Student's t is `factor` times as wide on the logit.

    By default the published runs' `widening`, which is without the same run.
    """
    runs = booked_runs().effective_mfu
    rows = {name: row for name, row in runs.items() if row.booked and name != without}
    if factor is None:
        factor = widening(None if without is None else team_of(without))
    found = prediction("effective_mfu", [effective_mfu(row) for row in rows.values()], "")
    source = (
        f"90 % prediction interval from {len(rows)} published runs ({', '.join(rows)}), model FLOPs over booked "
        f"accelerator-hours × dense peak, {factor:.2f} times as wide as Student's t, by leaving published runs out; "
        "docs/throughput.md"
    )
    return prior(found.name, found.mu, factor * found.sigma, found.runs, source)


def effective_mfu_checks() -> tuple[Held, ...]:
    """What the widening of `effective_mfu_prior` was tried on."""
    hours, everything = held_by_the_others("hours_by_effective_mfu"), held_by_the_others()
    return (
        Held(held=hours[0], of=hours[1], what=f"published runs' accelerator-hours by the effective MFU, {LEFT_OUT}"),
        Held(held=everything[0], of=everything[1], what=EVERYTHING),
    )


def team_of(run: str) -> str:
    """Whose a booked run is; its own name where its team has no measured steps."""
    row = booked_runs().effective_mfu.get(run)
    return run if row is None or row.team is None else row.team


def effective_mfu(row: EffectiveRow) -> float:
    """Model FLOPs of the row's tokens (every matmul, attention in full) over the dense peak of its hours."""
    shape = presets.architecture(row.model)
    peak = presets.accelerator(row.accelerator).peak(row.dtype)
    if peak is None:
        raise BadInputError(f"configs/booked.yaml: {row.model}: {row.accelerator} has no {row.dtype} peak")
    flop = flop_ledger(shape, row.tokens, shape.context).model_flop
    return flop / (row.accelerator_hours * SECONDS_PER_HOUR * peak)


def prediction(name: str, shares: list[float], source: str) -> Prior:
    """For one more share like these: Student's t on the logits, as the normal with the same central 90 %.

    At least two shares, each between 0 and 1, else ValueError.
    """
    if len(shares) < 2 or not all(0 < share < 1 for share in shares):
        raise ValueError(f"{name}: needs at least two shares between 0 and 1, not {shares}")
    logits = np.log(shares) - np.log1p(-np.asarray(shares))
    sigma = prediction_sigma(float(logits.std(ddof=1)), len(shares))
    return prior(name, float(logits.mean()), sigma, len(shares), source)


def prediction_sigma(deviation: float, count: int) -> float:
    """Of the normal with the central 90 % of the t prediction for one more, from `count` with that deviation."""
    from scipy.special import stdtrit  # late: the light commands need no scipy

    half_width = float(stdtrit(count - 1, 0.95)) * deviation * math.sqrt(1 + 1 / count)
    return half_width / Z95


def prior(name: str, mu: float, sigma: float, runs: int, source: str) -> Prior:
    """The logit-normal with these parameters."""
    low, median, high = (1 / (1 + math.exp(-(mu + z * sigma))) for z in (-Z95, 0, Z95))
    return Prior(name=name, median=median, low=low, high=high, mu=mu, sigma=sigma, runs=runs, source=source)


def measured_goodput(run: RunRecord) -> MeasuredGoodput:
    """Steps × the median step's seconds over the booked time of all attempts, waiting in a queue not counted.

    Without that, over their wall-clock up to the last finished steps. BadInputError for a run without steps.
    """
    if run.steps < 1 or run.wall_clock_s <= 0:
        raise BadInputError(f"run {run.name}: has no finished step, so it has no goodput")
    booked_s = run.goodput.booked_s if run.goodput else run.wall_clock_s
    share = min(1.0, run.steps * run.step_time_median_s / booked_s)
    warnings = []
    if booked_s < HOURS_PER_DAY * SECONDS_PER_HOUR:
        warnings.append(
            f"run {run.name} took {booked_s / SECONDS_PER_HOUR:.1f} h: its goodput of {100 * share:.0f} % is "
            "mostly its start-up's, and says little of weeks with failures"
        )
    if run.device_type == "cpu":
        warnings.append(f"run {run.name} was on a CPU: its goodput is no cluster's")
    return MeasuredGoodput(share, tuple(warnings))


def _check_share(name: str, values: Values) -> None:
    if not (np.all(np.asarray(values) > 0) and np.all(np.asarray(values) <= 1)):
        raise BadInputError(f"{name}: must be above 0 and at most 1 in every draw")
