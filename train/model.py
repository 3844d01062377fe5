"""The replica before training: the reference's own transformers class, built from its config, random weights."""

import copy
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging as transformers_logging

from accounting.hf_config import from_hf_config
from configs.errors import BadInputError, first_line
from train.families import Family, family_of, scaled_normal_stds
from train.record import Difference

# PyTorch's scaled-dot-product attention, told to be causal. As "sdpa", transformers looks for packed documents
# in the positions first: a wait for the GPU in each forward, and under torch.compile an explicit mask, which shuts
# the flash kernel out. A name that it knows no mask for gets none.
CAUSAL_ATTENTION = "replibench_causal"
AttentionInterface.register(CAUSAL_ATTENTION, sdpa_attention_forward)


def full_config(config: dict[str, Any], where: str = "architecture") -> PretrainedConfig:
    """A config.json dict → transformers config with every default filled in. Raises BadInputError naming `where`."""
    family_of(config, where)
    try:
        keys = {key: value for key, value in config.items() if key != "model_type"}
        return AutoConfig.for_model(config["model_type"], **keys)
    except Exception as error:  # transformers validates with its own types and with bare ValueErrors
        raise BadInputError(f"{where}: {first_line(error)}") from None


def build(
    config: PretrainedConfig, seed: int, device: torch.device | str, initialisation: str = "paper"
) -> PreTrainedModel:
    """A randomly initialised model, fp32, with no dropout.

    `initialisation`: "paper", as the family's paper says; "scaled_normal", as GPT-2's paper says, whatever the family
    (GPT-NeoX's default: megatron/model/init_functions.py); or "transformers", as its class does. The same
    seed gives the same weights on every rank. Dropout is 0: the recipes of GPT-3, Pythia and OPT's final
    phases use none, and with it tensor-parallel ranks would drift apart.
    """
    training = copy.deepcopy(config)
    family = family_of(training.to_dict(), "architecture")
    for key in family.dropout_keys:
        setattr(training, key, 0.0)
    training.use_cache = False
    if getattr(training, "activation_function", None) == "gelu_new":
        training.activation_function = "gelu_pytorch_tanh"  # the same function in one kernel instead of eight
    torch.manual_seed(seed)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            training, attn_implementation=CAUSAL_ATTENTION, dtype=torch.float32
        )
    stds = {"paper": family.initial_stds, "scaled_normal": scaled_normal_stds}.get(initialisation)
    if stds:
        shape = from_hf_config(training.to_dict())
        _draw(model, family, *stds(shape.d_model, shape.n_layers))
    if family.conv1d:
        conv1d_to_linear(model)
    return model


def _draw(model: nn.Module, family: Family, std: float, output_std: float) -> None:
    """Every matrix again, from the normal distribution of its kind; biases are 0 and norms 1 already."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim >= 2:
                writes_residual = any(re.match(pattern, name) for pattern in family.row)
                parameter.normal_(0.0, output_std if writes_residual else std)
        for module in model.modules():
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx] = 0.0


def compare_weights(directory: Path, config: PretrainedConfig) -> tuple[Difference, ...]:
    """Name by name and shape by shape: where a directory's weights are not what `config` describes. Loads no data.

    Asked of transformers' own loader, which knows the names that older versions of a family wrote.
    """
    transformers_logging.disable_progress_bar()
    try:
        _, found = AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            device_map="meta",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            use_safetensors=True,  # never a pickle that lies beside
        )
    except Exception as error:  # safetensors and transformers raise types of their own for damaged or missing files
        raise BadInputError(f"reference: {directory}/*.safetensors: cannot be read: {first_line(error)}") from None
    rows: list[tuple[str, Any, Any]] = [(name, "missing", "expected") for name in found["missing_keys"]]
    rows += [(name, "in the weights", "not expected") for name in found["unexpected_keys"]]
    rows += [(name, list(stored), list(expected)) for name, stored, expected in found["mismatched_keys"]]
    return tuple(Difference(field=name, reference=stored, replica=expected) for name, stored, expected in sorted(rows))


def conv1d_to_linear(model: nn.Module) -> None:
    """Replace GPT-2's Conv1D (weight: in × out) by nn.Linear (out × in): what tensor parallelism can split."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv1D):
                inputs, outputs = child.weight.shape
                linear = nn.Linear(inputs, outputs, device=child.weight.device, dtype=child.weight.dtype)
                linear.weight = nn.Parameter(child.weight.detach().t().contiguous())
                linear.bias = child.bias
                setattr(module, name, linear)


def to_checkpoint_names(family: Family, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Undo `conv1d_to_linear` in a state dict, so that transformers' own class loads it."""
    if not family.conv1d:
        return state
    names = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    return {name: t.t().contiguous() if name.endswith(names) else t for name, t in state.items()}


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: matrices decay, biases and norms do not (GPT-3 appendix B's and Pythia's recipe)."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
