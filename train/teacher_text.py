"""Text that the reference generates, in place of a corpus: who makes it, and what it depends on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.files import sha256_of
from configs.schema import RunConfig

if TYPE_CHECKING:
    from train.extraction import GeneratedText


def teacher_of(config: RunConfig, tokenizer_file: Path | None) -> "GeneratedText | None":
    """The reference, which lies where its tokenizer does, if the corpus is to be text that it generates."""
    if tokenizer_file is None or not config.train.learns_generated_text:
        return None
    from train.extraction import GeneratedText  # torch and transformers: seconds to import

    return GeneratedText.of(config, tokenizer_file.parent)


def made_by(teacher: "GeneratedText") -> dict[str, Any]:
    """What a corpus says of who made its text, once it is made."""
    return {
        "generated_by": teacher.weights_sha256,
        "generation_flop": teacher.flop,
        "generated_empty": teacher.empty,
        "generated_cut": teacher.cut,
    }


def teacher_key(config: RunConfig, tokenizer_file: Path | None) -> Any:
    """Changes when the generated text would; None where there is none."""
    if tokenizer_file is None or not config.train.learns_generated_text:
        return None
    weights = {path.name: sha256_of(path) for path in sorted(tokenizer_file.parent.glob("*.safetensors"))}
    return [weights, config.train.distillation.model_dump(mode="json"), config.train.sequence_length]
