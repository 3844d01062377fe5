"""Energy from a powercap tree and an NVML that are not there: counters that wrap, refuse, are missing, or break."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tests.distributed import run_distributed
from train import energy
from train.energy import RunEnergy, cpu_meter, gpu_meter

UUID = "GPU-ffc79498-8ff3-c2dc-3b0d-fafd804516ae"
RANGE = 65_532_610_987


def zone(powercap: Path, directory: str, name: str, microjoules: int) -> Path:
    """One zone of the powercap tree, as the kernel shows it; returns its counter."""
    path = powercap / directory
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    (path / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (path / "energy_uj").write_text(f"{microjoules}\n")
    return path / "energy_uj"


def two_packages(powercap: Path) -> tuple[Path, Path]:
    """A machine with two packages, and zones that must not be counted beside them."""
    for directory, name in (("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram"), ("intel-rapl:2", "psys"),
                            ("intel-rapl-mmio:0", "package-0")):  # fmt: skip
        zone(powercap, directory, name, 0)
    return zone(powercap, "intel-rapl:0", "package-0", 1_000_000), zone(powercap, "intel-rapl:1", "package-1", 0)


def test_packages_are_summed_and_a_counter_may_wrap(tmp_path: Path) -> None:
    first, second = two_packages(tmp_path)
    meter = cpu_meter(tmp_path)
    assert meter is not None
    assert (meter.devices, meter.joules()) == (2, 0)
    first.write_text("4000000\n")
    for other in ("intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        (tmp_path / other / "energy_uj").write_text("99000000\n")
    assert meter.joules() == 3
    second.write_text(f"{RANGE - 1_000_000}\n")
    assert meter.joules() == pytest.approx(3 + (RANGE - 1_000_000) / 1e6)
    second.write_text("500000\n")
    assert meter.joules() == pytest.approx(3 + RANGE / 1e6 + 0.5)


def test_counters_are_read_often_enough_to_see_each_wrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "RAPL_EVERY_S", 0.005)
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = cpu_meter(tmp_path)
    assert meter is not None
    for microjoules in (RANGE - 10, 5, RANGE - 10, 5):  # twice round, and nobody asks
        new = counter.with_suffix(".new")
        new.write_text(str(microjoules))
        new.rename(counter)
        time.sleep(0.1)
    assert meter.joules() == pytest.approx(2 * RANGE / 1e6, rel=1e-6)


@pytest.mark.parametrize("what", ["no tree", "only cores", "no permission", "gone while training"])
def test_without_readable_packages_there_is_no_energy(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what == "only cores":
        zone(tmp_path, "intel-rapl:0:0", "core", 0)
    if what in ("no permission", "gone while training"):
        counter, _ = two_packages(tmp_path)
    if what == "no permission":  # since 2020 the counters are root's; the tests may be root
        read = Path.read_text

        def refuse(path: Path, *arguments: Any, **options: Any) -> str:
            if path == counter:
                raise PermissionError(13, "Permission denied")
            return read(path, *arguments, **options)

        monkeypatch.setattr(Path, "read_text", refuse)
    meter = cpu_meter(tmp_path / "powercap" if what == "no tree" else tmp_path)
    if what != "gone while training":
        assert meter is None
        return
    assert meter is not None
    text = counter.read_text()
    counter.unlink()
    assert meter.joules() is None
    counter.write_text(text)  # what went by meanwhile is not known
    assert meter.joules() is None


class NVMLError(Exception):
    """As pynvml's."""


def fake_nvml(energy_mj: Callable[[], int] | None, power_mw: Callable[[], int] | None) -> SimpleNamespace:
    """What the meter uses of pynvml, with one GPU that answers, or does not support, these two questions."""

    def by_uuid(uuid: str) -> str:
        if uuid != UUID:
            raise NVMLError("Not Found")
        return "handle"

    def answer(question: Callable[[], int] | None) -> Callable[[str], int]:
        def ask(handle: str) -> int:
            assert handle == "handle"
            if question is None:
                raise NVMLError("Not Supported")
            return question()

        return ask

    return SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetTotalEnergyConsumption=answer(energy_mj),
        nvmlDeviceGetPowerUsage=answer(power_mw),
    )


def test_a_gpu_counts_its_own_energy_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = [123_456_000]
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(lambda: counter[0], lambda: 1 // 0))
    meter = gpu_meter(UUID)
    assert meter is not None
    counter[0] += 42_500
    assert (meter.source, meter.joules()) == (energy.COUNTER, 42.5)
    assert gpu_meter("GPU-another") is None


def test_power_is_integrated_where_a_gpu_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWER_EVERY_S", 3600.0)  # only when asked
    now = [50.0]
    nvml = fake_nvml(None, lambda: int(1e3 * (100 + 20 * (now[0] - 50))))  # 100 W, and 20 W more each second
    meter = energy.SampledPower(nvml, "handle", lambda: now[0])
    now[0] = 53.0
    assert meter.joules() == pytest.approx(3 * (100 + 160) / 2)
    now[0] = 54.0
    assert meter.joules() == pytest.approx(4 * 100 + 20 * 4**2 / 2)


def test_power_is_sampled_while_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWER_EVERY_S", 0.002)
    asked = [0]

    def power() -> int:
        asked[0] += 1
        return 250_000

    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(None, power))
    start = time.monotonic()
    meter = gpu_meter(UUID)
    assert meter is not None
    time.sleep(0.2)
    assert asked[0] > 5
    joules = meter.joules()
    assert joules is not None
    assert 250 * 0.2 <= joules <= 250 * (time.monotonic() - start)


def test_a_gpu_that_says_nothing_or_is_lost_has_no_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(None, None))
    assert gpu_meter(UUID) is None
    answers = iter([1_000_000])

    def once() -> int:
        for answer in answers:
            return answer
        raise NVMLError("GPU is lost")

    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(once, None))
    meter = gpu_meter(UUID)
    assert meter is not None
    assert meter.joules() is None


def energy_of_a_run(powercap: Path, broken: bool) -> tuple[str | None, list[float | None]]:
    """The energy of a run of all ranks on this machine; the counter moves by 2.5 J, and then is gone."""
    dist.init_process_group("gloo")
    energy.POWERCAP = powercap / "nothing" if broken else powercap
    meter = RunEnergy(torch.device("cpu"), dist.group.WORLD)
    counter, joules = powercap / "intel-rapl:0" / "energy_uj", []
    for text in ("3500000", None):
        dist.barrier()
        if os.environ["RANK"] == "0":
            counter.write_text(text) if text else counter.unlink()
        joules.append(meter.joules())
    dist.destroy_process_group()
    return meter.source, joules


def test_a_machines_packages_are_counted_once_for_all_its_ranks(tmp_path: Path) -> None:
    two_packages(tmp_path)
    (source, joules), other = run_distributed(energy_of_a_run, 2, tmp_path, False)
    assert source == "RAPL: 2 CPU packages, whatever ran on them; no memory, no other devices"
    assert joules == [2.5, None]
    assert other == (source, joules)


def test_a_run_that_nobody_measures_says_so(tmp_path: Path) -> None:
    two_packages(tmp_path)
    assert run_distributed(energy_of_a_run, 2, tmp_path, True) == [(None, [None, None])] * 2
