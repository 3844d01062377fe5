"""The GPU itself: what it is, how fast it multiplies, what it has used. torch and NVML, nothing else that is heavy."""

import statistics
import time

import torch

from scripts.bench.gpu_record import Device

MATMUL = 8192


def device() -> Device | None:
    """The GPU that torch sees first, and how fast it multiplies; None without one."""
    if not torch.cuda.is_available():
        return None
    properties = torch.cuda.get_device_properties(0)
    return Device(
        name=properties.name,
        memory_bytes=properties.total_memory,
        capability=f"{properties.major}.{properties.minor}",
        driver=_driver(),
        cuda=torch.version.cuda,
        matmul_bf16_flop_per_s=_matmul_flop_per_s(torch.device("cuda", 0)),
    )


def _driver() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None


def _matmul_flop_per_s(where: torch.device) -> float:
    """What is left of the datasheet's peak in one large bf16 product of random matrices, FLOP/s."""
    a, b = (torch.randn(MATMUL, MATMUL, device=where, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(13):
        torch.cuda.synchronize(where)
        start = time.perf_counter()
        a @ b
        torch.cuda.synchronize(where)
        times.append(time.perf_counter() - start)
    return 2 * MATMUL**3 / statistics.median(times[3:])
