"""The data of a run, from its configuration: the generated world's documents, or files of real text."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import BadInputError
from configs.files import write_text
from configs.schema import FilesData, RunConfig, SourceConfig
from tinyworld.tokenizer import END_OF_TEXT
from train import generated
from train.corpus import opened
from train.corpus import prepare as files
from train.corpus.sources import hub_name, pinned
from train.record import CorpusFacts
from train.rows import MARK, UNFINISHED, Corpus

COMMITS = "commits.json"  # of the hub's data sets, as they were when the corpus was begun


def prepare(
    config: RunConfig,
    directory: Path,
    tokenizer_file: Path | None,
    say: Callable[[str], None],
    benchmarks: Mapping[str, Path],
    end_of_text: str | None = None,
) -> CorpusFacts:
    """Write the corpus of `config` and its tokenizer.json into `directory`, unless they are there already.

    The tokenizer is a copy of `tokenizer_file`, or a new one trained on the corpus. `benchmarks`: name → JSON lines
    with the `texts` of each example that is evaluated, for the hygiene of files. `end_of_text`: the token
    after each document where `data.end_of_text` names none. Raises BadInputError when the corpus cannot be read, or is
    too small for the run.
    """
    if isinstance(config.data, FilesData):
        data = config.data
        found = _pinned(data.every_source, config.offline, directory)
        here: dict[str, Any] = {"sources": found[: len(data.sources)], "held_out": data.held_out and found[-1]}
        here |= {"end_of_text": data.end_of_text or end_of_text}
        there = config.model_copy(update={"data": data.model_copy(update=here)})
        facts = files.prepare(there, directory, tokenizer_file, say, benchmarks)
        return _with_commits(facts, data, found)
    return generated.prepare(config, directory, tokenizer_file, say, end_of_text or END_OF_TEXT)


def _pinned(sources: Sequence[SourceConfig], bundle: str | None, directory: Path) -> tuple[SourceConfig, ...]:
    """Data sets of the hub by commit: once for a run directory, which a branch that moves on leaves as it is."""
    record = directory / COMMITS
    commits: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    found = tuple(pinned(source, Path(bundle) if bundle else None, commits) for source in sources)
    asked = zip(sources, found, strict=True)
    known = {hub_name(source): there.revision for source, there in asked if source.dataset and there.revision}
    if known and known != commits:
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / MARK).is_file():
            write_text(directory / MARK, UNFINISHED)
        write_text(record, json.dumps(known, indent=1) + "\n")
    return found


def _with_commits(facts: CorpusFacts, data: FilesData, found: Sequence[SourceConfig]) -> CorpusFacts:
    """The facts of sources of the hub, with which commit was read. Text that the reference generated is of none."""
    known = [
        {"dataset": asked.dataset, "revision": there.revision} if asked.dataset else {}
        for asked, there in zip(data.every_source, found, strict=True)
    ]
    by_label = {source.label: each for source, each in zip(data.sources, known, strict=False)}
    sources = tuple(source.model_copy(update=by_label.get(source.name, {})) for source in facts.sources)
    held_out = facts.held_out_source and facts.held_out_source.model_copy(update=known[-1])
    return facts.model_copy(update={"sources": sources, "held_out_source": held_out})


def open_corpus(directory: Path, config: RunConfig) -> Corpus:
    """Memory-map what `prepare` wrote. Every process of the run reads the same pages.

    Raises BadInputError where a preparation was begun and did not come to its end: the files may be of two.
    """
    mark = directory / MARK
    if not mark.is_file() or mark.read_text(encoding="utf-8") == UNFINISHED:
        raise BadInputError(
            f"data: {directory} is not prepared to the end; start the run with `replibench`, which does"
        )
    if isinstance(config.data, FilesData):
        return opened.open_corpus(directory, config)
    return generated.open_corpus(directory, config)
