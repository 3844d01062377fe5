"""The files are Megatron-LM's: written by its format's description they load here, and ours are that, byte for byte."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from configs.errors import BadInputError
from train.corpus.documents import Document
from train.corpus.indexed import dtype_for, open_indexed, write_index
from train.corpus.sources import Skipped
from train.corpus.tokenise import Settings, tokenise

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
    assert list(found.documents) == [i * sentences for i in range(len(docs) + 1)]


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


def test_where_no_document_is_marked_each_sequence_is_one(tmp_path: Path) -> None:
    """As of a writer that never calls end_document: an index of 0 alone, which GPT-NeoX reads too."""
    theirs = by_the_description(tmp_path, [[1, 2, 3], [4, 5], [6]], 8)
    index = bytearray(theirs.with_name("theirs.idx").read_bytes()[: -3 * 8])
    index[26:34] = struct.pack("<Q", 1)
    theirs.with_name("theirs.idx").write_bytes(index)
    found = open_indexed(theirs)
    assert found.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.document_from(2) == (1, 3)


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
        # the sizes are right and all in the .bin, and a pointer goes beyond its end
        (lambda p: _replace(p.with_suffix(".idx"), 34 + 8 + 8, b"\xff\x7f"), "sequence 1 does not begin where"),
        (lambda p: _replace(p.with_suffix(".idx"), 34 + 8, b"\x02"), "sequence 0 does not begin where"),
        (lambda p: _replace(p.with_suffix(".idx"), 34 + 4, b"\xff\xff\xff\x7f"), r"x.idx speaks of 4,294,967,300"),
        (lambda p: p.with_suffix(".bin").write_bytes(b"123456789"), "x.bin: has 9 bytes and x.idx speaks of 10"),
        (lambda p: p.with_suffix(".bin").write_bytes(b"12345678901"), "x.bin: has 11 bytes and x.idx speaks of 10"),
        (lambda p: _replace(p.with_suffix(".idx"), 18, b"\xff" * 8), "x.idx: broken: 82 bytes, and 18,446,744,"),
        (lambda p: _replace(p.with_suffix(".idx"), 26, b"\x04"), "x.idx: broken: 82 bytes, and 2 sequences need 90"),
        (lambda p: p.with_suffix(".idx").write_bytes(b""), "x.idx: is no index of Megatron-LM's"),
        (lambda p: p.with_suffix(".idx").write_bytes(p.with_suffix(".idx").read_bytes() + b"0"), "broken: 83 bytes"),
        (lambda p: _replace(p.with_suffix(".idx"), 34 + 24 + 16, b"\x07"), "its document index does not go"),
        (lambda p: _replace(p.with_suffix(".idx"), 34 + 24 + 8, b"\x07"), "its document index goes back"),
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


# What the two other implementations wrote, as bytes: Megatron's IndexedDatasetBuilder (megatron-core 0.16.1) of whole
# documents, of one of two sequences, and of a multimodal one; the writer of Pythia's utils/mmap_dataset.py, which is
# GPT-NeoX's, of a document of two sequences.
_HEAD = "4d4d4944494458 0000 0100000000000000"
_THEIRS = {
    "megatron, uint16, an empty document": (
        "0100 0200 0300 dbff",
        f"{_HEAD} 08 0300000000000000 0400000000000000 03000000 00000000 01000000 0000000000000000 0600000000000000 "
        "0600000000000000 0000000000000000 0100000000000000 0200000000000000 0300000000000000",
        [1, 2, 3, 65_499],
        [3, 0, 1],
        [0, 1, 2, 3],
    ),
    "megatron, int32": (
        "70110100 02000000 05000000",
        f"{_HEAD} 04 0200000000000000 0300000000000000 02000000 01000000 0000000000000000 0800000000000000 "
        "0000000000000000 0100000000000000 0200000000000000",
        [70_000, 2, 5],
        [2, 1],
        [0, 1, 2],
    ),
    "megatron, two sequences of a document": (
        "0100 0200 0300 0400 0500 0900",
        f"{_HEAD} 08 0300000000000000 0300000000000000 02000000 03000000 01000000 0000000000000000 0400000000000000 "
        "0a00000000000000 0000000000000000 0200000000000000 0300000000000000",
        [1, 2, 3, 4, 5, 9],
        [2, 3, 1],
        [0, 2, 3],
    ),
    "megatron, multimodal": (
        "01000000 02000000 03000000 04000000 05000000",
        f"{_HEAD} 04 0200000000000000 0200000000000000 02000000 03000000 0000000000000000 0800000000000000 "
        "0000000000000000 0200000000000000 0001",
        [1, 2, 3, 4, 5],
        [2, 3],
        [0, 2],
    ),
    "pythia, int32, two sequences of a document": (
        "70110100 02000000 05000000 06000000",
        f"{_HEAD} 04 0200000000000000 0200000000000000 01000000 03000000 0000000000000000 0400000000000000 "
        "0000000000000000 0200000000000000",
        [70_000, 2, 5, 6],
        [1, 3],
        [0, 2],
    ),
}


@pytest.mark.parametrize("name", _THEIRS)
def test_bytes_that_others_wrote_load(name: str, tmp_path: Path) -> None:
    data, index, tokens, sizes, borders = _THEIRS[name]
    (tmp_path / "x.bin").write_bytes(bytes.fromhex(data))
    (tmp_path / "x.idx").write_bytes(bytes.fromhex(index))
    found = open_indexed(tmp_path / "x.idx")
    assert found.tokens.tolist() == tokens
    assert found.sizes.tolist() == sizes
    assert found.documents.tolist() == borders
    assert found.tokens.dtype == (np.int32 if "int32" in name or "multimodal" in name else np.uint16)


@pytest.mark.parametrize(("name", "dtype"), [(name, t) for name, t in zip(_THEIRS, ("<u2", "<i4"), strict=False)])
def test_the_index_of_the_same_documents_has_the_bytes_that_megatron_wrote(
    name: str, dtype: str, tmp_path: Path
) -> None:
    _, index, _, sizes, _ = _THEIRS[name]
    write_index(tmp_path / "ours.idx", np.dtype(dtype), np.array(sizes, np.int32))
    assert (tmp_path / "ours.idx").read_bytes() == bytes.fromhex(index)


@pytest.mark.parametrize(("words", "code"), [(10, 8), (65_500, 4)])
def test_what_tokenising_writes_is_known_to_the_byte(words: int, code: int, tmp_path: Path) -> None:
    """Three documents of a tokenizer that gives w7 the id 7; 0 ends a document. The bytes are reckoned by hand."""
    vocabulary = {"<|endoftext|>": 0, **{f"w{i}": i for i in range(1, words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<|endoftext|>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    documents = [Document(text, "x", i) for i, text in enumerate(["w1 w2", f"w{words - 1}", "w4 w5 w6"])]
    settings = Settings(tmp_path / "tokenizer.json", 0, 0)
    tokenise(documents, tmp_path / "s", "key", settings, lambda progress: None, Skipped(), workers=1)
    letter, size = {8: ("H", 2), 4: ("i", 4)}[code]
    expected = struct.pack(f"<9{letter}", 1, 2, 0, words - 1, 0, 4, 5, 6, 0)
    assert (tmp_path / "s.bin").read_bytes() == expected
    index = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, code, 3, 4) + struct.pack("<3i", 3, 2, 4)
    index += struct.pack("<3q", 0, 3 * size, 5 * size) + struct.pack("<4q", 0, 1, 2, 3)
    assert (tmp_path / "s.idx").read_bytes() == index
    nothing = struct.pack("<9sQBQQ", b"MMIDIDX\x00\x00", 1, code, 0, 1) + struct.pack("<q", 0)
    assert (tmp_path / "s-held-out.idx").read_bytes() == nothing
    assert (tmp_path / "s-held-out.bin").read_bytes() == b""


@pytest.mark.parametrize("vocab_size", [50_257, 70_000])
def test_megatron_itself_reads_ours_and_we_read_its_own(vocab_size: int, tmp_path: Path) -> None:
    """With NVIDIA's package at hand (pip install megatron-core); the bytes above are what it wrote."""
    theirs = pytest.importorskip("megatron.core.datasets.indexed_dataset", reason="megatron-core is not installed")
    docs, dtype = [[1, 2, 3], [40_000] * 5, [7]], dtype_for(vocab_size)
    np.concatenate([np.array(doc, dtype) for doc in docs]).tofile(tmp_path / "ours.bin")
    write_index(tmp_path / "ours.idx", dtype, np.array([len(doc) for doc in docs], np.int32))
    read = theirs.IndexedDataset(str(tmp_path / "ours"))
    assert [read[i].tolist() for i in range(len(read))] == docs
    assert read.document_indices.tolist() == [0, 1, 2, 3]
    builder = theirs.IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=dtype.type)
    for doc in docs:
        builder.add_document(torch.tensor(doc), [len(doc)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    for end in (".bin", ".idx"):
        assert (tmp_path / f"ours{end}").read_bytes() == (tmp_path / f"theirs{end}").read_bytes()
    assert open_indexed(tmp_path / "theirs").tokens.tolist() == [token for doc in docs for token in doc]
