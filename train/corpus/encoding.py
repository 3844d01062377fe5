"""Text to token ids at the speed of a look-up, with the very ids that `tokenizers` gives.

Byte-level BPE (GPT-2, GPT-NeoX, Pythia, OPT) first cuts the text into pieces by a regular expression and then works on
each piece alone, and text is made of the same pieces again and again. So the text is cut where that expression always
cuts, and what was encoded once is looked up. Two such places are enough: before whitespace that follows something else,
and between an ASCII letter and an ASCII character that is none. Every other tokenizer is used as it is.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

# Unicode's White_Space, which the tokenizer's \s is; Python's \s has four characters more.
_SPACE = r" \t-\r\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_NO_LETTER = r"\x00-@\[-`{-\x7f"  # of ASCII
_WORD = rf"[A-Za-z]+(?![^{_SPACE}{_NO_LETTER}])"
_PIECE = re.compile(rf" {_WORD}|[{_SPACE}]*{_WORD}|[{_SPACE}]*[^{_SPACE}]+|[{_SPACE}]+")
# Within a piece of ASCII: before the last of several whitespaces; behind one that is not " "; round letters, but for
# the apostrophe, which makes 's and the like.
_JOINT = re.compile(
    rf"(?<=[{_SPACE}])(?=[{_SPACE}][^{_SPACE}])|(?<=[\t-\r])(?=[^{_SPACE}])"
    rf"|(?<=[A-Za-z])(?=[^A-Za-z])|(?<=[^A-Za-z'{_SPACE}])(?=[A-Za-z])"
)
_BYTE_LEVEL_SPACE = "\u0120"  # ASCII letters stand for themselves
_GAP = re.compile(rf"(?<=[^{_SPACE}])[{_SPACE}]")
_STRETCH = 1 << 18  # characters that are cut into pieces together
_LONGEST_KEPT = 40  # characters; longer pieces hardly come again
_MOST_KEPT = 400_000  # pieces; about 80 MB


class Encoder:
    """Encodes documents with one tokenizer; each is closed by `end_of_text`."""

    def __init__(self, tokenizer: Tokenizer, end_of_text: int, dtype: np.dtype[Any]) -> None:
        self._tokenizer, self._dtype = tokenizer, dtype
        self._end = np.array([end_of_text], dtype).tobytes()
        self._pieces = _Pieces(tokenizer, dtype) if cuts_like_gpt2(tokenizer) else None

    def encode(self, texts: Sequence[str]) -> tuple[bytes, NDArray[np.int32]]:
        """The ids of all texts one after the other, as they lie in a .bin, and how many are of each."""
        encoded = [part + self._end for part in self._encoded(texts)]
        sizes = np.array([len(part) // self._dtype.itemsize for part in encoded], np.int32)
        return b"".join(encoded), sizes

    def _encoded(self, texts: Sequence[str]) -> Iterator[bytes]:
        if self._pieces is None:
            for encoding in self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False):
                yield np.array(encoding.ids, self._dtype).tobytes()
            return
        for text in texts:
            stretches = (_PIECE.findall(stretch) for stretch in _stretches(text))
            yield b"".join(b"".join(map(self._pieces.__getitem__, pieces)) for pieces in stretches)


def cuts_like_gpt2(tokenizer: Tokenizer) -> bool:
    """Whether pieces cut by `_PIECE` can be encoded one by one: known of byte-level BPE with GPT-2's expression."""
    spec = json.loads(tokenizer.to_str())
    model, before = spec["model"], spec["pre_tokenizer"] or {}
    return bool(
        model["type"] == "BPE"
        and not model.get("dropout")
        and (spec["normalizer"] or {"type": "NFC"}) == {"type": "NFC"}  # which composes nothing with a whitespace
        and before.get("type") == "ByteLevel"
        and before.get("use_regex", True)
        and not before["add_prefix_space"]
        and all(_stays_whole(token) for token in spec["added_tokens"])
    )


class _Pieces(dict[str, bytes]):
    """piece → its ids; what is not there is encoded, and kept if it is short.

    A new piece is mostly made of known ones: a word behind a line's end or a quotation mark. So it is cut further,
    where the expression cuts too, and a plain word goes to the tokenizer's model at once. That is for ASCII, which a
    normalizer leaves alone, and without added tokens, which come before all cuts.
    """

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any]) -> None:
        super().__init__()
        self._encode, self._model, self._dtype = tokenizer.encode, tokenizer.model, dtype
        added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
        added |= {unicodedata.normalize("NFC", content) for content in added}
        self._added = re.compile("|".join(map(re.escape, added)) or "(?!)")

    def __missing__(self, piece: str) -> bytes:
        if len(piece) > _LONGEST_KEPT:
            return self._bytes(self._encode(piece, add_special_tokens=False).ids)
        if len(self) >= _MOST_KEPT:
            self.clear()
        self[piece] = ids = self._ids(piece)
        return ids

    def _ids(self, piece: str) -> bytes:
        if piece.isascii() and not self._added.search(piece):
            joint = _JOINT.search(piece)
            if joint:
                return self[piece[: joint.start()]] + self[piece[joint.start() :]]
            if piece.lstrip(" ").isalpha():
                return self._bytes([token.id for token in self._model.tokenize(piece.replace(" ", _BYTE_LEVEL_SPACE))])
        return self._bytes(self._encode(piece, add_special_tokens=False).ids)

    def _bytes(self, ids: list[int]) -> bytes:
        return np.array(ids, self._dtype).tobytes()


def _stays_whole(token: dict[str, Any]) -> bool:
    """No cut goes through this added token, and it does not look beyond its own characters."""
    return len(_PIECE.findall(token["content"])) == 1 and not (token["rstrip"] or token["single_word"])


def _stretches(text: str) -> Iterator[str]:
    """Long texts bit by bit, so that their pieces do not all exist at once."""
    start = 0
    while len(text) - start > _STRETCH and (gap := _GAP.search(text, start + _STRETCH)):
        yield text[start : gap.start()]
        start = gap.start()
    yield text[start:]
