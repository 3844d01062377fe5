"""A corpus made fit for training: duplicates out, benchmarks' text out, some documents held out. No torch.

Two passes over the same documents: `survey` decides, `clean` gives what is left. Either may be called once for each
source, in the same order. What is decided does not depend on the number of workers, and whether a document is held out
on nothing but its words.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import xxhash
from pydantic import Field

from configs.errors import BadInputError, WorkFailedError
from configs.files import Record
from configs.hygiene import HygieneConfig
from train.corpus.decontamination import Decontamination, Found, Lookup, Removal
from train.corpus.documents import Document
from train.corpus.duplicates import Duplicates, Fingerprint, digest_of, signature_of
from train.corpus.words import Hashes, word_hashes, words_of
from train.corpus.workers import worked

DECISIONS = 1  # raised when the same text would be kept, cut, removed or held out otherwise: it is prepared again then
_KEEP, _LOOK, _HOLD_OUT, _EXACT, _NEAR = range(5)  # what is decided of a document: one byte


class HygieneReport(Record):
    """hygiene.json, beside the corpus: what was done to it. Counts are of documents where not said otherwise."""

    schema_: Literal["replibench.hygiene/1"] = Field("replibench.hygiene/1", alias="schema")
    config: HygieneConfig
    documents: int = Field(description="that were read")
    characters: int = Field(description="that were read")
    exact_duplicates: int = Field(description="removed")
    near_duplicates: int = Field(description="removed")
    held_out: int = Field(description="kept from training")
    decontamination: Removal | None = Field(description="null: not done")
    training_documents: int = Field(description="left to train on; each piece of a document that was cut is one")
    training_characters: int


Examined = tuple[Fingerprint, Found]


class _Examiner:
    """What a worker does: looks at documents, and decides nothing."""

    def __init__(self, near: bool, tables: Mapping[int, Hashes]) -> None:
        self._near, self._look, self._lookup = near, bool(tables), Lookup(tables)

    def __call__(self, documents: list[Document]) -> list[Examined]:
        return [self._examined(document.text) for document in documents]

    def _examined(self, text: str) -> Examined:
        words = words_of(text)
        hashes = word_hashes(words) if self._near or self._look else word_hashes([])
        signature = signature_of(hashes) if self._near else None
        return Fingerprint(digest_of(words, text), signature), self._lookup.find(hashes)


class Hygiene:
    """Decides in one pass over a corpus, gives the documents that are left in the next.

    Memory: a byte a document, and what `Duplicates` and `Decontamination` say; of the text, two batches a worker.
    Raises WorkFailedError where the disk is full.
    """

    def __init__(
        self,
        config: HygieneConfig,
        held_out_fraction: float,
        benchmarks: Mapping[str, Iterable[Sequence[str]]] | None = None,
        workers: int = 1,
        scratch: Path | None = None,
    ) -> None:
        """`benchmarks`: name → the examples that will be evaluated, each its texts; `workers`: processes, 1 for none
        beside this one; `scratch`: directory for a file that is gone afterwards, None where temporary files go.

        Raises BadInputError where the corpus is to be decontaminated of nothing."""
        if config.decontaminate and not benchmarks:
            raise BadInputError("decontaminate: there is no benchmark to look for; name some or set it to false")
        self._config, self._held_out_fraction, self._workers = config, held_out_fraction, workers
        self._duplicates = Duplicates(config.exact_duplicates, config.near_duplicates.threshold, scratch)
        self._benchmarks = Decontamination(benchmarks) if config.decontaminate and benchmarks else None
        self._decisions = bytearray()
        self._characters = 0
        self._surveyed: list[tuple[int, bytes]] = []  # of each call: documents, and the hash of their text
        self._cleaned = 0  # calls
        self._training: Counter[str] = Counter()

    def survey(self, documents: Iterable[Document]) -> None:
        """The first pass: look at every document, and decide."""
        seen, before = xxhash.xxh3_128(), len(self._decisions)
        near = self._config.near_duplicates.threshold is not None
        make = partial(_Examiner, near, self._benchmarks.tables if self._benchmarks else {})
        for batch, examined in worked(documents, make, self._workers, "looking for duplicates and benchmarks"):
            for document, (fingerprint, found) in zip(batch, examined, strict=True):
                self._characters += len(document.text)
                seen.update(document.text.encode("utf-8", "surrogatepass"))
                self._decisions.append(self._decide(fingerprint, found))
        self._surveyed.append((len(self._decisions) - before, seen.digest()))

    def clean(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The second pass, over the same documents in the same order: what is left, with `held_out` decided.

        The pieces of a document that was cut keep its source and number. Raises WorkFailedError where the documents
        are not those of the survey, of the call of the same number.
        """
        first = sum(count for count, _ in self._surveyed[: self._cleaned])
        expected = self._surveyed[self._cleaned]
        self._cleaned += 1
        decisions = self._decisions[first : first + expected[0]]
        seen, index = xxhash.xxh3_128(), -1
        for index, document in enumerate(documents):
            seen.update(document.text.encode("utf-8", "surrogatepass"))
            decision = decisions[index] if index < len(decisions) else _NEAR
            if decision == _HOLD_OUT:
                yield replace(document, held_out=True)
            elif decision in (_KEEP, _LOOK):
                for text in self._pieces(document.text) if decision == _LOOK else [document.text]:
                    self._training.update(documents=1, characters=len(text))
                    yield replace(document, text=text, held_out=False)
        if (index + 1, seen.digest()) != expected:
            raise WorkFailedError("the corpus changed while it was being prepared: the two passes read different text")

    def report(self) -> HygieneReport:
        """What was done; after `clean` has come to its end."""
        counts = Counter(self._decisions)
        return HygieneReport(
            config=self._config,
            documents=len(self._decisions),
            characters=self._characters,
            exact_duplicates=counts[_EXACT],
            near_duplicates=counts[_NEAR],
            held_out=counts[_HOLD_OUT],
            decontamination=self._benchmarks.removal() if self._benchmarks else None,
            training_documents=self._training["documents"],
            training_characters=self._training["characters"],
        )

    def _decide(self, fingerprint: Fingerprint, found: Found) -> int:
        verdict = self._duplicates.judge(fingerprint)
        if verdict != "new":
            return _EXACT if verdict == "exact" else _NEAR
        if _falls_within(fingerprint.digest, self._held_out_fraction):
            return _HOLD_OUT
        if self._benchmarks is None or not found:
            return _KEEP
        self._benchmarks.look(found)
        return _LOOK

    def _pieces(self, text: str) -> list[str]:
        assert self._benchmarks is not None  # else nothing was found
        return self._benchmarks.cut(text)


def is_held_out(text: str, fraction: float) -> bool:
    """Whether a document is kept from training. Its words alone decide, so its duplicates go the same way."""
    return _falls_within(digest_of(words_of(text), text), fraction)


def _falls_within(digest: bytes, fraction: float) -> bool:
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def told(report: HygieneReport) -> Iterator[str]:
    """What there is to say of it before training, a line each."""
    yield (
        f"hygiene: of {report.documents:,} documents {report.exact_duplicates:,} exact and {report.near_duplicates:,} "
        f"near duplicates were removed, {report.held_out:,} are held out"
    )
    removal = report.decontamination
    if removal is None:
        return
    yield (
        f"decontamination: {removal.documents_cut:,} documents cut, {removal.documents_removed:,} removed, "
        f"{removal.characters_removed:,} characters"
    )
    for name, overlap in removal.benchmarks.items():
        if overlap.overlapping:
            yield (
                f"  {name}: {overlap.overlapping:,} of {overlap.examples:,} examples shared {overlap.ngram} words with "
                f"the corpus, {overlap.overlapping_after:,} still do"
            )
