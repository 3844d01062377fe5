"""A prepared corpus of files: what lies where, in which order it is read, and how often."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from configs.files import Record, read_record
from configs.schema import FilesData, RunConfig
from train.corpus.indexed import Tokens, open_indexed
from train.corpus.mixture import Mixture
from train.corpus.packed import Block, JoinedRows, PackedRows
from train.record import CorpusFacts
from train.rows import Corpus

MANY_EPOCHS = 4  # "Scaling data-constrained language models", section 1


Place = tuple[str, int, int]
"""Where tokens lie: a file (of the corpus directory, unless its path is absolute), from which to which token of it."""


class Parts(Record):
    """parts.json: what `open_corpus` opens."""

    train: tuple[Place, ...] = Field(description="of each source")
    held_out: tuple[Place, ...] = Field(description="of each source, or the one of its own")


def open_corpus(directory: Path, config: RunConfig) -> Corpus:
    """Memory-map what `prepare` wrote."""
    data, train = files_data(config), config.train
    facts, length = read_record(directory / "facts.json", CorpusFacts), train.sequence_length
    parts, stride = read_record(directory / "parts.json", Parts), stride_of(data, length)
    sources = [PackedRows(_tokens(directory, place), length, stride) for place in parts.train]
    held_out = JoinedRows([PackedRows(_tokens(directory, place), length, length) for place in parts.held_out])
    size = train.global_batch_rows
    if data.order == "stored":
        return Corpus(lambda step: sources[0][step * size : (step + 1) * size], held_out, facts)
    mixture = mixture_of(config, facts)

    def batch(step: int) -> Block:
        of, rows = mixture.rows(step * size, (step + 1) * size)
        out = np.empty((size, length + 1), np.int32)
        for place, (source, row) in enumerate(zip(of.tolist(), rows.tolist(), strict=True)):
            sources[source].at([row], out[place : place + 1])
        return out

    return Corpus(batch, held_out, facts)


def mixture_of(config: RunConfig, facts: CorpusFacts) -> Mixture:
    """The order in which a run reads the rows of its sources, where it is not the stored one."""
    generated = config.train.learns_generated_text  # then it is the one source, whatever the files weigh
    weights = [None] if generated else [source.weight for source in files_data(config).sources]
    rows = [source.rows for source in facts.sources]
    return Mixture(rows, [w if w is not None else n for w, n in zip(weights, rows, strict=True)], config.train.seed)


def epochs_of(config: RunConfig, facts: CorpusFacts) -> dict[str, float]:
    """How often the run goes through each source: 0.43 to 3.4 for GPT-3 (Brown et al. 2020, Table 2.2)."""
    rows = config.train.steps * config.train.global_batch_rows
    if files_data(config).order == "stored":
        return {facts.sources[0].name: rows / facts.rows}
    names = [source.name for source in facts.sources]
    return dict(zip(names, mixture_of(config, facts).epochs(rows), strict=True))


def told(facts: CorpusFacts, epochs: Mapping[str, float]) -> Iterator[str]:
    """What there is to say of a corpus before it is trained on, a line a source."""
    for source in facts.sources:
        per_token = f" of {source.text_bytes / source.tokens:.2f} bytes" if source.text_bytes else ""
        empty = f", {source.empty_documents:,} empty ones left out" if source.empty_documents else ""
        times = f"{epochs[source.name]:.2f}" if epochs[source.name] >= 0.1 else f"{epochs[source.name]:.2g}"
        yield (
            f"{source.name}: {source.documents:,} documents{empty}, {source.tokens:,} tokens{per_token}; "
            f"the run goes through it {times} times"
        )
        if epochs[source.name] > MANY_EPOCHS:
            yield (
                f"warning: {source.name} is repeated {epochs[source.name]:.1f} times: beyond about {MANY_EPOCHS} "
                "epochs text that comes again teaches little (Muennighoff et al. 2023); give more text or fewer steps"
            )


def files_data(config: RunConfig) -> FilesData:
    """The `data` section, of this kind."""
    assert isinstance(config.data, FilesData)  # train/data.py sees to it
    return config.data


def stride_of(data: FilesData, length: int) -> int:
    """How far apart rows begin, in tokens."""
    return length + 1 if data.order == "stored" else length


def _tokens(directory: Path, place: Place) -> Tokens:
    name, start, stop = place
    return open_indexed(directory / name).tokens[start:stop]
