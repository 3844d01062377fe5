"""A step whose loss or gradient is not finite changes nothing, on any rank.

DeepSpeed's own optimizers see to it: they look at the global gradient norm and leave weights and moments alone when it
is not finite. Where there is none of them (fp32 without ZeRO) `SkippingAdamW` does the same, in the same words.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist


class SkippingAdamW(torch.optim.AdamW):
    """AdamW that clips by the global norm, and takes no step while a gradient of any rank is not finite.

    `overflow` and `_global_grad_norm` are where DeepSpeed looks for what its own optimizers say of a step.
    """

    overflow = False
    _global_grad_norm: float | None = None

    def __init__(self, groups: Any, *, clipping: float, tensor_parallel_size: int, **options: Any) -> None:
        """`groups`, `options`: AdamW's. `clipping`: the largest global norm; 0: any."""
        super().__init__(groups, **options)
        self._clipping, self._tensor_parallel_size = clipping, tensor_parallel_size

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update, or none. Collective."""
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = self._norm(parameters)
        self._global_grad_norm = float(norm)
        self.overflow = not math.isfinite(self._global_grad_norm)
        if self.overflow:
            return
        if self._clipping > 0:
            torch.nn.utils.clip_grads_with_norm_(parameters, self._clipping, norm)
        super().step(closure)

    def _norm(self, parameters: Iterable[torch.nn.Parameter]) -> torch.Tensor:
        """The global norm, before clipping; not finite on all ranks where it is not on one. Collective.

        DeepSpeed marks the weights that tensor parallelism splits. A part of one is held by as many ranks as there
        are copies of the model, any other weight by all ranks.
        """
        split: list[torch.Tensor | None] = []
        whole: list[torch.Tensor | None] = []
        for parameter in parameters:
            (split if getattr(parameter, "tensor_model_parallel", False) else whole).append(parameter.grad)
        squares = self._tensor_parallel_size * _square(split) + _square(whole)
        dist.all_reduce(squares)
        return torch.sqrt(squares / dist.get_world_size()).float()


def _square(gradients: list[torch.Tensor | None]) -> torch.Tensor:
    """Of their norm, fp64."""
    return torch.nn.utils.get_total_norm([g for g in gradients if g is not None]).double().square()


def poisoned(loss: torch.Tensor, factor: float) -> torch.Tensor:
    """`loss` × `factor`; where the loss is not finite, what makes every gradient NaN, so that the step is skipped.

    (An infinite loss can have finite gradients.) Bit-equal to `loss * factor` otherwise, and without asking the device.
    """
    return loss * (factor + 0 * loss.detach())
