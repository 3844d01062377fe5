"""The data of a run, from its configuration: the generated world's documents, or files of real text."""

from collections.abc import Callable, Mapping
from pathlib import Path

from configs.errors import BadInputError
from configs.schema import FilesData, RunConfig
from train import generated
from train.corpus import opened
from train.corpus import prepare as files
from train.corpus.sources import found_offline
from train.record import CorpusFacts
from train.rows import MARK, UNFINISHED, Corpus


def prepare(
    config: RunConfig,
    directory: Path,
    tokenizer_file: Path | None,
    say: Callable[[str], None],
    benchmarks: Mapping[str, Path],
) -> CorpusFacts:
    """Write the corpus of `config` and its tokenizer.json into `directory`, unless they are there already.

    The tokenizer is a copy of `tokenizer_file`, or a new one trained on the corpus. `benchmarks`: name → JSON lines
    with the `text` of each example that is evaluated, for the hygiene of files. Raises BadInputError when the corpus
    cannot be read, or is too small for the run.
    """
    if isinstance(config.data, FilesData):
        if config.offline is not None:
            bundle, held_out = Path(config.offline), config.data.held_out
            found = {
                "sources": tuple(found_offline(source, bundle) for source in config.data.sources),
                "held_out": held_out and found_offline(held_out, bundle),
            }
            config = config.model_copy(update={"data": config.data.model_copy(update=found)})
        return files.prepare(config, directory, tokenizer_file, say, benchmarks)
    return generated.prepare(config, directory, tokenizer_file, say)


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
