"""What is true in the tiny world: entities and their facts, scripts of events, tools for goals."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from tinyworld import lexicon
from tinyworld.draws import Weighted, digest, shuffled

ENTITIES = 540
ENTITY_RANK_OFFSET = 270.0  # weight of the entity of rank i is 1 / (i + offset): the larger, the flatter
SCRIPTS = len(lexicon.NOUNS)
SCRIPT_LENGTH = 4
HELD_OUT_CLAUSES = 2  # clauses of each fact that the corpus never uses


@dataclass(frozen=True)
class Event:
    """Something somebody did to a thing: ``washed the cup``."""

    verb: str
    noun: str


class World:
    """Everything that the grammar talks about, drawn from one seed.

    Attributes:
        seed: the seed everything was drawn from.
        entities: invented names with their frequencies in the corpus.
        facts: ``(entity, attribute) -> value``; values are balanced within an attribute.
        held_out_clauses: ``(entity, attribute) -> indices of clauses`` kept for the benchmark.
        corpus_clauses: ``(entity, attribute) -> the other indices``, used by the corpus.
        scripts: sequences of ``SCRIPT_LENGTH`` events, always told in the same order.
        tool_for: goal -> the tool that does it.
    """

    def __init__(self, seed: int = 0) -> None:
        """Build the world of ``seed``; equal seeds give equal worlds on every machine."""
        self.seed = seed
        rng = Random(1_000 + seed)
        names = [f"{first} {second}" for first in lexicon.FIRST_SYLLABLES for second in lexicon.SECOND_SYLLABLES]
        names = shuffled(rng, names)[:ENTITIES]
        self.entities = Weighted(names, [1.0 / (rank + ENTITY_RANK_OFFSET) for rank in range(ENTITIES)])
        self.facts = _draw_facts(rng, names)
        self.held_out_clauses: dict[tuple[str, str], tuple[int, ...]] = {}
        self.corpus_clauses: dict[tuple[str, str], tuple[int, ...]] = {}
        for entity, attribute in self.facts:
            ranked = sorted(
                range(len(lexicon.CLAUSES[attribute])), key=lambda clause: digest(entity, attribute, clause)
            )
            self.held_out_clauses[entity, attribute] = tuple(ranked[:HELD_OUT_CLAUSES])
            self.corpus_clauses[entity, attribute] = tuple(sorted(ranked[HELD_OUT_CLAUSES:]))
        self.scripts = _draw_scripts(rng)
        tools = shuffled(rng, lexicon.TOOLS)
        self.tool_for = {goal: tools[i % len(tools)] for i, goal in enumerate(shuffled(rng, lexicon.GOALS))}


def _draw_facts(rng: Random, names: list[str]) -> dict[tuple[str, str], str]:
    """Each entity's value for each attribute; each value is used equally often (±1)."""
    facts = {}
    for attribute, values in lexicon.ATTRIBUTES.items():
        for i, name in enumerate(shuffled(rng, names)):
            facts[name, attribute] = values[i % len(values)]
    return facts


def _draw_scripts(rng: Random) -> tuple[tuple[Event, ...], ...]:
    """Scripts without a shared event. Each begins with a noun of its own, so that the first event tells the script;
    no verb comes twice in a script, and each comes about equally often at each position.
    """
    scripts: list[list[Event]] = [[] for _ in range(SCRIPTS)]
    first_nouns = shuffled(rng, lexicon.NOUNS)
    used: set[Event] = set()
    for position in range(SCRIPT_LENGTH):
        uses: Counter[str] = Counter()
        for script, first_noun in zip(scripts, first_nouns, strict=True):
            told = {event.verb for event in script}
            verb = min((v for v in shuffled(rng, lexicon.EVENT_VERBS) if v not in told), key=uses.__getitem__)
            uses[verb] += 1
            nouns = shuffled(rng, lexicon.NOUNS) if position else [first_noun]
            event = next(Event(verb, noun) for noun in nouns if Event(verb, noun) not in used)
            used.add(event)
            script.append(event)
    return tuple(tuple(script) for script in scripts)
