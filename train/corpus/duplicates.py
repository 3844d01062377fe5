"""Documents that were there before: of the same words, or of nearly the same. The first one is kept.

Exact: a hash of the words. Near: MinHash of the runs of five words, found again through locality-sensitive hashing
(Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3), as Brown et al. 2020, Appendix A, did with Spark.
A candidate counts only when the estimated Jaccard similarity reaches the threshold. The comparison is with documents
that were kept, in the order of the corpus.
"""

import hashlib
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

import numpy as np
import xxhash
from datasketch import MinHash, MinHashLSH
from numpy.typing import NDArray

from configs.errors import WorkFailedError
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
    """Remembers the documents that were kept: in 256 MB of memory, and beyond that in a file.

    The file is a SQLite database without journal, in `directory` or where temporary files go, and has gone when the
    process ends, however it ends. A document takes about 0.9 kB of it (0.5 of them its signature) where near duplicates
    are looked for, else some 30 bytes.
    """

    def __init__(self, exact: bool, threshold: float | None, directory: Path | None = None) -> None:
        self._exact, self._alike = exact, (threshold or 0.0) * PERMUTATIONS
        self._bands: tuple[int, int] | None = None
        if threshold is not None:
            # Weighted for few misses: a candidate too many costs one comparison of signatures.
            shape = MinHashLSH(threshold, PERMUTATIONS, weights=(0.1, 0.9))
            self._bands = shape.b, shape.r
        self._kept = _database(directory)

    def judge(self, document: Fingerprint) -> Verdict:
        """Is it like one that was kept? If not, it is kept, and later ones are compared with it.

        Raises WorkFailedError where the disk is full.
        """
        try:
            return self._judged(document)
        except sqlite3.OperationalError as error:
            raise WorkFailedError(f"hygiene: what was seen of the corpus cannot be written: {error}") from None

    def _judged(self, document: Fingerprint) -> Verdict:
        if self._exact and self._kept.execute(_FIND_EXACT, (document.digest,)).fetchone():
            return "exact"
        if self._is_near(document.signature):
            return "near"
        if self._exact:
            self._kept.execute(_KEEP_EXACT, (document.digest,))
        return "new"

    def _is_near(self, signature: NDArray[np.uint32] | None) -> bool:
        if self._bands is None or signature is None:
            return False
        keys = _band_keys(signature, *self._bands)
        marks = ",".join("?" * len(keys))
        found = self._kept.execute(_FIND_NEAR.format(marks), keys)
        if any(np.count_nonzero(np.frombuffer(other, np.uint32) == signature) >= self._alike for (other,) in found):
            return True
        number = self._kept.execute(_KEEP_SIGNATURE, (signature.tobytes(),)).lastrowid
        self._kept.executemany(_KEEP_BAND, [(key, number) for key in keys])
        return False


def _band_keys(signature: NDArray[np.uint32], bands: int, rows: int) -> list[int]:
    """A hash of each band and its place, as SQLite's signed integers: two that differ agree once in 2⁶⁴."""
    content = signature.tobytes()
    width = rows * signature.itemsize
    keys = [xxhash.xxh3_64_intdigest(content[k * width : (k + 1) * width], seed=k) for k in range(bands)]
    return [key - (1 << 63) for key in keys]


def _database(directory: Path | None) -> sqlite3.Connection:
    with NamedTemporaryFile(prefix="kept-", dir=directory, delete=False) as file:
        path = Path(file.name)
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    # Nothing is to survive this process. What fits into the cache is never written.
    for setting in ("journal_mode=OFF", "synchronous=OFF", "locking_mode=EXCLUSIVE", f"cache_size=-{_CACHE_KB}"):
        database.execute(f"PRAGMA {setting}")
    database.execute("CREATE TABLE exact (digest BLOB PRIMARY KEY) WITHOUT ROWID")
    database.execute("CREATE TABLE signatures (number INTEGER PRIMARY KEY, signature BLOB)")
    database.execute("CREATE TABLE bands (key INTEGER, number INTEGER, PRIMARY KEY (key, number)) WITHOUT ROWID")
    path.unlink()  # its space is given back with the process
    database.execute("BEGIN")
    return database


_CACHE_KB = 256_000
_FIND_EXACT = "SELECT 1 FROM exact WHERE digest = ?"
_KEEP_EXACT = "INSERT INTO exact VALUES (?)"
_FIND_NEAR = (
    "SELECT signature FROM signatures WHERE number IN (SELECT number FROM bands WHERE key IN ({})) ORDER BY number"
)
_KEEP_SIGNATURE = "INSERT INTO signatures (signature) VALUES (?)"
_KEEP_BAND = "INSERT INTO bands VALUES (?, ?)"


def _as_it_is(value: int) -> int:
    return value


_PERMUTATIONS = MinHash(num_perm=PERMUTATIONS, hashfunc=_as_it_is).permutations
