"""Rows of fixed length cut from a stream of tokens: no padding, documents run on across rows, as for GPT-2.

A row of length L has L + 1 ids, inputs and labels. Shuffled rows begin L apart, so that every token is predicted once
(Megatron-LM's GPTDataset and GPT-NeoX's do the same); stored rows lie L + 1 apart, one after the other.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from train.corpus.indexed import Tokens

Block = NDArray[np.int32]


def rows_in(tokens: int, length: int, stride: int) -> int:
    """Whole rows in so many tokens."""
    return max(0, (tokens - length - 1) // stride + 1)


class PackedRows:
    """The rows of `tokens`, each `length` + 1 ids, `stride` apart."""

    def __init__(self, tokens: Tokens, length: int, stride: int) -> None:
        self._tokens, self._width, self._stride = tokens, length + 1, stride
        self._n = rows_in(len(tokens), length, stride)

    def __len__(self) -> int:
        return self._n

    def at(self, numbers: Iterable[int], out: Block) -> None:
        """Row `numbers[i]` into `out[i]`."""
        for place, number in enumerate(numbers):
            start = number * self._stride
            out[place] = self._tokens[start : start + self._width]

    def __getitem__(self, rows: slice) -> Block:
        numbers = range(*rows.indices(self._n))
        out = np.empty((len(numbers), self._width), np.int32)
        self.at(numbers, out)
        return out


class JoinedRows:
    """The rows of several sources, one source after the other."""

    def __init__(self, parts: Sequence[PackedRows]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __getitem__(self, rows: slice) -> Block:
        start, stop, _ = rows.indices(len(self))
        found, before = [], 0
        for part in self._parts:
            found.append(part[max(0, start - before) : max(0, stop - before)])
            before += len(part)
        return np.concatenate(found)
