"""The MFU that a plan will reach while it trains: what other teams reached against the model, or the user's own run."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from accounting.accelerators import Accelerator, match_device_name
from accounting.architecture import Architecture
from configs import presets
from configs.distributions import Z95
from configs.errors import BadInputError
from configs.files import Record
from configs.presets import Cluster
from extrapolate.calibration import Calibration, Checked, calibration
from extrapolate.duration import Prior, prediction_sigma, prior
from extrapolate.own_run import measured_hfu, predicted_hfu
from extrapolate.widening import EVERYTHING, LEFT_OUT, Held, Trial, held_by_the_others, least_factor, widening
from train.record import RunRecord

# How far a measured utilisation is carried: to so many times, or a fraction of, its parameters and its accelerators.
SIMILAR = 4


class Utilisation(Record):
    """MFU of steps that count, as a distribution, what it rests on, and how often its way of making 90 % held."""

    kind: Literal["practice", "own_run"]
    mfu: Prior
    checks: tuple[Held, ...]
    warnings: tuple[str, ...]


class Practice(NamedTuple):
    """Teams against the model, in logs: on average so much slower, and the sigma of one more team."""

    shift: float
    sigma: float


class Predicted(NamedTuple):
    """What the throughput model gives a plan."""

    mfu: float
    hfu: float
    devices: int


def utilisation(
    predicted: Predicted, architecture: Architecture, cluster: Cluster, run: RunRecord | None = None
) -> Utilisation:
    """A plan's MFU in practice; from the user's own `run` where it was on such accelerators and of a similar size.

    The run's measured speed over that of its own layout by the model multiplies what the model gives the plan, so that
    the plan's own bubble and communication stay in it; the spread is that of pairs of published runs within the same
    limits. A run that cannot be used is named in a warning.
    """
    found = calibration()
    if run is None:
        return in_practice(predicted, cluster, found)
    try:
        ratio = _carried(run, predicted, architecture, cluster)
    except BadInputError as error:
        warning = f"the measured MFU of run {run.name} is not used: {error}"
        return in_practice(predicted, cluster, found, (warning,))
    pairs = similar_pairs(found)
    held = held_pairs(pairs)
    source = (
        f"measured by run {run.name}: {100 * ratio:.0f} % of the speed that the throughput model gives its own layout "
        f"on {run.n_devices} × {run.device_name}, carried to this plan; the spread is that of {len(pairs)} pairs of "
        f"published runs within a factor of {SIMILAR} in size"
    )
    said = f"the MFU of run {run.name} replaces the published runs'; it holds for the same software and network alone"
    about = _around(ratio * predicted.mfu, carried_sigma(pairs), 1, source)
    return Utilisation(kind="own_run", mfu=about, checks=(held,), warnings=(said,))


def practice(found: Calibration) -> Practice:
    """Mean over the teams of held-out runs, and Student's t prediction for one more, as the normal of the same 90 %."""
    ratios = np.array(list(found.practice.values()))
    return Practice(float(-ratios.mean()), prediction_sigma(float(ratios.std(ddof=1)), len(ratios)))


def without_team(found: Calibration, team: str) -> Calibration:
    """The calibration as if that team's runs were not known; what is predicted of them then is held out."""
    return found._replace(practice={other: ratio for other, ratio in found.practice.items() if other != team})


def interval_without_its_team(row: Checked, found: Calibration) -> tuple[float, float]:
    """90 % of the FLOP/s of one accelerator on a measured step, by what the other teams reach; recompute included.

    Widened as the forecast is, by what the other teams need.
    """
    others = practice(without_team(found, row.step.team))
    sigma = others.sigma
    if not row.step.accelerator.name.startswith(found.accelerator_family + "-"):
        sigma = math.hypot(sigma, other_kind_sigma(found))
    sigma *= widening(row.step.team)
    at = row.predicted_hardware_flop_per_s
    return at * math.exp(others.shift - Z95 * sigma), at * math.exp(others.shift + Z95 * sigma)


def other_kind_sigma(found: Calibration) -> float:
    """What another kind of accelerator adds: root mean square over the pairs that differ in it alone."""
    return float(np.sqrt(np.mean(np.square(list(found.kinds.values())))))


def similar_pairs(found: Calibration) -> tuple[Trial, ...]:
    """Pairs of runs of one team and kind of accelerator, none of them fitted, within SIMILAR of one another.

    What such a pair needs is the sigma whose 90 % just hold the one when the other's ratio to the model is carried.
    """
    rows = [*found.held_out, *found.pairs, *found.beyond]
    rows = [row for row in rows if row.step.team != found.left_out[0].step.team]
    return tuple(
        Trial(
            run=f"{one.step.name}, {other.step.name}",
            team=one.step.team,
            needs=abs(one.log_ratio - other.log_ratio) / Z95,
        )
        for one, other in combinations(rows, 2)
        if one.step.team == other.step.team
        and _form(one.step.accelerator) == _form(other.step.accelerator)
        and _similar(one.step.ledger.parameters_all, other.step.ledger.parameters_all)
        and _similar(one.step.accelerators, other.step.accelerators)
    )


def carried_sigma(pairs: Sequence[Trial]) -> float:
    """Of a carried log ratio: its 90 % hold as many of the pairs, and of one more like them."""
    return least_factor(pairs)


def held_pairs(pairs: Sequence[Trial]) -> Held:
    """Each pair by the sigma that the other teams' pairs give."""
    held = sum(pair.needs <= least_factor(pairs, pair.team) for pair in pairs)
    return Held(
        held=held, of=len(pairs), what="MFUs carried from one published run of a team to another, by other teams' pairs"
    )


def in_practice(
    predicted: Predicted,
    cluster: Cluster,
    found: Calibration,
    warnings: tuple[str, ...] = (),
    factor: float | None = None,
) -> Utilisation:
    """What other teams reach with a plan of that speed: shifted and widened by theirs, and by another accelerator.

    `factor` times as wide as that: by default the published runs' widening.
    """
    factor = widening() if factor is None else factor
    others = practice(found)
    sigma, source = (
        others.sigma,
        f"the throughput model, and how {len(found.practice)} other teams' runs compare with it",
    )
    if not cluster.accelerator.name.startswith(found.accelerator_family + "-"):
        sigma = math.hypot(sigma, other_kind_sigma(found))
        warnings += (
            f"{cluster.accelerator.name} is outside the calibration: the spread of the MFU is widened by what "
            f"{len(found.kinds)} pairs of runs on A100 and H100 show",
        )
        source += "; widened for another kind of accelerator"
    source += f"; {factor:.2f} times as wide as Student's t, by leaving published runs out"
    mfu = predicted.mfu * math.exp(others.shift)
    about = _around(mfu, factor * sigma, len(found.practice), f"{source}; docs/throughput.md")
    return Utilisation(kind="practice", mfu=about, checks=practice_checks(), warnings=warnings)


def practice_checks() -> tuple[Held, ...]:
    """What the widening of `in_practice` was tried on."""
    hours, everything = held_by_the_others("hours_by_plan"), held_by_the_others()
    return (
        Held(held=hours[0], of=hours[1], what=f"published runs' accelerator-hours by the plan, {LEFT_OUT}"),
        Held(held=everything[0], of=everything[1], what=EVERYTHING),
    )


def _around(mfu: float, sigma_of_log: float, runs: int, source: str) -> Prior:
    """A logit-normal with that median; near it a change of the log by δ is one of the logit by δ/(1 − mfu)."""
    return prior("mfu", math.log(mfu / (1 - mfu)), sigma_of_log / (1 - mfu), runs, source)


def _carried(run: RunRecord, predicted: Predicted, architecture: Architecture, cluster: Cluster) -> float:
    """The run's speed over the model's of its own layout. BadInputError says why it says nothing of the plan."""
    if run.device_type == "cpu":
        raise BadInputError("it was on a CPU, which says nothing of a cluster of accelerators")
    ran_on, hfu = match_device_name(run.device_name, presets.accelerators()), measured_hfu(run)
    if ran_on is None or hfu is None or not 0 < hfu < 1:
        raise BadInputError(f"it has no MFU below 1 of a known accelerator (its device: {run.device_name})")
    if _form(ran_on) != _form(cluster.accelerator):
        raise BadInputError(f"it was on {ran_on.name}, and the cluster has {cluster.accelerator.name}")
    if ran_on.peak(run.precision) != cluster.accelerator.peak(cluster.dtype):
        raise BadInputError(f"it trained in {run.precision}, and the cluster trains in {cluster.dtype}")
    sizes = run.architecture.parameter_counts().total, architecture.parameter_counts().total
    devices = run.n_devices, predicted.devices
    for (small, large), what in ((sizes, "parameters"), (devices, "devices")):
        if not _similar(small, large):
            raise BadInputError(f"its {small:,} {what} are more than a factor of {SIMILAR} from the target's {large:,}")
    ratio = hfu / predicted_hfu(run, cluster, ran_on)
    if ratio * predicted.mfu >= 1:
        raise BadInputError(
            f"{ratio:.2f} times the model's speed of its own layout, it would put the plan above its peak"
        )
    return ratio


def _form(accelerator: Accelerator) -> str:
    """Kind and form without the memory: a100-sxm."""
    return accelerator.name.rpartition("-")[0]


def _similar(one: int, other: int) -> bool:
    return max(one, other) <= SIMILAR * min(one, other)
