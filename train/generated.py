"""The generated corpus as rows of token ids on disk, and the order in which training reads them. numpy, no torch.

A row is `sequence_length + 1` ids: whole documents, each closed by end-of-text, padded at the end. Inputs are
row[:-1] and labels row[1:]; padding is never predicted.
"""

import hashlib
import io
import itertools
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

import tinyworld
from configs.errors import BadInputError
from configs.files import atomic_writer, read_record, sha256_of, write_record, write_text
from configs.schema import RunConfig, TinyworldData
from tinyworld.corpus import HELD_OUT_SEED, documents
from tinyworld.tokenizer import train_tokenizer
from tinyworld.world import World
from train.corpus.tokenizer import read_tokenizer
from train.record import CorpusFacts
from train.rows import MARK, PAD, UNFINISHED, Corpus, Ids
from train.teacher_text import made_by, teacher_key, teacher_of

PACKING_WINDOW = 32  # documents to choose from
PLENTY_OF_ROOM = 24  # ids; with more than that left in a row, documents are taken in their order
TOKENIZER_SAMPLE = 20_000  # documents that a new tokenizer is trained on


def prepare(
    config: RunConfig, directory: Path, tokenizer_file: Path | None, say: Callable[[str], None], end_of_text: str
) -> CorpusFacts:
    """Generate, tokenise and pack the corpus of `config` into `directory`, unless it is there already.

    Writes tokenizer.json (a copy of `tokenizer_file`, or a new one trained on the corpus), train.npy, held_out.npy,
    facts.json, and last the mark of what it is. Raises BadInputError when the corpus is too small for the run.
    """
    data = _data(config)
    mark, key = directory / MARK, _key(config, tokenizer_file, end_of_text)
    if mark.is_file() and mark.read_text() == key:
        facts = read_record(directory / "facts.json", CorpusFacts)
    else:
        count = config.train.distillation.documents if config.train.learns_generated_text else data.documents
        say(f"generating {count:,} documents")
        write_text(mark, UNFINISHED)
        facts = _prepare(config, directory, tokenizer_file, end_of_text)
        write_text(mark, key)
    _check_size(config, facts)
    return facts


def open_corpus(directory: Path, config: RunConfig) -> Corpus:
    """Memory-map what `prepare` wrote."""
    rows: Ids = np.load(directory / "train.npy", mmap_mode="r")
    order, size = row_order(len(rows), config.train.seed), config.train.global_batch_rows
    return Corpus(
        batch=lambda step: rows[batch_rows(order, step, size)],
        held_out=np.load(directory / "held_out.npy", mmap_mode="r"),
        facts=read_record(directory / "facts.json", CorpusFacts),
    )


def row_order(n_rows: int, seed: int) -> NDArray[np.int64]:
    """The order in which rows are trained on: a permutation fixed by the seed alone, whatever the number of ranks."""
    return np.random.default_rng(seed).permutation(n_rows)


def batch_rows(order: NDArray[np.int64], step: int, global_batch_rows: int) -> NDArray[np.int64]:
    """Row numbers of optimizer step `step` (0-based), for all ranks and micro-batches together."""
    return order[step * global_batch_rows : (step + 1) * global_batch_rows]


def pack(documents: Iterable[list[int]], width: int) -> Iterator[Ids]:
    """Whole `documents`, each with its end-of-text, into rows of `width` ids, padded with PAD.

    A row starts with the oldest of the next few documents and is filled with those of them that fit best: plain
    first-come packing pads four times as much. A document longer than a row is cut into pieces.
    """
    pieces = (document[start : start + width] for document in documents for start in range(0, len(document), width))
    waiting = deque(itertools.islice(pieces, PACKING_WINDOW))
    while waiting:
        row = waiting.popleft()
        waiting.extend(itertools.islice(pieces, 1))
        while (best := _best_fit(waiting, width - len(row))) is not None:
            row = row + waiting[best]
            del waiting[best]
            waiting.extend(itertools.islice(pieces, 1))
        yield _padded(row, width)


def cut_off(ids: list[int], width: int) -> list[int]:
    """A document whose end is not known, padded to whole rows, so that nothing is predicted after it."""
    return [*ids, *[int(PAD)] * (-len(ids) % width)]


def _best_fit(waiting: Sequence[list[int]], room: int) -> int | None:
    """Index of the longest document that fits; the oldest, while much room would be left; None if none fits."""
    if waiting and room - len(waiting[0]) >= PLENTY_OF_ROOM:
        return 0
    fitting = [index for index, document in enumerate(waiting) if len(document) <= room]
    return max(fitting, key=lambda index: len(waiting[index]), default=None)


def _padded(row: list[int], width: int) -> Ids:
    out = np.full(width, PAD, dtype=np.uint16)
    out[: len(row)] = row
    return out


def _data(config: RunConfig) -> TinyworldData:
    assert isinstance(config.data, TinyworldData)  # train/data.py sees to it
    return config.data


def _prepare(config: RunConfig, directory: Path, tokenizer_file: Path | None, end_of_text: str) -> CorpusFacts:
    data, width = _data(config), config.train.sequence_length + 1
    world = World(data.world_seed)
    teacher = teacher_of(config, tokenizer_file)
    if teacher is not None:
        generated = list(teacher.documents(config.train.distillation.documents))
        texts, ends = [document.text for document in generated], [document.ends for document in generated]
        if not texts:
            raise BadInputError("train.distillation.documents: all that the reference generated is empty")
    else:
        texts = list(documents(data.documents_seed, data.documents, world))
        ends = [True] * len(texts)
    if tokenizer_file is not None:
        tokenizer = read_tokenizer(tokenizer_file, "reference")
    else:
        tokenizer = train_tokenizer(texts[:TOKENIZER_SAMPLE], data.vocab_size)
    with atomic_writer(directory / "tokenizer.json") as stream:
        stream.write(tokenizer.to_str(pretty=True))
    end = tokenizer.token_to_id(end_of_text)
    if tokenizer.get_vocab_size() >= PAD or end is None:
        raise BadInputError(f"tokenizer: needs fewer than {PAD} tokens and {end_of_text} among them")
    train = _rows(tokenizer, end, texts, ends, width)
    held_out_texts = _held_out(config, world, set(texts))
    held_out = _rows(tokenizer, end, held_out_texts, [True] * len(held_out_texts), width)
    for name, rows in (("train.npy", train), ("held_out.npy", held_out)):
        with atomic_writer(directory / name, "wb") as stream:
            buffer = io.BytesIO()  # numpy's own writing to a file hides why a full disk failed
            np.save(buffer, rows)
            stream.write(buffer.getbuffer())
    own = f"{data.source}, world {data.world_seed}, documents {data.documents_seed}"
    facts = CorpusFacts(
        source=teacher.source if teacher else own,
        sha256=hashlib.sha256(train.tobytes()).hexdigest(),
        documents=len(texts),
        rows=len(train),
        sequence_length=config.train.sequence_length,
        tokens=int(np.count_nonzero(train[:, 1:] != PAD)),
        positions=train[:, 1:].size,
        held_out_tokens=int(np.count_nonzero(held_out[:, 1:] != PAD)),
        held_out_sha256=hashlib.sha256(held_out.tobytes()).hexdigest(),
        **(made_by(teacher) if teacher else {}),
    )
    write_record(directory / "facts.json", facts)
    return facts


def _held_out(config: RunConfig, world: World, seen: set[str]) -> list[str]:
    """Documents of another stream that the corpus does not contain (of a small language many occur in both)."""
    wanted = _data(config).held_out_documents
    stream = documents(HELD_OUT_SEED, 20 * wanted, world)
    fresh = list(itertools.islice((text for text in stream if text not in seen), wanted))
    if len(fresh) < wanted:
        raise BadInputError(
            f"data.held_out_documents: only {len(fresh)} of {wanted} could be found that the corpus does not contain; "
            f"ask for fewer, and keep data.documents_seed from {HELD_OUT_SEED}"
        )
    return fresh


def _rows(tokenizer: Tokenizer, end_of_text: int, texts: Sequence[str], ends: Iterable[bool], width: int) -> Ids:
    encoded = tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    whole = ([*e.ids, end_of_text] if ended else cut_off(e.ids, width) for e, ended in zip(encoded, ends, strict=True))
    return np.stack(list(pack(whole, width)))


def _key(config: RunConfig, tokenizer_file: Path | None, end_of_text: str) -> str:
    """Changes when anything changes that the prepared files depend on, the generator's own code among it."""
    tokenizer = sha256_of(tokenizer_file) if tokenizer_file else "new"
    code: list[Any] = [sha256_of(path) for path in sorted(Path(tinyworld.__file__).parent.glob("*.py"))]
    taught = teacher_key(config, tokenizer_file)
    code += [] if taught is None else [taught]
    return json.dumps([config.data.model_dump(mode="json"), config.train.sequence_length, tokenizer, end_of_text, code])


def _check_size(config: RunConfig, facts: CorpusFacts) -> None:
    """One pass over the data at most: more epochs than asked for would be silent repetition."""
    needed = config.train.steps * config.train.global_batch_rows
    if needed > facts.rows:
        enough = 100 * math.ceil(1.1 * facts.documents * needed / facts.rows / 100)  # packing varies a little
        key = "train.distillation.documents" if config.train.learns_generated_text else "data.documents"
        raise BadInputError(
            f"{key}: {facts.documents:,} documents make {facts.rows:,} rows, but train.steps × batch needs "
            f"{needed:,}; set {key} to about {enough:,} or lower train.steps"
        )
