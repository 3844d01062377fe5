"""Loss on documents that the corpus does not contain: it sees under-training where benchmarks are saturated."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from train.rows import Corpus, inputs_and_labels

BATCH_ROWS = 64


@torch.no_grad()
def held_out_loss(directory: Path, corpus: Corpus, device: torch.device) -> float:
    """Mean cross-entropy of a Hugging Face directory's model, fp32, nats per token. Collective: ranks share rows."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).to(device).eval()
    rank, world = dist.get_rank(), dist.get_world_size()
    total = torch.zeros(2, dtype=torch.float64, device=device)
    for start in range(rank * BATCH_ROWS, len(corpus.held_out), world * BATCH_ROWS):
        inputs, labels = (
            torch.from_numpy(a).to(device) for a in inputs_and_labels(corpus.held_out[start : start + BATCH_ROWS])
        )
        logits = model(input_ids=inputs).logits.float().flatten(0, 1)
        total[0] += cross_entropy(logits, labels.flatten(), reduction="sum").double()
        total[1] += (labels != -100).sum()
    dist.all_reduce(total)
    return float(total[0] / total[1])
