"""The original: where it lies, what it is to the byte, and whether a replica has its architecture. No torch."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import BadInputError, first_line
from configs.files import sha256_of
from train import hub, offline
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


BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Reference:
    """A reference on disk: a Hugging Face directory with config.json, a tokenizer and safetensors weights."""

    directory: Path
    config: dict[str, Any]
    facts: ReferenceFacts


def load_reference(
    source: str,
    revision: str | None = None,
    *,
    pinned: Mapping[str, str] | None = None,
    bundle: str | None = None,
) -> Reference:
    """Find a local directory or fetch a hub id, check that it is whole, and pin it by sha256.

    A revision of a directory is its subdirectory of that name. `pinned` ({file: sha256}) is what it must be; `bundle`,
    a directory that `replibench fetch` filled, is where a hub id is then looked for and nowhere else. Raises
    BadInputError when something is missing or not what it was, WorkFailedError when the hub cannot be reached.
    """
    directory = locate(source, revision, bundle)
    config = read_config(directory)
    sha256 = pin(directory, source, revision)
    for name, wanted in (pinned or {}).items():
        if sha256.get(name) != wanted:
            found = f"has sha256 {sha256[name][:12]}…" if name in sha256 else "is not there"
            raise BadInputError(
                f"reference_sha256.{name}: {wanted[:12]}… is pinned, but {directory / name} {found}: the reference is "
                "not the one that this file was made for; put that back, or make a new file with `replibench init`"
            )
    added = [name for name in BESIDE_TOKENIZER if pinned and name in sha256.keys() - pinned.keys()]
    if added:
        raise BadInputError(
            f"reference_sha256.{added[0]}: is not pinned, but {directory / added[0]} is there, and transformers reads "
            "it: take that away, or make a new file with `replibench init`"
        )
    return Reference(directory, config, ReferenceFacts(source=source, revision=revision, sha256=sha256))


def locate(source: str, revision: str | None = None, bundle: str | None = None) -> Path:
    """The directory of a reference on this machine, fetched where it must be. Errors as `load_reference`."""
    directory = Path(source)
    if directory.is_dir():
        if revision is None:
            return directory
        if not (directory / revision).is_dir():
            names = sorted(path.name for path in directory.iterdir() if (path / "config.json").is_file())
            raise BadInputError(
                f"revision: {revision}: {directory} has no such subdirectory{hub.nearest(revision, names)}"
            )
        return directory / revision
    if not hub.looks_like_an_id(source):
        raise BadInputError(f"reference: {source}: no such directory")
    if bundle is not None:
        return offline.model_directory(Path(bundle), source, revision)
    return hub.snapshot(source, revision)


def pin(directory: Path, source: str, revision: str | None) -> dict[str, str]:
    """{file: sha256} of config, tokenizer and weights of a reference that lies in `directory`.

    Raises BadInputError where one of the three is missing, with the command that makes it of other formats.

    What else a tokenizer is made of is pinned where it is there: transformers, and lm-eval with it, reads that too.
    An adapter, with which it would load another model than these weights, is refused.
    """
    if (directory / ADAPTER).is_file():
        raise BadInputError(
            f"reference: {directory}: {ADAPTER}: transformers would load an adapter on top of the weights; take it away"
        )
    weights = weight_files(directory, source, revision)
    if not (directory / "tokenizer.json").is_file():
        raise BadInputError(f"reference: {directory}: no tokenizer.json in it; {conversion(source, revision)}")
    beside = [directory / name for name in BESIDE_TOKENIZER if (directory / name).is_file()]
    files = (directory / "config.json", directory / "tokenizer.json", *beside, *weights)
    return {file.name: sha256_of(file) for file in files}


def conversion(source: str, revision: str | None) -> str:
    """How to make a reference of one with pickled weights, or with vocab.json and merges.txt for a tokenizer."""
    local = Path(source).is_dir()
    directory = Path(source) / (revision or "") if local else Path(source)
    target = f"{directory.resolve().name if local else directory.name}-safetensors"
    at = f", revision={json.dumps(revision)}" if revision and not local else ""
    code = (
        "from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; "
        f"s, d = {json.dumps(str(directory))}, {json.dumps(target)}; "
        f'M.from_pretrained(s{at}, dtype="auto").save_pretrained(d); T.from_pretrained(s{at}).save_pretrained(d)'
    )
    return (
        f"where it is trusted, this makes {target}/, to be the reference, of other formats: "
        f"python -c {shlex.quote(code)}"
    )


def weight_files(directory: Path, source: str, revision: str | None) -> list[Path]:
    """The files that transformers reads weights from, and none beside: what is pinned is what is loaded.

    Raises BadInputError where there is no safetensors weight, as there is none in other formats that is safe to load.
    """
    one, index = directory / hub.ONE_FILE, directory / hub.INDEX
    if one.is_file():
        return [one]
    if not index.is_file():
        pickled = sorted(path.name for path in directory.glob("*.bin"))
        why = f": {', '.join(pickled)} is pickled, which can run code and is never loaded" if pickled else ""
        raise BadInputError(
            f"reference: {directory}: no weights (model.safetensors, or model.safetensors.index.json) in it{why}; of a "
            f"hub id, another revision may have them (refs/pr/NUMBER); {conversion(source, revision)}"
        )
    names = shards(index)
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise BadInputError(f"reference: {directory}: no {missing[0]} in it, which its index names")
    return [index, *(directory / name for name in names)]


def shards(index: Path) -> list[str]:
    """The files that a model.safetensors.index.json names. Raises BadInputError for one that cannot be read."""
    try:
        return sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"reference: {index}: cannot be read: {first_line(error)}") from None


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
