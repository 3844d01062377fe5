"""Before the first step: is every node there, with the devices, memory, disk and versions that the run needs?

Asked by the first node, each writes what it has where all see it; the first one judges, and names the node that is not
fit.
"""

import itertools
import os
import platform
import shutil
import time
from importlib import metadata
from pathlib import Path

import psutil
from pydantic import Field

from accounting.accelerators import Accelerator, match_device_name
from configs import presets
from configs.errors import NodeError, first_line
from configs.files import Record, read_record, write_record
from train.place import Place

VERSIONS = ("torch", "deepspeed", "transformers", "numpy")
WAIT_S = 300.0  # for the slowest node to report
FREE_DEVICE = 0.9  # of its memory: what is less is used by somebody else
BYTES_PER_PARAMETER = 16  # weights, their fp32 copy and two moments, the largest checkpoint there is
_POLL_S = 0.2


class NodeFacts(Record):
    """A node, as it found itself before the start."""

    node: str
    devices: tuple[str, ...] = Field(description="names of the NVIDIA devices that its processes use, by NVML")
    free_share: tuple[float, ...] = Field(description="of each device's memory")
    memory_available_bytes: int
    disk_free_bytes: int = Field(description="where the run directory is")
    versions: dict[str, str]
    time: float


class Report(Record):
    """attempts/ID/node-RANK.json: a node's facts, or what kept it from finding them."""

    facts: NodeFacts | None
    error: str | None


class Needs(Record):
    """What each node of a run must have; `devices` 0: it trains on CPUs."""

    devices: int
    accelerator: str | None = Field(description="a row of configs/accelerators.yaml; None: any")
    parameters: int
    checkpoints: int = Field(description="that room is needed for")
    processes: int


def report(run_dir: Path, directory: Path, place: Place, devices: int) -> None:
    """Write this node's facts, with as many `devices` as its processes use, or why there are none.

    Raises WorkFailedError where nothing can be written.
    """
    facts, error = None, None
    try:
        facts = _facts(run_dir, place, devices)
    except Exception as caught:  # a device or a file system that fails: whatever its library makes of that
        error = f"{type(caught).__name__}: {first_line(caught)}"
    write_record(directory / f"node-{place.rank}.json", Report(facts=facts, error=error))


def _facts(run_dir: Path, place: Place, devices: int) -> NodeFacts:
    names, free = _devices(devices)
    return NodeFacts(
        node=place.name,
        devices=names,
        free_share=free,
        memory_available_bytes=psutil.virtual_memory().available,
        disk_free_bytes=shutil.disk_usage(run_dir).free,
        versions={"python": platform.python_version(), **{name: metadata.version(name) for name in VERSIONS}},
        time=time.time(),
    )


def check(directory: Path, place: Place, needs: Needs, wait_s: float = WAIT_S) -> tuple[NodeFacts, ...]:
    """Wait for the reports of all nodes and judge them. Raises NodeError naming the first node that is not fit."""
    deadline = time.monotonic() + wait_s
    paths = [directory / f"node-{rank}.json" for rank in range(len(place.names))]
    while missing := [name for name, path in zip(place.names, paths, strict=True) if not path.is_file()]:
        if time.monotonic() > deadline:
            raise NodeError(
                f"pre-flight: {', '.join(missing)} did not report within {wait_s:,.0f} s: down, or without {directory}"
            )
        time.sleep(_POLL_S)
    found = tuple(_facts_in(path, name) for path, name in zip(paths, place.names, strict=True))
    for facts in found:
        reason = unfit(facts, found[0], needs)
        if reason:
            raise NodeError(f"pre-flight: {facts.node}: {reason}")
    return found


def _facts_in(path: Path, name: str) -> NodeFacts:
    found = read_record(path, Report)
    if found.facts is None:
        raise NodeError(f"pre-flight: {name}: cannot say what it has: {found.error}")
    return found.facts


def unfit(facts: NodeFacts, first: NodeFacts, needs: Needs) -> str | None:
    """Why a node cannot take part; None if it can. `first`: the first node, whose versions are everybody's."""
    other = next((name for name in first.versions if facts.versions.get(name) != first.versions[name]), None)
    if other:
        return f"has {other} {facts.versions.get(other)}, and {first.node} has {first.versions[other]}"
    memory = needs.parameters * 4 * needs.processes  # each process draws the whole model, in fp32
    if facts.memory_available_bytes < memory:
        return f"has {_gb(facts.memory_available_bytes)} of memory available; its processes need {_gb(memory)}"
    disk = needs.parameters * BYTES_PER_PARAMETER * needs.checkpoints
    if facts.disk_free_bytes < disk:
        return (
            f"has {_gb(facts.disk_free_bytes)} free for the run; {needs.checkpoints} more checkpoints need {_gb(disk)}"
        )
    return _unfit_devices(facts, needs) if needs.devices else None


def _unfit_devices(facts: NodeFacts, needs: Needs) -> str | None:
    if len(facts.devices) < needs.devices:
        return f"has {len(facts.devices)} devices, and {needs.devices} are needed"
    for index, (name, free) in enumerate(zip(facts.devices, facts.free_share, strict=True)):
        if needs.accelerator and not _is(name, presets.accelerator(needs.accelerator)):
            return f"device {index} is {name}, and the profile says {needs.accelerator}"
        if free < FREE_DEVICE:
            return f"device {index} has {100 * free:.0f} % of its memory free: something else uses it"
    return None


def _is(name: str, wanted: Accelerator) -> bool:
    row = match_device_name(name, presets.accelerators())
    return row is not None and row.name == wanted.name


def _devices(most: int) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and free memory of the first so many that CUDA_VISIBLE_DEVICES leaves; others may be lost or busy."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), ()
    asked = os.environ.get("CUDA_VISIBLE_DEVICES")
    words = asked.split(",") if asked is not None else [str(i) for i in range(pynvml.nvmlDeviceGetCount())]
    visible = itertools.takewhile(lambda word: word not in ("", "-1"), (word.strip() for word in words))
    handles = [
        pynvml.nvmlDeviceGetHandleByIndex(int(word)) if word.isdecimal() else pynvml.nvmlDeviceGetHandleByUUID(word)
        for word in itertools.islice(visible, most)
    ]
    memory = [pynvml.nvmlDeviceGetMemoryInfo(handle) for handle in handles]
    return (
        tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles),
        tuple(each.free / each.total for each in memory),
    )


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:,.1f} GB"
