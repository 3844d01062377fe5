"""The benchmarks: fair items, honest errors, files that lm-eval reads; and the tokenizer under them."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from tinyworld.benchmarks import BENCHMARKS, items, write_benchmarks
from tinyworld.corpus import documents
from tinyworld.grammar import FAMILIES
from tinyworld.tokenizer import END_OF_TEXT, train_tokenizer
from tinyworld.world import World

WITH_CHOICES = [name for name, benchmark in BENCHMARKS.items() if benchmark.n_choices]


@pytest.fixture(scope="module")
def suite() -> dict[str, list[dict[str, Any]]]:
    world = World()
    return {name: items(name, benchmark.default_items, world=world) for name, benchmark in BENCHMARKS.items()}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_items_are_unique_and_well_formed(suite: dict[str, list[dict[str, Any]]], name: str) -> None:
    benchmark, found = BENCHMARKS[name], suite[name]
    assert len({item["id"] for item in found}) == benchmark.default_items
    assert len({(item["context"], item["choices"][item["gold"]]) for item in found}) == benchmark.default_items
    for item in found:
        assert list(item) == ["id", "context", "choices", "gold", "unit"]
        assert len(set(item["choices"])) == len(item["choices"]) == (benchmark.n_choices or 1)
        assert item["unit"].startswith(f"{name}|")
        assert item["context"] == item["context"].strip()
        assert all(choice == choice.strip() and " " not in choice for choice in item["choices"])


@pytest.mark.parametrize("name", WITH_CHOICES)
def test_gold_positions_are_balanced(suite: dict[str, list[dict[str, Any]]], name: str) -> None:
    found, chance = suite[name], BENCHMARKS[name].chance
    assert chance == 1 / BENCHMARKS[name].n_choices  # type: ignore[operator]
    positions = Counter(item["gold"] for item in found)
    assert all(count / len(found) == pytest.approx(chance, abs=0.05) for count in positions.values())


@pytest.mark.parametrize("name", WITH_CHOICES)
def test_knowing_only_how_frequent_answers_are_does_not_help(suite: dict[str, list[dict[str, Any]]], name: str) -> None:
    """Choose the choice that is most often right: no better than chance, within a few points."""
    frequency = Counter(item["choices"][item["gold"]] for item in suite[name])
    right = sum(
        max(item["choices"], key=frequency.__getitem__) == item["choices"][item["gold"]] for item in suite[name]
    )
    assert right / len(suite[name]) <= BENCHMARKS[name].chance + ALLOWANCE.get(name, 0.06)


# The prior is learned on the very items that it is tested on, hence some advantage.
ALLOWANCE = {"tool_use": 0.1}


def test_facts_spread_over_many_units(suite: dict[str, list[dict[str, Any]]]) -> None:
    units = Counter(item["unit"] for item in suite["facts"])
    assert len(units) == len(World().facts)
    assert max(units.values()) <= BENCHMARKS["facts"].max_per_unit  # type: ignore[operator]


def test_examples_are_items(suite: dict[str, list[dict[str, Any]]]) -> None:
    for name, benchmark in BENCHMARKS.items():
        assert benchmark.example in {f"{item['context']} | {item['choices'][item['gold']]}" for item in suite[name]}


def test_items_depend_on_the_seed_only() -> None:
    assert items("compare", 20, seed=1) == items("compare", 20, seed=1) != items("compare", 20, seed=2)


def test_too_many_items_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match=r"benchmark next_event: 5000 items wanted, \d+ available"):
        items("next_event", 5000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: items("fact", 1), "unknown benchmark 'fact': choose from agreement, "),
        (lambda path: items("facts", -1), "must not be negative, got -1"),
        (lambda path: write_benchmarks(path, {"fact": 1}), "unknown benchmark 'fact'"),
    ],
)
def test_clear_errors(call: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        call(tmp_path)


def test_written_files_are_reproducible_tasks(tmp_path: Path) -> None:
    counts = dict.fromkeys(BENCHMARKS, 30) | {"pronoun": 0}
    first, second = write_benchmarks(tmp_path / "a", counts), write_benchmarks(tmp_path / "b", counts)
    assert list(first) == list(second) == [name for name in BENCHMARKS if name != "pronoun"]
    for name, path in first.items():
        task = yaml.safe_load(path.read_text())
        data = Path(task["dataset_kwargs"]["data_files"]["test"])
        assert task["task"] == f"tinyworld_{name}"
        assert "num_fewshot" not in task
        assert data.is_absolute()
        assert [json.loads(line) for line in data.read_text().splitlines()] == items(name, 30)
        assert data.read_bytes() == (tmp_path / "b" / data.name).read_bytes()
        moved = path.read_bytes().replace(str(tmp_path / "a").encode(), str(tmp_path / "b").encode())
        assert moved == second[name].read_bytes()


def test_tokenizer_is_reproducible_and_lossless() -> None:
    texts = list(documents(0, 5000))
    tokenizer, again = train_tokenizer(texts), train_tokenizer(texts)
    assert tokenizer.to_str() == again.to_str()
    assert tokenizer.get_vocab_size() == 512
    assert tokenizer.token_to_id(END_OF_TEXT) == 0
    for text in texts[:200]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode("82").tokens) == 3  # the space, and each digit
    with pytest.raises(ValueError, match="vocab_size must be above"):
        train_tokenizer(texts, vocab_size=50)


def test_answers_continue_the_tokens_of_the_context() -> None:
    """So that log-likelihoods are comparable and cheap; facts, the largest benchmark, has one-token answers."""
    tokenizer = train_tokenizer(documents(0, 20_000))
    for name in FAMILIES:
        for item in items(name, 100):
            context = tokenizer.encode(item["context"]).ids
            for choice in item["choices"]:
                whole = tokenizer.encode(f"{item['context']} {choice}").ids
                assert whole[: len(context)] == context
                assert name != "facts" or len(whole) == len(context) + 1
