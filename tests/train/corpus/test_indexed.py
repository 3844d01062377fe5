"""The files are Megatron-LM's: written by its format's description they load here, and ours are that, byte for byte."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import BadInputError
from train.corpus.indexed import dtype_for, open_indexed, write_index

documents = st.lists(st.lists(st.integers(0, 65_499), max_size=30), max_size=40)
CODES = {4: "i", 8: "H"}  # the format's number of a type → struct's letter


def by_the_description(directory: Path, docs: list[list[int]], code: int, sentences: int = 1) -> Path:
    """Another writer of the format, from its description alone: `sentences` sequences a document."""
    letter = CODES[code]
    size = struct.calcsize(letter)
    sequences = [doc[i::sentences] for doc in docs for i in range(sentences)]
    data = b"".join(struct.pack(f"<{len(s)}{letter}", *s) for s in sequences)
    starts = [size * sum(len(s) for s in sequences[:i]) for i in range(len(sequences))]
    borders = [i * sentences for i in range(len(docs) + 1)]
    index = b"MMIDIDX\x00\x00" + struct.pack("<QB", 1, code) + struct.pack("<QQ", len(sequences), len(borders))
    index += struct.pack(f"<{len(sequences)}i", *map(len, sequences))
    index += struct.pack(f"<{len(starts)}q", *starts) + struct.pack(f"<{len(borders)}q", *borders)
    (directory / "theirs.bin").write_bytes(data)
    (directory / "theirs.idx").write_bytes(index)
    return directory / "theirs"


@given(documents, st.sampled_from([4, 8]), st.integers(1, 3))
def test_files_of_another_writer_load(
    tmp_path_factory: pytest.TempPathFactory, docs: list[list[int]], code: int, sentences: int
) -> None:
    found = open_indexed(by_the_description(tmp_path_factory.mktemp("x"), docs, code, sentences))
    expected = [token for doc in docs for i in range(sentences) for token in doc[i::sentences]]
    assert found.tokens.tolist() == expected
    assert found.sizes.tolist() == [len(doc[i::sentences]) for doc in docs for i in range(sentences)]
    assert found.documents.tolist() == [i * sentences for i in range(len(docs) + 1)]


@given(documents, st.sampled_from([50_257, 70_000]))
def test_ours_are_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, docs: list[list[int]], vocab_size: int
) -> None:
    directory = tmp_path_factory.mktemp("x")
    dtype = dtype_for(vocab_size)
    assert dtype == (np.uint16 if vocab_size == 50_257 else np.int32)
    write_index(directory / "ours.idx", dtype, np.array([len(doc) for doc in docs], np.int32))
    theirs = by_the_description(directory, docs, 8 if vocab_size == 50_257 else 4)
    assert (directory / "ours.idx").read_bytes() == theirs.with_name("theirs.idx").read_bytes()


@given(documents, st.integers(0, 1300))
def test_where_the_next_document_begins(
    tmp_path_factory: pytest.TempPathFactory, docs: list[list[int]], token: int
) -> None:
    found = open_indexed(by_the_description(tmp_path_factory.mktemp("x"), docs, 8, 2))
    starts = [sum(map(len, docs[:i])) for i in range(len(docs))]
    expected = next(((i, start) for i, start in enumerate(starts) if start >= token), (len(docs), len(found.tokens)))
    assert found.document_from(token) == expected


def _replace(path: Path, at: int, what: bytes) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:at] + what + content[at + len(what) :])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.with_suffix(".idx").unlink(), "x.idx: no such file"),
        (lambda p: p.with_suffix(".bin").unlink(), "x.bin: no such file"),
        (lambda p: _replace(p.with_suffix(".idx"), 0, b"TNTIDX"), "x.idx: is no index of Megatron-LM's"),
        (lambda p: p.with_suffix(".idx").write_bytes(b"MMIDIDX\x00\x00\x01"), "x.idx: broken: cut short in its header"),
        (lambda p: _replace(p.with_suffix(".idx"), 9, b"\x02"), "x.idx: version 2 of the format"),
        (lambda p: _replace(p.with_suffix(".idx"), 17, b"\x63"), "x.idx: broken: 99 is no type of token ids"),
        (
            lambda p: p.with_suffix(".idx").write_bytes(p.with_suffix(".idx").read_bytes()[:-3]),
            "x.idx: broken: 79 bytes",
        ),
        (lambda p: _replace(p.with_suffix(".idx"), 34 + 8 + 8, b"\x09"), "sequence 1 does not begin where"),
        (lambda p: _replace(p.with_suffix(".idx"), 34, b"\xff\xff\xff\xff"), "sequence 0 has a negative length"),
        (lambda p: p.with_suffix(".bin").write_bytes(b"1234"), "x.bin: has 4 bytes and x.idx speaks of 10"),
        (lambda p: _replace(p.with_suffix(".idx"), 34 + 24 + 16, b"\x07"), "its document index does not go"),
    ],
)
def test_a_broken_pair_is_one_line_that_names_the_file(damage, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = by_the_description(tmp_path, [[1, 2, 3], [4, 5]], 8)
    for end in (".bin", ".idx"):
        path.with_suffix(end).rename(tmp_path / f"x{end}")
    damage(tmp_path / "x.bin")
    with pytest.raises(BadInputError, match=message) as caught:
        open_indexed(tmp_path / "x.bin")
    assert "\n" not in str(caught.value)
