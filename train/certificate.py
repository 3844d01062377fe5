"""The data-order certificate: one hash of every token id that training consumed, in order, whatever the layout.

h₀ = sha256("replibench.data-order/1"), hₙ₊₁ = sha256(hₙ ‖ n as 8 bytes ‖ the ids of global batch n as 4 bytes each, in
the batch's order), all little endian. Two runs with equal certificates were trained on the same tokens in the same
order; the ids of a corpus on disk give the certificate of any step without training.

A run that goes on goes on from the last hₙ. That the corpus is still the same it sees by a few links of the chain, hₙ
and hₙ₊₁ of some steps n, which a checkpoint keeps: those batches, read again, must lead from the one to the other.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from train.rows import Ids

LINKS = 16  # at most so many are kept, and the last one

START = hashlib.sha256(b"replibench.data-order/1").hexdigest()


def after_batch(certificate: str, step: int, rows: Ids) -> str:
    """The certificate after the global batch of step `step` (0-based); `rows` are its stored rows, (n, length + 1)."""
    digest = hashlib.sha256(bytes.fromhex(certificate))
    digest.update(step.to_bytes(8, "little"))
    digest.update(np.ascontiguousarray(rows, dtype="<u4").data)
    return digest.hexdigest()


class Link(NamedTuple):
    """One step of the chain."""

    step: int
    before: str
    after: str


def with_link(links: Sequence[Link], new: Link) -> list[Link]:
    """`links` of the steps before and a new one, thinned: every 2ʲ-th step from the first on, and the newest."""
    spacing = 1 << (new.step // LINKS).bit_length()
    return [*(link for link in links if link.step % spacing == 0), new]


def broken_link(links: Sequence[Link], batch: Callable[[int], Ids]) -> int | None:
    """The step of the first link that a corpus does not have; None where it has all. `batch` gives each step's rows."""
    wrong = (link for link in links if after_batch(link.before, link.step, batch(link.step)) != link.after)
    return next((link.step for link in wrong), None)


def of_steps(batch: Callable[[int], Ids], steps: int) -> str:
    """The certificate after `steps` steps, from the corpus alone: `batch` gives the rows of each."""
    certificate = START
    for step in range(steps):
        certificate = after_batch(certificate, step, batch(step))
    return certificate
