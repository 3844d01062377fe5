"""The seven benchmarks: what they are, their items, and the files that a stock lm-eval reads."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tinyworld.draws import digest, shuffled
from tinyworld.grammar import FAMILIES
from tinyworld.lexicon import PLACES
from tinyworld.world import World

VERSION = 1.0
DEFAULT_SEED = 7
_PATIENCE = 20_000  # draws in a row without a new item before the grammar counts as exhausted


@dataclass(frozen=True)
class Benchmark:
    """One of the benchmarks.

    Attributes:
        name: as in ``FAMILIES``; the lm-eval task is ``tinyworld_<name>``.
        description: what it asks, in a sentence.
        example: context and right answer.
        n_choices: number of choices of an item, or None where the model must produce the answer.
        chance: accuracy of guessing, 0 to 1 (last_word: of naming any place of the language).
        default_items: number of items of the standard benchmark.
        spirit: the well-known benchmark that it imitates.
        metric: lm-eval's name of the metric.
        max_per_unit: at most so many items test the same unit; None: no limit.
    """

    name: str
    description: str
    example: str
    n_choices: int | None
    chance: float
    default_items: int
    spirit: str
    metric: str = "acc"
    max_per_unit: int | None = None


_ALL = (
    Benchmark(
        "agreement",
        "A verb agrees with its subject across a nearer noun, a reflexive with a name.",
        "the dogs near the ropes | are",
        2,
        0.5,
        1000,
        "BLiMP",
    ),
    Benchmark(
        "last_word",
        "The last word of a short story is the one place that it named; it must be produced.",
        "once Mark put the key in the cellar . Kate had a bell . later Kate found the key in the | cellar",
        None,
        1 / len(PLACES),
        1000,
        "LAMBADA",
    ),
    Benchmark(
        "tool_use",
        "Which tool reaches a goal, for a new pair of goal and object.",
        "once Jack had to paint the car with the | pin",
        2,
        0.5,
        1000,
        "PIQA",
    ),
    Benchmark(
        "pronoun",
        "A pronoun refers to the last subject and not to the other person.",
        "today Paul saw Mary and the coat when | he",
        2,
        0.5,
        1000,
        "Winograd schemas",
    ),
    Benchmark(
        "compare",
        "Which of two two-digit numbers is more.",
        "80 and 38 : the first is | more",
        2,
        0.5,
        2000,
        "arithmetic",
    ),
    Benchmark(
        "facts",
        "A fact about an invented entity, in words that the corpus uses for other facts only.",
        "the bu ya seems all | green",
        4,
        0.25,
        6480,
        "ARC",
        max_per_unit=3,
    ),
    Benchmark(
        "next_event",
        "The next event of a known script, told of a new person.",
        "today Anna closed the book . then she cooked the ring . next she packed the dog . finally she | planted",
        4,
        0.25,
        1000,
        "HellaSwag",
    ),
)
BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _ALL}


def items(name: str, count: int, seed: int = DEFAULT_SEED, world: World | None = None) -> list[dict[str, Any]]:
    """``count`` different items: id, context, choices, gold (index), unit.

    Choices have no leading space; for a benchmark without choices the only one is the answer.
    Raises ValueError for an unknown name, a negative count, or when the grammar cannot yield so many.
    """
    if name not in BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}: choose from {', '.join(BENCHMARKS)}")
    if count < 0:
        raise ValueError(f"benchmark {name}: the number of items must not be negative, got {count}")
    world = world or World()
    rng = Random(digest("items", name, seed))
    limit = BENCHMARKS[name].max_per_unit
    seen: set[str] = set()
    per_unit: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    misses = 0
    while len(found) < count:
        if misses == _PATIENCE:
            raise ValueError(
                f"benchmark {name}: {count} items wanted, {len(found)} available with seed {seed}: ask for fewer"
            )
        misses += 1
        example = FAMILIES[name](world, rng, True)
        text = example.context + example.answer
        if text in seen or per_unit[example.unit] == limit:
            continue
        misses = 0
        seen.add(text)
        per_unit[example.unit] += 1
        choices = shuffled(rng, (example.answer, *example.distractors))
        found.append(
            {
                "id": f"{name}-{len(found):05d}",
                "context": example.context,
                "choices": [choice.strip() for choice in choices],
                "gold": choices.index(example.answer),
                "unit": example.unit,
            }
        )
    return found


def write_benchmarks(
    directory: Path, counts: dict[str, int] | None = None, seed: int = DEFAULT_SEED, world_seed: int = 0
) -> dict[str, Path]:
    """Write ``<name>.jsonl`` and the lm-eval task ``<name>.yaml`` of each benchmark; return the YAML paths.

    ``counts`` overrides the default number of items and may name some benchmarks only; 0 leaves one out.
    Afterwards a stock ``lm_eval --include_path DIRECTORY --tasks tinyworld_facts`` works from any
    working directory. The files are the same, byte for byte, whenever the arguments are, but for the
    directory in the YAML. Raises ValueError as ``items`` does.
    """
    counts = counts or {}
    unknown = sorted(set(counts) - set(BENCHMARKS))
    if unknown:
        raise ValueError(f"unknown benchmark {unknown[0]!r}: choose from {', '.join(BENCHMARKS)}")
    directory = Path(directory).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    world = World(world_seed)
    paths = {}
    for name, benchmark in BENCHMARKS.items():
        count = counts.get(name, benchmark.default_items)
        if count == 0:
            continue
        lines = [json.dumps(item, ensure_ascii=False) for item in items(name, count, seed, world)]
        data = directory / f"{name}.jsonl"
        data.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        paths[name] = directory / f"{name}.yaml"
        paths[name].write_text(_task_yaml(benchmark, data), encoding="utf-8", newline="\n")
    return paths


def _task_yaml(benchmark: Benchmark, data: Path) -> str:
    """An lm-eval 0.4 task. ``num_fewshot`` is left to the caller: in the YAML it would silently beat the argument."""
    if benchmark.n_choices is None:
        question = 'output_type: loglikelihood\ndoc_to_target: " {{choices[gold]}}"\n'
    else:
        question = 'output_type: multiple_choice\ndoc_to_choice: "choices"\ndoc_to_target: "gold"\n'
    return (
        f"task: tinyworld_{benchmark.name}\n"
        "dataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {json.dumps(str(data))}\n"
        "test_split: test\n"
        'doc_to_text: "{{context}}"\n'
        f"{question}"
        f"metric_list:\n  - metric: {benchmark.metric}\n    aggregation: mean\n    higher_is_better: true\n"
        f"metadata:\n  version: {VERSION}\n"
    )
