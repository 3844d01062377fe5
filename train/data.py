"""The data of a run, from its configuration: the generated world's documents, or files of real text."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from configs.errors import BadInputError
from configs.files import write_text
from configs.schema import FilesData, RunConfig, SourceConfig
from tinyworld.tokenizer import END_OF_TEXT
from train import generated
from train.corpus import opened
from train.corpus import prepare as files
from train.corpus.sources import hub_name, is_of_the_hub, located
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
        ended = config.data.model_copy(update={"end_of_text": config.data.end_of_text or end_of_text})
        commits = _commits(ended.every_source, config.offline, directory)
        config = config.model_copy(update={"data": ended})
        facts = files.prepare(config, directory, tokenizer_file, say, benchmarks, commits)
        return _with_commits(facts, ended, commits)
    return generated.prepare(config, directory, tokenizer_file, say, end_of_text or END_OF_TEXT)


def _commits(sources: Sequence[SourceConfig], bundle: str | None, directory: Path) -> dict[str, str]:
    """Of data sets of the hub, by name: found out once for a run directory, which a branch that moves on leaves as it
    is, and which does not need the data sets any more once it is prepared."""
    record = directory / COMMITS
    before: dict[str, str] = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    asked = {hub_name(source): source for source in sources if is_of_the_hub(source)}
    commits = {name: before.get(name) or _commit(source, bundle) for name, source in asked.items()}
    if commits and commits != before:
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / MARK).is_file():
            write_text(directory / MARK, UNFINISHED)
        write_text(record, json.dumps(commits, indent=1) + "\n")
    return commits


def _commit(source: SourceConfig, bundle: str | None) -> str:
    return str(located(source, Path(bundle) if bundle else None, {}).revision)


def _with_commits(facts: CorpusFacts, data: FilesData, commits: Mapping[str, str]) -> CorpusFacts:
    """The facts of sources of the hub, with which commit was read. Text that the reference generated is of none."""

    def known(source: SourceConfig) -> dict[str, str | None]:
        return {"dataset": source.dataset, "revision": commits.get(hub_name(source))} if source.dataset else {}

    by_label = {source.label: known(source) for source in data.sources}
    sources = tuple(source.model_copy(update=by_label.get(source.name, {})) for source in facts.sources)
    own, held_out = data.held_out, facts.held_out_source
    held_out = held_out.model_copy(update=known(own)) if own and held_out else held_out
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
