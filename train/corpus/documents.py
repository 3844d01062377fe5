"""What every stage between a source and the tokenizer passes on, and which of it is held out."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """One text, and where it came from."""

    text: str
    source: str
    """The source's name, as the configuration gives it."""
    number: int
    """Position in its source, from 0."""


def is_held_out(text: str, fraction: float) -> bool:
    """Whether a document belongs to the held-out text: by the hash of its text, so equal texts are never on both sides.

    About `fraction` of all documents are, whatever their order, source or number.
    """
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") < fraction * 2**64
