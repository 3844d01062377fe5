"""What a sweep would train, and how long on its cluster: `replibench sweep --dry-run`."""

from typing import Literal

from pydantic import ConfigDict, Field

from accounting.accelerators import Dtype
from accounting.flops import FlopLedger
from accounting.hf_config import from_hf_config
from accounting.memory import Layout
from configs.errors import BadInputError
from configs.files import Record
from configs.presets import Cluster, cluster
from configs.schema import RunConfig, TrainConfig
from configs.sweeps import SweepConfig, ledger, members, short
from extrapolate.calibration import calibration
from extrapolate.plans import needed_bytes, usable_bytes
from extrapolate.step_time import Machine, columns, machine, step_parts
from extrapolate.utilisation import SIMILAR, Predicted, in_practice


class PlannedTime(Record):
    """Seconds of a member's steps: the throughput model at its own layout, slowed as other teams' runs are; 90 %."""

    median_s: float
    p5_s: float
    p95_s: float


class PlannedMember(Record):
    """One run to come; FLOPs are the model's (docs/accounting.md)."""

    name: str
    parameters: int
    tokens: int
    steps: int
    model_flop: int
    time: PlannedTime | None


class SweepPlan(Record):
    """All runs, least compute first and the held-out one last.

    A member's `time` is None where no cluster is named, and where no measured run is of a similar size: steps of small
    models wait for kernels to be launched, which the throughput model does not count.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.sweep-plan/1"] = Field("replibench.sweep-plan/1", alias="schema")
    name: str
    cluster: str | None
    members: tuple[PlannedMember, ...]
    model_flop: int
    median_s: float | None = Field(description="of those that have a time, one after the other, by their medians")
    warnings: tuple[str, ...]


def sweep_plan(sweep: SweepConfig) -> SweepPlan:
    """Count every member, and time it where the sweep names a cluster. Raises BadInputError for one that cannot be."""
    found = members(sweep)
    where = cluster(sweep.cluster) if sweep.cluster else None
    warnings: dict[str, None] = {}
    planned = tuple(_planned(name, config, where, warnings) for name, config in found.items())
    untimed = sum(member.time is None for member in planned)
    if where is None:
        warnings["no times: the sweep names no cluster"] = None
    elif untimed:
        warnings[
            f"no time for {untimed} of {len(planned)} members: they have less than {short(_least_parameters())} "
            "parameters, and nothing as small is among the runs that the throughput model was tried on"
        ] = None
    return SweepPlan(
        name=sweep.name,
        cluster=sweep.cluster,
        members=planned,
        model_flop=sum(member.model_flop for member in planned),
        median_s=None if where is None else sum(member.time.median_s for member in planned if member.time),
        warnings=tuple(warnings),
    )


def _planned(name: str, config: RunConfig, where: Cluster | None, warnings: dict[str, None]) -> PlannedMember:
    counted = ledger(config)
    return PlannedMember(
        name=name,
        parameters=counted.parameters_all,
        tokens=counted.tokens,
        steps=config.train.steps,
        model_flop=counted.model_flop,
        time=None if where is None else _time(name, config, counted, where, warnings),
    )


def _least_parameters() -> float:
    """Below these no run that the throughput model is calibrated on is similar."""
    return min(row.step.architecture.parameter_counts().total for row in calibration().left_out) / SIMILAR


def _time(
    name: str, config: RunConfig, counted: FlopLedger, where: Cluster, warnings: dict[str, None]
) -> PlannedTime | None:
    train, devices, shape = config.train, machine(where), from_hf_config(config.architecture)
    if devices.devices != train.world_size:
        raise BadInputError(
            f"cluster: {where.name} has {devices.devices} devices, and {name} takes {train.world_size} processes; "
            "name a cluster of as many, or change train.data_parallel_size"
        )
    layout = _layout(train, where.dtype)
    needed, at_work = needed_bytes(shape, layout, train.sequence_length)
    if needed.total + at_work > usable_bytes(devices):
        raise BadInputError(
            f"cluster: {name} needs {(needed.total + at_work) / 1e9:.0f} GB a device, and {where.accelerator.name} has "
            f"{usable_bytes(devices) / 1e9:.0f} GB to use; lower train.micro_batch_size"
        )
    if counted.parameters_all < _least_parameters():
        return None
    rows, length = train.global_batch_rows, train.sequence_length
    step_s = float(step_parts(shape, devices, columns([layout]), rows, length, calibration().efficiency).total[0])
    at_peak_s = _at_peak_s(counted.model_flop, devices)
    speed = at_peak_s / (train.steps * step_s)
    hardware = speed * counted.hardware_flop / counted.model_flop
    practice = in_practice(Predicted(speed, hardware, devices.devices), where, calibration())
    warnings.update(dict.fromkeys(practice.warnings))
    mfu = practice.mfu
    return PlannedTime(median_s=at_peak_s / mfu.median, p5_s=at_peak_s / mfu.high, p95_s=at_peak_s / mfu.low)


def _layout(train: TrainConfig, dtype: Dtype) -> Layout:
    return Layout(
        precision=dtype,
        zero_stage=train.zero_stage,
        data_parallel_size=train.data_parallel_size,
        tensor_parallel_size=train.tensor_parallel_size,
        pipeline_parallel_size=train.pipeline_parallel_size,
        micro_batch_size=train.micro_batch_size,
        recompute="full" if train.activation_checkpointing else "none",
    )


def _at_peak_s(flop: int, devices: Machine) -> float:
    return flop / (devices.peak_flop_per_s * devices.devices)
