"""The bytes that training keeps on one device: the model's states and what the backward pass waits for.

States: Rajbhandari et al. 2020 (ZeRO), section 3.1. Activations: Korthikanti et al. 2022, section 4 and Table 2; for a
GPT shape in 16 bits a layer's sum is theirs to the last byte, for other shapes the same list of tensors is added up.
The embedding and the head are split over the vocabulary, as Megatron-LM does.

Not counted: the framework's own (the CUDA context, communication buffers, a ZeRO-3 layer while it is gathered),
fragmentation, the one layer that full recompute holds whole while it goes back through it, and what is outside the
layers beside the logits (the embedding's dropout, the inputs of the last norm and of the head: 5sbh together).
"""

import functools
import math
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from accounting.accelerators import Dtype
from accounting.architecture import Architecture
from accounting.errors import SizeError
from accounting.flops import Recompute

BYTES_PER_ELEMENT: dict[Dtype, int] = {"fp32": 4, "bf16": 2, "fp16": 2}
MASK_BYTES = 1  # a dropout mask's element
LOGITS_BYTES = 4  # the loss is taken in fp32


class BytesPerParameter(NamedTuple):
    """What Adam keeps for a parameter."""

    parameters: int
    gradients: int
    optimizer: int


# 16 bits: a 2-byte weight and gradient; an fp32 copy of the weight and two fp32 moments in the optimizer, 16 in all.
STATES: dict[Dtype, BytesPerParameter] = {
    "fp32": BytesPerParameter(4, 4, 8),
    "bf16": BytesPerParameter(2, 2, 12),
    "fp16": BytesPerParameter(2, 2, 12),
}


class Layout(BaseModel):
    """How one training run is spread over so many `devices`.

    `interleave` is the number of chunks of layers that a pipeline stage has (Megatron-LM's virtual stages, 1: none).
    `sequence_parallel` splits over the tensor-parallel group what tensor parallelism alone leaves whole.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: Dtype = "bf16"
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0
    data_parallel_size: PositiveInt = 1
    tensor_parallel_size: PositiveInt = 1
    pipeline_parallel_size: PositiveInt = 1
    interleave: PositiveInt = 1
    sequence_parallel: bool = False
    micro_batch_size: PositiveInt = 1
    recompute: Recompute = "none"

    @property
    def devices(self) -> int:
        """How many the layout occupies. A device is what one process has: an accelerator, or half an MI250X."""
        return self.data_parallel_size * self.tensor_parallel_size * self.pipeline_parallel_size


class MemoryBytes(BaseModel):
    """Bytes on the fullest device, which is one of pipeline stage `stage` (0 is the first)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stage: int
    parameters: int
    gradients: int
    optimizer: int
    activations: int
    logits: int
    total: int


def memory(architecture: Architecture, layout: Layout, sequence_length: int) -> MemoryBytes:
    """Bytes on the fullest device when the pipeline is full (1F1B, at least as many micro-batches as stages).

    That is one of the first stage, which waits longest for its backward pass and has the embedding, or of the last,
    which has the head. Raises SizeError, naming the field of `layout`, for a split that does not come out even.
    """
    _check(architecture, layout)
    last = layout.pipeline_parallel_size - 1
    ends = (_stage_memory(architecture, layout, sequence_length, stage) for stage in sorted({0, last}))
    return max(ends, key=lambda stage: stage.total)


def activation_bytes_per_layer(architecture: Architecture, layout: Layout, sequence_length: int) -> int:
    """What one layer keeps of one micro-batch for the backward pass, on each device of a tensor-parallel group.

    GPT in 16 bits: sbh(10 + 24/t + 5as/(ht)); sequence-parallel sbh(34/t + 5as/(ht)); selective: without the last
    term; full: 2sbh, and 2sbh/t if the layer's input is split too. With dropout, as there; without it (Llama,
    Pythia) the masks are not there and this is an upper bound.
    """
    a, t, element = architecture, layout.tensor_parallel_size, BYTES_PER_ELEMENT[layout.precision]
    whole_split = t if layout.sequence_parallel else 1
    tokens = sequence_length * layout.micro_batch_size
    if layout.recompute == "full":
        return _ceil_div(tokens * element * a.d_model, whole_split)
    # A parallel residual hands the same tensor to both norms, and with one norm the same to attention and MLP.
    norm_inputs = 1 if a.parallel_residual else a.norms_per_layer
    inputs = 1 if a.parallel_residual and a.norms_per_layer == 1 else 2
    # Inputs of the norms, inputs of attention and MLP, the masks of their outputs' dropout.
    whole = a.d_model * (element * (norm_inputs + inputs) + MASK_BYTES * 2)
    # Queries, keys, values, the output projection's input.
    split = element * (2 * a.query_width + 2 * _key_value_width_kept(a, t))
    # The activation's input and output; with a gate: gate, activated gate, up-projection, their product.
    split += element * a.d_ff * (4 if a.gated_mlp else 2)
    if layout.recompute == "none":  # softmax, its dropout's mask and output: the part that a flash kernel never stores
        split += a.n_heads * sequence_length * (2 * element + MASK_BYTES)
    return _ceil_div(tokens * (whole * t + split * whole_split), t * whole_split)


def _key_value_width_kept(architecture: Architecture, tensor_parallel: int) -> int:
    """Width of the keys over the whole group: with fewer key heads than devices each has one of its own."""
    return max(architecture.n_kv_heads, tensor_parallel) * architecture.d_head


def _stage_memory(architecture: Architecture, layout: Layout, sequence_length: int, stage: int) -> MemoryBytes:
    p, t, m = layout.pipeline_parallel_size, layout.tensor_parallel_size, layout.interleave
    first, last = stage == 0, stage == p - 1
    layers = _ceil_div(architecture.n_layers, p)
    activations = (
        _chunks_waiting(p, m, stage)
        * _ceil_div(layers, m)
        * activation_bytes_per_layer(architecture, layout, sequence_length)
    )
    tokens = sequence_length * layout.micro_batch_size
    logits = tokens * LOGITS_BYTES * _ceil_div(architecture.padded_vocab_size, t) if last else 0
    states = _states(_parameters(architecture, t, layers, first, last), layout)
    return MemoryBytes(
        stage=stage,
        parameters=states.parameters,
        gradients=states.gradients,
        optimizer=states.optimizer,
        activations=activations,
        logits=logits,
        total=sum(states) + activations + logits,
    )


def _chunks_waiting(stages: int, interleave: int, stage: int) -> int:
    """Chunks of layers (a stage's layers without interleaving) that wait for their backward pass, at most, at once.

    1F1B: a stage has forwarded as many micro-batches as there are stages from it to the end. Interleaved (Megatron-LM):
    2·(stages after it) + (m − 1)p chunks of warm-up and the one at work, at the first stage L(1 + (p − 1)/(pm)) layers
    (Korthikanti et al. 2022, section 4.2.3).
    """
    if interleave == 1:
        return stages - stage
    return 2 * (stages - 1 - stage) + (interleave - 1) * stages + 1


@functools.lru_cache(maxsize=1024)  # a planner asks the same few of thousands of layouts
def _parameters(architecture: Architecture, tensor_parallel: int, layers: int, first: bool, last: bool) -> int:
    """Of one device: those of a model with its share of the heads, of the MLP's width and of the vocabulary."""
    t = tensor_parallel
    share = architecture.model_copy(
        update={
            "n_layers": layers,
            "n_heads": architecture.n_heads // t,
            "n_kv_heads": max(1, architecture.n_kv_heads // t),
            "d_ff": architecture.d_ff // t,
            "padded_vocab_size": _ceil_div(architecture.padded_vocab_size, t),
            "embedding_norm": architecture.embedding_norm and first,
            "final_norm": architecture.final_norm and last,
        }
    )
    counts = share.parameter_counts()
    # A tied head is the embedding; on a stage of its own it is a copy, kept equal by summing the gradients.
    head = counts.embedding if architecture.tied_head and not first else counts.head
    return counts.non_embedding + first * (counts.embedding + counts.positions) + last * head


def _states(parameters: int, layout: Layout) -> BytesPerParameter:
    """Bytes of the states of so many parameters after ZeRO: stage 1 splits the optimizer, 2 also gradients, 3 all."""
    shared = _ceil_div(parameters, layout.data_parallel_size)
    each = STATES[layout.precision]
    return BytesPerParameter(
        parameters=each.parameters * (shared if layout.zero_stage >= 3 else parameters),
        gradients=each.gradients * (shared if layout.zero_stage >= 2 else parameters),
        optimizer=each.optimizer * (shared if layout.zero_stage >= 1 else parameters),
    )


def _check(architecture: Architecture, layout: Layout) -> None:
    t, p, m = layout.tensor_parallel_size, layout.pipeline_parallel_size, layout.interleave
    layers, key_heads = architecture.n_layers, architecture.n_kv_heads
    for key, size in (("n_heads", architecture.n_heads), ("d_ff", architecture.d_ff)):
        if size % t:
            raise SizeError(
                "tensor_parallel_size", f"{t} does not divide the model's {key} {size}; {_divisors(architecture)}"
            )
    if key_heads % t and t % key_heads:
        raise SizeError("tensor_parallel_size", f"{t} and the model's n_kv_heads {key_heads} do not divide each other")
    if p > layers:
        raise SizeError("pipeline_parallel_size", f"{p} stages are more than the model's {layers} layers")
    if m > 1 and p == 1:
        raise SizeError("interleave", f"{m} chunks a stage need a pipeline of at least two stages")
    if m > 1 and layers % (p * m):
        raise SizeError("interleave", f"{p} stages × {m} chunks do not divide the model's {layers} layers")


def _divisors(architecture: Architecture) -> str:
    """What tensor parallelism can be, up to what anybody has in a node or two."""
    both = math.gcd(architecture.n_heads, architecture.d_ff)
    return "those that do: " + ", ".join(str(n) for n in range(1, min(both, 64) + 1) if both % n == 0)


def _ceil_div(amount: int, shares: int) -> int:
    return -(-amount // shares)
