"""The two numbers of the step-time model, fitted on published steps, and how far its predictions can be trusted."""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from configs.throughput import MeasuredStep, measured_steps
from extrapolate.step_time import Efficiency, columns, machine_of, step_parts

# The 95th percentile of Student's t by degrees of freedom, 1 to 10.
T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)


def predicted_step_s(step: MeasuredStep, efficiency: Efficiency) -> float:
    """Seconds that the model gives the step."""
    where = machine_of(
        step.accelerator,
        step.count,
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
