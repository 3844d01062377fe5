"""What every stage between a source and the tokenizer passes on."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text, and where it came from."""

    text: str
    source: str
    """The source's name, as the configuration gives it."""
    number: int
    """Position in its source, from 0."""
    held_out: bool | None = None
    """Whether it is kept from training; None: not decided yet."""
    ends: bool = True
    """Whether end-of-text follows it; false: it was cut off before its end."""
