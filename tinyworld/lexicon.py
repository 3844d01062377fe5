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

# How a fact is said after "the <entity>": a lead that all attributes share, then the attribute's own word, then the
# value. The forms are this alike so that all attributes are learned at the same time (docs/suite.md).
LEADS = _words("is looks stays seems was must")
MARKERS = {"kind": "a", "colour": "all", "home": "from", "use": "for"}
CLAUSES = {attribute: tuple(f" {lead} {marker}" for lead in LEADS) for attribute, marker in MARKERS.items()}
OPENERS = ("the", "every", "my", "this")

# An entity is called by a first and a second syllable ("bu xi"), each of which is one token: all entities are equally
# hard to read. No syllable is a word of the language.
FIRST_SYLLABLES = _words("ba bu da di fa fi ga gu ha ja ju ka ki ku la lo lu ma mi mu na ni nu pa po")
SECOND_SYLLABLES = _words("pu ra ri ro ru sa si su ta ti tu va ve vi vo wa wi xa xi xo ya yo za zi zo")
