"""A pseudorandom permutation of any size by arithmetic: where one index goes, without an array of all.

A Feistel network over the rectangle a × b that holds n indices: index = left · b + right, and in turn left += F(right)
mod a, right += F(left) mod b. Each half-round can be undone, so all of them together permute the rectangle. An index
that lands beyond n goes through again until it is within (cycle walking; Black and Rogaway, "Ciphers with arbitrary
finite domains", 2002); with a = ⌈√n⌉ fewer than a of the a · b cells are beyond, so that is rare.
"""

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 4  # of two half-rounds each

Words = NDArray[np.uint64]


class Permutation:
    """A permutation of 0 … n−1 that `key` fixes. `permutation(indices)` is O(1) an index, in any order, whatever n."""

    def __init__(self, n: int, *key: int) -> None:
        if n < 1:
            raise ValueError(f"a permutation needs at least one index, not {n}")
        self._n = np.uint64(n)
        a = math.isqrt(n - 1) + 1
        self._a, self._b = np.uint64(a), np.uint64(-(-n // a))
        digest = hashlib.blake2b(repr(key).encode(), digest_size=16 * _ROUNDS).digest()
        self._keys = np.frombuffer(digest, "<u8")[: 2 * _ROUNDS].copy()

    def __call__(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where each of `indices` (each 0 … n−1) goes."""
        out = self._once(np.asarray(indices).astype(np.uint64))
        while (beyond := out >= self._n).any():
            out[beyond] = self._once(out[beyond])
        return out.astype(np.int64)

    def _once(self, x: Words) -> Words:
        left, right = x // self._b, x % self._b
        for of_left, of_right in self._keys.reshape(-1, 2):
            left = (left + _mixed(right, of_left) % self._a) % self._a
            right = (right + _mixed(left, of_right) % self._b) % self._b
        return left * self._b + right


def _mixed(x: Words, key: np.uint64) -> Words:
    """A word that looks random: splitmix64's finaliser (Steele, Lea and Flood 2014), of x and a key."""
    with np.errstate(over="ignore"):
        x = (x ^ key) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
