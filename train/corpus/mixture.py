"""Which row of which source is the k-th of a run: of a seed and k alone, without looking at what came before.

Row k belongs to the source in whose part of the circle the point (k·g + s) mod 1 lies, the parts being as long as the
weights and g the golden ratio, whose multiples lie as evenly as those of any number. So every batch holds the sources
in their proportions, up to a row or so. How many of the first k rows are a source's is a sum of floors, which Euclid's
algorithm gives in a few steps. The q-th row of a source with R rows is row q mod R of epoch q div R, and every epoch is
a permutation of its own: no row comes again before all of its source have come.
"""

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from train.corpus.permutation import Permutation

_CIRCLE = 1 << 64
_GOLDEN = 0x9E3779B97F4A7C15  # 2⁶⁴ over the golden ratio, odd

Numbers = NDArray[np.int64]


class Mixture:
    """Sources of `rows` rows each, drawn in proportion to `weights`, in an order of `seed`."""

    def __init__(self, rows: Sequence[int], weights: Sequence[float], seed: int) -> None:
        if not rows or len(rows) != len(weights) or min(rows) < 1 or min(weights) <= 0:
            raise ValueError("a mixture needs a weight above 0 and at least one row of every source")
        self._rows, self._seed = tuple(rows), seed
        total = sum(weights)
        ends = [min(_CIRCLE - 1, round(sum(weights[: i + 1]) / total * _CIRCLE)) for i in range(len(weights) - 1)]
        self._ends = [*ends, _CIRCLE]
        self._start = int.from_bytes(hashlib.blake2b(repr(("start", seed)).encode(), digest_size=8).digest(), "little")

    def counts(self, k: int) -> list[int]:
        """How many of the run's first `k` rows are of each source."""
        up_to = [_points_below(end, k, self._start) for end in self._ends]
        return [mine - before for mine, before in zip(up_to, [0, *up_to[:-1]], strict=True)]

    def epochs(self, k: int) -> list[float]:
        """How often the run's first `k` rows go through each source."""
        return [count / rows for count, rows in zip(self.counts(k), self._rows, strict=True)]

    def rows(self, start: int, stop: int) -> tuple[Numbers, Numbers]:
        """(stop − start,) sources and the rows within them, of the run's rows `start` to `stop`."""
        with np.errstate(over="ignore"):
            points = np.arange(start, stop, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(self._start)
        sources = np.searchsorted(np.array(self._ends[:-1], np.uint64), points, side="right").astype(np.int64)
        rows = np.empty_like(sources)
        for source, before in enumerate(self.counts(start)):
            mine = sources == source
            rows[mine] = self._rows_of(source, before, int(mine.sum()))
        return sources, rows

    def _rows_of(self, source: int, start: int, count: int) -> Numbers:
        """The rows that a source gives at its own positions `start` to `start + count`."""
        size = self._rows[source]
        epochs, places = np.divmod(np.arange(start, start + count, dtype=np.int64), size)
        rows = np.empty_like(places)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            rows[now] = _permutation(size, self._seed, source, int(epoch))(places[now])
        return rows


@lru_cache(maxsize=256)
def _permutation(size: int, seed: int, source: int, epoch: int) -> Permutation:
    return Permutation(size, seed, source, epoch)


def _points_below(end: int, k: int, start: int) -> int:
    """How many of the points (i·g + start) mod 2⁶⁴, i from 0 to k − 1, are below `end`."""
    return k + _floor_sum(k, _CIRCLE, _GOLDEN, start) - _floor_sum(k, _CIRCLE, _GOLDEN, start - end + _CIRCLE)


def _floor_sum(n: int, m: int, a: int, b: int) -> int:
    """Σ ⌊(a·i + b) / m⌋ over i from 0 to n − 1, for a, b ≥ 0: counted as Euclid divides."""
    total = 0
    while n:
        total += n * (n - 1) // 2 * (a // m) + n * (b // m)
        a, b = a % m, b % m
        top = a * n + b
        n, b = divmod(top, m)
        a, m = m, a
    return total
