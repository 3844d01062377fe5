"""The seconds of one optimizer step of a layout on a machine, part by part, for many layouts at once.

A micro-batch on a pipeline stage takes its matmuls at a share of the peak, the traffic of everything else through the
memory, and the tensor-parallel sums over the links of the node. A step is n of them on the fullest stage, the bubble
(Narayanan et al. 2021, section 2.2: (p − 1)/(n·v) of the ideal time for equal stages), the pipeline's sends, what
data parallelism moves, and the optimizer. Two numbers are calibrated (extrapolate/calibration.py); the rest is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from accounting.accelerators import Accelerator, Dtype
from accounting.architecture import Architecture
from accounting.flops import ForwardFlopPerToken, Recompute, forward_flop_per_token
from accounting.memory import BYTES_PER_ELEMENT, Layout, activation_bytes_per_layer, memory
from configs import presets
from configs.errors import BadInputError
from configs.presets import Cluster

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Of a link's or adapter's rate in one direction a collective reaches 78 % (A100, NVLink 3) to 82 % (H200, NVLink 4, in
# rings): stas00/ml-engineering@744d01e:network/README.md, 16 GiB rows of its table of bus bandwidths.
LINK_EFFICIENCY = 0.8
# Bytes that Adam reads and writes for a parameter in mixed precision: the gradient (2) read; fp32 copy and two moments
# (12) read and written; the 16-bit weight (2) written.
OPTIMIZER_TRAFFIC = 2 + 2 * 12 + 2
# Forward, and backward as two: what an unrecomputed layer does in passes of the forward's size.
PASSES = 3
RECOMPUTES: tuple[Recompute, ...] = get_args(Recompute)


@dataclass(frozen=True)
class Machine:
    """Equal devices in equal nodes; rates are of one device, `link_bytes_per_s` in one direction within the node.

    `node_bytes_per_s` leave a node, in one direction through all its adapters. A device is what one process has.
    """

    devices: int
    devices_per_node: int
    dtype: Dtype
    peak_flop_per_s: float
    memory_bytes: int
    memory_bytes_per_s: float
    link_bytes_per_s: float
    node_bytes_per_s: float


@dataclass(frozen=True)
class Efficiency:
    """What is calibrated. `matmul`: the share of the peak that matmuls reach, all sizes alike.

    `activation_traffic`: bytes through the memory in forward and backward, over the bytes of activations that a layer
    without recompute stores: norms, dropout, softmax and the rest read and write what they store some times over.
    """

    matmul: float
    activation_traffic: float


class Layouts(NamedTuple):
    """Layouts as columns, one element each. `recompute` is an index into RECOMPUTES."""

    tensor: Ints
    pipeline: Ints
    data: Ints
    interleave: Ints
    micro_batch: Ints
    zero_stage: Ints
    sequence_parallel: Ints
    recompute: Ints

    def layout(self, at: int, precision: Dtype) -> Layout:
        """One of them."""
        return Layout(
            precision=precision,
            zero_stage=int(self.zero_stage[at]),
            data_parallel_size=int(self.data[at]),
            tensor_parallel_size=int(self.tensor[at]),
            pipeline_parallel_size=int(self.pipeline[at]),
            interleave=int(self.interleave[at]),
            sequence_parallel=bool(self.sequence_parallel[at]),
            micro_batch_size=int(self.micro_batch[at]),
            recompute=RECOMPUTES[self.recompute[at]],
        )


class StepParts(NamedTuple):
    """Seconds of a step by part, on the fullest stage. One element a layout.

    All but `hidden` add up to the step: that is communication of ZeRO-2 and 3 which is taken to run beside the
    computation. How much of it does differs between softwares: with none, the step would be so much longer.
    """

    matmul: Floats
    elementwise: Floats
    tensor_parallel: Floats
    pipeline_bubble: Floats
    pipeline_sends: Floats
    data_parallel: Floats
    optimizer: Floats
    hidden: Floats

    @property
    def total(self) -> Floats:
        """The step."""
        return np.asarray(sum(self[:-1]), dtype=np.float64)


def machine(cluster: Cluster, count: int | None = None) -> Machine:
    """`count` accelerators of the cluster (its own number if None) as devices.

    Raises BadInputError for an accelerator without a peak in the cluster's data type, a usual node, or links within
    one, and for a count that leaves a node partly used.
    """
    node = cluster.node
    if node is None:
        raise BadInputError(
            f"cluster {cluster.name}: configs/nodes.yaml has no node of {cluster.accelerator.name}, so communication "
            f"cannot be timed (it has those of {', '.join(presets.nodes())})"
        )
    try:
        return machine_of(
            cluster.accelerator, count or cluster.count, cluster.dtype, node.accelerators, node.bandwidth_bytes_per_s
        )
    except BadInputError as error:
        raise BadInputError(f"cluster {cluster.name}: {error}") from None


def machine_of(a: Accelerator, count: int, dtype: Dtype, per_node: int, node_bandwidth_bytes_per_s: float) -> Machine:
    """`count` accelerators, `per_node` in a node that sends so many bytes per second. Raises as `machine` does."""
    peak, links = a.peak(dtype), a.interconnect_bytes_per_s
    if peak is None:
        raise BadInputError(f"{a.name} has no {dtype} peak in configs/accelerators.yaml")
    if links is None:
        raise BadInputError(
            f"{a.name} has no interconnect_bytes_per_s in configs/accelerators.yaml, so communication within its nodes "
            "cannot be timed; choose an accelerator with links"
        )
    if count > per_node and count % per_node:
        raise BadInputError(f"{count} accelerators do not fill nodes of {per_node}; give a multiple")
    used = min(count, per_node)
    return Machine(
        devices=count * a.devices,
        devices_per_node=used * a.devices,
        dtype=dtype,
        peak_flop_per_s=peak / a.devices,
        memory_bytes=a.memory_bytes // a.devices,
        memory_bytes_per_s=a.memory_bandwidth_bytes_per_s / a.devices,
        link_bytes_per_s=links / 2 / a.devices,
        node_bytes_per_s=node_bandwidth_bytes_per_s * used / per_node,
    )


def columns(layouts: Sequence[Layout]) -> Layouts:
    """Layouts as columns."""
    rows = [
        (
            one.tensor_parallel_size,
            one.pipeline_parallel_size,
            one.data_parallel_size,
            one.interleave,
            one.micro_batch_size,
            one.zero_stage,
            int(one.sequence_parallel),
            RECOMPUTES.index(one.recompute),
        )
        for one in layouts
    ]
    return Layouts(*np.array(rows, dtype=np.int64).reshape(-1, len(Layouts._fields)).T)


def step_parts(
    architecture: Architecture,
    where: Machine,
    layouts: Layouts,
    global_batch: int,
    sequence_length: int,
    efficiency: Efficiency,
) -> StepParts:
    """Seconds of one step of `global_batch` sequences. The layouts must divide it and be ones that `memory` takes.

    Nothing of the tensor- and pipeline-parallel communication is hidden behind the computation, nor the gradients'
    sum of ZeRO-0 and 1 (Megatron-LM as it was measured). ZeRO-2 and 3 communicate in each micro-batch beside the
    computation, and only what is longer than it counts.
    """
    c, n = layouts, global_batch // (layouts.data * layouts.micro_batch)
    forward = forward_flop_per_token(architecture, sequence_length)
    tokens = c.micro_batch * sequence_length
    layers = -(-architecture.n_layers // c.pipeline)

    flop, head_flop = _layer_flop(architecture, forward, c), PASSES * (forward.logits + forward.embedding_projections)
    at_peak = efficiency.matmul * where.peak_flop_per_s * c.tensor
    matmul, head = flop * tokens / at_peak, head_flop * tokens / at_peak
    elementwise = (
        (efficiency.activation_traffic * _activation_passes(architecture, where, c, sequence_length))
        * c.micro_batch
        / where.memory_bytes_per_s
    )
    sums = _tensor_parallel_s(architecture, where, c, tokens)
    layer = matmul + elementwise + sums

    # The last stage has the head, and where stages are unequal, the fewest layers.
    on_last = architecture.n_layers - layers * (c.pipeline - 1)
    with_head = on_last * layer + head > layers * layer
    fullest_layers = np.where(with_head, on_last, layers)
    fullest_head = np.where(with_head, head, 0.0)
    fullest = fullest_layers * layer + fullest_head
    sends = _pipeline_sends_s(architecture, where, c, tokens)
    everywhere = architecture.n_layers * layer + head + c.pipeline * sends
    bubble = (everywhere - fullest - sends) / c.interleave

    return StepParts(
        matmul=n * (fullest_layers * matmul + fullest_head),
        elementwise=n * fullest_layers * elementwise,
        tensor_parallel=n * fullest_layers * sums,
        pipeline_bubble=bubble,
        pipeline_sends=n * sends,
        **_state_parts(architecture, where, c, n, fullest, sequence_length),
    )


def _layer_flop(architecture: Architecture, forward: ForwardFlopPerToken, c: Layouts) -> Floats:
    """Of one token in one layer, with what recompute runs again."""
    again = {"none": 0, "selective": forward.attention_core, "full": forward.layers}
    per_kind = np.array([PASSES * forward.layers + again[kind] for kind in RECOMPUTES], dtype=np.float64)
    return per_kind[c.recompute] / architecture.n_layers


def _activation_passes(architecture: Architecture, where: Machine, c: Layouts, sequence_length: int) -> Floats:
    """Bytes of activations of a layer and one sequence, times the passes over them relative to one training pass."""
    found = np.empty(len(c.tensor))
    for t, split in {(int(t), bool(s)) for t, s in zip(c.tensor, c.sequence_parallel, strict=True)}:
        sizes = {
            kind: activation_bytes_per_layer(
                architecture,
                Layout(precision=where.dtype, tensor_parallel_size=t, sequence_parallel=split, recompute=kind),
                sequence_length,
            )
            for kind in ("none", "selective")
        }
        core = sizes["none"] - sizes["selective"]
        passes = {"none": 0.0, "selective": core / PASSES, "full": sizes["none"] / PASSES}
        per_kind = np.array([sizes["none"] + passes[kind] for kind in RECOMPUTES])
        here = (c.tensor == t) & (c.sequence_parallel == split)
        found[here] = per_kind[c.recompute[here]]
    return found


def _tensor_parallel_s(architecture: Architecture, where: Machine, c: Layouts, tokens: Ints) -> Floats:
    """Of a layer: a sum over the group after attention and after the MLP, forward, backward, and in a forward again.

    A ring moves 2(t − 1)/t of the tensor (Shoeybi et al. 2019, section 3); sequence parallelism gathers and scatters
    as much (Korthikanti et al. 2022, section 4.2.2). A parallel residual needs one sum for both.
    """
    sums_per_pass = 1 if architecture.parallel_residual else 2
    passes = np.array([3 if kind == "full" else 2 for kind in RECOMPUTES])[c.recompute]
    size = tokens * architecture.d_model * BYTES_PER_ELEMENT[where.dtype]
    outside = where.node_bytes_per_s / where.devices_per_node
    rate = np.where(c.tensor <= where.devices_per_node, where.link_bytes_per_s, outside) * LINK_EFFICIENCY
    return passes * sums_per_pass * 2 * (c.tensor - 1) / c.tensor * size / rate


def _pipeline_sends_s(architecture: Architecture, where: Machine, c: Layouts, tokens: Ints) -> Floats:
    """Of a micro-batch: its activations to the next stage and their gradients back, for each chunk of layers.

    Each device of a tensor-parallel group sends its share through its own adapter (Narayanan et al. 2021, section 4.1).
    """
    size = tokens * architecture.d_model * BYTES_PER_ELEMENT[where.dtype] / c.tensor
    one_node = where.devices <= where.devices_per_node
    rate = where.link_bytes_per_s if one_node else where.node_bytes_per_s / where.devices_per_node
    sent = np.where(c.pipeline > 1, 2 * c.interleave * size / (rate * LINK_EFFICIENCY), 0.0)
    return np.asarray(sent, dtype=np.float64)


def _state_parts(
    architecture: Architecture, where: Machine, c: Layouts, n: Ints, fullest: Floats, sequence_length: int
) -> dict[str, Floats]:
    """What data parallelism moves, and the optimizer.

    ZeRO-0 sums gradients, ZeRO-1 scatters them and gathers weights, once a step: 2(d − 1)/d of a copy. ZeRO-2 scatters
    gradients in each micro-batch and gathers weights once, ZeRO-3 gathers them twice in each (Rajbhandari et al. 2020,
    section 7). Devices of a group in one node share its adapters, so their ring has that many times the rate of one.
    """
    bytes_each = BYTES_PER_ELEMENT[where.dtype]
    copies = _parameter_bytes(architecture, where.dtype, c, sequence_length)
    together = np.minimum(c.data, np.maximum(1, where.devices_per_node // c.tensor))
    outside = np.minimum(where.link_bytes_per_s, where.node_bytes_per_s * together / where.devices_per_node)
    rate = np.where(c.data <= together, where.link_bytes_per_s, outside) * LINK_EFFICIENCY
    once = copies * (c.data - 1) / c.data / rate

    each_micro_batch: Floats = np.array([0.0, 0.0, 1.0, 3.0])[c.zero_stage] * once
    each_step: Floats = np.array([2.0, 2.0, 1.0, 0.0])[c.zero_stage] * once
    shards = np.where(c.zero_stage > 0, c.data, 1).astype(np.float64)
    hidden: Floats = np.minimum(each_micro_batch, fullest)
    optimizer: Floats = copies / bytes_each / shards * OPTIMIZER_TRAFFIC / where.memory_bytes_per_s
    data_parallel: Floats = each_step + n * (each_micro_batch - hidden)
    return {"data_parallel": data_parallel, "optimizer": optimizer, "hidden": n * hidden}


def _parameter_bytes(architecture: Architecture, dtype: Dtype, c: Layouts, sequence_length: int) -> Floats:
    """Bytes of the weights of the fullest stage on one device of a tensor-parallel group, before ZeRO."""
    found = np.empty(len(c.tensor))
    for t, p in {(int(t), int(p)) for t, p in zip(c.tensor, c.pipeline, strict=True)}:
        alone = Layout(precision=dtype, tensor_parallel_size=t, pipeline_parallel_size=p)
        here = (c.tensor == t) & (c.pipeline == p)
        found[here] = memory(architecture, alone, sequence_length).parameters
    return found
