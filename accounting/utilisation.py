"""From FLOPs and seconds to rates, shares of the peak, and back. A share of an unknown peak does not exist.

MFU is model FLOPs and HFU hardware FLOPs over peak × seconds (Chowdhery et al. 2022, appendix B). Peaks are of all
accelerators together where seconds are, and of one where a rate is that of one.
"""

from accounting.architecture import Architecture
from accounting.flops import FlopLedger, matmuls


def mfu(ledger: FlopLedger, seconds: float, peak_flop_per_s: float | None) -> float:
    """Model FLOPs utilisation, a share: the ledger's `model_flop` (attention in full, no recompute) in `seconds`.

    Raises ValueError without a known peak or a time above zero.
    """
    return _share(ledger.model_flop, seconds, peak_flop_per_s, "MFU")


def hfu(ledger: FlopLedger, seconds: float, peak_flop_per_s: float | None) -> float:
    """Hardware FLOPs utilisation, a share: the ledger's `hardware_flop`, recompute and teacher included.

    Raises as `mfu` does.
    """
    return _share(ledger.hardware_flop, seconds, peak_flop_per_s, "HFU")


def accelerator_seconds(flop: int, flop_per_s_per_accelerator: float) -> float:
    """Seconds × accelerators for so many FLOP at that rate each. Raises ValueError for a rate not above zero."""
    if not flop_per_s_per_accelerator > 0:
        raise ValueError(f"a rate must be above zero, not {flop_per_s_per_accelerator}")
    return flop / flop_per_s_per_accelerator


def flop_per_s(tokens_per_s: float, ledger: FlopLedger) -> float:
    """Model FLOP/s of so many tokens per second (of one accelerator or of all, as the rate is)."""
    return tokens_per_s * ledger.model_flop / ledger.tokens


def tokens_per_s(model_flop_per_s: float, ledger: FlopLedger) -> float:
    """The inverse of `flop_per_s`."""
    return model_flop_per_s * ledger.tokens / ledger.model_flop


def arithmetic_intensity(
    architecture: Architecture, sequence_length: int, micro_batch_size: int, bytes_per_element: int
) -> float:
    """Model FLOP per byte of one micro-batch's training matmuls on one device, each operand and result moved once.

    Below peak / memory bandwidth (the ridge of the roofline; Williams et al. 2009) memory is the limit. Attention is
    as it is written down, with its scores stored; a flash kernel moves less.
    """
    tokens = micro_batch_size * sequence_length
    flop = elements = 0
    for matmul in matmuls(architecture, sequence_length):
        # An attention head has a matrix for each sequence, and the query heads of a group share it.
        matrices = matmul.copies
        if matmul.part in ("attention_scores", "attention_values"):
            matrices = matmul.copies * micro_batch_size * architecture.n_kv_heads // architecture.n_heads
        flop += matmul.flop_per_token * tokens
        elements += tokens * (matmul.inner + matmul.outer) * matmul.copies + matmul.inner * matmul.outer * matrices
    # The forward's are enough: each matmul of the backward pass has the same three tensors, another as its result.
    return flop / (elements * bytes_per_element)


def _share(flop: int, seconds: float, peak_flop_per_s: float | None, name: str) -> float:
    if peak_flop_per_s is None:
        raise ValueError(f"{name}: the accelerator's peak is not known, so there is no {name}")
    if not (seconds > 0 and peak_flop_per_s > 0):
        raise ValueError(f"{name}: needs a time and a peak above zero, not {seconds} s and {peak_flop_per_s} FLOP/s")
    return flop / (seconds * peak_flop_per_s)
