"""The data-order certificate: one hash of every token id that training consumed, in order, whatever the layout.

h₀ = sha256("replibench.data-order/1"), hₙ₊₁ = sha256(hₙ ‖ n as 8 bytes ‖ the ids of global batch n as 4 bytes each, in
the batch's order), all little endian. Two runs with equal certificates were trained on the same tokens in the same
order; the ids of a corpus on disk give the certificate of any step without training.
"""

import hashlib
from collections.abc import Callable

import numpy as np

from train.rows import Ids

START = hashlib.sha256(b"replibench.data-order/1").hexdigest()


def after_batch(certificate: str, step: int, rows: Ids) -> str:
    """The certificate after the global batch of step `step` (0-based); `rows` are its stored rows, (n, length + 1)."""
    digest = hashlib.sha256(bytes.fromhex(certificate))
    digest.update(step.to_bytes(8, "little"))
    digest.update(np.ascontiguousarray(rows, dtype="<u4").data)
    return digest.hexdigest()


def of_steps(batch: Callable[[int], Ids], steps: int) -> str:
    """The certificate after `steps` steps, from the corpus alone: `batch` gives the rows of each."""
    certificate = START
    for step in range(steps):
        certificate = after_batch(certificate, step, batch(step))
    return certificate
