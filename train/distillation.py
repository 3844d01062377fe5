"""Model extraction from logits: the replica learns the reference's distribution of every next token.

The reference stands whole on every process, beside the replica's part. It is only read: its forward pass has no
gradient, and its weights come from safetensors.
"""

from pathlib import Path

import torch
from torch.nn.functional import kl_div, log_softmax
from transformers import AutoModelForCausalLM

from accounting.architecture import Architecture
from accounting.hf_config import from_hf_config
from train.model import CAUSAL_ATTENTION


class Teacher:
    """The reference, whose logits are learned."""

    def __init__(
        self, directory: Path, temperature: float, device: torch.device, dtype: torch.dtype, compiled: bool
    ) -> None:
        """Load a Hugging Face directory's safetensors, in the dtype of the replica's own forward pass."""
        self._model = AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, use_safetensors=True, attn_implementation=CAUSAL_ATTENTION
        )
        self._model.requires_grad_(False).to(device).eval()
        self._model.config.use_cache = False
        self._temperature, self._divergence = temperature, summed_divergence
        if compiled:
            self._model.compile()
            self._divergence = torch.compile(summed_divergence, dynamic=False)

    @property
    def architecture(self) -> Architecture:
        """Its shape, for the count of its FLOPs."""
        return from_hf_config(self._model.config.to_dict())

    @torch.no_grad()
    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Token ids (rows, length) → (rows, length, vocabulary)."""
        logits: torch.Tensor = self._model(input_ids=inputs).logits
        return logits

    def summed_loss(self, logits: torch.Tensor, taught: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """How far the replica's `logits` are from those that were `taught`: see `summed_divergence`."""
        return self._divergence(logits, taught, labels, self._temperature)


def summed_divergence(
    logits: torch.Tensor, taught: torch.Tensor, labels: torch.Tensor, temperature: float
) -> torch.Tensor:
    """T²·KL(teacher‖replica) of the distributions at temperature T, in nats, summed over the tokens that have a label.

    `logits`, `taught`: (rows, length, vocabulary); `labels`: (rows, length), −100 for none. T² keeps the gradient's
    size when T changes (Hinton, Vinyals & Dean 2015, section 2). At T = 1 it is the cross-entropy with the teacher's
    distribution less that distribution's entropy: the same gradient, and 0 when the two agree.
    """
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    ours, theirs = (log_softmax(each.to(wide) / temperature, dim=-1) for each in (logits, taught))
    each_token = kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
    return temperature**2 * (each_token * (labels != -100)).sum()
