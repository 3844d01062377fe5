"""How a user's own run compares with the throughput model: its measured speed over that of its own layout."""

import numpy as np

from accounting.accelerators import Accelerator
from accounting.errors import SizeError
from configs.errors import BadInputError
from configs.presets import Cluster
from extrapolate.calibration import calibration
from extrapolate.plans import enumerate_layouts
from extrapolate.step_time import RECOMPUTES, machine, step_parts
from train.record import RunRecord


def measured_hfu(run: RunRecord) -> float | None:
    """Hardware FLOPs over the peak; without recompute MFU and HFU are one. None: not measured."""
    if run.hfu is not None:
        return run.hfu
    return run.mfu if run.flops.recompute == "none" else None


def predicted_hfu(run: RunRecord, cluster: Cluster, ran_on: Accelerator) -> float:
    """What the model gives the run's own layout, in nodes like the cluster's.

    A record has neither micro-batch, interleaving nor sequence parallelism: of the layouts with its sizes, ZeRO stage
    and recompute the fastest is taken. BadInputError says why there is none.
    """
    where = machine(cluster.model_copy(update={"accelerator": ran_on, "dtype": run.precision}), run.n_devices)
    length = run.flops.sequence_length
    batch, rest = divmod(run.tokens, max(1, run.steps) * length)
    if batch < 1 or rest:
        raise BadInputError(f"{run.tokens:,} tokens in {run.steps:,} steps are no batches of {length}")
    try:
        looked_at = enumerate_layouts(run.architecture, where, batch, length).considered
    except SizeError as error:
        raise BadInputError(str(error)) from None
    same = (
        (looked_at.tensor == run.tensor_parallel_size)
        & (looked_at.pipeline == run.pipeline_parallel_size)
        & (looked_at.data == run.data_parallel_size)
        & (looked_at.zero_stage == run.zero_stage)
        & (looked_at.recompute == RECOMPUTES.index(run.flops.recompute))
    )
    if not same.any():
        raise BadInputError(
            f"tensor × pipeline × data parallel {run.tensor_parallel_size} × {run.pipeline_parallel_size} × "
            f"{run.data_parallel_size} with ZeRO-{run.zero_stage} and {batch:,} sequences a step is no layout that is "
            "timed here"
        )
    layouts = type(looked_at)(*(column[same] for column in looked_at))
    seconds = step_parts(run.architecture, where, layouts, batch, length, calibration().efficiency).total
    per_step = run.flops.hardware_flop * (batch * length / run.flops.tokens)
    return float(per_step / np.min(seconds) / (where.peak_flop_per_s * where.devices))
