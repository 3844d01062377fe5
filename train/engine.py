"""DeepSpeed, and nothing else: the only module that imports it.

`start` turns a plain model into an engine; `write`, `read` and `gather` hide where DeepSpeed keeps what.
"""

import gc
import math
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else it looks for accelerators that only a build would have

import deepspeed
import deepspeed.ops
from deepspeed.module_inject.layers import VocabParallelLinear
from deepspeed.pipe import LayerSpec, PipelineModule
from deepspeed.sequence.cross_entropy import vocab_parallel_cross_entropy
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from configs.schema import TrainConfig
from train.families import Family
from train.model import decay_groups
from train.pipeline import Stage, tied_weight
from train.skipping import SkippingAdamW, poisoned

AFTER_THE_WATCHDOG_S = 60


def initialise(device: torch.device, timeout_s: float) -> None:
    """Join the process group that torchrun's environment describes: NCCL on CUDA, gloo on a CPU.

    A collective that takes much longer than `timeout_s` fails; the watchdog, which knows more, comes before.
    """
    # DeepSpeed would compile a shared-memory extension at the first start, print to stdout on each rank, and hang
    # on a stale build lock. gloo does the work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    patience = _patience(timeout_s)
    backend = "nccl" if device.type == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, timeout=patience, verbose=False)


def control_group(timeout_s: float) -> Any:
    """A gloo group of all ranks, for what is no tensor of the model. Collective."""
    return dist.new_group(backend="gloo", timeout=_patience(timeout_s))


def _patience(timeout_s: float) -> timedelta:
    return timedelta(seconds=timeout_s + AFTER_THE_WATCHDOG_S)


def start(
    model: PreTrainedModel, family: Family, train: TrainConfig, precision: str, *, universal: bool = False
) -> Any:
    """Wrap the model: tensor-parallel split or pipeline, ZeRO, AdamW, clipping. Returns the DeepSpeed engine.

    With `universal`, `read` will be given a checkpoint that was converted from another layout.
    """
    if train.activation_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    module = _Pipeline(model, family, train.pipeline_parallel_size) if train.pipeline_parallel_size > 1 else model
    settings = _settings(family, train, precision)
    adamw: Callable[..., torch.optim.AdamW] = torch.optim.AdamW
    if train.zero_stage == 0 and precision == "fp32":  # DeepSpeed wraps nothing round the optimizer then
        settings["gradient_clipping"] = 0.0  # DeepSpeed would keep the norm for itself
        clipping, n_parts = train.optimizer.gradient_clipping, train.tensor_parallel_size
        adamw = partial(SkippingAdamW, clipping=clipping, tensor_parallel_size=n_parts)
    optimizer = adamw(
        decay_groups(module, train.optimizer.weight_decay),
        lr=train.optimizer.learning_rate,
        betas=train.optimizer.betas,
        eps=train.optimizer.eps,
        fused=True,
    )
    if universal:
        settings["checkpoint"] = {"load_universal": True}
    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=settings)
    _stay_at_lowest_scale(engine)
    if train.tensor_parallel_size > 1 and family.after_split:
        family.after_split(engine.module)
    if train.compile:
        engine.module.compile()  # in place: parameters keep their names
        # Eager, the loss alone keeps several copies of the logits in fp32, the largest tensor of a small model's step.
        engine.summed_cross_entropy = torch.compile(_summed, dynamic=False)
    return engine


def _stay_at_lowest_scale(engine: Any) -> None:
    """DeepSpeed would end the process when a gradient overflows at fp16's lowest loss scale; train/watch.py does it."""
    if engine.fp16_enabled():
        engine.optimizer.loss_scaler.raise_error_at_min_scale = False


def stop(engine: Any, train: TrainConfig) -> None:
    """Give back what the engine holds beside its own life: hooks, compiled code, the allocator's peak and cache."""
    engine.destroy()
    if train.compile:
        torch.compiler.reset()  # the next model of the class would count as a recompilation, of which few are allowed
    gc.collect()  # hooks and parameters refer to each other
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


class _Pipeline(PipelineModule):  # type: ignore[misc]
    """The stages, one a process, as DeepSpeed's pipeline engine runs them; the last one sums the loss."""

    def __init__(self, model: PreTrainedModel, family: Family, n_stages: int) -> None:
        self.config = model.config
        is_tied = tied_weight(model) is not None
        stages = [LayerSpec(Stage, model, family, index, n_stages) for index in range(n_stages)]
        super().__init__(stages, num_stages=n_stages, loss_fn=self._loss, partition_method="uniform")
        self.factor, self.summed = 0.0, torch.zeros(())
        self._tied: list[tuple[Any, Any]] = self._tie() if is_tied else []

    @property
    def stage(self) -> Stage:
        """This process's."""
        stage: Stage = self.forward_funcs[0]
        return stage

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Under the names of the whole model, so that a checkpoint of one layout has those of the others."""
        yield from self.stage.model.named_parameters(prefix, recurse, remove_duplicate)

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = _summed(logits, labels)
        self.summed = self.summed + loss.detach()
        return poisoned(loss, self.factor)

    def _tie(self) -> list[tuple[Any, Any]]:
        """The embedding of the first stage and the head of the last are one weight: their gradients are summed."""
        ours: list[tuple[Any, Any]] = []
        for ranks in self.topology().get_axis_comm_lists("pipe"):
            group = dist.new_group([ranks[0], ranks[-1]])
            if dist.get_rank() == ranks[0]:
                ours.append((self.stage.model.get_input_embeddings().weight, group))
            elif dist.get_rank() == ranks[-1]:
                weight = self.stage.model.get_output_embeddings().weight
                weight.ds_pipe_replicated = True  # the gradient norm counts it once
                ours.append((weight, group))
        return ours

    def ckpt_layer_path(self, ckpt_dir: str, local_layer_idx: int) -> str:
        """Where the weights of this stage are. Files with DeepSpeed's names its converter would take for Megatron's."""
        return str(Path(ckpt_dir) / f"stage_{self.stage_id:02d}.pt")

    def ckpt_layer_path_list(self, ckpt_dir: str, local_layer_idx: int) -> list[str]:
        """The same, to load them."""
        return [self.ckpt_layer_path(ckpt_dir, local_layer_idx)]

    def get_tied_weights_and_groups(self) -> list[tuple[Any, Any]]:
        """What DeepSpeed sums over each group after the micro-batches."""
        return self._tied


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
    if head is None:
        whole: torch.Tensor = getattr(engine, "summed_cross_entropy", _summed)(logits, labels)
        return whole
    total: torch.Tensor = vocab_parallel_cross_entropy(
        _flat(logits),
        labels.flatten(),
        head.mp_group,
        vocab_start_index=head.vocab_start_index,
        vocab_end_index=head.vocab_end_index,
        global_vocab_size=engine.module.config.vocab_size,
        reduction="sum",
    )
    return total


def _summed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(_flat(logits), labels.flatten(), reduction="sum")


def _flat(logits: torch.Tensor) -> torch.Tensor:
    flat = logits.flatten(0, 1)
    return flat if flat.dtype == torch.float64 else flat.float()


def is_pipeline(engine: Any) -> bool:
    """Whether the engine takes its steps with `run_pipeline`."""
    return isinstance(engine.module, PipelineModule)


def data_parallel_rank(engine: Any) -> int:
    """Which part of the global batch this process works on."""
    if is_pipeline(engine):
        return int(engine.grid.get_data_parallel_rank())
    # DeepSpeed puts the ranks of one tensor-parallel group next to each other.
    return int(dist.get_rank() // max(1, engine.autotp_size()))


def run_pipeline(
    engine: Any, batches: list[tuple[torch.Tensor, torch.Tensor]], factor: float, before_update: Callable[[], None]
) -> torch.Tensor:
    """One optimizer step of a pipeline over this rank's micro-batches (inputs, labels). Collective.

    The loss of each is multiplied by `factor`. `before_update` is called when the gradients are there. Returns the sum
    of the losses of this rank's micro-batches, without the factor: 0 but on the last stage.
    """
    module, optimizer = engine.module, engine.optimizer
    module.factor, module.summed = factor, torch.zeros((), device=engine.device)
    update = optimizer.step

    def announced(*arguments: Any, **options: Any) -> Any:
        before_update()
        return update(*arguments, **options)

    optimizer.step = announced
    try:
        engine.train_batch(iter(batches))
    finally:
        optimizer.step = update
    summed: torch.Tensor = module.summed
    return summed


def logits_of(engine: Any, inputs: torch.Tensor) -> torch.Tensor:
    """What the model makes of token ids (rows, length): (rows, length, vocabulary), on all ranks. Collective."""
    engine.eval()
    with torch.no_grad():
        logits = _pipeline_logits(engine, inputs) if is_pipeline(engine) else _whole_logits(engine, inputs)
    engine.train()
    return logits


def _whole_logits(engine: Any, inputs: torch.Tensor) -> torch.Tensor:
    """Where a vocabulary-parallel head gives each rank a part, the parts together."""
    logits: torch.Tensor = engine(input_ids=inputs).logits
    head = _vocab_parallel_head(engine)
    if head is None:
        return logits
    whole = logits.new_zeros(*logits.shape[:-1], engine.module.config.vocab_size)
    whole[..., head.vocab_start_index : head.vocab_end_index] = logits
    dist.all_reduce(whole, group=head.mp_group)  # not all_gather: the parts of an odd vocabulary differ in size
    return whole


def _pipeline_logits(engine: Any, inputs: torch.Tensor) -> torch.Tensor:
    """The last stage's, for all."""
    engine.reset_activation_shape()  # these rows are another number than those of a micro-batch
    # It must take a loss on the way, whatever the labels: it adds it to that of the last training step.
    _, ours = engine.eval_batch(iter([(inputs, inputs)]), return_logits=True, num_micro_batches=1)
    engine.reset_activation_shape()
    shape, grid = (*inputs.shape, engine.module.config.vocab_size), engine.grid
    logits = torch.empty(shape, dtype=next(engine.module.parameters()).dtype, device=engine.device)
    if ours is not None:
        logits.copy_(ours)
    last = grid.stage_to_global(grid.get_pipe_parallel_world_size() - 1)
    dist.broadcast(logits, src=last, group=grid.get_pipe_parallel_group())
    return logits


def _vocab_parallel_head(engine: Any) -> Any:
    return next((module for module in engine.module.modules() if isinstance(module, VocabParallelLinear)), None)


def gradient_norm(engine: Any) -> float | None:
    """Global norm of the last step's gradients before clipping; None where it is not finite."""
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
    _stay_at_lowest_scale(engine)  # the scaler is the checkpoint's now


def skipped_steps(engine: Any) -> int:
    """How many steps this engine took without changing a weight, because a gradient was not finite."""
    return int(engine.skipped_steps)


def loss_scale(engine: Any) -> float | None:
    """fp16's present loss scale; None in other precisions, which have none."""
    return float(engine.optimizer.loss_scale) if engine.fp16_enabled() else None


def is_lowest_scale(engine: Any) -> bool:
    """Whether fp16's loss scale cannot be lowered any more."""
    return engine.fp16_enabled() and bool(
        engine.optimizer.loss_scaler.cur_scale <= engine.optimizer.loss_scaler.min_scale
    )


def gather(engine: Any) -> dict[str, torch.Tensor] | None:
    """Full, unsplit weights under the module's own names, on rank 0; None elsewhere. Collective."""
    if is_pipeline(engine):
        return _gather_stages(engine)
    if engine.zero_optimization_stage() == 3 or engine.autotp_size() > 1:
        # private, and the one call that undoes both the ZeRO-3 and the tensor-parallel split; dtype stays
        state = engine._consolidated_16bit_state_dict()
    else:
        state = engine.module.state_dict()
    return {name: tensor.detach().cpu() for name, tensor in state.items()} if dist.get_rank() == 0 else None


def _gather_stages(engine: Any) -> dict[str, torch.Tensor] | None:
    """One weight after the other, from the stages of the first copy of the model to rank 0, which is its first."""
    whole: dict[str, torch.Tensor] = {}
    mine = {name: tensor.detach() for name, tensor in engine.module.stage.model.state_dict().items()}
    names: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(names, [(name, tensor.shape, tensor.dtype) for name, tensor in mine.items()])
    for rank in engine.module.topology().get_axis_comm_lists("pipe")[0]:
        for name, shape, dtype in names[rank]:
            if dist.get_rank() == rank == 0:
                whole[name] = mine[name].cpu()
            elif dist.get_rank() == rank:
                dist.send(mine[name].contiguous(), 0)
            elif dist.get_rank() == 0:
                received = torch.empty(shape, dtype=dtype, device=engine.device)
                dist.recv(received, rank)
                whole[name] = received.cpu()
    return whole if dist.get_rank() == 0 else None
