"""The replica before training: the reference's own transformers class, built from its config, random weights."""

import copy
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from configs.errors import BadInputError
from train.families import Family, family_of


def full_config(config: dict[str, Any], where: str = "architecture") -> PretrainedConfig:
    """A config.json dict → transformers config with every default filled in. Raises BadInputError naming `where`."""
    family_of(config, where)
    try:
        keys = {key: value for key, value in config.items() if key != "model_type"}
        return AutoConfig.for_model(config["model_type"], **keys)
    except Exception as error:  # transformers validates with its own types and with bare ValueErrors
        raise BadInputError(f"{where}: {str(error).strip().splitlines()[0]}") from None


def build(config: PretrainedConfig, seed: int, device: torch.device | str) -> PreTrainedModel:
    """A randomly initialised model, fp32, initialised as its family does, with no dropout.

    The same seed gives the same weights on every rank. Dropout is 0: the recipes of GPT-3, Pythia and OPT's final
    phases use none, and with it tensor-parallel ranks would drift apart.
    """
    training = copy.deepcopy(config)
    family = family_of(training.to_dict(), "architecture")
    for key in family.dropout_keys:
        setattr(training, key, 0.0)
    training.use_cache = False
    torch.manual_seed(seed)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            training, attn_implementation="sdpa", dtype=torch.float32
        )
    if family.conv1d:
        conv1d_to_linear(model)
    return model


def parameter_shapes(config: PretrainedConfig) -> dict[str, list[int]]:
    """Name → shape of every tensor that a checkpoint of this config holds (a tied head is not stored twice)."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


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
