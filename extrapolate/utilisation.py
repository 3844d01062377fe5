"""The MFU that a plan will reach while it trains: what other teams reached against the model, or the user's own run."""

import math
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np

from accounting.accelerators import Accelerator, match_device_name
from accounting.architecture import Architecture
from configs import presets
from configs.distributions import Z95
from configs.files import Record
from configs.presets import Cluster
from extrapolate.calibration import Calibration, Checked, calibration
from extrapolate.duration import Prior, prediction_sigma, prior
from train.record import RunRecord

# How far a measured utilisation is carried: to so many times, or a fraction of, its parameters and its accelerators.
SIMILAR = 4


class Utilisation(Record):
    """MFU of steps that count, as a distribution, and what it rests on."""

    kind: Literal["practice", "own_run"]
    mfu: Prior
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

    A measured HFU is carried over to the plan (its MFU follows by the plan's recompute), with the spread that runs
    within the same limits show in the calibration's table. A run that cannot be used is named in a warning.
    """
    found = calibration()
    if run is None:
        return in_practice(predicted, cluster, found, ())
    reason = _why_not(run, predicted, architecture, cluster)
    hfu = _measured_hfu(run)
    if reason is not None or hfu is None:
        warning = f"the measured MFU of run {run.name} is not used: {reason or 'it is not known'}"
        return in_practice(predicted, cluster, found, (warning,))
    mfu = hfu * predicted.mfu / predicted.hfu
    sigma = carried_sigma(found)
    source = (
        f"measured by run {run.name}: HFU {100 * hfu:.1f} % on {run.n_devices} × {run.device_name}, carried to this "
        f"plan's recompute; its spread is that of published runs within a factor of {SIMILAR} in size"
    )
    said = f"the MFU of run {run.name} replaces the published runs'; it holds for the same software and network alone"
    return Utilisation(kind="own_run", mfu=_around(mfu, sigma, 1, source), warnings=(said,))


def practice(found: Calibration) -> Practice:
    """Mean over the teams of held-out runs, and Student's t prediction for one more, as the normal of the same 90 %."""
    ratios = np.array(list(found.practice.values()))
    return Practice(float(-ratios.mean()), prediction_sigma(float(ratios.std(ddof=1)), len(ratios)))


def without_team(found: Calibration, team: str) -> Calibration:
    """The calibration as if that team's runs were not known; what is predicted of them then is held out."""
    return found._replace(practice={other: ratio for other, ratio in found.practice.items() if other != team})


def interval_without_its_team(row: Checked, found: Calibration) -> tuple[float, float]:
    """90 % of the FLOP/s of one accelerator on a measured step, by what the other teams reach; recompute included."""
    others = practice(without_team(found, row.step.team))
    sigma = others.sigma
    if not row.step.accelerator.name.startswith(found.accelerator_family + "-"):
        sigma = math.hypot(sigma, other_kind_sigma(found))
    at = row.predicted_hardware_flop_per_s
    return at * math.exp(others.shift - Z95 * sigma), at * math.exp(others.shift + Z95 * sigma)


def other_kind_sigma(found: Calibration) -> float:
    """What another kind of accelerator adds: root mean square over the pairs that differ in it alone."""
    return float(np.sqrt(np.mean(np.square(list(found.kinds.values())))))


def carried_sigma(found: Calibration) -> float:
    """Root mean square of log HFU ratios of the calibration's runs, for pairs within SIMILAR of one another."""
    steps = [row.step for row in found.left_out]
    ratios = [
        math.log(a.hardware_flop_per_s / b.hardware_flop_per_s)
        for a, b in combinations(steps, 2)
        if _similar(a.ledger.parameters_all, b.ledger.parameters_all) and _similar(a.accelerators, b.accelerators)
    ]
    return float(np.sqrt(np.mean(np.square(ratios))))


def in_practice(
    predicted: Predicted, cluster: Cluster, found: Calibration, warnings: tuple[str, ...] = ()
) -> Utilisation:
    """What other teams reach with a plan of that speed: shifted and widened by theirs, and by another accelerator."""
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
    mfu = predicted.mfu * math.exp(others.shift)
    about = _around(mfu, sigma, len(found.practice), f"{source}; docs/throughput.md")
    return Utilisation(kind="practice", mfu=about, warnings=warnings)


def _around(mfu: float, sigma_of_log: float, runs: int, source: str) -> Prior:
    """A logit-normal with that median; near it a change of the log by δ is one of the logit by δ/(1 − mfu)."""
    return prior("mfu", math.log(mfu / (1 - mfu)), sigma_of_log / (1 - mfu), runs, source)


def _measured_hfu(run: RunRecord) -> float | None:
    if run.hfu is not None:
        return run.hfu
    return run.mfu if run.flops.recompute == "none" else None


def _why_not(run: RunRecord, predicted: Predicted, architecture: Architecture, cluster: Cluster) -> str | None:
    """Why a run says nothing of the plan; None if it does."""
    if run.device_type == "cpu":
        return "it was on a CPU, which says nothing of a cluster of accelerators"
    ran_on, hfu = match_device_name(run.device_name, presets.accelerators()), _measured_hfu(run)
    if ran_on is None or hfu is None or not 0 < hfu < 1:
        return f"it has no MFU below 1 of a known accelerator (its device: {run.device_name})"
    if _form(ran_on) != _form(cluster.accelerator):
        return f"it was on {ran_on.name}, and the cluster has {cluster.accelerator.name}"
    if ran_on.peak(run.precision) != cluster.accelerator.peak(cluster.dtype):
        return f"it trained in {run.precision}, and the cluster trains in {cluster.dtype}"
    sizes = run.architecture.parameter_counts().total, architecture.parameter_counts().total
    devices = run.n_devices, predicted.devices
    for (small, large), what in ((sizes, "parameters"), (devices, "devices")):
        if not _similar(small, large):
            return f"its {small:,} {what} are more than a factor of {SIMILAR} from the target's {large:,}"
    return None


def _form(accelerator: Accelerator) -> str:
    """Kind and form without the memory: a100-sxm."""
    return accelerator.name.rpartition("-")[0]


def _similar(one: int, other: int) -> bool:
    return max(one, other) <= SIMILAR * min(one, other)
