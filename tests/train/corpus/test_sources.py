"""Each kind of file gives its documents; what is wrong in one is a line that names file and line."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from configs.errors import BadInputError, WorkFailedError
from configs.schema import SourceConfig
from train.corpus.documents import Document
from train.corpus.hygiene import is_held_out
from train.corpus.sources import Skipped, documents_of

TEXTS = ["one\nline more\n", "zwei — ü\n", "three"]


def _read(**source: Any) -> list[str]:
    return [document.text for document in documents_of(SourceConfig(**source), Skipped())]


def _zst(path: Path, content: bytes) -> None:
    """Two frames, as a file that was appended to has."""
    half = len(content) // 2
    path.write_bytes(b"".join(pyarrow.Codec("zstd").compress(c).to_pybytes() for c in (content[:half], content[half:])))


WRITERS: dict[str, Callable[[Path, bytes], Any]] = {
    "": lambda path, content: path.write_bytes(content),
    ".gz": lambda path, content: path.write_bytes(gzip.compress(content)),
    ".zst": _zst,
}


@pytest.mark.parametrize("packed", WRITERS)
def test_json_lines(packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.jsonl{packed}"
    lines = [json.dumps({"id": i, "body": text}) for i, text in enumerate(TEXTS)]
    WRITERS[packed](path, ("\n".join(lines) + "\n\n").encode())
    assert _read(path=str(path), key="body") == TEXTS


@pytest.mark.parametrize("packed", WRITERS)
def test_a_text_file_is_a_document_or_is_cut_at_a_separator(packed: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.txt{packed}"
    WRITERS[packed](path, "a\r\nb\n\nc ü\n<|endoftext|>\nd".encode())
    assert _read(path=str(path)) == ["a\r\nb\n\nc ü\n<|endoftext|>\nd"]
    assert _read(path=str(path), separator="<|endoftext|>") == ["a\r\nb\n\nc ü\n", "d"]
    assert _read(path=str(path), separator="") == ["a\r\nb\n", "c ü\n<|endoftext|>\nd"]


def test_parquet(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"id": [1, 2, 3, 4], "text": [*TEXTS, None]}), tmp_path / "x.parquet")
    assert _read(path=str(tmp_path / "x.parquet")) == TEXTS


@pytest.mark.parametrize("streaming", [True, False])
def test_a_data_set_by_its_name(streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    parquet.write_table(pyarrow.table({"text": TEXTS}), tmp_path / "set" / "train.parquet")
    assert _read(dataset=str(tmp_path / "set"), streaming=streaming) == TEXTS
    with pytest.raises(BadInputError, match=r"row 1: has no 'body' \(it has: text\); set data.sources.key"):
        _read(dataset=str(tmp_path / "set"), streaming=streaming, key="body")


def test_a_data_set_that_cannot_be_had_is_one_line() -> None:
    with pytest.raises(WorkFailedError, match=r"data.sources: nobody/nothing: could not be had: ") as caught:
        _read(dataset="nobody/nothing")
    assert "\n" not in str(caught.value)


def test_files_come_by_name_and_empty_documents_are_counted(tmp_path: Path) -> None:
    for name, text in (("b.txt", "B"), ("a.txt", " \n"), ("c.txt", ""), ("d.md", "no"), ("0.txt", "0")):
        (tmp_path / name).write_text(text)
    for path in (tmp_path, tmp_path / "*.txt"):
        skipped = Skipped()
        found = list(documents_of(SourceConfig(path=str(path), name="n"), skipped))
        assert found == [Document("0", "n", 0), Document("B", "n", 2)]
        assert skipped.empty == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", b"fine\nna\xefve\n", r"x.txt, line 2: is not UTF-8 \(byte 0xef in position 2\); convert the file"),
        ("x.jsonl", b'{"text": "a"}\n{"text": "b"\n', "x.jsonl, line 2: is not JSON: "),
        ("x.jsonl", b'{"text": "a"}\n{"body": "b", "id": 1}\n', r"x.jsonl, line 2: has no 'text' \(it has: body, id\)"),
        ("x.jsonl", b'["a"]\n', r"x.jsonl, line 1: has no 'text' \(it is a list\)"),
        ("x.jsonl", b'{"text": "half \\ud800"}\n', "x.jsonl, line 1: 'text' is no Unicode text at character 5"),
        ("x.jsonl", b'{"text": 3}\n', "x.jsonl, line 1: 'text' is a int, not a text"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 9000)[:-40], "x.jsonl.gz, after line .*: cannot be read"),
        ("x.jsonl.gz", b"no gzip", "x.jsonl.gz, after line 0: cannot be read: Not a gzipped file"),
        ("x.txt.zst", b"no zstandard", "x.txt.zst, after line 0: cannot be read"),
        ("x.parquet", b"no table", "x.parquet: cannot be read: "),
        ("x.csv", b"a,b", r"x.csv: its kind is not known by its name; known: .txt, .jsonl, .parquet, .bin"),
    ],
)
def test_what_cannot_be_read_is_a_line_that_names_the_place(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError, match=message) as caught:
        _read(path=str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_missing_column_names_those_that_are_there(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"id": [1], "body": ["x"]}), tmp_path / "x.parquet")
    with pytest.raises(BadInputError, match=r"x.parquet: has no column 'text' \(it has: id, body\)"):
        _read(path=str(tmp_path / "x.parquet"))


def test_no_file_at_all(tmp_path: Path) -> None:
    for path in (tmp_path / "no.txt", tmp_path / "*.txt", tmp_path):
        with pytest.raises(BadInputError, match="no such file, and none of that pattern"):
            _read(path=str(path))


def test_a_document_without_end_asks_for_a_separator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.corpus.sources._LARGEST_DOCUMENT_BYTES", 1 << 20)
    (tmp_path / "x.txt").write_text(("x" * 99 + "\n") * 20_000)
    with pytest.raises(BadInputError, match=r"x.txt, line \d+: the document there is longer than 1 MB; say by data"):
        _read(path=str(tmp_path / "x.txt"))


def test_a_fraction_is_held_out_by_the_text_alone() -> None:
    texts = [f"document {i}" for i in range(20_000)]
    held = [text for text in texts if is_held_out(text, 0.05)]
    assert 850 < len(held) < 1150
    assert set(held) <= {text for text in texts if is_held_out(text, 0.1)}
    assert not any(is_held_out(text, 0.0) for text in texts)
