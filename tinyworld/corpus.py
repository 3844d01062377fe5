"""The training corpus: an endless, seeded stream of short documents."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tinyworld.draws import Weighted
from tinyworld.grammar import FAMILIES
from tinyworld.world import World

# A seed that no training corpus should use: fresh documents of the same distribution, for the held-out loss.
HELD_OUT_SEED = 1_000_003

# Relative number of documents of each family.
DOCUMENT_WEIGHTS = {
    "agreement": 3.0,
    "last_word": 1.0,
    "tool_use": 0.8,
    "pronoun": 1.3,
    "compare": 2.8,
    "facts": 8.5,
    "next_event": 1.2,
}


def documents(seed: int, count: int, world: World | None = None) -> Iterator[str]:
    """Yield ``count`` documents, one line each, without end-of-text token.

    The stream of a seed is a prefix of any longer stream of the same seed. ``world`` defaults to ``World(0)``.
    Raises ValueError when ``count`` is negative.
    """
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    world = world or World()
    rng = Random(seed)
    families = Weighted([FAMILIES[name] for name in DOCUMENT_WEIGHTS], list(DOCUMENT_WEIGHTS.values()))
    for _ in range(count):
        yield families.draw(rng)(world, rng, False).document
