"""A CUDA name is given the peak of its own card or none."""

import pytest

from accounting.accelerators import Accelerator, PeakFlopPerS, match_device_name
from configs.presets import accelerators

# What torch.cuda.get_device_name() says → the row.
KNOWN = {
    "NVIDIA A100-SXM4-80GB": "a100-sxm-80gb",
    "NVIDIA A100-SXM4-40GB": "a100-sxm-40gb",
    "A100-SXM4-40GB": "a100-sxm-40gb",  # before driver 470
    "NVIDIA A100 80GB PCIe": "a100-pcie-80gb",
    "NVIDIA H100 80GB HBM3": "h100-sxm-80gb",
    "NVIDIA H100 PCIe": "h100-pcie-80gb",
    "NVIDIA H200": "h200-sxm-141gb",
    "NVIDIA B200": "b200-sxm-192gb",
    "Tesla V100-SXM2-32GB": "v100-sxm-32gb",
    "Tesla V100-SXM2-16GB": "v100-sxm-16gb",
}
UNKNOWN = [
    "",
    "NVIDIA H100 NVL",
    "NVIDIA H200 NVL",
    "NVIDIA GH200 480GB",
    "NVIDIA H20",
    "NVIDIA H800",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "NVIDIA A100-PCIE-40GB",
    "Tesla V100-PCIE-16GB",
    "NVIDIA GeForce RTX 3090",
]


@pytest.mark.parametrize("cuda_name", KNOWN)
def test_known(cuda_name: str) -> None:
    row = match_device_name(cuda_name, accelerators())
    assert row is not None and row.name == KNOWN[cuda_name]


@pytest.mark.parametrize("cuda_name", UNKNOWN)
def test_a_look_alike_has_no_peak(cuda_name: str) -> None:
    assert match_device_name(cuda_name, accelerators()) is None


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


def test_peak_by_dtype() -> None:
    rows = {row.name: row for row in accelerators()}
    assert rows["v100-sxm-32gb"].peak("bf16") is None
    assert rows["v100-sxm-32gb"].peak("fp16") == 125e12
    assert rows["a100-sxm-80gb"].peak("bf16") == 312e12
    assert rows["h100-sxm-80gb"].peak("bf16") == pytest.approx(989.5e12, rel=1e-3)  # dense; with sparsity 1979e12
