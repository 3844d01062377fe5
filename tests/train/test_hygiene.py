"""Duplicates go, the benchmarks' text goes, held-out documents stay held out: against naive code, and on real text."""

import gzip
import json
import multiprocessing
import os
import random
import resource
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from datasketch import MinHash, MinHashLSH
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from configs.errors import BadInputError, WorkFailedError
from configs.hygiene import HygieneConfig, NearDuplicatesConfig
from train.corpus.documents import Document
from train.corpus.duplicates import Duplicates, Fingerprint
from train.corpus.hygiene import Hygiene, HygieneReport, is_held_out
from train.corpus.words import gram_hashes, places_of, word_hashes, words_of

DATA = Path(os.environ.get("REPLIBENCH_SHARED_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
NOTHING = HygieneConfig(
    exact_duplicates=False,
    near_duplicates=NearDuplicatesConfig(threshold=None),
    decontaminate=False,
)
EXACT = NOTHING.model_copy(update={"exact_duplicates": True})
NEAR = NOTHING.model_copy(update={"near_duplicates": NearDuplicatesConfig(threshold=0.8)})
CLEAN = NOTHING.model_copy(update={"decontaminate": True})


def documents(*texts: str, source: str = "novels") -> list[Document]:
    return [Document(text, source, number) for number, text in enumerate(texts)]


def cleaned(
    config: HygieneConfig,
    corpus: list[Document],
    benchmarks: dict[str, list[str]] | None = None,
    workers: int = 1,
    fraction: float = 0.0,
) -> tuple[list[Document], list[Document], HygieneReport]:
    """What is left to train on, what is held out, and the report."""
    examples = {name: [[text] for text in texts] for name, texts in (benchmarks or {}).items()}
    hygiene = Hygiene(config, fraction, examples, workers)
    hygiene.survey(corpus)
    parts: dict[bool | None, list[Document]] = {False: [], True: []}
    for document in hygiene.clean(corpus):
        parts[document.held_out].append(replace(document, held_out=None))
    return parts[False], parts[True], hygiene.report()


def prose(n_words: int, seed: int) -> str:
    """Words drawn from 5,000: no run of five of them comes twice."""
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(5000)}" for _ in range(n_words))


@given(st.text(max_size=60))
def test_each_word_has_its_place(text: str) -> None:
    places = places_of(text)
    assert [words_of(text[place.start : place.end]) for place in places] == [[word] for word in words_of(text)]


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=30), st.integers(1, 13))
def test_runs_have_one_hash_if_they_are_the_same(words: list[str], n: int) -> None:
    runs = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    hashes = gram_hashes(word_hashes(words), n).tolist()
    assert len(hashes) == len(runs)
    assert [[a == b for b in hashes] for a in hashes] == [[a == b for b in runs] for a in runs]


def test_exact_duplicates_go_whatever_case_punctuation_and_spaces() -> None:
    corpus = documents(
        "It was the best of times.", "it was -- the BEST of\n times", "It was the worst of times.", "!!!", "?"
    )
    training, _, report = cleaned(EXACT, corpus)
    assert training == [corpus[0], corpus[2], corpus[3], corpus[4]]  # signs without a word are compared as they are
    assert (report.documents, report.exact_duplicates, report.training_documents) == (5, 1, 4)


def with_changes(text: str, changes: int) -> str:
    words = text.split()
    for k in range(changes):
        words[(2 * k + 1) * len(words) // (2 * changes)] = f"other{k}"
    return " ".join(words)


def similarity(one: str, other: str) -> float:
    """Jaccard of the sets of five words, exactly."""
    sets = [{tuple(words[i : i + 5]) for i in range(len(words) - 4)} for words in (one.split(), other.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_near_duplicates_go_and_less_alike_ones_stay() -> None:
    """The threshold is 0.8 with a standard error of 0.035: four of them away on either side."""
    for seed in range(20):
        text = prose(400, seed)
        close, apart = with_changes(text, 3), with_changes(text, 20)
        assert similarity(text, close) > 0.92
        assert similarity(text, apart) < 0.66
        corpus = documents(text, prose(400, seed + 1000), apart, close)
        training, _, report = cleaned(NEAR, corpus)
        assert training == corpus[:3]
        assert report.near_duplicates == 1


def signatures(count: int) -> Iterator[Fingerprint]:
    """Some new, some a bit or much like an earlier one: similarities from 0.5 to 1."""
    draw = np.random.default_rng(0)
    made: list[NDArray[np.uint32]] = []
    for number in range(count):
        signature = draw.integers(0, 2**32, 128, dtype=np.uint32)
        if number % 3:
            same = draw.random(128) < draw.uniform(0.5, 1)
            signature[same] = made[draw.integers(len(made))][same]
        made.append(signature)
        yield Fingerprint(number.to_bytes(16), signature)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95])
def test_the_decisions_are_those_of_datasketchs_index(
    threshold: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when little of it is in memory. The file has no name while it is used."""
    monkeypatch.setattr("train.corpus.duplicates._CACHE_KB", 100)
    ours, theirs = Duplicates(True, threshold, tmp_path), MinHashLSH(threshold, 128, weights=(0.1, 0.9))
    assert not list(tmp_path.iterdir())
    verdicts, kept = [], list[NDArray[np.uint32]]()
    for document in signatures(1000):
        assert document.signature is not None
        sketch = MinHash(128, hashvalues=document.signature, scheme="affine32")
        candidates = [kept[number] for number in theirs.query(sketch)]
        near = any(sum(other == document.signature) / 128 >= threshold for other in candidates)
        if not near:
            theirs.insert(len(kept), sketch)
            kept.append(document.signature)
        verdicts.append((ours.judge(document), "near" if near else "new"))
    assert all(mine == expected for mine, expected in verdicts)
    assert 50 < len(kept) < 950
    assert ours.judge(Fingerprint(bytes(16), None)) == "exact"  # the first of them


def test_a_full_disk_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.corpus.duplicates._CACHE_KB", 100)
    duplicates = Duplicates(True, 0.8, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(WorkFailedError, match=r"^hygiene: what was seen of the corpus cannot be written: "):
            for document in signatures(3000):
                duplicates.judge(document)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_short_documents_are_near_only_if_they_are_the_same() -> None:
    corpus = documents("the cat", "the dog", "The cat!", "", "  ")
    assert cleaned(NEAR, corpus)[0] == [corpus[0], corpus[1], corpus[3], corpus[4]]


def naive_pieces(corpus: list[str], examples: list[str]) -> list[list[str]]:
    """Appendix C, "Initial training set filtering", with sets of tuples of words."""

    def runs(text: str) -> list[tuple[str, ...]]:
        words = words_of(text)
        return [tuple(words[i : i + 13]) for i in range(len(words) - 12)]

    wanted = {run for example in examples for run in runs(example)}
    in_documents = Counter(run for text in corpus for run in set(runs(text)))
    wanted = {run for run in wanted if in_documents[run] <= 10}
    results = []
    for text in corpus:
        gone = [False] * len(text)
        places = places_of(text)
        for i, run in enumerate(runs(text)):
            if run in wanted:
                first, last = places[i].start - 200, places[i + 12].end + 200
                gone[max(0, first) : max(0, last)] = [True] * len(gone[max(0, first) : max(0, last)])
        pieces = ["".join(group) for group in _groups(text, gone)]
        results.append([] if len(pieces) > 10 else [p for p in pieces if len(p) >= 200 or not any(gone)])
    return results


def _groups(text: str, gone: list[bool]) -> Iterator[list[str]]:
    group: list[str] = []
    for character, is_gone in zip(text, gone, strict=True):
        if not is_gone:
            group.append(character)
        elif group:
            yield group
            group = []
    if group:
        yield group


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(0, 16), st.integers(1, 14))
def test_what_is_cut_is_what_naive_code_cuts(draw: random.Random, quotes: int, copies: int) -> None:
    examples = [prose(draw.randint(9, 40), seed) for seed in range(3)]
    parts = [prose(draw.randint(5, 150), 100 + seed) for seed in range(quotes + 1)]
    text = parts[0]
    for part in parts[1:]:
        quoted = draw.choice(examples).split()
        start = draw.randrange(len(quoted))
        quoted = quoted[start : start + draw.randint(1, 30)]
        text += f" \n“{', '.join(quoted).upper()}.” {part}"
    corpus = documents(*[text] * copies, prose(300, 7))
    training, _, report = cleaned(CLEAN, corpus, {"some": examples})
    expected = naive_pieces([document.text for document in corpus], examples)
    assert [d.text for d in training] == [piece for pieces in expected for piece in pieces]
    assert report.decontamination is not None
    assert report.decontamination.documents_removed == sum(not pieces for pieces in expected)
    assert report.decontamination.characters_removed == sum(len(d.text) for d in corpus) - report.training_characters


def test_the_overlap_counts_examples_with_runs_of_n_words() -> None:
    long, short = [prose(60, seed) for seed in range(40)], [prose(9, 100 + seed) for seed in range(20)]
    tiny = [prose(3, 500), prose(30, 501)]
    quoted = " ".join(
        [*long[3].split()[5:18], "between", *long[4].split()[5:17], "between", short[0], *tiny[0].split()]
    )
    corpus = documents(prose(100, 1009) + " " + quoted + " " + prose(100, 1010), prose(500, 1011))
    _, _, report = cleaned(CLEAN, corpus, {"long": long, "short": short, "tiny": tiny})
    assert report.decontamination is not None
    found = report.decontamination.benchmarks
    # of the next example twelve words were there
    assert (found["long"].ngram, found["long"].overlapping, found["long"].examples) == (13, 1, 40)
    assert (found["short"].ngram, found["short"].overlapping, found["short"].overlapping_share) == (9, 1, 0.05)
    assert (found["tiny"].ngram, found["tiny"].too_short, found["tiny"].overlapping) == (8, 1, 0)
    # the run of nine words lay within 200 characters of the run of thirteen that was cut
    assert [overlap.overlapping_after for overlap in found.values()] == [0, 0, 0]


def test_an_example_of_several_texts_is_one_and_no_run_spans_two_of_them() -> None:
    prompt, choices = prose(30, 1), [prose(6, 2), prose(6, 3)]
    examples = [
        [f"{prompt} {choice}" for choice in choices],
        *([prose(5, 40 + k), prose(20, 50 + k)] for k in range(9)),
    ]
    across = f"{choices[0]} {' '.join(prompt.split()[:12])}"  # the end of one text and the beginning of the next
    for quoted, overlapping in ((f"{prompt} {choices[0]}", 1), (across, 0), (f"{prompt} {prose(6, 4)}", 1)):
        hygiene = Hygiene(CLEAN, 0.0, {"some": examples})
        corpus = documents(f"{prose(80, 5)} {quoted} {prose(80, 6)}")
        hygiene.survey(corpus)
        left = " ".join(document.text for document in hygiene.clean(corpus))
        removal = hygiene.report().decontamination
        assert removal is not None
        found = removal.benchmarks["some"]
        # the 5th percentile of the lengths of the longest texts: nine of 20 and one of 36 words
        assert (found.ngram, found.examples, found.too_short, found.overlapping) == (13, 10, 0, overlapping)
        assert (quoted in left) == (not overlapping)


def test_documents_that_share_shorter_runs_only_do_not_make_the_long_ones_ordinary() -> None:
    short, long = prose(8, 1), prose(20, 2)
    corpus = documents(*(f"{prose(50, 10 + k)} {short}" for k in range(12)), f"{prose(80, 3)} {long} {prose(80, 4)}")
    training, _, report = cleaned(CLEAN, corpus, {"short": [short], "long": [long]})
    assert report.decontamination is not None
    assert (report.decontamination.ngrams_found, report.decontamination.ngrams_ignored) == (8, 0)
    assert not any(long in document.text for document in training)


def test_what_stays_is_said() -> None:
    """Nine words are no run of thirteen, and a phrase of eleven documents is no one's: both stay, and are counted."""
    nine, phrase = prose(9, 1), prose(13, 2)
    corpus = documents(prose(50, 3) + " " + nine, *(f"{prose(50, 10 + k)} {phrase}" for k in range(11)))
    training, _, report = cleaned(CLEAN, corpus, {"nine": [nine], "phrase": [phrase]})
    assert training == corpus
    assert report.decontamination is not None
    assert report.decontamination.ngrams_ignored == 1
    for overlap in report.decontamination.benchmarks.values():
        assert (overlap.overlapping, overlap.overlapping_after) == (1, 1)
    training, _, report = cleaned(CLEAN, corpus[:-1], {"phrase": [phrase]})
    assert training[0] == corpus[0]
    assert not any(phrase in document.text for document in training)


def test_the_number_of_workers_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.corpus.workers.BATCH_CHARACTERS", 50_000)
    examples = [prose(40, seed) for seed in range(5)]
    texts = [prose(300, 50 + seed % 90) for seed in range(120)] + [with_changes(prose(300, 60), 3)]
    texts += [prose(200, 300 + k) + " " + examples[k] + prose(200, 400 + k) for k in range(5)]
    corpus = documents(*texts * 3)
    one, two = (cleaned(HygieneConfig(), corpus, {"some": examples}, workers, 0.1) for workers in (1, 2))
    assert one == two
    assert one[2].exact_duplicates and one[2].near_duplicates and one[2].held_out
    assert one[2].decontamination is not None
    assert one[2].decontamination.documents_cut == 5


def test_a_worker_that_is_killed_ends_the_survey_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel does it where memory ends. The survey is under way, and text without end is to come."""
    monkeypatch.setattr("train.corpus.workers.BATCH_CHARACTERS", 2_000)

    def corpus() -> Iterator[Document]:
        for number in count():
            if number == 300:
                victim = multiprocessing.active_children()[0]
                assert victim.pid is not None
                os.kill(victim.pid, signal.SIGKILL)
            yield Document(prose(100, number), "novels", number)

    with pytest.raises(WorkFailedError, match=r"^looking for .*: a process was killed \(out of memory\?\); give the"):
        Hygiene(EXACT, 0.0, workers=2).survey(corpus())
    assert not multiprocessing.active_children()


@given(st.permutations(range(40)), st.sampled_from([0.0, 0.1, 0.5]))
@settings(max_examples=20)
def test_held_out_is_decided_by_the_words_alone(order: list[int], fraction: float) -> None:
    texts = [prose(30, seed) for seed in range(40)]
    chosen = {text for text in texts if is_held_out(text, fraction)}
    shuffled = [
        Document(variant, f"source {k % 3}", k) for k in order for variant in (texts[k], texts[k].upper() + "!")
    ]
    training, held_out, _ = cleaned(NOTHING, shuffled, fraction=fraction)
    assert {document.text for document in held_out if document.text in texts} == chosen
    assert len(held_out) == 2 * len(chosen)  # a copy of a held-out document is not trained on, though both may stay
    assert len(training) == 2 * (40 - len(chosen))


def test_the_held_out_share_is_what_was_asked_for() -> None:
    kept = sum(is_held_out(prose(10, seed), 0.2) for seed in range(5000))
    assert kept == pytest.approx(1000, abs=4 * (5000 * 0.2 * 0.8) ** 0.5)
    larger = [seed for seed in range(500) if is_held_out(prose(10, seed), 0.3)]
    assert {seed for seed in range(500) if is_held_out(prose(10, seed), 0.2)} < set(larger)


def test_a_corpus_that_changes_between_the_passes_is_refused() -> None:
    corpus = documents(prose(30, 1), prose(30, 2))
    for other in (corpus[:1], [*corpus, corpus[0]], documents(corpus[0].text, "another"), []):
        hygiene = Hygiene(EXACT, 0.0)
        hygiene.survey(corpus)
        with pytest.raises(WorkFailedError, match="the two passes read different text"):
            list(hygiene.clean(other))


def test_to_decontaminate_of_nothing_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"^decontaminate: there is no benchmark .* set it to false$"):
        Hygiene(HygieneConfig(), 0.0)


def lines(path: Path) -> Iterator[dict[str, object]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        yield from map(json.loads, stream)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}: real text and benchmarks are not in the repository")
def test_real_text_with_a_real_benchmark_in_it() -> None:
    novels = sorted((DATA / "corpora" / "english_novels").glob("*.txt.gz"))[:2]
    texts = [gzip.decompress(path.read_bytes()).decode("utf-8") for path in novels]
    lambada = [str(line["text"]) for line in lines(DATA / "benchmarks" / "lambada_openai" / "test.jsonl")]
    wikitext = [str(line["page"]) for line in lines(DATA / "benchmarks" / "wikitext2" / "test.jsonl")]
    middle = len(texts[0]) // 2
    corpus = documents(*texts, texts[0][:middle] + lambada[17] + texts[0][middle:], wikitext[3])
    training, _, report = cleaned(CLEAN, corpus, {"lambada_openai": lambada, "wikitext": wikitext})
    assert report.decontamination is not None
    found = report.decontamination.benchmarks
    assert found["lambada_openai"].ngram == 13
    assert found["lambada_openai"].overlapping >= 1
    assert found["wikitext"].overlapping >= 1
    assert [found[name].overlapping_after for name in found] == [0, 0]
    assert [document.text for document in training][:2] == texts  # the novels themselves are of no benchmark
    assert {document.number for document in training} == {0, 1, 2}
    assert texts[0].startswith(training[2].text[:1000])
    assert lambada[17] not in training[2].text + training[3].text
