"""Energy of the devices that train: NVML where these are GPUs, RAPL for CPU packages, None where neither can be read.

NVML: https://docs.nvidia.com/deploy/nvml-api. RAPL: the kernel's Documentation/power/powercap/powercap.rst.
"""

import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist

POWERCAP = Path("/sys/class/powercap")
POWER_EVERY_S = 0.1
RAPL_EVERY_S = 10.0  # a counter of 65 kJ, the smallest, is once round in two minutes at 500 W
COUNTER, POWER, RAPL = "NVML's energy counter", f"power by NVML every {POWER_EVERY_S:g} s, integrated", "RAPL"
_SOURCES = (COUNTER, POWER, RAPL)


class Meter(Protocol):
    """Energy since it was made."""

    source: str
    devices: int

    def joules(self) -> float | None:
        """None once it could not be read any more."""


class _Reader:
    """Reads again and again in a thread, for what must not be left unread; stops for good at the first failure."""

    def __init__(self, read: Callable[[], None], every_s: float, errors: tuple[type[Exception], ...]) -> None:
        self._read, self._every_s, self._errors = read, every_s, errors
        self._lock, self._failed = threading.Lock(), False
        threading.Thread(target=self._loop, name="energy", daemon=True).start()

    def read(self) -> bool:
        """Read now. Says whether it could be, now and every time before."""
        with self._lock:
            try:
                if not self._failed:
                    self._read()
            except self._errors:
                self._failed = True
        return not self._failed

    def _loop(self) -> None:
        time.sleep(self._every_s)
        while self.read():
            time.sleep(self._every_s)


class EnergyCounter:
    """A GPU that counts its energy itself (Volta and later)."""

    source, devices = COUNTER, 1

    def __init__(self, nvml: Any, handle: Any) -> None:
        """Raises NVMLError where the device has no counter."""
        self._nvml, self._handle = nvml, handle
        self._start = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)  # mJ since the driver was loaded

    def joules(self) -> float | None:
        """Since it was made."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) - self._start) / 1e3
        except self._nvml.NVMLError:
            return None


class SampledPower:
    """A GPU whose power can be read: the integral over samples, by the trapezoidal rule."""

    source, devices = POWER, 1

    def __init__(self, nvml: Any, handle: Any, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises NVMLError where the device does not tell its power. `clock`: seconds."""
        self._nvml, self._handle, self._clock = nvml, handle, clock
        self._joules, self._last = 0.0, (clock(), self._watts())
        self._reader = _Reader(self._sample, POWER_EVERY_S, (nvml.NVMLError,))

    def joules(self) -> float | None:
        """Since it was made."""
        return self._joules if self._reader.read() else None

    def _watts(self) -> float:
        return float(self._nvml.nvmlDeviceGetPowerUsage(self._handle)) / 1e3

    def _sample(self) -> None:
        watts, now = self._watts(), self._clock()
        then, before = self._last
        self._joules += (now - then) * (watts + before) / 2
        self._last = (now, watts)


class RaplPackages:
    """The packages of this machine's CPUs, with all that runs on them. Counters in µJ, which wrap around."""

    source = RAPL

    def __init__(self, packages: list[Path]) -> None:
        """Of the powercap zones `packages`. Raises OSError or ValueError where one cannot be read."""
        self.devices = len(packages)
        self._counters = [package / "energy_uj" for package in packages]
        self._ranges = [int((package / "max_energy_range_uj").read_text()) for package in packages]
        self._last = [int(counter.read_text()) for counter in self._counters]
        self._microjoules = 0
        self._reader = _Reader(self._add, RAPL_EVERY_S, (OSError, ValueError))

    def joules(self) -> float | None:
        """Since it was made."""
        return self._microjoules / 1e6 if self._reader.read() else None

    def _add(self) -> None:
        now = [int(counter.read_text()) for counter in self._counters]
        for before, after, wraps_at in zip(self._last, now, self._ranges, strict=True):
            self._microjoules += after - before + (wraps_at if after < before else 0)
        self._last = now


def gpu_meter(uuid: str) -> Meter | None:
    """Of the GPU of that UUID, as NVML writes it: CUDA_VISIBLE_DEVICES gives devices other numbers, not other UUIDs."""
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except pynvml.NVMLError:
        return None
    for kind in (EnergyCounter, SampledPower):
        try:
            meter: Meter = kind(pynvml, handle)
        except pynvml.NVMLError:
            continue
        return meter
    return None


def cpu_meter(powercap: Path) -> Meter | None:
    """Of the CPU packages in the tree `powercap`; None where there are none, or only root may read them."""
    try:
        zones = [zone for zone in sorted(powercap.glob("intel-rapl:*")) if zone.name.count(":") == 1]  # AMD's too
        packages = [zone for zone in zones if (zone / "name").read_text().startswith("package")]  # psys has them in it
        return RaplPackages(packages) if packages else None
    except (OSError, ValueError):
        return None


class RunEnergy:
    """Energy of all devices of the run since this attempt began. Every rank has one."""

    def __init__(self, device: torch.device, control: Any) -> None:
        """`control`: a gloo group of all ranks. Collective."""
        self._control, self._meter = control, _meter_of(device)
        found = [0] * (len(_SOURCES) + 1)
        if self._meter is not None:
            found[_SOURCES.index(self._meter.source)] = self._meter.devices
        elif not _counted_by_another(device):
            found[-1] = 1
        counts = torch.tensor(found)
        dist.all_reduce(counts, group=control)
        *known, unknown = counts.tolist()
        self.source = None if unknown else _in_words(known)

    def joules(self) -> float | None:
        """None where a device's cannot be read (any more). Collective where there is a `source`."""
        if self.source is None:
            return None
        mine = self._meter.joules() if self._meter is not None else 0.0
        total = torch.tensor([math.nan if mine is None else mine], dtype=torch.float64)
        dist.all_reduce(total, group=self._control)
        return float(total) if total.isfinite() else None


def _meter_of(device: torch.device) -> Meter | None:
    if device.type == "cuda":
        return gpu_meter(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
    return None if _counted_by_another(device) else cpu_meter(POWERCAP)


def _counted_by_another(device: torch.device) -> bool:
    """A machine's CPUs are read by its first process for all of them."""
    return device.type == "cpu" and os.environ["LOCAL_RANK"] != "0"


def _in_words(counts: list[int]) -> str:
    things = {
        COUNTER: "GPUs alone",
        POWER: "GPUs alone",
        RAPL: "CPU packages, whatever ran on them; no memory, no other devices",
    }
    parts = [f"{source}: {n} {things[source]}" for source, n in zip(_SOURCES, counts, strict=True) if n]
    return " and ".join(parts)
