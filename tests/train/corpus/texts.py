"""Small corpora of real-looking text, written where a test wants them, and the real ones where they are."""

import os
import random
from pathlib import Path
from typing import Any

import pytest

from configs.schema import RunConfig
from tests.train.tiny import tiny_config

_SHARED = Path(os.environ.get("REPLIBENCH_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
_SENTENCE = (
    "the ship's captain, a tall man of forty-two years, said: “We’ll sail at dawn!” and went below; it was naïve."
)


def shared(path: str) -> Path:
    """A file of the real data; the test is skipped where it is not."""
    found = _SHARED / path
    if not found.exists():
        pytest.skip(f"no {path} in the shared data (REPLIBENCH_SHARED_DATA, or shared/data beside the checkout)")
    return found


def stories(count: int, seed: int = 0, words: int = 60) -> list[str]:
    """Different texts of about so many words."""
    rng = random.Random(seed)
    return [f"Story {seed}-{i}. " + " ".join(rng.choices(_SENTENCE.split(), k=words)) + "\n" for i in range(count)]


def write_stories(directory: Path, count: int, seed: int = 0, name: str = "story") -> str:
    """A text file a document; the pattern that finds them."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(stories(count, seed)):
        (directory / f"{name}{number:04}.txt").write_text(text, encoding="utf-8")
    return str(directory / f"{name}*.txt")


def files_config(directory: Path, sources: list[dict[str, Any]], *overrides: str, **data: Any) -> RunConfig:
    """The tiny run's configuration, on these sources."""
    tree = {"sources": sources, "held_out_fraction": 0.1, "vocab_size": 512, **data}
    return tiny_config(directory, "gpt_neox", "train.steps=6", "train.micro_batch_size=4", *overrides, data=tree)
