"""Everything a run needs before its first process starts, checked and written into the run directory."""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from accounting.hf_config import from_hf_config
from configs.errors import BadInputError, first_line
from configs.files import read_record, sha256_of_json, write_record, write_text
from configs.loader import load_config, write_config
from configs.schema import FilesData, RunConfig, TrainConfig
from train.corpus.opened import epochs_of
from train.corpus.tokenizer import stated_end_of_text, tokenizer_path
from train.data import prepare as prepare_corpus
from train.families import Family, family_of
from train.layouts import check_change, recipe
from train.record import CorpusFacts, Extraction, Identity, Manifest, Precision, ReferenceFacts
from train.reference import Reference, compare_configs, load_reference
from train.rows import MARK as DATA_MARK
from train.trackers import check_trackers

ROOT = Path(__file__).resolve().parent.parent


def prepare_run(
    config: RunConfig, run_dir: Path, say: Callable[[str], None], benchmarks: Mapping[str, Path] | None = None
) -> Manifest:
    """Check the whole input, then write data/, model.json, manifest.json and config.yaml.

    `benchmarks`: name → JSON lines with the `texts` of each example that will be evaluated, for `data.hygiene`.
    Idempotent: a run directory of the same configuration is left as it is. Raises BadInputError (one line) before
    anything is written, if anything is wrong; also when the directory holds another run.
    """
    check_directory(config, run_dir)
    check_trackers(config.train.trackers)
    reference = _reference(config)
    family = family_of(_requested(config, reference), "reference" if reference else "architecture")
    architecture, identity = _architecture(config, reference)
    _check_layout(config, family, architecture)
    if reference and config.train.learns_logits:
        _check_teacher(config.train, architecture, reference)
    tokenizer_file, end_of_text = _tokenizer_file(config, reference), None
    if tokenizer_file is not None:  # before a large corpus is tokenised for nothing
        _check_vocabulary(architecture, tokenizer_file)
        stated = _requested(config, reference).get("eos_token_id")
        end_of_text = stated_end_of_text(tokenizer_file, "reference" if reference else "data.tokenizer", stated)
    corpus = prepare_corpus(config, run_dir / "data", tokenizer_file, say, benchmarks or {}, end_of_text)
    tokenizer = _check_vocabulary(architecture, run_dir / "data" / "tokenizer.json")
    _check_ids(architecture, corpus)
    manifest = Manifest(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        name=config.name,
        code=code_version(),
        versions=library_versions(),
        machine=machine(),
        seeds=_seeds(config),
        training_config_sha256=_training_sha256(config),
        recipe=recipe_of(config),
        tokenizer_sha256=tokenizer_sha256(tokenizer),
        corpus=corpus,
        epochs=epochs_of(config, corpus) if isinstance(config.data, FilesData) else None,
        reference=reference.facts if reference else None,
        identity=identity,
        extraction=_extraction(config.train),
    )
    if (run_dir / "manifest.json").is_file():
        manifest = _same_run(read_record(run_dir / "manifest.json", Manifest), manifest, run_dir)
    write_text(run_dir / "model.json", json.dumps(architecture, indent=2, sort_keys=True) + "\n")
    if reference:
        write_text(run_dir / "reference.path", str(reference.directory))
    (run_dir / "logs").mkdir(exist_ok=True)
    write_record(run_dir / "manifest.json", manifest)
    write_config(run_dir / "config.yaml", config)  # last: a directory with a config is a prepared run
    return manifest


def _reference(config: RunConfig) -> Reference | None:
    if config.reference is None:
        return None
    pinned, bundle = config.reference_sha256, config.offline
    return load_reference(config.reference, config.revision, pinned=pinned, bundle=bundle)


def tokenizer_sha256(tokenizer: dict[str, Any]) -> str:
    """Of the part of a tokenizer.json that turns text into ids.

    What comes after that (special tokens round a text, padding, truncation) is not used here, and transformers
    writes a post-processor that does nothing into each tokenizer that it saves.
    """
    after = ("post_processor", "padding", "truncation")
    return sha256_of_json({key: value for key, value in tokenizer.items() if key not in after})


def _same_run(stored: Manifest, now: Manifest, run_dir: Path) -> Manifest:
    """The stored manifest, if all that the weights depend on is as it was. Raises BadInputError saying what is not."""
    pairs = {
        "the training configuration": (stored.training_config_sha256, now.training_config_sha256),
        "the reference": (_pinned(stored.reference), _pinned(now.reference)),
        "the tokenizer": (stored.tokenizer_sha256, now.tokenizer_sha256),
        "the corpus": (stored.corpus.sha256, now.corpus.sha256),
        "the held-out text": (stored.corpus.held_out_sha256, now.corpus.held_out_sha256),
    }
    for what, (then, today) in pairs.items():
        if then != today:
            raise BadInputError(
                f"--run-dir {run_dir}: {what} is not what the run began with; name another directory or delete it"
            )
    return stored


def recipe_of(config: RunConfig) -> dict[str, Any]:
    """What two runs of one recipe share: neither seed nor layout, nor anything that only rounds differently."""
    train = config.train
    recipe = _data_recipe(config)
    recipe |= {"train.steps": train.steps, "train.sequence_length": train.sequence_length}
    recipe["train.global_batch_rows"] = train.global_batch_rows
    recipe["train.initialisation"] = train.initialisation
    if train.objective == "distillation":  # an original was not: its recipe has no such key, and none of it differs
        recipe["train.objective"] = train.objective
        keys = ("source", "temperature", *(("documents",) if train.learns_generated_text else ()))
        recipe |= {f"train.distillation.{key}": getattr(train.distillation, key) for key in keys}
    for name, section in (("optimizer", train.optimizer), ("schedule", train.schedule)):
        recipe |= {f"train.{name}.{key}": value for key, value in section.model_dump(mode="json").items()}
    if train.schedule.kind != "wsd":
        del recipe["train.schedule.decay_fraction"]  # which no other schedule uses
    recipe["train.schedule.horizon_steps"] = train.schedule.horizon_steps or train.steps
    return recipe


def _data_recipe(config: RunConfig) -> dict[str, Any]:
    data = config.data
    if not isinstance(data, FilesData):
        return {"data.source": data.source, "data.world_seed": data.world_seed}
    sources = {source.label: source.weight for source in data.sources}  # wherever they lie on this machine
    hygiene = data.hygiene and data.hygiene.model_dump(mode="json")
    return {"data.source": data.source, "data.sources": sources, "data.order": data.order, "data.hygiene": hygiene}


def _seeds(config: RunConfig) -> dict[str, int]:
    data, seeds = config.data, {"train": config.train.seed}
    if config.train.learns_generated_text:
        seeds["generated_text"] = config.train.distillation.seed
    if isinstance(data, FilesData):
        return seeds
    return {**seeds, "world": data.world_seed, "documents": data.documents_seed}


def _tokenizer_file(config: RunConfig, reference: Reference | None) -> Path | None:
    """The tokenizer that is given; None where one is to be trained."""
    named = config.data.tokenizer if isinstance(config.data, FilesData) else None
    if reference is None:
        return tokenizer_path(named) if named else None
    if named is not None:
        raise BadInputError("data.tokenizer: the reference has its own, and the replica needs that one; leave it out")
    return reference.directory / "tokenizer.json"


def _training_sha256(config: RunConfig) -> str:
    return sha256_of_json(recipe(config))


def _pinned(facts: ReferenceFacts | None) -> dict[str, str] | None:
    return facts.sha256 if facts else None


def check_directory(config: RunConfig, run_dir: Path) -> None:
    """Raises BadInputError, naming --run-dir, for a directory that holds another run or what is no run."""
    stored = run_dir / "config.yaml"
    if stored.is_file():
        check_change(load_config(stored), config, run_dir)
        return
    # Without a config: empty, or what a preparation that was cut short leaves.
    known = {
        ".lock",
        "benchmarks",
        "data",
        "model.json",
        "reference.path",
        "manifest.json",
        "logs",
        "attempts",
        "launch",
    }
    found = {path.name for path in run_dir.iterdir()} if run_dir.is_dir() else set()
    data = run_dir / "data"
    ours = not data.is_dir() or (data / DATA_MARK).is_file() or not any(data.iterdir())
    if found - known or not ours:
        raise BadInputError(f"--run-dir {run_dir}: has files in it and is no run directory; name an empty one")
    run_dir.mkdir(parents=True, exist_ok=True)
    if not os.access(run_dir, os.W_OK):
        raise BadInputError(f"--run-dir {run_dir}: cannot be written to")


def _requested(config: RunConfig, reference: Reference | None) -> dict[str, Any]:
    return {**(reference.config if reference else {}), **config.architecture}


def _architecture(config: RunConfig, reference: Reference | None) -> tuple[dict[str, Any], Identity | None]:
    """The replica's complete config.json, and whether it is the reference's, whose weights must fit its config."""
    from train.model import compare_weights, full_config

    replica = full_config(_requested(config, reference), "architecture" if config.architecture else "reference")
    if reference is None:
        return replica.to_dict(), None
    original = full_config(reference.config, "reference")
    stray = compare_weights(reference.directory, original)
    if stray:
        first = stray[0]
        raise BadInputError(
            f"reference: {reference.directory}: its weights are not of its config.json's architecture "
            f"({first.field}: {first.reference} in the weights, {first.replica} by the config)"
        )
    return replica.to_dict(), compare_configs(original.to_dict(), replica.to_dict())


def _check_layout(config: RunConfig, family: Family, architecture: dict[str, Any]) -> None:
    import torch

    train = config.train
    if train.device == "cuda" and not torch.cuda.is_available():
        raise BadInputError("train.device: cuda: torch sees no GPU here; choices: auto, cpu")
    heads, context = architecture[family.heads_key], architecture[family.context_key]
    if family.key_heads_key:  # with grouped heads, each process gets whole groups
        heads = math.gcd(heads, architecture[family.key_heads_key] or heads)
    if heads % train.tensor_parallel_size:
        valid = [n for n in range(1, heads + 1) if heads % n == 0]
        raise BadInputError(
            f"train.tensor_parallel_size: {train.tensor_parallel_size} does not divide the {heads} attention heads "
            f"(of keys, where these are fewer); valid: {', '.join(map(str, valid))}"
        )
    if train.vocab_parallel_head and train.tensor_parallel_size == 1:
        raise BadInputError("train.vocab_parallel_head: true splits nothing with train.tensor_parallel_size 1; drop it")
    _check_precision(train)
    _check_pipeline(train, architecture)
    if train.sequence_length > context:
        raise BadInputError(f"train.sequence_length: {train.sequence_length} is beyond the model's context, {context}")


def device_and_precision(train: TrainConfig) -> tuple[Literal["cpu", "cuda"], Precision]:
    """What "auto" is on this machine."""
    import torch

    device = train.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if train.precision == "auto":
        return device, "bf16" if device == "cuda" else "fp32"
    return device, train.precision


def _check_precision(train: TrainConfig) -> None:
    _, precision = device_and_precision(train)
    if train.zero_stage == 0 and precision != "fp32":
        raise BadInputError(
            f"train.zero_stage: 0 with train.precision {precision}: DeepSpeed then sums gradients in {precision}, and "
            "its set-up counts as AdamW's first step, so it is another training; take train.zero_stage=1"
        )


def _check_pipeline(train: TrainConfig, architecture: dict[str, Any]) -> None:
    stages = train.pipeline_parallel_size
    if stages == 1:
        return
    n_layers = from_hf_config(architecture).n_layers
    _, precision = device_and_precision(train)
    reason = None
    if train.tensor_parallel_size > 1:
        reason = f"with train.tensor_parallel_size {train.tensor_parallel_size}: DeepSpeed cannot do both; set one to 1"
    elif train.zero_stage == 0:
        reason = "with train.zero_stage 0: each stage would clip by a gradient norm of its own; take 1"
    elif train.zero_stage > 1:
        reason = f"with train.zero_stage {train.zero_stage}: DeepSpeed's pipeline splits optimizer states only; take 1"
    elif stages > n_layers:
        reason = f"is more than the model's {n_layers} layers; take at most {n_layers}"
    elif precision == "fp16" and architecture["tie_word_embeddings"]:
        reason = (
            "with train.precision fp16: DeepSpeed does not sum the gradients of the embedding and of the head that is "
            "tied to it; take bf16 or fp32"
        )
    if reason:
        raise BadInputError(f"train.pipeline_parallel_size: {stages} {reason}")


def _check_teacher(train: TrainConfig, architecture: dict[str, Any], reference: Reference) -> None:
    """Can the reference's logits be learned, in this layout and by this replica?"""
    replica, teacher = from_hf_config(architecture), from_hf_config(reference.config)
    key, reason = "train.objective: distillation", None
    if train.pipeline_parallel_size > 1:
        reason = (
            f"with train.pipeline_parallel_size {train.pipeline_parallel_size}: the last stage, which has the logits, "
            "does not see the tokens that the reference would read; set it to 1"
        )
    elif train.vocab_parallel_head:
        reason = "with train.vocab_parallel_head: each process has a part of the vocabulary only; set it to false"
    elif replica.vocab_size != teacher.vocab_size:
        reason = (
            f"the replica's vocabulary has {replica.vocab_size} tokens and the reference's {teacher.vocab_size}, so "
            "their distributions cannot be compared; leave architecture.vocab_size as the reference's"
        )
    elif train.sequence_length > teacher.context:
        reason = f"train.sequence_length {train.sequence_length} is beyond the reference's context, {teacher.context}"
    if reason:
        raise BadInputError(f"{key}: {reason}")


def _extraction(train: TrainConfig) -> Extraction | None:
    if train.objective != "distillation":
        return None
    return Extraction(source=train.distillation.source, temperature=train.distillation.temperature)


def _check_vocabulary(architecture: dict[str, Any], file: Path) -> dict[str, Any]:
    """The tokenizer, as JSON. Raises BadInputError where it has ids that the model does not know."""
    try:
        tokenizer: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{file}: cannot be read: {first_line(error)}") from None
    largest = max(tokenizer["model"]["vocab"].values(), default=-1)
    largest = max([largest, *(token["id"] for token in tokenizer.get("added_tokens", []))])
    if largest >= architecture["vocab_size"]:
        raise BadInputError(
            f"architecture.vocab_size: {architecture['vocab_size']} is fewer than the tokenizer's {largest + 1} tokens"
        )
    return tokenizer


def _check_ids(architecture: dict[str, Any], corpus: CorpusFacts) -> None:
    """A corpus that came tokenised may be of another tokenizer."""
    found = [("data.sources", source) for source in corpus.sources]
    found += [("data.held_out", corpus.held_out_source)] if corpus.held_out_source else []
    for key, source in found:
        if source.largest_id >= architecture["vocab_size"]:
            raise BadInputError(
                f"{key}: {source.name}: has token ids up to {source.largest_id:,} in it, and the model's "
                f"vocab_size is {architecture['vocab_size']:,}: it is of another tokenizer"
            )


def code_version() -> dict[str, Any]:
    """Version, commit and whether the checkout has uncommitted changes; nulls outside git."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        return done.stdout.strip()

    status = git("status", "--porcelain")
    return {
        "version": metadata.version("replibench"),
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
    }


def library_versions() -> dict[str, str]:
    """The versions that numbers depend on."""
    names = ("torch", "deepspeed", "transformers", "tokenizers", "lm_eval", "datasets", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def accelerators() -> list[str]:
    """Names of NVIDIA devices, by NVML; empty where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]


def machine() -> dict[str, Any]:
    """What the run was prepared on; the devices that trained stand in run.json."""
    import psutil

    return {
        "accelerators": accelerators(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
    }
