"""The tokenizer of a corpus: read from a file, or trained on the text where nobody names one."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from configs.errors import BadInputError, first_line
from train.corpus.documents import Document
from train.corpus.hygiene import is_held_out

END_OF_TEXT = ("<|endoftext|>", "</s>")  # the first that a tokenizer has, where nobody says which closes a document

_SAMPLE_CHARACTERS = 1 << 23  # that a new tokenizer is trained on


def tokenizer_path(path: str) -> Path:
    """The tokenizer.json that `data.tokenizer` names. Raises BadInputError where there is none."""
    given = Path(path)
    file = given / "tokenizer.json" if given.is_dir() else given
    if not file.is_file():
        raise BadInputError(f"data.tokenizer: {file}: no such file; name a tokenizer.json or a directory with one")
    return file


def read_tokenizer(path: Path, key: str) -> Tokenizer:
    """The tokenizer, cutting and padding nothing. Raises BadInputError naming `key` and the file."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises a bare Exception
        raise BadInputError(f"{key}: {path}: cannot be read: {first_line(error)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def sample_of(documents: Iterable[Document], held_out_fraction: float) -> Iterator[str]:
    """The beginning of the corpus without what is held out of it: what a new tokenizer is trained on.

    Cut into lines: a tokenizer learns from words, and long texts cost it memory.
    """
    characters = 0
    for document in documents:
        if is_held_out(document.text, held_out_fraction):
            continue
        for line in document.text.splitlines(keepends=True):
            yield line
            characters += len(line)
            if characters >= _SAMPLE_CHARACTERS:
                return


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE as GPT-2's, of any text, with <|endoftext|> as id 0. It depends on the arguments alone."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT[0]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def end_of_text_id(tokenizer: Tokenizer, wanted: str | None) -> int:
    """The id that closes each document. Raises BadInputError where the tokenizer has no such token."""
    for token in [wanted] if wanted else END_OF_TEXT:
        found = tokenizer.token_to_id(token)
        if found is not None:
            return int(found)
    names = repr(wanted) if wanted else " nor ".join(END_OF_TEXT)
    raise BadInputError(f"data.end_of_text: the tokenizer has no token {names}; name the one that ends a document")


def stated_end_of_text(path: Path, key: str, eos_token_id: object) -> str | None:
    """The token that a config.json's `eos_token_id` is; None where it is not one id, or the tokenizer has no such.

    OPT's tokenizer has both of END_OF_TEXT, and OPT was trained with the second. Errors as `read_tokenizer`.
    """
    if not isinstance(eos_token_id, int) or eos_token_id < 0:
        return None
    return read_tokenizer(path, key).id_to_token(eos_token_id)


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """One more than the largest id."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
