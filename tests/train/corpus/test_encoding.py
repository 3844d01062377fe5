"""What is looked up is what the tokenizer says, id for id, on any text."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers

from tests.train.corpus.texts import shared, stories
from train.corpus.encoding import Encoder, cuts_like_gpt2
from train.corpus.tokenizer import train_tokenizer

# What the cuts must get right: every kind of whitespace and what only looks like it, letters beyond ASCII, combining
# marks, contractions, numbers, added tokens, and what is longer than a piece that is kept.
PARTS = [*" \t\n\r\v\f\x1c\x85\xa0\u2003\u3000\u200b\u180e", "  ", "\n\n", *"aZé\u0301ßжあ9٣½'’-_<|\x00\u0338"]
PARTS += ['"', "\r\n", "\r\n\r\n", "(", "1", "Well", "--", *"stdmre"]
PARTS += ["'s", "'ll", "don't", "<|endoftext|>", "the", " the", "word,", "x" * 50, "<|", "|>", "😀", "e\u0301"]
texts = st.lists(st.lists(st.sampled_from(PARTS), max_size=40).map("".join), min_size=1, max_size=4)


def _trained(*tokens: AddedToken) -> Tokenizer:
    tokenizer = train_tokenizer(stories(50), 400)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken(" " * n) for n in range(2, 6)])  # as GPT-NeoX's has
    tokenizer.add_tokens(list(tokens))
    return tokenizer


TRAINED = _trained()
LETTERS = _trained(AddedToken("the"))


@lru_cache
def _published(name: str) -> Tokenizer:
    return Tokenizer.from_file(str(shared(f"tokenizers/{name}/tokenizer.json")))


def _same(tokenizer: Tokenizer, batch: list[str], dtype: str = "<i4") -> None:
    ids, sizes = Encoder(tokenizer, 0, np.dtype(dtype)).encode(batch)
    expected = [[*e.ids, 0] for e in tokenizer.encode_batch(batch, add_special_tokens=False)]
    assert sizes.tolist() == [len(part) for part in expected]
    assert np.frombuffer(ids, dtype).tolist() == [token for part in expected for token in part]


@given(texts)
@settings(max_examples=300)
def test_looked_up_ids_are_the_tokenizers(batch: list[str]) -> None:
    assert cuts_like_gpt2(TRAINED)
    _same(TRAINED, batch)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox-20b"])
def test_published_tokenizers_on_real_text(name: str) -> None:
    tokenizer = _published(name)
    assert cuts_like_gpt2(tokenizer)
    text = shared("corpora/wikitext-2/valid.txt").read_text(encoding="utf-8")
    _same(tokenizer, [text[:600_000], "", text[600_000:]], "<u2")  # longer than what is cut together


@given(texts)
@settings(max_examples=100)
def test_gpt2s_own_ids(batch: list[str]) -> None:
    _same(_published("gpt2"), batch)


def _lowercased() -> Tokenizer:
    tokenizer = _trained()
    tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def _metaspace() -> Tokenizer:
    tokenizer = _trained()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [
        _lowercased(),
        _metaspace(),
        _trained(AddedToken("two words")),
        _trained(AddedToken("<sep>", rstrip=True)),
        _trained(AddedToken("cap", single_word=True)),
        _trained(AddedToken("end-of")),
    ],
)
def test_a_tokenizer_that_may_look_beyond_a_piece_is_asked_for_whole_texts(tokenizer: Tokenizer) -> None:
    assert not cuts_like_gpt2(tokenizer)
    _same(tokenizer, ["Two words <sep>  two words; the cap, end-of capital", " ", ""])


@given(texts)
@settings(max_examples=100)
def test_added_tokens_within_words_are_found(batch: list[str]) -> None:
    """They are cut out before the words are looked at, so a plain word is not the model's alone."""
    assert cuts_like_gpt2(LETTERS)
    assert LETTERS.encode("then").tokens == ["the", "n"]
    _same(LETTERS, [*batch, "then other\nthe \nthe", "a\n\nthe (the"])


def test_a_full_store_is_emptied_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.corpus.encoding._MOST_KEPT", 3)
    _same(TRAINED, stories(5))
