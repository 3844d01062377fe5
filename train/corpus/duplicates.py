"""Documents that were there before: of the same words, or of nearly the same. The first one is kept.

Exact: a hash of the words. Near: MinHash of the runs of five words, found again through locality-sensitive hashing
(Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3), as Brown et al. 2020, Appendix A, did with Spark.
A candidate counts only when the estimated Jaccard similarity reaches the threshold. The comparison is with documents
that were kept, in the order of the corpus.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from train.corpus.words import Hashes, gram_hashes

SHINGLE_WORDS = 5
PERMUTATIONS = 128  # the estimate's standard error is √(J(1 − J)/128): 0.035 at 0.8
_AT_ONCE = 1_024  # shingles whose 128 hashes are in memory together: 0.5 MB, which the cache holds

Verdict = Literal["new", "exact", "near"]


@dataclass(frozen=True)
class Fingerprint:
    """What is known of a document: the hash of its words, and its MinHash where near duplicates are looked for."""

    digest: bytes  # 16
    signature: NDArray[np.uint32] | None  # (PERMUTATIONS,)


def digest_of(words: list[str], text: str) -> bytes:
    """16 bytes that stand for the words; for the stripped text where it has none (a drawing, a table of signs)."""
    content = " ".join(words) if words else "\0" + text.strip()
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def signature_of(hashes: Hashes) -> NDArray[np.uint32] | None:
    """MinHash of the words whose hashes these are. None without a word; of fewer than five, all are one run."""
    if not len(hashes):
        return None
    shingles = np.unique(gram_hashes(hashes, min(SHINGLE_WORDS, len(hashes))) >> np.uint64(32))
    sketch = MinHash(PERMUTATIONS, hashfunc=_as_it_is, permutations=_PERMUTATIONS, scheme="affine32")
    for start in range(0, len(shingles), _AT_ONCE):
        sketch.update_batch(shingles[start : start + _AT_ONCE].tolist())
    return np.asarray(sketch.hashvalues, dtype=np.uint32)


class Duplicates:
    """Remembers the documents that were kept. Takes about 0.1 kB of memory a document for exact duplicates.

    With near duplicates it takes much more: see docs/corpora-hygiene.md for what was measured.
    """

    def __init__(self, exact: bool, threshold: float | None) -> None:
        self._exact, self._alike = exact, (threshold or 0.0) * PERMUTATIONS
        self._digests: set[bytes] = set()
        self._kept: list[NDArray[np.uint32]] = []
        # Weighted for few misses: a candidate too many costs one comparison of signatures.
        self._index = None if threshold is None else MinHashLSH(threshold, PERMUTATIONS, weights=(0.1, 0.9))

    def judge(self, document: Fingerprint) -> Verdict:
        """Is it like one that was kept? If not, it is kept, and later ones are compared with it."""
        if self._exact and document.digest in self._digests:
            return "exact"
        if self._is_near(document.signature):
            return "near"
        if self._exact:
            self._digests.add(document.digest)
        return "new"

    def _is_near(self, signature: NDArray[np.uint32] | None) -> bool:
        if self._index is None or signature is None:
            return False
        sketch = MinHash(hashvalues=signature, permutations=_PERMUTATIONS, scheme="affine32", hashfunc=_as_it_is)
        for candidate in self._index.query(sketch):
            if np.count_nonzero(self._kept[candidate] == signature) >= self._alike:
                return True
        self._index.insert(len(self._kept), sketch, check_duplication=False)
        self._kept.append(signature)
        return False


def _as_it_is(value: int) -> int:
    return value


_PERMUTATIONS = MinHash(num_perm=PERMUTATIONS, hashfunc=_as_it_is).permutations
