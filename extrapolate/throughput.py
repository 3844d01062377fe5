"""The fastest layouts of a model on a cluster: how to split it, how long a step takes, and why not otherwise."""

import math
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, Field

from accounting.architecture import Architecture
from accounting.errors import SizeError
from accounting.flops import Recompute, flop_ledger
from accounting.memory import MemoryBytes
from configs.errors import BadInputError
from configs.files import Record
from configs.presets import Cluster
from extrapolate.calibration import calibration
from extrapolate.plans import MARGIN, Enumeration, Miss, enumerate_layouts, needed_bytes, usable_bytes
from extrapolate.step_time import RECOMPUTES, Floats, Layouts, Machine, StepParts, machine, step_parts
from extrapolate.utilisation import Predicted, Utilisation, utilisation
from train.record import RunRecord

# The columns of a layout, and the field of a plan in which each stands.
FIELDS = {
    "tensor": "tensor_parallel_size",
    "pipeline": "pipeline_parallel_size",
    "data": "data_parallel_size",
    "zero_stage": "zero_stage",
    "micro_batch": "micro_batch_size",
    "recompute": "recompute",
    "sequence_parallel": "sequence_parallel",
    "interleave": "interleave",
}
# What of two layouts with the same step time is the plainer: less of each of these, in this order.
PLAINER = ("zero_stage", "recompute", "sequence_parallel", "interleave", "pipeline", "tensor", "micro_batch")


class StepSeconds(Record):
    """Where a step's seconds go, on the fullest pipeline stage. All but `hidden_communication_s` add up to the step.

    That is communication of ZeRO-2 and 3 which is taken to run beside the computation; with none hidden, the step
    would be so much longer.
    """

    matmul_s: float
    elementwise_s: float = Field(description="norms, dropout, activations, softmax: traffic through the memory")
    tensor_parallel_s: float
    pipeline_bubble_s: float
    pipeline_sends_s: float
    data_parallel_s: float
    optimizer_s: float
    hidden_communication_s: float


class PlannedMemory(Record):
    """Bytes on the fullest device. `at_work_bytes` is what recompute or ZeRO-3 holds of the layer at work."""

    counted: MemoryBytes
    at_work_bytes: int
    total_bytes: int
    device_bytes: int
    share: float = Field(description="of the device's memory")


class Plan(Record):
    """A layout and its predicted speed, as well tuned as the benchmark that the model is fitted to.

    What others reach is less: `Planning.utilisation`.
    """

    tensor_parallel_size: int
    pipeline_parallel_size: int
    data_parallel_size: int
    zero_stage: int
    micro_batch_size: int
    recompute: Recompute
    sequence_parallel: bool
    interleave: int
    micro_batches: int = Field(description="of a copy of the model in a step")
    step_time_s: float
    parts: StepSeconds
    tokens_per_s: float = Field(description="of all devices")
    mfu: float
    hfu: float
    memory: PlannedMemory


class Alternative(Record):
    """The best plan with another value in one field. None: no such layout fits into the memory."""

    field: str
    value: int | bool | str
    step_time_s: float | None
    slower_percent: float | None


class Dropped(Record):
    """What was not timed. A split is a choice of tensor, pipeline and data parallel sizes."""

    what: Literal["splits", "layouts"]
    count: int
    reason: str


class Planning(Record):
    """The best plans, first the best, and what decided."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.layouts/1"] = Field(default="replibench.layouts/1", alias="schema")
    cluster: str
    accelerator: str
    accelerator_count: int
    devices: int
    dtype: str
    peak_flop_per_s: float = Field(description="of one accelerator")
    global_batch: int
    sequence_length: int
    plans: tuple[Plan, ...]
    utilisation: Utilisation = Field(description="MFU of the first plan in practice, or by the user's own run")
    layouts_considered: int
    layouts_fitting: int
    dropped: tuple[Dropped, ...]
    alternatives: tuple[Alternative, ...]
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def plan(
    architecture: Architecture,
    cluster: Cluster,
    global_batch: int,
    sequence_length: int,
    count: int | None = None,
    run: RunRecord | None = None,
    best: int = 5,
) -> Planning:
    """The `best` fastest layouts of a step of `global_batch` sequences on `count` accelerators (the cluster's number).

    `run`, the user's own, gives the MFU in practice where it can (extrapolate.utilisation).

    They are ranked by the step with no communication hidden behind the computation, since how much is differs between
    softwares (StepParts.hidden); of equals the plainer is first. Raises BadInputError for an accelerator that cannot be
    timed, a count that leaves a node partly used, a batch that no layout divides, a sequence beyond the learned
    positions, and a model that fits in no layout, with the nearest miss.
    """
    where = machine(cluster, count)
    if global_batch < 1 or sequence_length < 1:
        raise BadInputError(f"a batch of {global_batch} sequences of {sequence_length} tokens is empty")
    try:
        flop_ledger(architecture, 1, sequence_length)
    except SizeError as error:
        raise BadInputError(str(error)) from None
    found = enumerate_layouts(architecture, where, global_batch, sequence_length)
    if not found.fits.any():
        raise BadInputError(_nothing_fits(found, where, global_batch, cluster.accelerator.name))
    layouts = found.fitting
    parts = step_parts(architecture, where, layouts, global_batch, sequence_length, calibration().efficiency)
    worst = parts.total + parts.hidden
    order = np.lexsort((*(getattr(layouts, name) for name in reversed(PLAINER)), worst))[:best]
    plans = tuple(_plan(architecture, where, layouts, parts, int(at), global_batch, sequence_length) for at in order)
    used = utilisation(Predicted(plans[0].mfu, plans[0].hfu, where.devices), architecture, cluster, run)
    alternatives = _alternatives(found, layouts, worst, parts.total, int(order[0]))
    return Planning(
        cluster=cluster.name,
        accelerator=cluster.accelerator.name,
        accelerator_count=where.devices // cluster.accelerator.devices,
        devices=where.devices,
        dtype=where.dtype,
        peak_flop_per_s=where.peak_flop_per_s * cluster.accelerator.devices,
        global_batch=global_batch,
        sequence_length=sequence_length,
        plans=plans,
        utilisation=used,
        layouts_considered=len(found.fits),
        layouts_fitting=int(found.fits.sum()),
        dropped=_dropped(found, where),
        alternatives=alternatives,
        reasons=_reasons(plans[0]),
        warnings=(*_warnings(architecture, plans[0], where.devices), *used.warnings),
    )


def _plan(
    architecture: Architecture,
    where: Machine,
    layouts: Layouts,
    parts: StepParts,
    at: int,
    global_batch: int,
    sequence_length: int,
) -> Plan:
    layout = layouts.layout(at, where.dtype)
    seconds = float(parts.total[at])
    ledger = flop_ledger(architecture, global_batch * sequence_length, sequence_length, layout.recompute)
    peak = where.peak_flop_per_s * where.devices
    counted, at_work = needed_bytes(architecture, layout, sequence_length)
    needed = counted.total + at_work
    return Plan(
        **layout.model_dump(exclude={"precision"}),
        micro_batches=global_batch // (layout.data_parallel_size * layout.micro_batch_size),
        step_time_s=seconds,
        parts=_seconds(parts, at),
        tokens_per_s=ledger.tokens / seconds,
        mfu=ledger.model_flop / seconds / peak,
        hfu=ledger.hardware_flop / seconds / peak,
        memory=PlannedMemory(
            counted=counted,
            at_work_bytes=at_work,
            total_bytes=needed,
            device_bytes=where.memory_bytes,
            share=needed / where.memory_bytes,
        ),
    )


def _seconds(parts: StepParts, at: int) -> StepSeconds:
    values = {f"{name}_s": float(column[at]) for name, column in parts._asdict().items() if name != "hidden"}
    return StepSeconds(**values, hidden_communication_s=float(parts.hidden[at]))


def _alternatives(
    found: Enumeration, layouts: Layouts, worst: Floats, total: Floats, chosen: int
) -> tuple[Alternative, ...]:
    """For each field and each other value that was considered: the best layout with it."""
    rows = []
    for name, field in FIELDS.items():
        column, ours = getattr(layouts, name), getattr(layouts, name)[chosen]
        for value in np.unique(getattr(found.considered, name)):
            if value == ours:
                continue
            here = np.flatnonzero(column == value)
            at = here[np.argmin(worst[here])] if len(here) else None
            rows.append(
                Alternative(
                    field=field,
                    value=_value(name, int(value)),
                    step_time_s=None if at is None else float(total[at]),
                    slower_percent=None if at is None else float(100 * (worst[at] / worst[chosen] - 1)),
                )
            )
    return tuple(rows)


def _value(name: str, value: int) -> int | bool | str:
    if name == "recompute":
        return RECOMPUTES[value]
    return bool(value) if name == "sequence_parallel" else value


def _dropped(found: Enumeration, where: Machine) -> tuple[Dropped, ...]:
    words: dict[Any, tuple[Literal["splits", "layouts"], str]] = {
        "heads": ("splits", "the tensor parallel size does not divide the heads or the MLP's width"),
        "layers": ("splits", "the pipeline parallel size does not divide the layers"),
        "batch": ("splits", "the copies do not divide the batch"),
        "memory": (
            "layouts",
            f"they need more than {_gb(usable_bytes(where))} of a device ({100 * MARGIN:.0f} % are left free)",
        ),
    }
    rows = [(words[reason], count) for reason, count in found.dropped.items() if count]
    return tuple(Dropped(what=what, count=count, reason=reason) for (what, reason), count in rows)


def _reasons(first: Plan) -> tuple[str, ...]:
    """What limits the best plan, in words."""
    names = {
        "elementwise_s": "memory traffic outside the matmuls",
        "tensor_parallel_s": "tensor-parallel sums",
        "pipeline_bubble_s": "the pipeline's bubble",
        "pipeline_sends_s": "the pipeline's sends",
        "data_parallel_s": "data-parallel communication",
        "optimizer_s": "the optimizer",
    }
    parts = sorted(((getattr(first.parts, key) / first.step_time_s, name) for key, name in names.items()), reverse=True)
    listed = ", ".join(f"{name} {100 * share:.1f} %" for share, name in parts if share >= 0.001)
    busy = first.parts.matmul_s / first.step_time_s
    reasons = [
        f"matmuls take {100 * busy:.1f} % of the step; then {listed}" if listed else "matmuls take all of the step"
    ]
    reasons.append(
        f"memory: {_gb(first.memory.total_bytes)} of {_gb(first.memory.device_bytes)} on the fullest device "
        f"({100 * first.memory.share:.0f} %), stage {first.memory.counted.stage + 1} of {first.pipeline_parallel_size}"
    )
    return tuple(reasons)


def _warnings(architecture: Architecture, first: Plan, devices: int) -> tuple[str, ...]:
    """Where the prediction leaves what the model was calibrated on, in size or in kind of layout."""
    fitted = [row.step for row in calibration().left_out]
    sizes = [step.ledger.parameters_all for step in fitted]
    size, counts = architecture.parameter_counts().total, [step.accelerators for step in fitted]
    warnings = []
    if not min(sizes) <= size <= max(sizes):
        warnings.append(
            f"{size:,} parameters are outside the calibration's {min(sizes) / 1e9:.1f} to {max(sizes) / 1e9:.0f}e9"
        )
    if not min(counts) <= devices <= max(counts):
        warnings.append(f"{devices:,} devices are outside the calibration's {min(counts)} to {max(counts):,}")
    if first.recompute not in {step.layout.recompute for step in fitted}:
        warnings.append(f"recompute {first.recompute} is outside the calibration, whose runs all recompute in full")
    if first.sequence_parallel and not any(step.layout.sequence_parallel for step in fitted):
        warnings.append("sequence parallelism is outside the calibration, none of whose runs has it")
    if first.zero_stage > 1:
        warnings.append(
            f"ZeRO-{first.zero_stage} is outside the calibration: {first.parts.hidden_communication_s:.3g} s of "
            "communication a step are taken to be hidden behind the computation"
        )
    return tuple(warnings)


def _nothing_fits(found: Enumeration, where: Machine, global_batch: int, accelerator: str) -> str:
    if not len(found.fits):
        allowed = ", ".join(str(copies) for copies in found.copies[:4])
        return (
            f"a batch of {global_batch} sequences is divided by no number of copies of the model that "
            f"{where.devices:,} devices can hold ({allowed}{', …' if len(found.copies) > 4 else ''}); "
            f"give a multiple of {math.gcd(*found.copies)} that one of them divides"
        )
    miss: Miss | None = found.nearest_miss
    if miss is None:
        raise ValueError("layouts were considered, none fits, and none is the nearest")
    layout, usable = miss.layout, usable_bytes(where)
    return (
        f"the model fits on {where.devices:,} devices of {accelerator} in none of {len(found.fits):,} layouts: the "
        f"nearest miss (tensor × pipeline × data parallel {layout.tensor_parallel_size} × "
        f"{layout.pipeline_parallel_size} × {layout.data_parallel_size}, ZeRO-{layout.zero_stage}, recompute "
        f"{layout.recompute}) needs {miss.needed_bytes:,} bytes, {miss.needed_bytes - usable:,} more than the "
        f"{usable:,} that are left of a device after a margin of {100 * MARGIN:.0f} %; take more accelerators or "
        "larger ones"
    )


def _gb(value: int) -> str:
    return f"{value / 1e9:.1f} GB"
