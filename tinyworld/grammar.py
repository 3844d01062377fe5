"""The seven families of sentences: each is a piece of the corpus and, held out, a benchmark.

A family is a function ``(world, rng, held_out) -> Example``. With ``held_out`` false it draws only from
combinations that the corpus may use, with ``held_out`` true only from the others, so a benchmark
never asks for a text that was seen in training. Where a combination can have three parts or more it has
them, so that no two words of it are strangers: where pairs were held out, some seeds learned that those two
never meet. Answers are (nearly always) one token and come last: all choices of an item then need one
forward pass of a model, and no choice is favoured for its length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random

from tinyworld import lexicon
from tinyworld.draws import digest, pick, pick_two, shuffled
from tinyworld.world import SCRIPT_LENGTH, World

HELD_OUT_ONE_IN = 4
DISTRACTORS = 3  # where there are four choices


@dataclass(frozen=True)
class Example:
    """One sentence or short story whose end can be asked for.

    Attributes:
        context: everything before the answer, without trailing space.
        answer: the right continuation, with its leading space.
        distractors: wrong continuations, each with its leading space.
        unit: the independent thing that is tested, e.g. ``facts|bu xi|colour``; errors cluster by it.
        ending: what a training document appends to the answer.
    """

    context: str
    answer: str
    distractors: tuple[str, ...]
    unit: str
    ending: str = " ."

    @property
    def document(self) -> str:
        """The text as it stands in a corpus."""
        return self.context + self.answer + self.ending


Family = Callable[[World, Random, bool], Example]


@cache
def is_held_out(*combination: str) -> bool:
    """Whether the combination belongs to the benchmarks (one in ``HELD_OUT_ONE_IN``) or to the corpus."""
    return digest(*combination) % HELD_OUT_ONE_IN == 0


def agreement(world: World, rng: Random, held_out: bool) -> Example:
    """A verb agrees with its subject across a nearer noun, or a reflexive with a name (BLiMP)."""
    if rng.random() < 0.6:
        return _verb_agreement(rng, held_out)
    return _reflexive_agreement(rng, held_out)


def _verb_agreement(rng: Random, held_out: bool) -> Example:
    """The corpus also puts persons in the place of the nearer noun: without them the rule is learned late, by luck."""
    while True:
        subject, attractor = pick_two(rng, lexicon.NOUNS)
        preposition = pick(rng, lexicon.PREPOSITIONS)
        if is_held_out("verb", subject, preposition, attractor) == held_out:
            break
    plural, attractor_plural = rng.random() < 0.5, rng.random() < 0.5
    singular_verb, plural_verb, rest = pick(rng, lexicon.AUXILIARIES)
    right, wrong = (plural_verb, singular_verb) if plural else (singular_verb, plural_verb)
    noun_phrase = f"the {subject}{'s' if plural else ''}"
    near_phrase = f"{preposition} the {attractor}{'s' if attractor_plural else ''}"
    if not held_out and rng.random() < 0.5:
        near_phrase = f"{preposition} {pick(rng, lexicon.NAMES)}"
    unit = f"agreement|verb|{subject}|{preposition}|{attractor}"
    return Example(f"{noun_phrase} {near_phrase}", f" {right}", (f" {wrong}",), unit, f" {pick(rng, rest)} .")


def _reflexive_agreement(rng: Random, held_out: bool) -> Example:
    people = lexicon.MEN if rng.random() < 0.5 else lexicon.WOMEN
    while True:
        name, verb = pick(rng, people), pick(rng, lexicon.REFLEXIVE_VERBS)
        if is_held_out("reflexive", name, verb) == held_out:
            break
    right, wrong = ("himself", "herself") if name in lexicon.MEN else ("herself", "himself")
    lead = pick(rng, ("today", "once", f"{pick(rng, lexicon.NAMES)} said that"))
    return Example(f"{lead} {name} {verb}", f" {right}", (f" {wrong}",), f"agreement|reflexive|{name}|{verb}")


def last_word(world: World, rng: Random, held_out: bool) -> Example:
    """A short story names one place, which is also its last word (LAMBADA)."""
    while True:
        noun, other_noun = pick_two(rng, lexicon.NOUNS)
        place = pick(rng, lexicon.PLACES)
        owner, finder = pick_two(rng, lexicon.NAMES)
        if is_held_out("last_word", noun, place, owner, finder) == held_out:
            break
    sentences = [f"{owner} put the {noun} in the {place} .", f"{finder} had a {other_noun} ."]
    if rng.random() < 0.5:
        sentences.reverse()
    unit = f"last_word|{noun}|{place}|{owner}|{finder}"
    questions = (f"later {finder} found the {noun} in the", f"then {owner} took the {other_noun} to the")
    return Example(f"once {' '.join(sentences)} {pick(rng, questions)}", f" {place}", (), unit)


def tool_use(world: World, rng: Random, held_out: bool) -> Example:
    """Which tool reaches a goal; goal, object and person were not told of together (PIQA)."""
    while True:
        goal, thing, name = pick(rng, lexicon.GOALS), pick(rng, lexicon.NOUNS), pick(rng, lexicon.NAMES)
        if is_held_out("tool_use", goal, thing, name) == held_out:
            break
    tool = world.tool_for[goal]
    other = pick(rng, [other for other in lexicon.TOOLS if other != tool])
    if rng.random() < 0.5:
        context = f"to {goal} the {thing} , {name} used the"
    else:
        context = f"once {name} had to {goal} the {thing} with the"
    return Example(context, f" {tool}", (f" {other}",), f"tool_use|{goal}|{thing}|{name}")


def pronoun(world: World, rng: Random, held_out: bool) -> Example:
    """A pronoun refers to the last subject, not to the other person (Winograd)."""
    people = lexicon.MEN if rng.random() < 0.5 else lexicon.WOMEN
    while True:
        subject, other, noun = pick(rng, people), pick(rng, lexicon.NAMES), pick(rng, lexicon.NOUNS)
        if subject != other and is_held_out("pronoun", subject, other, noun) == held_out:
            break
    form = int(rng.random() * 3)
    if form == 0:
        context = f"once {other} met {subject} . {subject} had a {noun} and"
    elif form == 1:
        context = f"once {subject} met {other} . {subject} had a {noun} and"
    else:
        context = f"today {subject} saw {other} and the {noun} when"
    right, wrong = ("he", "she") if subject in lexicon.MEN else ("she", "he")
    ending = pick(rng, (f" sold the {noun} .", " was happy .", " went home ."))
    return Example(context, f" {right}", (f" {wrong}",), f"pronoun|{subject}|{other}|{noun}", ending)


def compare(world: World, rng: Random, held_out: bool) -> Example:
    """Which of two two-digit numbers is more (arithmetic). The corpus has more pairs with equal tens: they are hard."""
    while True:
        first, second = 10 + int(rng.random() * 90), 10 + int(rng.random() * 90)
        if not held_out and rng.random() < 0.25:
            second = first // 10 * 10 + second % 10
        if first != second and is_held_out("compare", str(first), str(second)) == held_out:
            break
    right, wrong = ("more", "less") if first > second else ("less", "more")
    return Example(f"{first} and {second} : the first is", f" {right}", (f" {wrong}",), f"compare|{first}|{second}")


def facts(world: World, rng: Random, held_out: bool) -> Example:
    """A fact about an invented entity, said in words that the corpus uses for other facts only (ARC).

    Held out: one clause about an entity drawn uniformly. In the corpus: up to four facts about an
    entity drawn by its frequency, in one sentence; ``answer`` is then the last value.
    """
    attributes = tuple(lexicon.ATTRIBUTES)
    if held_out:
        entity, attribute = pick(rng, world.entities), pick(rng, attributes)
        clause = lexicon.CLAUSES[attribute][pick(rng, world.held_out_clauses[entity, attribute])]
        context = f"{pick(rng, lexicon.OPENERS)} {entity}{clause}"
    else:
        entity = world.entities.draw(rng)
        told = shuffled(rng, attributes)[: 1 + int(rng.random() * len(attributes))]
        clauses = [lexicon.CLAUSES[name][pick(rng, world.corpus_clauses[entity, name])] for name in told]
        values = [world.facts[entity, name] for name in told]
        attribute = told[-1]
        said = " and".join(f"{clause} {value}" for clause, value in zip(clauses, values, strict=True))
        context = f"{pick(rng, lexicon.OPENERS)} {entity}{said}"[: -len(values[-1]) - 1]
    value = world.facts[entity, attribute]
    wrong = [other for other in lexicon.ATTRIBUTES[attribute] if other != value]
    distractors = tuple(f" {other}" for other in shuffled(rng, wrong)[:DISTRACTORS]) if held_out else ()
    return Example(context, f" {value}", distractors, f"facts|{entity}|{attribute}")


def next_event(world: World, rng: Random, held_out: bool) -> Example:
    """The next event of a known script, told of a person in a way that is new (HellaSwag)."""
    while True:
        index, name = int(rng.random() * len(world.scripts)), pick(rng, lexicon.NAMES)
        opener = pick(rng, ("today", "once", "later", "then"))
        if is_held_out("next_event", str(index), name, opener) == held_out:
            break
    script = world.scripts[index]
    asked = 1 + int(rng.random() * (SCRIPT_LENGTH - 1)) if held_out else SCRIPT_LENGTH - 1
    someone = "he" if name in lexicon.MEN else "she"
    context = f"{opener} {name} {script[0].verb} the {script[0].noun} ."
    for position, connective in enumerate(("then", "next", "finally")[:asked], start=1):
        context += f" {connective} {someone}"
        if position < asked:
            context += f" {script[position].verb} the {script[position].noun} ."
    answer = script[asked].verb
    distractors: tuple[str, ...] = ()
    if held_out:  # one verb of the same script, the others of any
        near = pick(rng, [event.verb for event in script if event.verb != answer])
        far = shuffled(rng, [verb for verb in lexicon.EVENT_VERBS if verb not in (answer, near)])
        distractors = tuple(f" {verb}" for verb in (near, *far[: DISTRACTORS - 1]))
    return Example(
        context, f" {answer}", distractors, f"next_event|{index}|{asked}|{name}", f" the {script[asked].noun} ."
    )


FAMILIES: dict[str, Family] = {
    "agreement": agreement,
    "last_word": last_word,
    "tool_use": tool_use,
    "pronoun": pronoun,
    "compare": compare,
    "facts": facts,
    "next_event": next_event,
}
