"""The language: reproducible everywhere, and what benchmarks ask is not in the corpus."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tinyworld import lexicon
from tinyworld.benchmarks import items
from tinyworld.corpus import DOCUMENT_WEIGHTS, HELD_OUT_SEED, documents
from tinyworld.draws import Weighted, pick_two, shuffled
from tinyworld.grammar import FAMILIES
from tinyworld.world import ENTITIES, World

ROOT = Path(__file__).resolve().parents[2]
CORPUS_DOCUMENTS = 40_000

FINGERPRINT = """
import hashlib, json
from tinyworld.benchmarks import BENCHMARKS, items
from tinyworld.corpus import documents
parts = list(documents(3, 2000)) + [json.dumps(items(name, 50)) for name in BENCHMARKS]
print(hashlib.sha256("\\n".join(parts).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def corpus(world: World) -> list[str]:
    return list(documents(0, CORPUS_DOCUMENTS, world))


def _fingerprint(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FINGERPRINT]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def test_same_texts_in_processes_with_different_hash_seeds() -> None:
    assert _fingerprint("1") == _fingerprint("2")


def test_the_stream_of_random_numbers_is_the_documented_one() -> None:
    # Changing these digits changes every published number of the suite.
    texts = "\n".join(documents(0, 1000))
    assert hashlib.sha256(texts.encode()).hexdigest()[:16] == "fabead513a8b5d8e"


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys, tinyworld.benchmarks, tinyworld.corpus, tinyworld.tokenizer;"
        "print(sorted({'torch', 'transformers', 'tokenizers', 'lm_eval', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.stdout.strip() == "[]"


def test_a_longer_corpus_starts_with_the_shorter_one(world: World) -> None:
    assert list(documents(5, 40, world)) == list(documents(5, 100, world))[:40]


def test_seeds_and_worlds_differ(world: World) -> None:
    assert list(documents(0, 50, world)) != list(documents(1, 50, world))
    assert list(documents(0, 50, world)) != list(documents(HELD_OUT_SEED, 50, world))
    assert World(1).facts != world.facts


def test_no_benchmark_text_occurs_in_the_corpus(corpus: list[str], world: World) -> None:
    joined = "\n".join(corpus)
    sentences = set(joined.split("\n"))
    for name in FAMILIES:
        for item in items(name, 150, world=world):
            text = f"{item['context']} {item['choices'][item['gold']]}"
            assert text not in joined, f"{name}: {text!r} is in the corpus"
            assert text + " ." not in sentences


def test_every_fact_is_in_the_corpus_in_other_words(corpus: list[str], world: World) -> None:
    said = Counter()
    for text in corpus:
        words = text.split()
        entity = " ".join(words[1:3])
        if (entity, "kind") in world.facts:
            for attribute, values in lexicon.ATTRIBUTES.items():
                said.update((entity, attribute, value) for value in values if value in words)
    told = {key[:2] for key in said}
    assert len(told) == len(world.facts)
    assert all(world.facts[entity, attribute] == value for entity, attribute, value in said)


def test_values_are_balanced_and_clauses_split(world: World) -> None:
    for attribute, values in lexicon.ATTRIBUTES.items():
        counts = Counter(world.facts[entity, attribute] for entity in world.entities)
        assert set(counts) == set(values)
        assert max(counts.values()) - min(counts.values()) <= 1
    for key, held_out in world.held_out_clauses.items():
        assert not set(held_out) & set(world.corpus_clauses[key])
    assert len(world.facts) == ENTITIES * len(lexicon.ATTRIBUTES)


def test_families_have_their_share_of_documents(corpus: list[str]) -> None:
    assert set(DOCUMENT_WEIGHTS) == set(FAMILIES)
    share = sum("the first is" in text for text in corpus) / len(corpus)
    assert share == pytest.approx(DOCUMENT_WEIGHTS["compare"] / sum(DOCUMENT_WEIGHTS.values()), rel=0.05)


def test_held_out_split_says_nothing_about_the_answer(world: World) -> None:
    rng = Random(0)
    for name, answers in (("compare", (" more", " less")), ("pronoun", (" he", " she"))):
        for held_out in (False, True):
            drawn = Counter(FAMILIES[name](world, rng, held_out).answer for _ in range(4000))
            assert drawn[answers[0]] / 4000 == pytest.approx(0.5, abs=0.06)


def test_draws() -> None:
    rng = Random(0)
    assert all(first != second for first, second in (pick_two(rng, "abc") for _ in range(200)))
    assert sorted(shuffled(rng, range(50))) == list(range(50))
    counts = Counter(Weighted("ab", [3.0, 1.0]).draw(rng) for _ in range(8000))
    assert counts["a"] / 8000 == pytest.approx(0.75, abs=0.03)


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match="count must not be negative, got -1"):
        list(documents(0, -1))
    with pytest.raises(ValueError, match="2 options, 1 weights"):
        Weighted("ab", [1.0])
    with pytest.raises(ValueError, match="positive"):
        Weighted("ab", [1.0, 0.0])
