"""Tokenised text in the memory-mapped format of Megatron-LM, GPT-NeoX and Pythia: `name.bin` and `name.idx`.

`name.bin` is the token ids of all sequences, one after the other. `name.idx`, all little endian:

    9 bytes   b"MMIDIDX\\0\\0"
    uint64    version, 1
    uint8     type of the ids: 1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, 8 uint16
    uint64    number of sequences, S
    uint64    length of the document index, D
    int32[S]  tokens of each sequence
    int64[S]  where each begins in the .bin, in bytes
    int64[D]  the sequence that each document begins with, and at the end S

(Megatron-LM, megatron/core/datasets/indexed_dataset.py; GPT-NeoX, megatron/data/indexed_dataset.py. Multimodal files
have one more array at the end.) What is written here has one sequence a document, as theirs without sentence splitting.
"""

import struct
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import BadInputError
from configs.files import atomic_writer

MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_CODES = {np.dtype(name): code for code, name in _DTYPES.items()}
_CHUNK = 1 << 20  # sequences that are looked at together

Tokens = NDArray[Any]


@dataclass(frozen=True)
class Indexed:
    """A pair of files, memory-mapped."""

    data: Path
    """The .bin."""
    tokens: Tokens
    """(n,) all ids, sequence after sequence."""
    sizes: NDArray[np.int32]
    """(S,) tokens of each sequence."""
    pointers: NDArray[np.int64]
    """(S,) where each begins, in bytes."""
    documents: NDArray[np.int64] | range
    """(D,) the sequence that each document begins with, and at the end S. Every sequence is one where none is marked,
    as by writers that never say where a document ends."""

    def document_from(self, token: int) -> tuple[int, int]:
        """The first document that begins at or after `token`: its number and its first token.

        The number of documents and of tokens where none does.
        """
        # bisect looks at a few places; numpy would copy the arrays, which are not aligned in the file
        sequence = bisect_left(self.pointers, token * self.tokens.itemsize)
        number = bisect_left(self.documents, sequence)
        if number >= len(self.documents) - 1:
            return max(0, len(self.documents) - 1), len(self.tokens)
        return number, int(self.pointers[self.documents[number]]) // self.tokens.itemsize

    def row_size(self) -> int | None:
        """Tokens of every sequence, where all are of one size."""
        if not len(self.sizes):
            return None
        parts = (self.sizes[start : start + _CHUNK] for start in range(0, len(self.sizes), _CHUNK))
        return int(self.sizes[0]) if all((part == self.sizes[0]).all() for part in parts) else None


def dtype_for(vocab_size: int) -> np.dtype[Any]:
    """The type that Megatron-LM stores ids of such a vocabulary in."""
    return np.dtype("<u2") if vocab_size < 65_500 else np.dtype("<i4")


def write_index(path: Path, dtype: np.dtype[Any], sizes: NDArray[np.int32]) -> None:
    """Write the .idx of documents of `sizes` tokens that lie one after the other, each one sequence. Atomic."""
    with atomic_writer(path, "wb") as stream:
        stream.write(_HEADER.pack(MAGIC, 1, _CODES[np.dtype(dtype)], len(sizes), len(sizes) + 1))
        for start in range(0, len(sizes), _CHUNK):
            stream.write(np.asarray(sizes[start : start + _CHUNK], "<i4").tobytes())
        offset = 0
        for start in range(0, len(sizes), _CHUNK):
            ends = offset + np.cumsum(sizes[start : start + _CHUNK], dtype=np.int64) * np.dtype(dtype).itemsize
            stream.write(np.concatenate([[offset], ends[:-1]]).astype("<i8").tobytes())
            offset = int(ends[-1])
        for start in range(0, len(sizes) + 1, _CHUNK):
            stream.write(np.arange(start, min(start + _CHUNK, len(sizes) + 1), dtype="<i8").tobytes())


def open_indexed(path: Path) -> Indexed:
    """Memory-map `path` (its .bin, its .idx or what both begin with).

    Raises BadInputError, one line naming the file, unless the two are whole and belong together.
    """
    stem = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    idx, data = stem.with_name(stem.name + ".idx"), stem.with_name(stem.name + ".bin")
    for file in (idx, data):
        if not file.is_file():
            raise BadInputError(f"{file}: no such file; a tokenised corpus is a .bin and an .idx of the same name")
    dtype, n_sequences, n_documents = _header(idx)
    at = _HEADER.size
    sizes = _mapped(idx, np.dtype("<i4"), at, n_sequences)
    pointers = _mapped(idx, np.dtype("<i8"), at + 4 * n_sequences, n_sequences)
    documents = _mapped(idx, np.dtype("<i8"), at + 12 * n_sequences, n_documents)
    end = _end_of(idx, sizes, pointers, dtype.itemsize)
    if end != data.stat().st_size:
        raise BadInputError(
            f"{data}: has {data.stat().st_size:,} bytes and {idx.name} speaks of {end:,}: one of the two is cut short "
            "or of another corpus"
        )
    tokens = _mapped(data, dtype, 0, end // dtype.itemsize)
    if n_documents == 0 or (n_documents == 1 and int(documents[0]) == 0):
        return Indexed(data, tokens, sizes, pointers, range(n_sequences + 1))
    _check_documents(idx, documents, n_sequences)
    return Indexed(data, tokens, sizes, pointers, documents)


def _check_documents(path: Path, documents: NDArray[np.int64], n_sequences: int) -> None:
    """Raises BadInputError unless they go up from the first sequence to the last."""
    before = 0
    for start in range(0, len(documents), _CHUNK):
        part = np.concatenate([[before], documents[start : start + _CHUNK]])
        if (np.diff(part) < 0).any():
            raise BadInputError(f"{path}: broken: its document index goes back")
        before = int(part[-1])
    if int(documents[0]) != 0 or before != n_sequences:
        raise BadInputError(f"{path}: broken: its document index does not go from the first sequence to the last")


def _header(path: Path) -> tuple[np.dtype[Any], int, int]:
    with path.open("rb") as stream:
        head = stream.read(_HEADER.size)
    if head[: len(MAGIC)] != MAGIC:
        raise BadInputError(f"{path}: is no index of Megatron-LM's memory-mapped format (it begins otherwise)")
    if len(head) < _HEADER.size:
        raise BadInputError(f"{path}: broken: cut short in its header")
    _, version, code, n_sequences, n_documents = _HEADER.unpack(head)
    if version != 1:
        raise BadInputError(f"{path}: version {version} of the format is not known, only 1")
    if code not in _DTYPES:
        raise BadInputError(f"{path}: broken: {code} is no type of token ids")
    needed, size = _HEADER.size + 12 * n_sequences + 8 * n_documents, path.stat().st_size
    if size not in (needed, needed + n_sequences):  # the second: multimodal, a mode a sequence
        raise BadInputError(f"{path}: broken: {size:,} bytes, and {n_sequences:,} sequences need {needed:,}")
    return np.dtype(_DTYPES[code]), n_sequences, n_documents


def _mapped(path: Path, dtype: np.dtype[Any], offset: int, count: int) -> NDArray[Any]:
    if count == 0:  # which cannot be mapped
        return np.empty(0, dtype)
    return np.memmap(path, dtype, "r", offset, (count,))


def _end_of(path: Path, sizes: NDArray[np.int32], pointers: NDArray[np.int64], itemsize: int) -> int:
    """Bytes of the .bin, where each sequence begins at the end of the one before, as all writers of the format do."""
    offset = 0
    for start in range(0, len(sizes), _CHUNK):
        part = np.asarray(sizes[start : start + _CHUNK])
        if (part < 0).any():
            raise BadInputError(f"{path}: broken: sequence {start + int(np.argmax(part < 0)):,} has a negative length")
        ends = offset + np.cumsum(part, dtype=np.int64) * itemsize
        wrong = pointers[start : start + _CHUNK] != np.concatenate([[offset], ends[:-1]])
        if wrong.any():
            raise BadInputError(
                f"{path}: broken: sequence {start + int(np.argmax(wrong)):,} does not begin where the one before ends"
            )
        offset = int(ends[-1])
    return offset
