"""From the engine to a Hugging Face directory that anyone can load, and proof that it is the same model."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

from configs.errors import WorkFailedError
from configs.schema import FilesData, RunConfig
from train import engine as deepspeed_engine
from train.families import Family
from train.model import to_checkpoint_names
from train.reference import BESIDE_TOKENIZER, reference_directory
from train.rows import Corpus, inputs_and_labels

# fp32: the engine's logits against the reloaded model's, for logits up to 1; larger ones round in proportion.
MAX_LOGIT_DIFFERENCE = 1e-5
TOKENIZER_FILES = ("tokenizer.json", *BESIDE_TOKENIZER, "vocab.json", "merges.txt")


def export(
    engine: Any, family: Family, hf_config: PretrainedConfig, config: RunConfig, data_dir: Path, directory: Path
) -> None:
    """Write config, weights (safetensors), tokenizer and model card to `directory`. Collective."""
    state = deepspeed_engine.gather(engine)
    if dist.get_rank() == 0:
        assert state is not None
        shutil.rmtree(directory, ignore_errors=True)
        try:
            write_model(to_checkpoint_names(family, state), hf_config, config, data_dir, directory)
        except OSError as error:
            raise WorkFailedError(f"cannot write {directory}: {error}") from error
    dist.barrier()


def publish(partial: Path, directory: Path) -> None:
    """Give what was exported and checked its name. Collective."""
    if dist.get_rank() == 0:
        shutil.rmtree(directory, ignore_errors=True)
        partial.rename(directory)
    dist.barrier()


def logit_difference(engine: Any, directory: Path, corpus: Corpus, precision: str, device: torch.device) -> float:
    """Largest absolute difference of logits, engine against reloaded `directory`, on held-out rows. Collective.

    The same on every rank. Raises WorkFailedError when it is above 1e-5 in fp32 (times the largest logit, where
    that is above 1). In half precision it is only
    reported: there the two differ by rounding inside the forward pass.
    """
    inputs = torch.from_numpy(inputs_and_labels(corpus.held_out[:8])[0]).to(device)
    logits = deepspeed_engine.logits_of(engine, inputs).float()
    dtype = torch.float32 if precision == "fp32" else next(engine.module.parameters()).dtype
    reloaded = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, use_safetensors=True)
    with torch.no_grad():
        again = reloaded.to(device).eval()(input_ids=inputs).logits.float()
    gap = (logits - again).abs().max()
    dist.all_reduce(gap, op=dist.ReduceOp.MAX)
    allowed = MAX_LOGIT_DIFFERENCE * max(1.0, float(logits.abs().max()))
    if precision == "fp32" and not float(gap) <= allowed:  # NaN fails too
        raise WorkFailedError(f"{directory}: exported logits differ from the engine's by {float(gap):.1e}")
    return float(gap)


def write_model(
    state: dict[str, torch.Tensor], hf_config: PretrainedConfig, config: RunConfig, data_dir: Path, directory: Path
) -> None:
    """Weights under transformers' own names, with config, tokenizer and card, synced to the disk."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(hf_config)
    model.load_state_dict(state, strict=True, assign=True)
    model.tie_weights()
    model.save_pretrained(directory)
    _write_tokenizer(config, hf_config, data_dir, directory)
    (directory / "README.md").write_text(_model_card(config), encoding="utf-8")
    for path in directory.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def _write_tokenizer(config: RunConfig, hf_config: PretrainedConfig, data_dir: Path, directory: Path) -> None:
    """The reference's own tokenizer files; for a model without a reference, those of the corpus's tokenizer."""
    reference = reference_directory(data_dir.parent)
    if reference is not None:
        for name in TOKENIZER_FILES:
            if (reference / name).is_file():
                shutil.copyfile(reference / name, directory / name)
        return
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(data_dir / "tokenizer.json"),
        bos_token=end,
        eos_token=end,
        pad_token=end,
        model_max_length=getattr(hf_config, "max_position_embeddings", config.train.sequence_length),
    )
    tokenizer.save_pretrained(directory)


def _text(config: RunConfig) -> str:
    if isinstance(config.data, FilesData):
        return ", ".join(source.label for source in config.data.sources)
    return f"`{config.data.source}` (generated text; the model knows nothing of the world)"


def _model_card(config: RunConfig) -> str:
    train = config.train
    what = f"a replica of `{Path(config.reference).name}`" if config.reference else "a model of its own architecture"
    tokens = train.steps * train.global_batch_rows * train.sequence_length
    return f"""---
library_name: transformers
license: apache-2.0
---
# {config.name}

Trained from random initialisation by replibench: {what}, seed {train.seed}, {train.steps:,} steps,
{tokens:,} tokens of {_text(config)}.
The run's manifest.json says what code, data and machine it came from.
"""
