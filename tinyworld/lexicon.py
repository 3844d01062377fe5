"""The words of the language. Short and few, so that a BPE vocabulary of 512 makes nearly each one token."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


MEN = _words("Tom Ben Sam Max Leo Jack Paul Mark Carl Dean")
WOMEN = _words("Anna Lucy Mary Rose Jane Kate Emma Lily Nina Sara")
NAMES = MEN + WOMEN

NOUNS = _words("dog cat bird car train lamp chair table ring coin key cup plate book pen hat coat bag bell rope")
PLACES = _words("garden attic cellar barn tower cave shop school hall tent")
ADJECTIVES = _words("old new red blue big cheap")
PREPOSITIONS = _words("near behind under above")
REFLEXIVE_VERBS = _words("saw liked hurt helped blamed praised taught")

# (singular, plural, what may follow)
AUXILIARIES = (
    ("is", "are", ADJECTIVES),
    ("was", "were", ADJECTIVES),
)

GOALS = _words("cut lift fix clean paint open carry melt bend break burn dig")
TOOLS = _words("axe hook pump saw net pin")

EVENT_VERBS = _words("washed cooked packed sold planted opened closed counted filled lit")

ATTRIBUTES = {
    "kind": _words("bug fish fruit tool metal gem weed toy"),
    "colour": _words("pink gray green brown white black gold purple"),
    "home": _words("lakes woods deserts cliffs swamps islands hills cities"),
    "use": _words("soup medicine dye fuel music glue jewels games"),
}

# How a fact is said after "the <entity>"; the value follows directly.
CLAUSES = {
    "kind": (" is a", " is a kind of", " looks like a", " counts as a", " must be a", " was once a"),
    "colour": (" is all", " looks all", " stays all", " must be all", " is painted all", " was once all"),
    "home": (
        " is from the",
        " lives in the",
        " is found in the",
        " was seen in the",
        " hides in the",
        " must be from the",
    ),
    "use": (" is good for", " is used for", " is needed for", " is found in", " must be for", " helps with"),
}
OPENERS = ("the", "every", "my", "this")

SYLLABLES = _words("ba do ku mi re to zu la pe ni go fa su ve ri wo xi ha ju ty ko nu ze ma")
