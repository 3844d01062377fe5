"""A byte-pair tokenizer of 512 tokens, trained on the corpus."""

from __future__ import annotations

import string
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = "<|endoftext|>"  # id 0: begin, end and padding
VOCAB_SIZE = 512
_ALPHABET = "▁" + string.ascii_letters + string.digits + string.punctuation


def train_tokenizer(texts: Iterable[str], vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """Train a BPE tokenizer on whitespace-separated words; each digit is a token of its own.

    A word at the start of a text and the same word after a space are the same token. Characters outside
    printable ASCII are dropped (the language has none). The result depends only on the arguments.
    Raises ValueError when ``vocab_size`` is too small for the alphabet.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    if vocab_size <= len(_ALPHABET) + 1:
        raise ValueError(f"vocab_size must be above {len(_ALPHABET) + 1} (the alphabet), got {vocab_size}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=list(_ALPHABET), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
