"""The original: where it lies, what it is to the byte, and whether a replica has its architecture. No torch."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import BadInputError, WorkFailedError, first_line
from configs.files import sha256_of
from train.record import Difference, Identity, ReferenceFacts

# Keys of config.json that say nothing about the architecture: bookkeeping, serving defaults, and dropout, which
# belongs to the training recipe.
NOT_ARCHITECTURE = frozenset(
    [
        "_name_or_path",
        "architectures",
        "transformers_version",
        "torch_dtype",
        "dtype",
        "use_cache",
        "id2label",
        "label2id",
        "problem_type",
        "task_specific_params",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
        "chunk_size_feed_forward",
        "gradient_checkpointing",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "is_encoder_decoder",
        "is_decoder",
        "add_cross_attention",
        "cross_attention_hidden_size",
        "initializer_range",
        "attn_pdrop",
        "embd_pdrop",
        "resid_pdrop",
        "attention_dropout",
        "hidden_dropout",
        "classifier_dropout",
        "summary_activation",
        "summary_first_dropout",
        "summary_proj_to_labels",
        "summary_type",
        "summary_use_proj",
    ]
)


@dataclass(frozen=True)
class Reference:
    """A reference on disk: a Hugging Face directory with config.json, a tokenizer and safetensors weights."""

    directory: Path
    config: dict[str, Any]
    facts: ReferenceFacts


def load_reference(source: str, revision: str | None = None) -> Reference:
    """Find a local directory or fetch a hub id, check that it is whole, and pin it by sha256.

    Raises BadInputError when something is missing, WorkFailedError when the hub cannot be reached.
    """
    directory = Path(source)
    if not directory.is_dir():
        if not re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", source):  # neither gpt2 nor org/model
            raise BadInputError(f"reference: {source}: no such directory")
        directory = _fetch(source, revision)
    config = read_config(directory)
    weights = weight_files(directory)
    if not (directory / "tokenizer.json").is_file():
        raise BadInputError(f"reference: {directory}: no tokenizer.json in it")
    files = [directory / "config.json", directory / "tokenizer.json", *weights]
    facts = ReferenceFacts(source=source, revision=revision, sha256={file.name: sha256_of(file) for file in files})
    return Reference(directory, config, facts)


def weight_files(directory: Path) -> list[Path]:
    """The files that transformers reads weights from, and none beside: what is pinned is what is loaded.

    Raises BadInputError where there is no safetensors weight, as there is none in other formats that is safe to load.
    """
    one, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if one.is_file():
        return [one]
    if not index.is_file():
        raise BadInputError(
            f"reference: {directory}: no weights (model.safetensors, or model.safetensors.index.json) in it; other "
            "formats are not read"
        )
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"reference: {index}: cannot be read: {first_line(error)}") from None
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise BadInputError(f"reference: {directory}: no {missing[0]} in it, which its index names")
    return [index, *(directory / name for name in names)]


def reference_directory(run_dir: Path) -> Path | None:
    """Where the reference of a prepared run lies on this machine (a hub id's snapshot, too); None without one."""
    path = run_dir / "reference.path"
    return Path(path.read_text(encoding="utf-8")) if path.is_file() else None


def read_config(directory: Path) -> dict[str, Any]:
    """A directory's config.json. Raises BadInputError when it is missing or not JSON."""
    path = directory / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInputError(f"reference: {directory}: no config.json in it") from None
    except (OSError, ValueError) as error:
        raise BadInputError(f"reference: {path}: cannot be read: {error}") from None
    if not isinstance(config, dict):
        raise BadInputError(f"reference: {path}: not a mapping")
    return config


def compare_configs(reference: dict[str, Any], replica: dict[str, Any]) -> Identity:
    """Field by field: which keys that make the architecture differ. Both are full configs with defaults filled in."""
    keys = sorted((reference.keys() | replica.keys()) - NOT_ARCHITECTURE)
    differences = tuple(
        Difference(field=key, reference=reference.get(key), replica=replica.get(key))
        for key in keys
        if reference.get(key) != replica.get(key)
    )
    return Identity(identical=not differences, differences=differences)


def _fetch(source: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        wanted = [
            "*.safetensors",
            "model.safetensors.index.json",
            "config.json",
            "tokenizer*",
            "special_tokens_map.json",
            "vocab.json",
            "merges.txt",
        ]
        return Path(snapshot_download(source, revision=revision, allow_patterns=wanted))
    except Exception as error:  # the hub client has a dozen types for unreachable, private, renamed and unknown
        raise WorkFailedError(
            f"reference: {source}: is no directory, and could not be had from the hub ({first_line(error)}); "
            "give a local directory where there is no network"
        ) from None
