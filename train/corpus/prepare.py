"""A corpus of files in a run directory: tokenised once, from where an earlier attempt stopped, and what it is."""

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from configs.errors import BadInputError
from configs.files import atomic_writer, read_record, sha256_of, sha256_of_json, write_record, write_text
from configs.schema import FilesData, RunConfig, SourceConfig
from train.corpus.cleaning import REPORT, Cleaning
from train.corpus.documents import Document
from train.corpus.hygiene import DECISIONS, is_held_out
from train.corpus.indexed import Indexed, open_indexed
from train.corpus.opened import Parts, Place, files_data, stride_of
from train.corpus.packed import rows_in
from train.corpus.sources import Skipped, documents_of, files_of, hub_name, is_tokenised, located
from train.corpus.tokenise import TOKENISED_BY, Progress, Settings, held_out_stem, tokenise
from train.corpus.tokenizer import end_of_text_id, read_tokenizer, sample_of, train_tokenizer
from train.record import CorpusFacts, SourceFacts
from train.rows import MARK, UNFINISHED
from train.teacher_text import made_by, teacher_key, teacher_of

if TYPE_CHECKING:
    from train.extraction import GeneratedText

_HASHED_TOGETHER = 1 << 22  # tokens


@dataclass(frozen=True)
class _Source:
    """A source whose tokens are there."""

    train: Place
    held_out: Place
    facts: SourceFacts


def prepare(
    config: RunConfig,
    directory: Path,
    tokenizer_file: Path | None,
    say: Callable[[str], None],
    benchmarks: Mapping[str, Path],
    commits: Mapping[str, str],
) -> CorpusFacts:
    """Tokenise the sources of `config` into `directory`, unless that was done; what was begun is gone on with.

    `benchmarks`: name → JSON lines with the `texts` of each example that is evaluated, which hygiene may take out.
    `commits`: of data sets of the hub, by `hub_name`; where they lie does not matter, nor that they lie anywhere once
    this is done. The mark of what the directory holds is written last. Raises BadInputError when a source cannot be
    read or the corpus is too small.
    """
    data = files_data(config)
    cleaning = Cleaning(data, benchmarks, say, directory) if data.hygiene else None
    directory.mkdir(parents=True, exist_ok=True)
    fingerprints = [_fingerprint(source, commits) for source in data.sources]
    with _named_held_out():
        of_held_out = _fingerprint(data.held_out, commits) if data.held_out else None
    made_of = [_key(data, tokenizer_file), cleaning.key if cleaning else None, teacher_key(config, tokenizer_file)]
    mark, key = directory / MARK, json.dumps([made_of, fingerprints, of_held_out, config.train.sequence_length])
    if mark.is_file() and mark.read_text() == key:
        facts = read_record(directory / "facts.json", CorpusFacts)
    else:
        write_text(mark, UNFINISHED)
        config = _located(config, commits)
        if cleaning:
            cleaning = Cleaning(files_data(config), benchmarks, say, directory)
        facts = _make(config, directory, tokenizer_file, say, cleaning, (made_of, fingerprints, of_held_out))
        write_record(directory / "facts.json", facts)
        write_text(mark, key)
    _check_size(config, facts)
    return facts


def _located(config: RunConfig, commits: Mapping[str, str]) -> RunConfig:
    """With each data set of the hub where it is read from: in a bundle, in the hub's cache, or on the hub itself."""
    data, bundle = files_data(config), config.offline and Path(config.offline)
    sources = tuple(located(source, bundle or None, commits) for source in data.sources)
    held_out = data.held_out and located(data.held_out, bundle or None, commits)
    return config.model_copy(update={"data": data.model_copy(update={"sources": sources, "held_out": held_out})})


def _make(
    config: RunConfig,
    directory: Path,
    tokenizer_file: Path | None,
    say: Callable[[str], None],
    cleaning: Cleaning | None,
    key: tuple[Sequence[Any], Sequence[str], str | None],
) -> CorpusFacts:
    """Everything of a corpus but the mark. `key`: what all tokens are made of, each source, the held-out one."""
    data, (made_of, fingerprints, of_held_out) = files_data(config), key
    settings = _settings(data, directory, tokenizer_file, say)
    made_of = [*made_of, sha256_of(settings.tokenizer)]  # trained again, it could be another one
    held_out = _held_out_source(data, directory, sha256_of_json([made_of, of_held_out]), settings, say)
    teacher = teacher_of(config, tokenizer_file)
    if teacher is not None:
        own_key = sha256_of_json([made_of, fingerprints])
        found = [_generated(config, teacher, directory, own_key, settings, say)]
    else:
        found = _parts(config, directory, made_of, fingerprints, settings, say, cleaning)
    write_record(
        directory / "parts.json",
        Parts(
            train=tuple(source.train for source in found),
            held_out=(held_out.train,) if held_out else tuple(source.held_out for source in found),
        ),
    )
    facts = _facts(config, [source.facts for source in found], held_out.facts if held_out else None)
    return facts if teacher is None else facts.model_copy(update=made_by(teacher))


def _parts(
    config: RunConfig,
    directory: Path,
    made_of: Sequence[Any],
    fingerprints: Sequence[str],
    settings: Settings,
    say: Callable[[str], None],
    cleaning: Cleaning | None,
) -> list[_Source]:
    """Each source's tokens. With hygiene every one depends on all of them, as duplicates do."""
    found, data = [], files_data(config)
    row = config.train.sequence_length + 1 if data.order == "stored" else None
    (directory / REPORT).unlink(missing_ok=True)
    for number, source in enumerate(data.sources):
        if is_tokenised(source):
            found.append(_indexed(source, data.held_out_fraction, row, say))
            continue
        own_key = sha256_of_json([made_of, number, fingerprints] if cleaning else [made_of, fingerprints[number]])
        skipped = Skipped()
        documents = cleaning.documents_of(source, skipped) if cleaning else documents_of(source, skipped)
        found.append(_tokenised(source.label, documents, directory / str(number), own_key, settings, say, skipped))
        if cleaning:
            _exhaust(documents)  # one that was tokenised by an earlier attempt is in the report too
    if cleaning:
        cleaning.report(directory)
    return found


def _generated(
    config: RunConfig,
    teacher: "GeneratedText",
    directory: Path,
    key: str,
    settings: Settings,
    say: Callable[[str], None],
) -> _Source:
    """Text of the reference to train on; the files are there for the held-out loss."""
    data = files_data(config)
    read = data.sources if data.held_out is None else ()
    tokenised = next((source.label for source in read if is_tokenised(source)), None)
    if data.hygiene or tokenised:
        what = f"{tokenised} came tokenised" if tokenised else "data.hygiene would change it"
        raise BadInputError(
            f"train.distillation.source: generated_text: the held-out text is that of data.sources, and {what}; "
            f"{'give its text' if tokenised else 'leave it out'}"
        )
    generated = (replace(d, held_out=False) for d in teacher.documents(config.train.distillation.documents))
    natural = chain.from_iterable(documents_of(source, Skipped()) for source in read)
    held_out = (replace(d, held_out=True) for d in natural if is_held_out(d.text, data.held_out_fraction))
    documents = chain(generated, held_out)
    found = _tokenised(teacher.source, documents, directory / "0", key, settings, say, Skipped())
    _exhaust(documents)  # what an earlier attempt generated is counted again
    return found


def _held_out_source(
    data: FilesData, directory: Path, key: str, settings: Settings, say: Callable[[str], None]
) -> _Source | None:
    """The tokens of `data.held_out`, all of them its `train` part; None where the sources hold some out."""
    source = data.held_out
    if source is None:
        return None
    with _named_held_out():
        if is_tokenised(source):
            return _indexed(source, 0, None, say)
        skipped = Skipped()
        return _tokenised(
            source.label, documents_of(source, skipped), directory / "held-out", key, settings, say, skipped
        )


@contextmanager
def _named_held_out() -> Iterator[None]:
    """What is wrong with `data.held_out` is said of that key: it is read as a source is."""
    try:
        yield
    except BadInputError as error:
        raise BadInputError(str(error).replace("data.sources", "data.held_out")) from None


def _exhaust(documents: Iterable[Document]) -> None:
    deque(documents, maxlen=0)


def _key(data: FilesData, tokenizer_file: Path | None) -> str:
    """What the tokens depend on beside the sources' own text."""
    tokenizer = sha256_of(tokenizer_file) if tokenizer_file else "new"
    settings = data.model_dump(mode="json", exclude={"sources", "held_out", "tokenizer"})
    return sha256_of_json([settings, tokenizer, TOKENISED_BY, DECISIONS])


def _fingerprint(source: SourceConfig, commits: Mapping[str, str]) -> str:
    """Changes when the source does: by the commit of a data set, else as far as sizes and times of its files tell."""
    files = files_of(source) if source.path else []
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    settings = source.model_dump(mode="json", exclude={"weight", "revision", "streaming"})
    return sha256_of_json([settings, commits.get(hub_name(source)) or source.revision, stats])


def _settings(data: FilesData, directory: Path, tokenizer_file: Path | None, say: Callable[[str], None]) -> Settings:
    """Put the tokenizer into `directory`."""
    if tokenizer_file is not None:
        tokenizer = read_tokenizer(tokenizer_file, "data.tokenizer" if data.tokenizer else "reference")
    else:
        say("training a tokenizer")
        tokenizer = train_tokenizer(_sample(data), data.vocab_size)
    end_of_text = end_of_text_id(tokenizer, data.end_of_text)
    with atomic_writer(directory / "tokenizer.json") as stream:
        stream.write(tokenizer.to_str(pretty=True))
    return Settings(directory / "tokenizer.json", end_of_text, data.held_out_fraction)


def _sample(data: FilesData) -> Iterable[str]:
    sources = [source for source in data.sources if not is_tokenised(source)]
    if not sources:
        raise BadInputError("data.tokenizer: is missing, and the sources are tokenised: name what they were made with")
    documents = chain.from_iterable(documents_of(source, Skipped()) for source in sources)
    return sample_of(documents, data.held_out_fraction)


def _tokenised(
    name: str,
    documents: Iterable[Document],
    stem: Path,
    key: str,
    settings: Settings,
    say: Callable[[str], None],
    skipped: Skipped,
) -> _Source:
    def show(progress: Progress) -> None:
        text_bytes = progress.train.text_bytes + progress.held_out.text_bytes
        say(f"tokenising {name}: {text_bytes / 1e6:,.0f} MB, {progress.taken:,} documents")

    done = tokenise(documents, stem, key, settings, show, skipped)
    if not done.train.tokens:
        raise BadInputError(f"data.sources: {name}: has no text in it ({done.empty:,} empty documents)")
    train, held_out = open_indexed(stem), open_indexed(held_out_stem(stem))
    sha256, largest = _looked_through(train, 0, len(train.tokens))
    facts = SourceFacts(
        name=name,
        sha256=sha256,
        documents=done.train.documents,
        rows=0,
        tokens=done.train.tokens,
        text_bytes=done.train.text_bytes,
        empty_documents=done.empty,
        held_out_documents=done.held_out.documents,
        held_out_tokens=done.held_out.tokens,
        held_out_sha256=_looked_through(held_out, 0, len(held_out.tokens))[0],
        largest_id=largest,
    )
    of_train, of_held_out = (stem.name, 0, len(train.tokens)), (held_out_stem(stem).name, 0, len(held_out.tokens))
    return _Source(of_train, of_held_out, facts)


def _indexed(source: SourceConfig, fraction: float, row: int | None, say: Callable[[str], None]) -> _Source:
    """A .bin is read where it lies. It has no text to hash, so its end is held out: `fraction` of it.

    `row`: tokens of a row that is read in the stored order; None: in another.
    """
    assert source.path is not None
    path = Path(source.path).resolve()
    indexed = open_indexed(path)
    n = len(indexed.tokens)
    kept = math.floor((1 - fraction) * n)
    documents, border = indexed.document_from(kept)
    if row is not None:
        _check_stored(path, indexed, row)
        border = kept // row * row if fraction else n
    say(f"reading {source.label}: {n:,} tokens")
    sha256, largest = _looked_through(indexed, 0, border)
    held_out_sha256, largest_held_out = _looked_through(indexed, border, n)
    facts = SourceFacts(
        name=source.label,
        sha256=sha256,
        documents=documents,
        rows=0,
        tokens=border,
        held_out_documents=max(0, len(indexed.documents) - 1 - documents),
        held_out_tokens=n - border,
        held_out_sha256=held_out_sha256,
        largest_id=max(largest, largest_held_out),
    )
    return _Source((str(path), 0, border), (str(path), border, n), facts)


def _check_stored(path: Path, indexed: Indexed, row: int) -> None:
    """Rows of another length than the file was shuffled in would be cut from the middle of its rows."""
    size = indexed.row_size()
    if size and len(indexed.sizes) > 1 and size % row:
        raise BadInputError(
            f"train.sequence_length: {path.name} holds rows of {size:,} tokens; with data.order 'stored' "
            f"take train.sequence_length={size - 1}"
        )


def _looked_through(indexed: Indexed, start: int, stop: int) -> tuple[str, int]:
    """Hex sha256 of those ids as stored, and the largest of them."""
    digest, largest, dtype = hashlib.sha256(), -1, indexed.tokens.dtype
    with indexed.data.open("rb") as stream:  # not mapped: pages that were looked at would count as memory in use
        stream.seek(start * dtype.itemsize)
        for at in range(start, stop, _HASHED_TOGETHER):
            part = np.fromfile(stream, dtype, min(_HASHED_TOGETHER, stop - at))
            digest.update(part.data)
            if int(part.min()) < 0:
                raise BadInputError(f"{indexed.data}: broken: has a negative token id in it")
            largest = max(largest, int(part.max()))
    return digest.hexdigest(), largest


def _facts(config: RunConfig, sources: Sequence[SourceFacts], own: SourceFacts | None) -> CorpusFacts:
    """Of all `sources` together, and of the held-out text: `own`, or what each of them holds out."""
    data, length = files_data(config), config.train.sequence_length
    rows = [rows_in(source.tokens, length, stride_of(data, length)) for source in sources]
    held_out_tokens = [own.tokens] if own else [source.held_out_tokens for source in sources]
    held_out = sum(rows_in(tokens, length, length) for tokens in held_out_tokens)
    if min(rows) < 1:
        small = sources[rows.index(min(rows))]
        raise BadInputError(
            f"data.sources: {small.name}: its {small.tokens:,} tokens are fewer than one row of "
            f"train.sequence_length + 1 = {length + 1}"
        )
    if own and not held_out:
        raise BadInputError(
            f"data.held_out: {own.name}: its {own.tokens:,} tokens are fewer than one row of "
            f"train.sequence_length + 1 = {length + 1}"
        )
    if not held_out:
        held = sum(source.held_out_documents for source in sources)
        raise BadInputError(
            f"data.held_out_fraction: {data.held_out_fraction} holds out {held} documents, less than one row of text; "
            "raise it"
        )
    text_bytes = [source.text_bytes for source in sources]
    tokens = sum(source.tokens for source in sources)
    known = [count for count in text_bytes if count is not None]
    return CorpusFacts(
        source=", ".join(source.name for source in sources),
        sha256=_together([source.sha256 for source in sources]),
        documents=sum(source.documents for source in sources),
        rows=sum(rows),
        sequence_length=length,
        tokens=sum(rows) * length,
        positions=sum(rows) * length,
        held_out_tokens=held_out * length,
        held_out_sha256=own.sha256 if own else _together([source.held_out_sha256 for source in sources]),
        bytes_per_token=sum(known) / tokens if len(known) == len(sources) else None,
        sources=tuple(source.model_copy(update={"rows": count}) for source, count in zip(sources, rows, strict=True)),
        held_out_source=own.model_copy(update={"rows": held_out}) if own else None,
    )


def _together(hashes: Sequence[str]) -> str:
    return hashes[0] if len(hashes) == 1 else sha256_of_json(list(hashes))


def _check_size(config: RunConfig, facts: CorpusFacts) -> None:
    """One batch at least; in the stored order, which ends, all of them."""
    batch, steps, length = config.train.global_batch_rows, config.train.steps, config.train.sequence_length
    if facts.rows < batch:
        raise BadInputError(
            f"data.sources: the corpus makes {facts.rows:,} rows of {length} tokens, fewer than one batch of {batch:,}"
            "; give more text, or lower the batch"
        )
    if files_data(config).order == "stored" and steps * batch > facts.rows:
        raise BadInputError(
            f"data.order: stored: {facts.rows:,} rows are there to train on, and train.steps × batch needs "
            f"{steps * batch:,}; lower train.steps to {facts.rows // batch:,} or less"
        )
