"""One stage of a pipeline: the reference's own class, without the parts that the other stages have.

Nothing of the model is written again here: positions, rotary embeddings, causal mask and the order of things are
those of the class's own forward pass. What a stage does not have is replaced by a module that changes nothing.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from train.families import Family


class Stage(nn.Module):
    """Stage `index` of `n_stages`: token ids or hidden states in, hidden states or logits out.

    Token ids (rows, length) go into the first, logits (rows, length, vocabulary) come out of the last; between two
    stages go hidden states (rows, length, d_model). Parameters keep the names they have in the whole model.
    """

    def __init__(self, model: PreTrainedModel, family: Family, index: int, n_stages: int) -> None:
        """Takes `model` over: what is not of this stage is removed from it."""
        super().__init__()
        blocks = model.get_submodule(family.blocks)
        assert isinstance(blocks, nn.ModuleList)
        mine = stage_blocks(len(blocks), n_stages)[index]
        for i in range(len(blocks)):
            if i not in mine:
                blocks[i] = _Passed()
        for name in (*(family.before if index > 0 else ()), *(family.after if index < n_stages - 1 else ())):
            parent, _, child = name.rpartition(".")
            part = getattr(model.get_submodule(parent), child)
            if part is not None:  # OPT has some parts in some sizes only
                setattr(model.get_submodule(parent), child, _Nothing() if isinstance(part, nn.Embedding) else _Passed())
        self.model, self._is_first = model, index == 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the class's own forward pass makes of it, as far as this stage goes."""
        output = self.model(input_ids=inputs) if self._is_first else self.model(inputs_embeds=inputs)
        result: torch.Tensor = output.logits
        return result


def stage_blocks(n_layers: int, n_stages: int) -> list[range]:
    """The blocks of each stage: as many in each, up to one."""
    return [range(i * n_layers // n_stages, (i + 1) * n_layers // n_stages) for i in range(n_stages)]


def tied_weight(model: PreTrainedModel) -> nn.Parameter | None:
    """The one weight that is both embedding and head, where the model has such."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return head.weight if head.weight is embedding.weight else None


class _Passed(nn.Module):
    """In place of a block, a norm or a projection: hidden states come out as they go in."""

    def forward(self, hidden_states: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return hidden_states


class _Nothing(nn.Module):
    """In place of an embedding whose output is added to the hidden states: zero."""

    def forward(self, *_: Any, **__: Any) -> torch.Tensor:
        return torch.zeros(())
