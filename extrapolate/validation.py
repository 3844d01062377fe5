"""Predictions of published runs beside what was measured or booked, each made as if that run were not known."""

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accounting.estimate import FlopSummary, estimate
from accounting.memory import Layout
from configs import presets
from configs.booked import EffectiveRow, booked_runs
from configs.distributions import Z95
from configs.published import PRESET_CONVENTION
from configs.throughput import MeasuredStep
from extrapolate.calibration import Calibration, Checked, calibration
from extrapolate.distributions import Quantiles, quantiles
from extrapolate.duration import (
    Effective,
    Prior,
    WhileTraining,
    accelerator_hours,
    effective_mfu,
    effective_mfu_prior,
    goodput_prior,
    team_of,
)
from extrapolate.throughput import Plan, plan
from extrapolate.utilisation import Predicted, in_practice, interval_without_its_team, practice, without_team
from extrapolate.widening import TRIALS, StoredTrials, Trial, widening

SAMPLES, SEED = 100_000, 0
MOST_NEEDED = 16.0


@dataclass(frozen=True)
class Check:
    """One prediction. `interval` is its 90 %, None where it has none; `kept_out` says how the truth stayed out of it.

    `kept_out` is None where the truth had a part in the prediction, which then shows nothing.
    """

    run: str
    predicted: float
    truth: float
    interval: tuple[float, float] | None
    kept_out: str | None
    source: str

    @property
    def error_percent(self) -> float:
        """Predicted over the truth."""
        return 100 * (self.predicted / self.truth - 1)

    @property
    def held(self) -> bool | None:
        """Is the truth inside? None without an interval."""
        return None if self.interval is None else self.interval[0] <= self.truth <= self.interval[1]


class FlopCheck(NamedTuple):
    """Published training FLOP beside 6·N·D, which is what most people count, and beside the count of its convention."""

    run: str
    published: float
    six_nd: float
    convention: str
    by_convention: float | None
    source: str

    @property
    def error_percent(self) -> float:
        """Of 6·N·D."""
        return 100 * (self.six_nd / self.published - 1)

    @property
    def convention_error_percent(self) -> float | None:
        """Of the count that follows the publication's convention."""
        return None if self.by_convention is None else 100 * (self.by_convention / self.published - 1)


class Coverage(NamedTuple):
    """`held` of `of` intervals. `at_most`: the chance of as few or fewer were each held with 90 %, independently.

    `low` to `high` is the 90 % interval of the true share (Clopper and Pearson), under the same independence.
    """

    held: int
    of: int
    at_most: float
    low: float
    high: float


def flop_checks() -> tuple[FlopCheck, ...]:
    """Every preset whose authors published training FLOP."""
    rows = []
    for name in presets.architecture_names():
        preset = presets.architecture_preset(name)
        published = preset.published
        if published is None or published.training_flop is None or published.tokens is None:
            continue
        shape = preset.architecture
        counted = estimate(name, shape, published.tokens, shape.context, Layout()).flop
        convention = published.training_flop_convention or "unknown"
        rows.append(
            FlopCheck(
                run=name,
                published=published.training_flop,
                six_nd=float(counted.six_nd),
                convention=PRESET_CONVENTION.get(convention, "unknown"),
                by_convention=_count(counted, convention),
                source=published.source,
            )
        )
    return tuple(rows)


def speed_checks() -> tuple[Check, ...]:
    """FLOP/s of one accelerator, recompute included, of every measured step.

    The calibrating team's own have no interval: left out one by one, or beside a fit that has never seen them.
    """
    found = calibration()
    checks = [_speed(row, None, "left out of the fit") for row in found.left_out]
    for row in (*found.held_out, *found.pairs, *found.beyond):
        if row.step.team == found.left_out[0].step.team:
            checks.append(_speed(row, None, "not in the fit"))
        else:
            checks.append(_speed(row, interval_without_its_team(row, found), _how(row, found)))
    checks += [_speed(row, None, "doubtful, so in nothing") for row in found.doubtful]
    return tuple(checks)


def team_checks() -> tuple[Check, ...]:
    """The same, once a team: its geometric mean of measured over predicted, by what the other teams reached."""
    found = calibration()
    checks = []
    for team, ratio in found.practice.items():
        others = practice(without_team(found, team))
        sigma = widening(team) * others.sigma
        low, high = (math.exp(others.shift + z * sigma) for z in (-Z95, Z95))
        checks.append(Check(team, math.exp(others.shift), math.exp(-ratio), (low, high), "its team left out", ""))
    return tuple(checks)


def effective_checks() -> tuple[Check, ...]:
    """Booked accelerator-hours, by the effective MFU of the other booked runs."""
    checks = []
    for name, row in booked_runs().effective_mfu.items():
        if row.booked:
            prior = effective_mfu_prior(without=name)
            low, middle, high = (
                float(accelerator_hours(_model_flop(row), _peak(row), Effective(share)))
                for share in (prior.high, prior.median, prior.low)
            )
            checks.append(Check(name, middle, row.accelerator_hours, (low, high), "the run left out", row.source))
    return tuple(checks)


def planned_checks() -> tuple[Check, ...]:
    """Booked accelerator-hours, by the best plan on such a cluster, the other teams' practice, and others' goodput.

    Hours that were computed from a speed have no lost work in them, and are predicted without any.
    """
    checks = []
    for name, row in booked_runs().effective_mfu.items():
        if row.cluster is None or row.batch is None:
            continue
        hours = _hours(name, row, planned_mfu(name))
        kept_out = "its team and its goodput left out" if row.team else "not in the calibration"
        checks.append(Check(name, hours.median, row.accelerator_hours, (hours.p5, hours.p95), kept_out, row.source))
    return tuple(checks)


def planned_mfu(run: str, factor: float | None = None) -> Prior:
    """MFU in practice of the best plan for a booked run, as if its team were not known; `factor` as in `in_practice`.

    By default that of the other teams.
    """
    row = booked_runs().effective_mfu[run]
    first, found = _best(run), calibration() if row.team is None else without_team(calibration(), row.team)
    cluster = presets.cluster(row.cluster or "")
    devices = cluster.count * cluster.accelerator.devices
    factor = widening(team_of(run)) if factor is None else factor
    return in_practice(Predicted(first.mfu, first.hfu, devices), cluster, found, factor=factor).mfu


def trials() -> tuple[Trial, ...]:
    """What each held-out prediction needs to hold, from the facts alone; `publish_trials` stores them."""
    return (*_speed_trials(), *_effective_trials(), *_planned_trials())


def publish_trials(path: Path = TRIALS) -> StoredTrials:
    """Make and store them: what `widening` reads."""
    found = StoredTrials(trials=trials())
    path.write_text(found.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    return found


def _speed_trials() -> Iterator[Trial]:
    found = calibration()
    for team, ratio in found.practice.items():
        others = practice(without_team(found, team))
        yield Trial(kind="speed", run=team, team=team, needs=_rounded(abs(ratio + others.shift) / (Z95 * others.sigma)))


def _effective_trials() -> Iterator[Trial]:
    for name, row in booked_runs().effective_mfu.items():
        if row.booked:
            prior, share = effective_mfu_prior(without=name, factor=1), effective_mfu(row)
            needs = abs(math.log(share / (1 - share)) - prior.mu) / (Z95 * prior.sigma)
            yield Trial(kind="hours_by_effective_mfu", run=name, team=team_of(name), needs=_rounded(needs))


def _planned_trials() -> Iterator[Trial]:
    """By bisection: the hours have a goodput in them, which is not widened."""
    for name, row in booked_runs().effective_mfu.items():
        if row.cluster is None or row.batch is None:
            continue
        low, high = 0.0, MOST_NEEDED
        while high - low > 1e-6 * MOST_NEEDED:
            middle = (low + high) / 2
            found = _hours(name, row, planned_mfu(name, middle))
            low, high = (low, middle) if found.p5 <= row.accelerator_hours <= found.p95 else (middle, high)
        yield Trial(kind="hours_by_plan", run=name, team=team_of(name), needs=_rounded(high))


def _rounded(needs: float) -> float:
    """Up, so that what needs so much holds with it."""
    return math.ceil(needs * 1e4) / 1e4


def _hours(run: str, row: EffectiveRow, share: Prior) -> Quantiles:
    mfu = share.draws(SAMPLES, SEED)
    goodput = goodput_prior(without=run).draws(SAMPLES, SEED) if row.booked else 1.0
    return quantiles(np.asarray(accelerator_hours(_model_flop(row), _peak(row), WhileTraining(mfu, goodput))))


@functools.cache
def _best(run: str) -> Plan:
    row = booked_runs().effective_mfu[run]
    cluster, shape = presets.cluster(row.cluster or ""), presets.architecture(row.model)
    return plan(shape, cluster, row.batch or 0, shape.context, best=1).plans[0]


def coverage(checks: Iterable[Check]) -> Coverage:
    """How many of the intervals held. Of none, ValueError."""
    from scipy.special import bdtr, betaincinv

    held = [check.held for check in checks if check.held is not None]
    if not held:
        raise ValueError("no check has an interval")
    n, k = len(held), sum(held)
    low = float(betaincinv(k, n - k + 1, 0.05)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 0.95)) if k < n else 1.0
    return Coverage(held=k, of=n, at_most=float(bdtr(k, n, 0.9)), low=low, high=high)


def _speed(row: Checked, interval: tuple[float, float] | None, kept_out: str | None) -> Check:
    step: MeasuredStep = row.step
    return Check(
        run=step.name,
        predicted=row.predicted_hardware_flop_per_s,
        truth=step.hardware_flop_per_s,
        interval=interval,
        kept_out=kept_out,
        source=step.source,
    )


def _how(row: Checked, found: Calibration) -> str | None:
    """The widening for another kind of accelerator was made of the pairs on it, so these are not held out from it."""
    if not row.step.accelerator.name.startswith(found.accelerator_family + "-"):
        return None
    return "its team left out" if row.step.team in found.practice else "no run of the team is in the priors"


def _count(counted: FlopSummary, convention: str) -> float | None:
    value = getattr(counted, convention, None)
    return None if value is None else float(value)


def _model_flop(row: EffectiveRow) -> float:
    shape = presets.architecture(row.model)
    return float(estimate(row.model, shape, row.tokens, shape.context, Layout()).flop.model_exact)


def _peak(row: EffectiveRow) -> float:
    peak = presets.accelerator(row.accelerator).peak(row.dtype)
    if peak is None:
        raise ValueError(f"{row.accelerator} has no {row.dtype} peak")
    return peak
