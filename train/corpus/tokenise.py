"""Documents to `name.bin` and `name-held-out.bin`, on all cores, in bounded memory, and again from where it stopped.

Ids are appended to the .bin, lengths to a file beside it. Now and then both are synced, and then, atomically, a record
of how far they are valid: what is beyond was written by a preparation that ended early, and is cut off. The .idx,
without which nothing reads the .bin, is written last.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from configs.errors import WorkFailedError
from configs.files import Record, read_record, write_record
from train.corpus.documents import Document
from train.corpus.encoding import Encoder
from train.corpus.hygiene import is_held_out
from train.corpus.indexed import dtype_for, write_index
from train.corpus.sources import Skipped
from train.corpus.tokenizer import read_tokenizer, vocabulary_size
from train.corpus.workers import cores, worked

TOKENISED_BY = f"encoding 2, tokenizers {tokenizers.__version__}"  # raise the number when other ids or lengths come out
COMMIT_BYTES = 1 << 26  # of text, after which what was written is made sure of


@dataclass(frozen=True)
class Settings:
    """What documents are encoded with, and how many are held out."""

    tokenizer: Path
    end_of_text: int
    held_out_fraction: float


class Half(Record):
    """What is valid of one of the two outputs."""

    documents: int = 0
    tokens: int = 0
    text_bytes: int = 0


class Progress(Record):
    """How far the tokenisation of one source is; beside the .bin until a newer one replaces it."""

    key: str
    taken: int = 0
    train: Half = Half()
    held_out: Half = Half()
    finished: bool = False
    empty: int = 0


def tokenise(
    documents: Iterable[Document],
    stem: Path,
    key: str,
    settings: Settings,
    say: Callable[[Progress], None],
    skipped: Skipped,
    workers: int | None = None,
) -> Progress:
    """Write the .bin and .idx of `stem` and of `stem`-held-out, going on where an earlier call of this `key` stopped.

    `key` stands for all that the result depends on: the documents must be the same ones for the same key. `say` hears
    of every batch; `skipped` is counted up by whoever reads the documents. `workers`: at most so many processes; None:
    one a core. Raises WorkFailedError on a full disk or a process that was killed.
    """
    record = stem.with_name(stem.name + ".progress.json")
    progress = read_record(record, Progress) if record.is_file() else Progress(key=key)
    if progress.key != key:
        progress = Progress(key=key)
    if progress.finished:
        return progress
    dtype = dtype_for(vocabulary_size(read_tokenizer(settings.tokenizer, "tokenizer")))
    try:
        with (
            _Output(stem, dtype, progress.train) as train,
            _Output(held_out_stem(stem), dtype, progress.held_out) as held_out,
        ):
            committed = 0
            make = partial(_Worker, settings, dtype)
            rest = islice(documents, progress.taken, None)
            for _, batch in worked(rest, make, workers or cores(), "tokenising"):
                train.append(batch, ~batch.held_out)
                held_out.append(batch, batch.held_out)
                done = train.written.text_bytes + held_out.written.text_bytes
                taken = progress.taken + len(batch.sizes)
                progress = Progress(key=key, taken=taken, train=train.written, held_out=held_out.written)
                if done - committed >= COMMIT_BYTES:
                    _commit(record, progress, train, held_out)
                    committed = done
                say(progress)
            _commit(record, progress, train, held_out)
            train.finish()
            held_out.finish()
    except OSError as error:
        raise WorkFailedError(f"cannot write {error.filename or stem}: {error.strerror or error}") from None
    progress = progress.model_copy(update={"finished": True, "empty": skipped.empty})
    write_record(record, progress)
    return progress


def held_out_stem(stem: Path) -> Path:
    """What the held-out files of `stem` begin with."""
    return stem.with_name(stem.name + "-held-out")


@dataclass(frozen=True)
class _Encoded:
    """A batch of documents: all their ids, and of each the number of ids, the bytes of text, and where it belongs."""

    ids: bytes
    sizes: NDArray[np.int32]
    text_bytes: NDArray[np.int64]
    held_out: NDArray[np.bool_]


class _Output:
    """A .bin and its lengths, opened to go on at what is valid."""

    def __init__(self, stem: Path, dtype: np.dtype[Any], valid: Half) -> None:
        self.written, self._dtype = valid, dtype
        self._idx, self._sizes_path = (stem.with_name(stem.name + end) for end in (".idx", ".sizes"))
        self._idx.unlink(missing_ok=True)
        self._ids = _opened_at(stem.with_name(stem.name + ".bin"), valid.tokens * dtype.itemsize)
        self._sizes = _opened_at(self._sizes_path, valid.documents * 4)

    def __enter__(self) -> "_Output":
        return self

    def __exit__(self, *_: object) -> None:
        self._ids.close()
        self._sizes.close()

    def append(self, batch: _Encoded, mine: NDArray[np.bool_]) -> None:
        """Those documents of the batch that are `mine`."""
        sizes = batch.sizes[mine]
        ids = np.frombuffer(batch.ids, self._dtype)
        self._ids.write((ids if mine.all() else ids[np.repeat(mine, batch.sizes)]).tobytes())
        self._sizes.write(sizes.astype("<i4").tobytes())
        self.written = Half(
            documents=self.written.documents + len(sizes),
            tokens=self.written.tokens + int(sizes.sum(dtype=np.int64)),
            text_bytes=self.written.text_bytes + int(batch.text_bytes[mine].sum()),
        )

    def sync(self) -> None:
        """All that was appended is on the disk."""
        for stream in (self._ids, self._sizes):
            stream.flush()
            os.fsync(stream.fileno())

    def finish(self) -> None:
        """Write the .idx; the lengths have done their service."""
        sizes = np.memmap(self._sizes_path, "<i4", "r") if self.written.documents else np.empty(0, "<i4")
        write_index(self._idx, self._dtype, sizes)
        self._sizes_path.unlink()


def _opened_at(path: Path, length: int) -> Any:
    stream = path.open("r+b" if path.exists() else "w+b")
    if stream.seek(0, os.SEEK_END) < length:
        stream.close()
        raise WorkFailedError(f"{path}: is shorter than its record says; delete its directory to begin again")
    stream.truncate(length)
    stream.seek(length)
    return stream


def _commit(record: Path, progress: Progress, *outputs: _Output) -> None:
    for output in outputs:
        output.sync()
    write_record(record, progress)


class _Worker:
    def __init__(self, settings: Settings, dtype: np.dtype[Any]) -> None:
        self._fraction = settings.held_out_fraction
        tokenizer = read_tokenizer(settings.tokenizer, "tokenizer")
        self._dtype = dtype
        self._encoder = Encoder(tokenizer, settings.end_of_text, dtype)

    def __call__(self, documents: Sequence[Document]) -> _Encoded:
        texts = [document.text for document in documents]
        ids, sizes = self._encoder.encode(texts)
        if not all(document.ends for document in documents):
            ids, sizes = self._opened(ids, sizes, np.array([document.ends for document in documents]))
        return _Encoded(
            ids,
            sizes,
            np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts], np.int64),
            np.array([self._holds_out(document) for document in documents], np.bool_),
        )

    def _opened(self, ids: bytes, sizes: NDArray[np.int32], ends: NDArray[np.bool_]) -> tuple[bytes, NDArray[np.int32]]:
        """Without the end-of-text of documents that do not end."""
        kept = np.ones(int(sizes.sum(dtype=np.int64)), np.bool_)
        kept[(np.cumsum(sizes, dtype=np.int64) - 1)[~ends]] = False
        return np.frombuffer(ids, self._dtype)[kept].tobytes(), sizes - ~ends

    def _holds_out(self, document: Document) -> bool:
        return is_held_out(document.text, self._fraction) if document.held_out is None else document.held_out
