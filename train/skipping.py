"""A step whose loss or gradient is not finite changes nothing, on any rank.

DeepSpeed's own optimizers see to it: they look at the global gradient norm and leave weights and moments alone when it
is not finite. Where there is none of them (fp32 without ZeRO) `SkippingAdamW` does the same, in the same words.
"""

from typing import Any

import torch
import torch.distributed as dist


class SkippingAdamW(torch.optim.AdamW):
    """AdamW that takes no step while a gradient of any rank is not finite; `overflow` is where DeepSpeed looks."""

    overflow = False

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update, or none. Collective."""
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        bad = (~torch.isfinite(torch.nn.utils.get_total_norm(gradients))).to(torch.float32)
        dist.all_reduce(bad, op=dist.ReduceOp.MAX)  # tensor-parallel ranks hold different gradients
        self.overflow = bool(bad)
        if not self.overflow:
            super().step(closure)


def poisoned(loss: torch.Tensor, factor: float) -> torch.Tensor:
    """`loss` × `factor`; where the loss is not finite, what makes every gradient NaN, so that the step is skipped.

    (An infinite loss can have finite gradients.) Bit-equal to `loss * factor` otherwise, and without asking the device.
    """
    return loss * (factor + 0 * loss.detach())
