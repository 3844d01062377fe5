"""The denominator of MFU: the accelerator's row in the table, or on a CPU a measurement."""

import functools
import warnings

import torch
import torch.distributed as dist

from accounting.accelerators import Accelerator, match_device_name
from configs.presets import accelerators
from train.meters import matmul_flop_per_s
from train.record import Peak, Precision

TABLE = "configs/accelerators.yaml"


@functools.cache  # of a process that trains several runs in turn, once
def find_peak(device: torch.device, precision: Precision, threads: int) -> Peak | None:
    """Peak of all devices of the run, FLOP/s, with its source; None and a warning for an unknown accelerator.

    Collective. On a CPU all processes measure at the same time, since they share memory bandwidth and clock.
    """
    world = dist.get_world_size()
    if device.type == "cpu":
        dist.barrier()
        rate = torch.tensor([matmul_flop_per_s()], dtype=torch.float64)
        dist.all_reduce(rate)
        label = f"measured: best fp32 matmul, {world} process(es) × {threads} thread(s), summed"
        return Peak(flop_per_s=float(rate[0]), source=label)
    name = torch.cuda.get_device_name(device)
    row = match_device_name(name, accelerators())
    peak = row.peak(precision) if row else None
    if row is None or peak is None:
        if dist.get_rank() == 0:  # whose peak is the one that is recorded
            warnings.warn(_no_peak(name, row, precision), stacklevel=2)
        return None
    share = f" ÷ {row.devices} devices in one" if row.devices > 1 else ""
    label = f"{row.name}, dense {precision}{share}, × {world} ({row.source})"
    return Peak(flop_per_s=peak / row.devices * world, source=label)


def _no_peak(name: str, row: Accelerator | None, precision: Precision) -> str:
    if row:
        return f"{name!r} has no dense {precision} peak (row {row.name} of {TABLE}): no MFU is reported"
    return (
        f"{name!r} is in no row of {TABLE}: no MFU is reported. "
        "To have it, add a row there: its dense peaks, their source, and this name under device_name_patterns"
    )
