"""DeepSpeed, and nothing else: the only module that imports it.

`start` turns a plain model into an engine; `write`, `read` and `gather` hide where DeepSpeed keeps what.
"""

import math
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else it looks for accelerators that only a build would have

import deepspeed
import deepspeed.ops
from deepspeed.module_inject.layers import VocabParallelLinear
from deepspeed.sequence.cross_entropy import vocab_parallel_cross_entropy
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from configs.schema import TrainConfig
from train.families import Family
from train.model import decay_groups
from train.skipping import SkippingAdamW

AFTER_THE_WATCHDOG_S = 60


def initialise(device: torch.device, timeout_s: float) -> None:
    """Join the process group that torchrun's environment describes: NCCL on CUDA, gloo on a CPU.

    A collective that takes much longer than `timeout_s` fails; the watchdog, which knows more, comes before.
    """
    # DeepSpeed would compile a shared-memory extension at the first start, print to stdout on each rank, and hang
    # on a stale build lock. gloo does the work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    patience = timedelta(seconds=timeout_s + AFTER_THE_WATCHDOG_S)
    backend = "nccl" if device.type == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, timeout=patience, verbose=False)


def start(
    model: PreTrainedModel, family: Family, train: TrainConfig, precision: str, *, universal: bool = False
) -> Any:
    """Wrap the model: tensor-parallel split, ZeRO, AdamW, clipping. Returns the DeepSpeed engine.

    With `universal`, `read` will be given a checkpoint that was converted from another layout.
    """
    bare = train.zero_stage == 0 and precision == "fp32"  # DeepSpeed wraps nothing round the optimizer then
    optimizer = (SkippingAdamW if bare else torch.optim.AdamW)(
        decay_groups(model, train.optimizer.weight_decay),
        lr=train.optimizer.learning_rate,
        betas=train.optimizer.betas,
        eps=train.optimizer.eps,
        fused=True,
    )
    if train.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    settings = _settings(family, train, precision)
    if universal:
        settings["checkpoint"] = {"load_universal": True}
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings)
    if train.tensor_parallel_size > 1 and family.after_split:
        family.after_split(engine.module)
    if train.compile:
        engine.module.compile()  # in place: parameters keep their names
    return engine


def _settings(family: Family, train: TrainConfig, precision: str) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": train.micro_batch_size,
        "gradient_accumulation_steps": train.gradient_accumulation_steps,
        "gradient_clipping": train.optimizer.gradient_clipping,
        "zero_optimization": {"stage": train.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
        "wall_clock_breakdown": False,
    }
    if train.offload_optimizer:
        settings["zero_optimization"]["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
        settings["zero_force_ds_cpu_optimizer"] = False  # torch's own AdamW needs no compiler on the machine
    if precision != "fp32":
        settings[precision] = {"enabled": True}
        settings["data_types"] = {"grad_accum_dtype": "fp32"}  # sums of many half-precision gradients lose bits
    if train.tensor_parallel_size > 1:
        specs: list[dict[str, Any]] = [{"patterns": list(family.column), "partition_type": "column"}]
        specs += [{"patterns": list(family.row), "partition_type": "row"}]
        if family.fused_qkv:
            fused = {"patterns": [family.fused_qkv], "partition_type": "column", "shape": [3, -1], "partition_dim": 0}
            specs.insert(0, fused)
        settings["tensor_parallel"] = {
            "autotp_size": train.tensor_parallel_size,
            "partition_config": {"use_default_specs": False, "layer_specs": specs},
            "vocab_parallel_lm_head": train.vocab_parallel_head,
        }
    return settings


def summed_loss(engine: Any, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in nats, summed over tokens: logits (rows, length, vocabulary), or this rank's part of it; labels
    (rows, length), −100 for none."""
    head = _vocab_parallel_head(engine)
    flat = logits.flatten(0, 1)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    targets = labels.flatten()
    if head is None:
        return cross_entropy(flat, targets, reduction="sum")
    total: torch.Tensor = vocab_parallel_cross_entropy(
        flat,
        targets,
        head.mp_group,
        vocab_start_index=head.vocab_start_index,
        vocab_end_index=head.vocab_end_index,
        global_vocab_size=engine.module.config.vocab_size,
        reduction="sum",
    )
    return total


def whole_logits(engine: Any, logits: torch.Tensor) -> torch.Tensor:
    """Logits over the whole vocabulary, where a vocabulary-parallel head gave each rank a part. Collective."""
    head = _vocab_parallel_head(engine)
    if head is None:
        return logits
    parts = [torch.empty_like(logits) for _ in range(dist.get_world_size(head.mp_group))]
    dist.all_gather(parts, logits.contiguous(), group=head.mp_group)
    return torch.cat(parts, dim=-1)


def _vocab_parallel_head(engine: Any) -> Any:
    return next((module for module in engine.module.modules() if isinstance(module, VocabParallelLinear)), None)


def gradient_norm(engine: Any) -> float | None:
    """Global norm of the last step's gradients before clipping; None where DeepSpeed has none, or fp16 overflowed."""
    norm = engine.get_global_grad_norm()
    return float(norm) if norm is not None and math.isfinite(norm) else None


def write(engine: Any, directory: Path, tag: str) -> None:
    """Write DeepSpeed's files (model, optimizer, loss scale) as `directory`/`tag`. Collective."""
    engine.save_checkpoint(str(directory), tag=tag, save_latest=False)


def read(engine: Any, directory: Path, tag: str) -> None:
    """Load what `write` wrote at the same layout, or its universal form at any (see `start`). Collective.

    DeepSpeed unpickles these files: they must be ours, to the byte (train/checkpoints.py).
    """
    groups = engine.optimizer.param_groups
    ours = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    path, _ = engine.load_checkpoint(str(directory), tag=tag)
    if path is None:
        raise RuntimeError(f"DeepSpeed found no checkpoint at {directory / tag}")
    # From a universal checkpoint ZeRO-3 gives every group the first one's settings (biases and norms would decay) and
    # one shared step counter (each group would count it up).
    for group, settings in zip(engine.optimizer.param_groups, ours, strict=True):
        group.update(settings)
    for state in getattr(engine.optimizer, "optimizer", engine.optimizer).state.values():
        if torch.is_tensor(state.get("step")):
            state["step"] = state["step"].clone()


def skipped_steps(engine: Any) -> int:
    """How many steps this engine took without changing a weight, because a gradient was not finite."""
    return int(engine.skipped_steps)


def loss_scale(engine: Any) -> float | None:
    """fp16's present loss scale; None in other precisions, which have none."""
    return float(engine.optimizer.loss_scale) if engine.fp16_enabled() else None


def gather(engine: Any) -> dict[str, torch.Tensor] | None:
    """Full, unsplit weights under the module's own names, on rank 0; None elsewhere. Collective."""
    if engine.zero_optimization_stage() == 3 or engine.autotp_size() > 1:
        # private, and the one call that undoes both the ZeRO-3 and the tensor-parallel split; dtype stays
        state = engine._consolidated_16bit_state_dict()
    else:
        state = engine.module.state_dict()
    return {name: tensor.detach().cpu() for name, tensor in state.items()} if dist.get_rank() == 0 else None
