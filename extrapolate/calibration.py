"""The two numbers of the step-time model, fitted on published steps, and how far its predictions can be trusted."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from configs.throughput import MeasuredStep, measured_steps
from extrapolate.step_time import Efficiency, columns, machine_of, step_parts


def predicted_step_s(step: MeasuredStep, efficiency: Efficiency) -> float:
    """Seconds that the model gives the step."""
    where = machine_of(
        step.accelerator,
        step.accelerators,
        step.layout.precision,
        step.accelerators_per_node,
        step.node_bandwidth_bytes_per_s,
    )
    one = columns([step.layout])
    parts = step_parts(step.architecture, where, one, step.sequences, step.sequence_length, efficiency)
    return float(parts.total[0])


def fit(steps: Sequence[MeasuredStep]) -> Efficiency:
    """Least squares of the relative errors of the step times; at least two steps, all of ZeRO-0 or 1.

    A step is A/matmul + B·activation_traffic + C, so the fit is linear in the inverse of the one and the other.
    """
    unit, much = Efficiency(1.0, 0.0), Efficiency(math.inf, 0.0)
    none = np.array([predicted_step_s(step, much) for step in steps])
    matmul = np.array([predicted_step_s(step, unit) for step in steps]) - none
    traffic = np.array([predicted_step_s(step, Efficiency(math.inf, 1.0)) for step in steps]) - none
    measured = np.array([step.step_s for step in steps])
    design = np.column_stack([matmul, traffic]) / measured[:, None]
    (inverse, passes), *_ = np.linalg.lstsq(design, 1 - none / measured, rcond=None)
    return Efficiency(matmul=float(1 / inverse), activation_traffic=float(passes))


class Checked(NamedTuple):
    """A measured step beside its prediction. `log_ratio` is the log of predicted over measured FLOP/s."""

    step: MeasuredStep
    predicted_step_s: float

    @property
    def log_ratio(self) -> float:
        """Above 0: predicted faster than it was."""
        return math.log(self.step.step_s / self.predicted_step_s)

    @property
    def predicted_hardware_flop_per_s(self) -> float:
        """Of one accelerator, recompute included."""
        return self.step.ledger.hardware_flop / self.predicted_step_s / self.step.accelerators

    @property
    def error_percent(self) -> float:
        """Of the predicted FLOP/s, relative to what was measured."""
        return 100 * math.expm1(self.log_ratio)


class Calibration(NamedTuple):
    """The fit, and its errors on what it has not seen.

    `left_out`: each step of the calibration, predicted by a fit of the others. `held_out`, `beyond`, `pairs`,
    `doubtful`: the rows of those roles.
    `practice`: the mean log ratio of each other team's held-out runs, and `kinds` of each pair how much
    more is predicted too fast on the other kind of accelerator.
    """

    efficiency: Efficiency
    left_out: tuple[Checked, ...]
    held_out: tuple[Checked, ...]
    beyond: tuple[Checked, ...]
    pairs: tuple[Checked, ...]
    doubtful: tuple[Checked, ...]
    practice: dict[str, float]
    kinds: dict[str, float]

    @property
    def accelerator_family(self) -> str:
        """What the calibrating accelerator's name begins with."""
        return self.left_out[0].step.accelerator.name.partition("-")[0]

    @property
    def left_out_rms(self) -> float:
        """Root mean square of the log ratios of the steps left out."""
        return _rms([row.log_ratio for row in self.left_out])


@functools.cache
def calibration() -> Calibration:
    """Fit to the rows of configs/throughput.yaml whose role is calibration, and check on all the others."""
    steps = measured_steps()
    fitted = [step for step in steps if step.role == "calibration"]
    efficiency = fit(fitted)

    def checked(role: str) -> tuple[Checked, ...]:
        return tuple(Checked(step, predicted_step_s(step, efficiency)) for step in steps if step.role == role)

    left_out = (Checked(one, predicted_step_s(one, fit([o for o in fitted if o is not one]))) for one in fitted)
    held_out, pairs = checked("held_out"), checked("pair")
    return Calibration(
        efficiency=efficiency,
        left_out=tuple(left_out),
        held_out=held_out,
        beyond=checked("beyond"),
        pairs=pairs,
        doubtful=checked("doubtful"),
        practice=_by_team([row for row in held_out if row.step.team != fitted[0].team]),
        kinds=_by_pair(pairs, fitted[0].accelerator.name),
    )


def _by_team(rows: Sequence[Checked]) -> dict[str, float]:
    teams = dict.fromkeys(row.step.team for row in rows)
    return {team: float(np.mean([row.log_ratio for row in rows if row.step.team == team])) for team in teams}


def _by_pair(rows: Sequence[Checked], accelerator: str) -> dict[str, float]:
    """Log ratio on the other kind over that on the calibration's."""
    found = {}
    for name in dict.fromkeys(str(row.step.pair) for row in rows):
        both = [row for row in rows if row.step.pair == name]
        (here,) = (row.log_ratio for row in both if row.step.accelerator.name == accelerator)
        (there,) = (row.log_ratio for row in both if row.step.accelerator.name != accelerator)
        found[name] = there - here
    return found


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
