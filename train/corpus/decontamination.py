"""The benchmarks' text, cut out of the corpus as for GPT-3 (Brown et al. 2020, Appendix C).

"Initial training set filtering": every run of 13 words that a training document shares with an example goes, with 200
characters on either side; pieces of less than 200 characters are dropped, a document that falls into more than 10
pieces goes as a whole, and runs found in more than 10 training documents are ordinary phrases and stay.
"Overlap methodology": an example is dirty when it shares a run of N words with any training document, where N is the
5th percentile of the benchmark's example lengths, at least 8 and at most 13.

An example is one or several texts: its prompt with each of the choices. A run lies within one of them; the example is
as long as the longest.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from configs.files import Record
from train.corpus.words import Hashes, gram_hashes, places_of, word_hashes, words_of

NGRAM = 13
SHORTEST_NGRAM = 8
LENGTH_PERCENTILE = 5
WINDOW_CHARACTERS = 200
SHORTEST_PIECE_CHARACTERS = 200
MOST_PIECES = 10
MOST_DOCUMENTS = 10

Found = dict[int, NDArray[np.int64]]
"""Length of a run of words → numbers of those that a text shares with the benchmarks, sorted, each once."""

_NONE = np.empty(0, dtype=np.int64)  # numbers of no n-gram; an index of () would be all of them


class Overlap(Record):
    """How much of one benchmark was in the training documents."""

    ngram: int = Field(description="N: words of a run that counts as overlap")
    examples: int
    too_short: int = Field(description="examples of fewer than N words, which no overlap can be found of")
    overlapping: int = Field(description="examples that shared a run of N words with a training document")
    overlapping_share: float = Field(description="of all examples")
    overlapping_after: int = Field(description="those that still do after the removal: phrases in many documents, N<13")


class Removal(Record):
    """What was cut out of the training documents."""

    ngrams_found: int = Field(description="different runs of 13 words shared with a benchmark")
    ngrams_ignored: int = Field(description="of them, those in more than 10 documents, which stay")
    documents_cut: int = Field(description="of which pieces are left")
    documents_removed: int = Field(description="of which nothing is left: more than 10 pieces, or all too short")
    characters_removed: int
    benchmarks: dict[str, Overlap]


class _Benchmark:
    """One benchmark's runs of N words: `grams[k]` is the number of one, `examples[k]` that of the example it is in."""

    def __init__(self, examples: list[list[Hashes]]) -> None:
        lengths = [max(map(len, texts), default=0) for texts in examples]
        percentile = int(np.percentile(lengths, LENGTH_PERCENTILE, method="lower")) if lengths else NGRAM
        self.n = min(max(percentile, SHORTEST_NGRAM), NGRAM)
        self.n_examples, self.too_short = len(examples), sum(length < self.n for length in lengths)
        self.hashes, self.examples = _runs(examples, self.n)
        self.grams: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def dirty(self, seen: NDArray[np.bool_]) -> int:
        """How many examples have one of the runs that were seen."""
        return len(np.unique(self.examples[seen[self.grams]]))


class Decontamination:
    """First `look` at every training document, then `cut` those that anything was found in.

    Memory: 8 bytes for each different run of words of the benchmarks and each length, and as much again for where it
    is; nothing that grows with the corpus.
    """

    def __init__(self, benchmarks: Mapping[str, Iterable[Sequence[str]]]) -> None:
        """`benchmarks`: name → its examples, each the texts that are evaluated of it."""
        hashed = {
            name: [[word_hashes(words_of(text)) for text in texts] for texts in examples]
            for name, examples in benchmarks.items()
        }
        self._benchmarks = {name: _Benchmark(examples) for name, examples in hashed.items()}
        runs = {NGRAM: [_runs(examples, NGRAM)[0] for examples in hashed.values()]}
        for benchmark in self._benchmarks.values():
            runs.setdefault(benchmark.n, []).append(benchmark.hashes)
        self.tables = {n: np.unique(np.concatenate(found)) for n, found in runs.items() if found}
        self._lookup = Lookup(self.tables)
        for benchmark in self._benchmarks.values():
            benchmark.grams = np.searchsorted(self.tables[benchmark.n], benchmark.hashes)
        self._documents = np.zeros(len(self.tables.get(NGRAM, ())), dtype=np.int32)
        self._before = {n: np.zeros(len(table), dtype=np.bool_) for n, table in self.tables.items()}
        self._after = {n: np.zeros(len(table), dtype=np.bool_) for n, table in self.tables.items()}
        self._cut = self._removed = self._characters = 0

    def look(self, found: Found) -> None:
        """Count what `Lookup` found in a training document."""
        self._documents[found.get(NGRAM, _NONE)] += 1
        self._mark(self._before, found)

    def cut(self, text: str) -> list[str]:
        """The pieces of a training document that may stay: itself, if nothing needs to go. After all were looked at."""
        hashes = word_hashes(words_of(text))
        found = self._lookup.find(hashes)
        numbers = found.get(NGRAM, _NONE)
        removable = self.tables[NGRAM][numbers[self._documents[numbers] <= MOST_DOCUMENTS]]
        if not len(removable):
            self._mark(self._after, found)
            return [text]
        starts = np.flatnonzero(np.isin(gram_hashes(hashes, NGRAM), removable))
        pieces = _pieces(text, starts)
        for piece in pieces:
            self._mark(self._after, self._lookup.find(word_hashes(words_of(piece))))
        self._cut, self._removed = self._cut + bool(pieces), self._removed + (not pieces)
        self._characters += len(text) - sum(map(len, pieces))
        return pieces

    def removal(self) -> Removal:
        """What was found and removed, and how much of each benchmark overlapped."""
        return Removal(
            ngrams_found=int(np.count_nonzero(self._documents)),
            ngrams_ignored=int(np.count_nonzero(self._documents > MOST_DOCUMENTS)),
            documents_cut=self._cut,
            documents_removed=self._removed,
            characters_removed=self._characters,
            benchmarks={name: self._overlap(benchmark) for name, benchmark in self._benchmarks.items()},
        )

    def _overlap(self, benchmark: _Benchmark) -> Overlap:
        overlapping = benchmark.dirty(self._before[benchmark.n])
        return Overlap(
            ngram=benchmark.n,
            examples=benchmark.n_examples,
            too_short=benchmark.too_short,
            overlapping=overlapping,
            overlapping_share=overlapping / benchmark.n_examples if benchmark.n_examples else 0.0,
            overlapping_after=benchmark.dirty(self._after[benchmark.n]),
        )

    @staticmethod
    def _mark(flags: dict[int, NDArray[np.bool_]], found: Found) -> None:
        for n, numbers in found.items():
            flags[n][numbers] = True


class Lookup:
    """Finds the benchmarks' runs of words in a text.

    Most runs of a corpus are in no benchmark. A table of flags by the first bits of a hash, at most 128 MB for each
    length, says so of four in five, before the search in order does.
    """

    def __init__(self, tables: Mapping[int, Hashes]) -> None:
        self._tables = {n: (table, *_flags(table)) for n, table in tables.items() if len(table)}

    def find(self, hashes: Hashes) -> Found:
        """Which of the runs a text has, from the hashes of its words; empty where it has none."""
        found: Found = {}
        for n, (table, flags, shift) in self._tables.items():
            grams = gram_hashes(hashes, n)
            grams = grams[flags[grams >> shift]]
            at = np.minimum(np.searchsorted(table, grams), len(table) - 1)
            hits = at[table[at] == grams]
            if len(hits):
                found[n] = np.unique(hits)
        return found


def _flags(table: Hashes) -> tuple[NDArray[np.bool_], np.uint64]:
    """Whether a hash with these first bits is in the table, and how far to shift one to have them."""
    bits = min(27, (4 * len(table)).bit_length())
    shift = np.uint64(64 - bits)
    flags = np.zeros(1 << bits, dtype=np.bool_)
    flags[table >> shift] = True
    return flags, shift


def _runs(examples: list[list[Hashes]], n: int) -> tuple[Hashes, NDArray[np.int64]]:
    """The runs of `n` words of the examples, of each example every one once, and the number of their example."""
    runs = [_runs_of(texts, n) for texts in examples]
    numbers = np.repeat(np.arange(len(runs)), [len(run) for run in runs])
    return (np.concatenate(runs) if runs else np.empty(0, dtype=np.uint64)), numbers


def _runs_of(texts: list[Hashes], n: int) -> Hashes:
    runs = [gram_hashes(text, n) for text in texts]
    return runs[0] if len(runs) == 1 else np.unique(np.concatenate([*runs, np.empty(0, dtype=np.uint64)]))


def _pieces(text: str, starts: NDArray[np.int64]) -> list[str]:
    """What is left of `text` without the runs of 13 words that begin at these words, and 200 characters round each."""
    places = places_of(text)
    pieces, position = [], 0
    for start in starts:
        pieces.append(text[position : max(position, places[start].start - WINDOW_CHARACTERS)])
        position = max(position, places[start + NGRAM - 1].end + WINDOW_CHARACTERS)
    pieces.append(text[position:])
    if sum(map(bool, pieces)) > MOST_PIECES:
        return []
    return [piece for piece in pieces if len(piece) >= SHORTEST_PIECE_CHARACTERS]
