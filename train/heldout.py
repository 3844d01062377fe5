"""Loss on documents that the corpus does not contain: it sees under-training where benchmarks are saturated."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from train.rows import Corpus, inputs_and_labels

BATCH_ROWS = 64  # at most
LOGITS_BYTES = 2**30  # fp32 logits at a time; the loss takes about as much again, beside the training state


@torch.no_grad()
def held_out_loss(directory: Path, corpus: Corpus, device: torch.device, beat: Callable[[], None]) -> float:
    """Mean cross-entropy of a Hugging Face directory's model, fp32, nats per token. Collective: ranks share rows.

    `beat` is called after each batch, as it may be long.
    """
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, use_safetensors=True)
    model = model.to(device).eval()
    rank, world = dist.get_rank(), dist.get_world_size()
    total = torch.zeros(2, dtype=torch.float64, device=device)
    rows = _batch_rows(corpus.facts.sequence_length + 1, model.config.vocab_size)
    for start in range(rank * rows, len(corpus.held_out), world * rows):
        inputs, labels = (
            torch.from_numpy(a).to(device) for a in inputs_and_labels(corpus.held_out[start : start + rows])
        )
        logits = model(input_ids=inputs).logits.float().flatten(0, 1)
        total[0] += cross_entropy(logits, labels.flatten(), reduction="sum").double()
        total[1] += (labels != -100).sum()
        beat()
    dist.all_reduce(total)
    return float(total[0] / total[1])


def _batch_rows(length: int, vocab_size: int) -> int:
    return max(1, min(BATCH_ROWS, LOGITS_BYTES // (4 * length * vocab_size)))
