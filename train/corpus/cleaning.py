"""The hygiene of a corpus of several sources: surveyed together, then given source by source to be tokenised."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import datasketch

from configs.errors import BadInputError
from configs.files import sha256_of, sha256_of_json, write_record
from configs.schema import FilesData, SourceConfig
from train.corpus.documents import Document
from train.corpus.hygiene import Hygiene
from train.corpus.sources import Skipped, documents_of, is_tokenised
from train.corpus.workers import cores

REPORT = "hygiene.json"


class Cleaning:
    """What reads the documents of each source, in their order, and leaves out what the hygiene takes out."""

    def __init__(
        self, data: FilesData, benchmarks: Mapping[str, Path], say: Callable[[str], None], scratch: Path | None = None
    ) -> None:
        """`benchmarks`: name → JSON lines with the `texts` of each example that is evaluated; `scratch`: directory for
        a file that is gone afterwards, None where temporary files go. Reads nothing yet.

        Raises BadInputError for a source that came tokenised, and where there are no benchmarks to look for.
        """
        assert data.hygiene is not None
        tokenised = next((source.label for source in data.sources if is_tokenised(source)), None)
        if tokenised is not None:
            raise BadInputError(
                f"data.hygiene: {tokenised} came tokenised, so nothing can be taken out of it; leave `hygiene` out, or "
                "give its text"
            )
        self._data, self._say, self._scratch = data, say, scratch
        self._hygiene: Hygiene | None = None
        self._benchmarks = dict(benchmarks) if data.hygiene.decontaminate else {}
        if data.hygiene.decontaminate and not benchmarks:
            raise BadInputError(
                "data.hygiene.decontaminate: no benchmark's text is known to look for; name lm-eval's tasks in "
                "evaluation.tasks, or set it to false"
            )
        self.key = sha256_of_json(
            [datasketch.__version__, {name: sha256_of(path) for name, path in self._benchmarks.items()}]
        )

    def documents_of(self, source: SourceConfig, skipped: Skipped) -> Iterator[Document]:
        """As the function of that name; the sources are to be asked for one after the other, each read to its end."""
        if self._hygiene is None:
            self._hygiene = self._survey()
        return self._hygiene.clean(documents_of(source, skipped))

    def _survey(self) -> Hygiene:
        assert self._data.hygiene is not None
        examples = {name: _examples(path) for name, path in self._benchmarks.items()}
        hygiene = Hygiene(self._data.hygiene, self._data.held_out_fraction, examples, cores(), self._scratch)
        for source in self._data.sources:
            self._say(f"looking through {source.label}")
            hygiene.survey(documents_of(source, Skipped()))
        return hygiene

    def report(self, directory: Path) -> None:
        """Write what was done, after the last source."""
        assert self._hygiene is not None  # somebody asked for documents
        write_record(directory / REPORT, self._hygiene.report())


def _examples(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)["texts"]
