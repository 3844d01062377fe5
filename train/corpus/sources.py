"""From a source of the configuration to its documents, one after the other, with little of it in memory.

Files are read in the order of their names. What cannot be read is one line that names the file and the line in it.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from configs.errors import BadInputError, WorkFailedError, first_line
from configs.schema import FilesData, SourceConfig
from train import hub, hub_data, offline
from train.corpus.documents import Document

TEXT, LINES, TABLES, TOKENISED = (".txt",), (".jsonl",), (".parquet",), (".bin",)
_PACKED = (".gz", ".zst")
_LARGEST_DOCUMENT_BYTES = 1 << 28


@dataclass
class Skipped:
    """Counts the documents that were left out because there is nothing in them."""

    empty: int = 0


def documents_of(source: SourceConfig, skipped: Skipped) -> Iterator[Document]:
    """The documents of `source` that are not empty, in their order; `skipped` counts the others.

    Raises BadInputError for what cannot be read as text, WorkFailedError where the hub fails.
    """
    texts = _texts_of_dataset(source) if source.dataset else _texts_of_files(source)
    for number, text in enumerate(texts):
        if text and not text.isspace():
            yield Document(text, source.label, number)
        else:
            skipped.empty += 1


def check_files(data: FilesData) -> None:
    """Raises BadInputError for a source of files that is not there: known at once, before anything that takes long."""
    for key, sources in (("data.sources", data.sources), ("data.held_out", (data.held_out,) if data.held_out else ())):
        for source in sources:
            try:
                if source.path is not None:
                    files_of(source)
            except BadInputError as error:
                raise BadInputError(str(error).replace("data.sources", key)) from None


def is_of_the_hub(source: SourceConfig) -> bool:
    """Whether it is a data set that has a name on the hub, and not files or a directory here."""
    return source.dataset is not None and not Path(source.dataset).is_dir()


def located(source: SourceConfig, bundle: Path | None, commits: Mapping[str, str]) -> SourceConfig:
    """A data set of the hub with the commit that its revision is, where it can be read; anything else as it is.

    It is looked for in `bundle`, which `replibench fetch` filled, if there is one; else, where HF_HUB_OFFLINE is set,
    in the hub's cache on this machine; else the hub is asked, but for what `commits` (by `hub_name`) has already.
    Raises BadInputError where it is not there or of another commit, WorkFailedError where the hub cannot be reached.
    """
    if not is_of_the_hub(source):
        return source
    dataset, wanted = str(source.dataset), commits.get(hub_name(source))
    if bundle is not None:
        place = offline.dataset_place(bundle, source)
        if not place.is_dir():
            raise BadInputError(f"offline: {bundle}: has no data set {hub_name(source)} ({place}); {offline.FETCH}")
    elif hub.is_offline():
        place = hub_data.cached(dataset, wanted or source.revision)
    else:
        return source.model_copy(update={"revision": wanted or hub_data.commit_of(dataset, source.revision)})
    known = offline.commit_at(place)
    if known is None:
        raise BadInputError(
            f"offline: {place}: has no {offline.COMMIT}, which says what commit of the hub it is; {offline.FETCH}; "
            "files of your own are named by data.sources.path"
        )
    if wanted not in (None, known):
        raise BadInputError(
            f"offline: {place}: is commit {known} of {dataset}, and the corpus of this run was begun from {wanted}; "
            "name another --run-dir, or fetch that commit (data.sources.revision)"
        )
    return source.model_copy(update={"dataset": str(place), "revision": known, "name": source.label})


def hub_name(source: SourceConfig) -> str:
    """ID@REVISION of a data set of the hub, as the configuration asks for it."""
    return f"{source.dataset}@{source.revision or 'main'}"


def files_of(source: SourceConfig) -> list[Path]:
    """The files behind `source.path`, sorted. Raises BadInputError where there are none or one is of no known kind."""
    assert source.path is not None
    path = Path(source.path)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and _kind(file) in (*TEXT, *LINES, *TABLES))
    else:
        found = [path] if path.is_file() else _matching(source.path)
    if not found:
        raise BadInputError(f"data.sources: {source.path}: no such file, and none of that pattern")
    for file in found:
        if _kind(file) not in (*TEXT, *LINES, *TABLES, *TOKENISED):
            known = ", ".join((*TEXT, *LINES, *TABLES, *TOKENISED))
            raise BadInputError(f"data.sources: {file}: its kind is not known by its name; known: {known} (.gz, .zst)")
    return found


def _matching(pattern: str) -> list[Path]:
    path = Path(pattern)
    return sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))  # an anchor of "" is this directory


def is_tokenised(source: SourceConfig) -> bool:
    """Whether it is a .bin, of which nothing is to be tokenised."""
    return source.path is not None and Path(source.path).suffix in TOKENISED


def _kind(file: Path) -> str:
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        return suffixes[-2] if len(suffixes) > 1 and suffixes[-2] in (*TEXT, *LINES) else suffixes[-1]
    return suffixes[-1] if suffixes else ""


def _texts_of_files(source: SourceConfig) -> Iterator[str]:
    for file in files_of(source):
        kind = _kind(file)
        if kind in TABLES:
            yield from _texts_of_table(file, source.key)
            continue
        with _opened(file) as stream:
            lines = _readable(file, stream)
            if kind in LINES:
                yield from _texts_of_lines(file, lines, source.key)
            else:
                yield from _texts_of_text(file, lines, source.separator)


def _opened(file: Path) -> Any:
    if file.suffix.lower() == ".gz":
        return gzip.open(file, "rb")
    if file.suffix.lower() == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"))
    return file.open("rb")


def _readable(file: Path, stream: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Its lines, from 1, with their ends."""
    number = 0
    try:
        for number, line in enumerate(stream, 1):
            yield number, line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInputError(
            f"{file}, line {number}: is not UTF-8 (byte 0x{error.object[error.start]:02x} in position {error.start}); "
            "convert the file, for example with iconv -f latin1 -t utf-8"
        ) from None
    except (EOFError, gzip.BadGzipFile, zlib.error, OSError) as error:
        raise BadInputError(f"{file}, after line {number}: cannot be read: {first_line(error)}") from None


def _texts_of_text(file: Path, lines: Iterable[tuple[int, str]], separator: str | None) -> Iterator[str]:
    document: list[str] = []
    size = 0
    for number, line in lines:
        if separator is not None and line.strip() == separator:
            yield "".join(document)
            document, size = [], 0
            continue
        document.append(line)
        size += len(line)
        if size > _LARGEST_DOCUMENT_BYTES:
            raise BadInputError(
                f"{file}, line {number}: the document there is longer than {_LARGEST_DOCUMENT_BYTES >> 20} MB; say by "
                "data.sources.separator where one ends"
            )
    yield "".join(document)


def _texts_of_lines(file: Path, lines: Iterable[tuple[int, str]], key: str) -> Iterator[str]:
    for number, line in lines:
        if line.isspace():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise BadInputError(f"{file}, line {number}: is not JSON: {first_line(error)}") from None
        yield _text_in(f"{file}, line {number}", value, key)


def _texts_of_table(file: Path, key: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            if key not in table.schema_arrow.names:
                names = ", ".join(table.schema_arrow.names)
                raise BadInputError(f"{file}: has no column {key!r} (it has: {names}); set data.sources.key")
            number = 0
            for batch in table.iter_batches(batch_size=256, columns=[key]):
                for value in batch.column(0).to_pylist():
                    number += 1
                    yield _text_in(f"{file}, row {number}", {key: value}, key)
    except (pyarrow.ArrowException, OSError) as error:
        raise BadInputError(f"{file}: cannot be read: {first_line(error)}") from None


def _texts_of_dataset(source: SourceConfig) -> Iterator[str]:
    import datasets

    try:
        rows = datasets.load_dataset(
            source.dataset, source.subset, split=source.split, revision=source.revision, streaming=source.streaming
        )
        for number, row in enumerate(rows, 1):
            yield _text_in(f"{source.dataset}, row {number}", row, source.key)
    except BadInputError:
        raise
    except Exception as error:  # of many kinds: datasets', the hub's, the network's
        raise WorkFailedError(f"data.sources: {source.dataset}: could not be had: {first_line(error)}") from None


def _text_in(place: str, value: Any, key: str) -> str:
    if not isinstance(value, dict) or key not in value:
        has = f"it has: {', '.join(map(str, value))}" if isinstance(value, dict) else f"it is a {type(value).__name__}"
        raise BadInputError(f"{place}: has no {key!r} ({has}); set data.sources.key")
    text = value[key]
    if text is None:
        return ""
    if not isinstance(text, str):
        raise BadInputError(f"{place}: {key!r} is a {type(text).__name__}, not a text; set data.sources.key")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may say "\ud800", which is half of a character
        raise BadInputError(
            f"{place}: {key!r} is no Unicode text at character {error.start}; mend or drop it"
        ) from None
    return text
