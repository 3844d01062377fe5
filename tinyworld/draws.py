"""Random draws and held-out splits that are the same on every Python version and in every process.

Only ``random.Random.random`` is used: its stream for an integer seed is documented as reproducible,
while ``choice``, ``shuffle`` and ``sample`` may change between Python versions. The built-in ``hash``
is never used (it is salted per process), and splits use md5, because a linear checksum such as crc32
can correlate the split with the answer.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from random import Random
from typing import TypeVar, overload

T = TypeVar("T")


def digest(*parts: object) -> int:
    """A 32-bit integer from md5 of the parts joined by ``|``: the same everywhere, unrelated to the parts' meaning."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:4], "big")


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of ``options``, uniformly."""
    return options[int(rng.random() * len(options))]


def pick_two(rng: Random, options: Sequence[T]) -> tuple[T, T]:
    """Two different members of ``options``, in random order."""
    first = int(rng.random() * len(options))
    second = int(rng.random() * (len(options) - 1))
    return options[first], options[second + (second >= first)]


def shuffled(rng: Random, options: Iterable[T]) -> list[T]:
    """A random permutation (Fisher–Yates)."""
    result = list(options)
    for last in range(len(result) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        result[last], result[other] = result[other], result[last]
    return result


class Weighted(Sequence[T]):
    """A fixed sequence that can be drawn from with fixed positive weights."""

    def __init__(self, options: Sequence[T], weights: Sequence[float]) -> None:
        """Raises ValueError when the lengths differ or a weight is not positive."""
        if len(options) != len(weights) or not options:
            raise ValueError(f"{len(options)} options, {len(weights)} weights: the numbers must be equal and not 0")
        if min(weights) <= 0:
            raise ValueError(f"weights must be positive, got {min(weights)}")
        self._options = tuple(options)
        self._cumulative = tuple(accumulate(weights))

    def __len__(self) -> int:
        return len(self._options)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self._options[index]

    def draw(self, rng: Random) -> T:
        """One of the options, with probability proportional to its weight."""
        return self._options[bisect_right(self._cumulative, rng.random() * self._cumulative[-1])]
