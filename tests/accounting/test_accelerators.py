"""A device name is given the peak of its own card or none, and every peak is the dense one."""

import pytest
import torch

from accounting.accelerators import Accelerator, PeakFlopPerS, match_device_name
from configs.presets import accelerators
from train import peak as train_peak
from train.record import Peak

ROWS = {row.name: row for row in accelerators()}

# What torch.cuda.get_device_name() says → the row.
KNOWN = {
    "NVIDIA A100-SXM4-80GB": "a100-sxm-80gb",
    "NVIDIA A100-SXM4-40GB": "a100-sxm-40gb",
    "A100-SXM4-40GB": "a100-sxm-40gb",  # before driver 470
    "NVIDIA A100-PCIE-40GB": "a100-pcie-40gb",
    "A100-PCIE-40GB": "a100-pcie-40gb",
    "NVIDIA A100 80GB PCIe": "a100-pcie-80gb",
    "NVIDIA A100-PCIE-80GB": "a100-pcie-80gb",
    "NVIDIA H100 80GB HBM3": "h100-sxm-80gb",
    "NVIDIA H100 PCIe": "h100-pcie-80gb",
    "NVIDIA H100 NVL": "h100-nvl-94gb",
    "NVIDIA H200": "h200-sxm-141gb",
    "NVIDIA B200": "b200-sxm-180gb",
    "NVIDIA GB200": "gb200-186gb",
    "Tesla V100-SXM2-32GB": "v100-sxm-32gb",
    "Tesla V100-SXM2-16GB": "v100-sxm-16gb",
    "Tesla V100-PCIE-32GB": "v100-pcie-32gb",
    "Tesla V100-PCIE-16GB": "v100-pcie-16gb",
    "AMD Instinct MI250X": "mi250x-128gb",
    "AMD Instinct MI300X": "mi300x-192gb",
    "NVIDIA GeForce RTX 4090": "rtx-4090-24gb",
}
UNKNOWN = [
    "",
    "NVIDIA H200 NVL",
    "NVIDIA GH200 480GB",
    "NVIDIA GB300",
    "NVIDIA B300 SXM6 AC",
    "NVIDIA H20",
    "NVIDIA H800",
    "NVIDIA A800-SXM4-80GB",
    "NVIDIA A100-SXM-64GB",  # Leonardo's own
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
    "GRID A100D-20C",
    "Tesla V100-SXM3-32GB",
    "Tesla V100S-PCIE-32GB",
    "AMD Instinct MI250X/MI250",  # what an MI250 says
    "AMD Instinct MI250X / MI250",
    "AMD Instinct MI300A",
    "AMD Instinct MI300X HF",
    "AMD Instinct MI300X VF",  # of a virtual machine, which may hold a part of it
    "AMD Instinct MI308X",
    "AMD Instinct MI325X",
    "NVIDIA GeForce RTX 3090",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
]

# Dense peaks of one device by others' tables. bf16 unless the row has none.
# A: pytorch/torchtitan@b5bcd76:torchtitan/tools/utils.py. B: karpathy/nanochat@92d63d4:nanochat/common.py.
# C: Lightning-AI/pytorch-lightning@1526f84:src/lightning/fabric/utilities/throughput.py.
# D: stanford-crfm/levanter@406a35a:src/levanter/utils/flop_utils.py, which has one core of a TPU v3.
PUBLISHED = {
    "v100-sxm-16gb": 125e12,  # C
    "v100-sxm-32gb": 125e12,  # C
    "v100-pcie-16gb": 112e12,  # C
    "v100-pcie-32gb": 112e12,  # C
    "a100-sxm-40gb": 312e12,  # A, B, C
    "a100-sxm-80gb": 312e12,  # A, B, C
    "a100-pcie-40gb": 312e12,  # A, B, C
    "a100-pcie-80gb": 312e12,  # A, B, C
    "h100-sxm-80gb": 989e12,  # A, B, C
    "h100-pcie-80gb": 756e12,  # A, B, C
    "h100-nvl-94gb": 835e12,  # A, B
    "h200-sxm-141gb": 989e12,  # A, B
    "b200-sxm-180gb": 2.25e15,  # A, B
    "gb200-186gb": 2.5e15,  # A, B
    "mi250x-128gb": 191.5e12,  # A: of one die
    "mi300x-192gb": 1307.4e12,  # B; A rounds it to 1300e12
    "tpu-v3": 61.5e12,  # D
    "tpu-v4": 275e12,  # A, C, D
    "tpu-v5e": 197e12,  # A, C, D
    "tpu-v5p": 459e12,  # A, D
    "rtx-4090-24gb": 165.2e12,  # B
}


@pytest.mark.parametrize("cuda_name", KNOWN)
def test_known(cuda_name: str) -> None:
    row = match_device_name(cuda_name, accelerators())
    assert row is not None and row.name == KNOWN[cuda_name]


@pytest.mark.parametrize("cuda_name", UNKNOWN)
def test_a_look_alike_has_no_peak(cuda_name: str) -> None:
    assert match_device_name(cuda_name, accelerators()) is None


def test_every_card_of_the_list_is_there_and_has_a_name() -> None:
    assert set(PUBLISHED) == set(ROWS)
    assert set(KNOWN.values()) == {name for name in ROWS if not name.startswith("tpu-")}


def test_no_name_is_of_two_rows() -> None:
    for cuda_name in [*KNOWN, *UNKNOWN]:
        found = [row.name for row in accelerators() if match_device_name(cuda_name, [row])]
        assert len(found) <= 1, (cuda_name, found)


def test_the_more_specific_pattern_goes_first() -> None:
    def row(name: str, pattern: str) -> Accelerator:
        return Accelerator(
            name=name,
            peak_flop_per_s=PeakFlopPerS(),
            memory_bytes=1,
            memory_bandwidth_bytes_per_s=1,
            device_name_patterns=(pattern,),
            source="made up",
        )

    table = [row("any", "X1.*"), row("large", "X1 .*96GB")]
    found = [match_device_name(name, table) for name in ("X1 96GB", "X1 48GB")]
    assert [row and row.name for row in found] == ["large", "any"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_peak_is_the_dense_one(name: str) -> None:
    row = ROWS[name]
    peak = row.peak("bf16") or row.peak("fp16")
    assert peak is not None
    assert peak / row.devices == pytest.approx(PUBLISHED[name], rel=1e-3)  # the figure with sparsity is twice as much
    # Each halving of the width doubles the rate, so one sparse figure among dense ones would show.
    peaks = row.peak_flop_per_s
    assert peaks.fp16 in (None, peak)
    if peaks.tf32 is not None:
        assert peaks.tf32 == pytest.approx(peak / 2, rel=1e-3)
    if peaks.fp8 is not None:
        assert peaks.fp8 == pytest.approx(peak * 2, rel=2e-3)
    if peaks.fp32 is not None:
        assert peaks.fp32 < peak


@pytest.mark.parametrize("row", accelerators(), ids=lambda row: row.name)
def test_a_row_has_a_source_and_the_memory_of_its_name(row: Accelerator) -> None:
    assert row.source.strip()
    if row.name.endswith("gb"):
        assert row.memory_bytes == int(row.name.rsplit("-", 1)[1].removesuffix("gb")) * 10**9


def test_peak_by_dtype() -> None:
    assert ROWS["v100-sxm-32gb"].peak("bf16") is None
    assert ROWS["v100-sxm-32gb"].peak("fp16") == 125e12
    assert ROWS["a100-sxm-80gb"].peak("fp32") == 19.49e12  # TF32: 156e12
    assert ROWS["rtx-4090-24gb"].peak("fp16") == 165.2e12  # with fp16 accumulation 330.3e12
    assert [row.name for row in accelerators() if row.devices == 2] == ["mi250x-128gb", "tpu-v3"]


@pytest.fixture
def eight_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    train_peak.find_peak.cache_clear()  # another test's accelerator in this process
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 8)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)


@pytest.mark.usefixtures("eight_processes")
@pytest.mark.parametrize(
    ("cuda_name", "flop_per_s", "label"),
    [
        ("NVIDIA H100 80GB HBM3", 8 * 989.4e12, "h100-sxm-80gb, dense bf16, × 8 ("),
        ("AMD Instinct MI250X", 8 * 191.5e12, "mi250x-128gb, dense bf16 ÷ 2 devices in one, × 8 ("),
    ],
)
def test_the_peak_of_a_run(cuda_name: str, flop_per_s: float, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: cuda_name)
    peak = train_peak.find_peak(torch.device("cuda", 0), "bf16", threads=1)
    assert peak is not None and peak.flop_per_s == flop_per_s
    assert peak.source.startswith(label)


@pytest.mark.usefixtures("eight_processes")
@pytest.mark.parametrize(
    ("cuda_name", "words"),
    [
        ("NVIDIA H20", ["'NVIDIA H20'", "no row of configs/accelerators.yaml", "add a row", "device_name_patterns"]),
        ("Tesla V100-SXM2-32GB", ["'Tesla V100-SXM2-32GB'", "no dense bf16 peak", "v100-sxm-32gb"]),
    ],
)
def test_no_peak_is_one_warning(cuda_name: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: cuda_name)
    with pytest.warns(UserWarning) as warned:
        assert train_peak.find_peak(torch.device("cuda", 0), "bf16", threads=1) is None
    (warning,) = warned
    assert all(word in str(warning.message) for word in words)


@pytest.mark.usefixtures("eight_processes")
def test_on_a_cpu_the_peak_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.distributed.barrier", lambda: None)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda rate: rate.mul_(8))
    monkeypatch.setattr(train_peak, "matmul_flop_per_s", lambda: 5e9)
    peak = train_peak.find_peak(torch.device("cpu"), "fp32", threads=2)
    label = "measured: best fp32 matmul, 8 process(es) × 2 thread(s), summed"
    assert peak == Peak(flop_per_s=40e9, source=label)
