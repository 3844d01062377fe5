"""What training reads, whatever it was made from: stored rows of token ids, in an order that only the step decides."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from train.record import CorpusFacts

Ids = NDArray[Any]
"""(rows, length + 1) token ids. uint16 ones may be padded with PAD, wider ones never are."""
PAD = np.uint16(0xFFFF)  # no tokenizer of padded rows uses it
MARK = ".prepared"  # in a corpus directory of ours: the key of what it holds, written last
UNFINISHED = "being written"  # its content until then


class Rows(Protocol):
    """Rows that are read in slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Ids: ...


@dataclass(frozen=True)
class Corpus:
    """A prepared corpus, memory-mapped."""

    batch: Callable[[int], Ids]
    """The rows of the global batch of a step (0-based), for all ranks and micro-batches together."""
    held_out: Rows
    facts: CorpusFacts


def inputs_and_labels(rows: Ids) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n, length + 1) stored rows → (n, length) inputs and labels; padding is input 0 and label -100."""
    ids = rows.astype(np.int64)
    if rows.dtype == np.uint16:
        padding = ids == PAD
        ids[padding] = 0
        labels = ids[:, 1:].copy()
        labels[padding[:, 1:]] = -100
        return ids[:, :-1], labels
    return ids[:, :-1], ids[:, 1:].copy()
