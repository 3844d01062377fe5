"""Every layout of a model on a machine that is worth timing, and which of them fit into the memory."""

from collections import Counter
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from accounting.architecture import Architecture
from accounting.flops import Recompute
from accounting.memory import Layout, MemoryBytes, activation_bytes_per_layer, memory
from extrapolate.step_time import RECOMPUTES, Layouts, Machine

# Left free for what is not counted: the framework's own, communication buffers, fragmentation (accounting/memory.py).
# With it every layout of configs/throughput.yaml that ran with kernels such as are counted fits the device it ran on.
MARGIN = 0.1

Reason = Literal["heads", "layers", "batch", "memory"]


class Split(NamedTuple):
    """How the devices are shared out: tensor × pipeline × data."""

    tensor: int
    pipeline: int
    data: int


class Kind(NamedTuple):
    """What a layout is beside its split and its micro-batch."""

    interleave: int
    zero_stage: int
    sequence_parallel: bool
    recompute: Recompute


class Miss(NamedTuple):
    """A layout that does not fit, and the bytes that it needs, with the layer at work."""

    layout: Layout
    needed_bytes: int


class Enumeration(NamedTuple):
    """The layouts that fit, how many of what were dropped for which reason, and the nearest miss where none fits.

    Splits are dropped for heads, layers and batch, layouts for memory. `copies` are the numbers of copies of the model
    that heads and layers allow. `considered` has one row a layout that was looked at, `fits` says of each if it does.
    """

    considered: Layouts
    fits: npt.NDArray[np.bool_]
    dropped: Counter[Reason]
    copies: tuple[int, ...]
    nearest_miss: Miss | None

    @property
    def fitting(self) -> Layouts:
        """Those that fit."""
        return Layouts(*(column[self.fits] for column in self.considered))


def enumerate_layouts(
    architecture: Architecture, where: Machine, global_batch: int, sequence_length: int
) -> Enumeration:
    """All layouts of `global_batch` sequences on all devices of the machine.

    Tensor parallelism stays within a node and divides heads and MLP; pipeline stages are equal; the copies divide the
    batch. ZeRO-2 and 3 are for models without a pipeline, as in DeepSpeed; interleaving wants a number of micro-batches
    that the stages divide, as in Megatron-LM.
    """
    dropped: Counter[Reason] = Counter()
    copies: set[int] = set()
    rows: list[tuple[int, ...]] = []
    nearest = None
    for split in _splits(architecture, where, dropped):
        copies.add(split.data)
        if global_batch % split.data:
            dropped["batch"] += 1
            continue
        for kind in _kinds(architecture, where, split, sequence_length):
            sizes = _micro_batches(global_batch // split.data, split, kind)
            fits, miss = _fitting(architecture, where, split, kind, sizes, sequence_length)
            if miss and (nearest is None or miss.needed_bytes < nearest.needed_bytes):
                nearest = miss
            zero, norms, again = kind.zero_stage, int(kind.sequence_parallel), RECOMPUTES.index(kind.recompute)
            rows += [(*split, kind.interleave, size, zero, norms, again, at < fits) for at, size in enumerate(sizes)]
    table = np.array(rows, dtype=np.int64).reshape(-1, len(Layouts._fields) + 1)
    fit = table[:, -1].astype(bool)
    dropped["memory"] = int((~fit).sum())
    return Enumeration(Layouts(*table[:, :-1].T), fit, dropped, tuple(sorted(copies)), None if fit.any() else nearest)


def least_copies(architecture: Architecture, where: Machine) -> int:
    """The fewest copies of the model that the devices can hold, memory aside; 1 where heads and layers allow none."""
    return min((split.data for split in _splits(architecture, where, Counter())), default=1)


def needed_bytes(architecture: Architecture, layout: Layout, sequence_length: int) -> tuple[MemoryBytes, int]:
    """What `memory` counts, and bytes of the layer at work: what recompute holds of it whole, or ZeRO-3 gathers."""
    counted = memory(architecture, layout, sequence_length)
    again = 0
    if layout.recompute != "none":
        whole = layout.model_copy(update={"recompute": "none"})
        again = activation_bytes_per_layer(architecture, whole, sequence_length) - activation_bytes_per_layer(
            architecture, layout, sequence_length
        )
    gathered = counted.parameters * layout.data_parallel_size // architecture.n_layers if layout.zero_stage == 3 else 0
    return counted, again + gathered


def usable_bytes(where: Machine) -> int:
    """Of a device's memory, without the margin."""
    return int(where.memory_bytes * (1 - MARGIN))


def _splits(architecture: Architecture, where: Machine, dropped: Counter[Reason]) -> Iterator[Split]:
    a = architecture
    for t in _divisors(where.devices_per_node):
        if a.n_heads % t or a.d_ff % t or (a.n_kv_heads % t and t % a.n_kv_heads):
            dropped["heads"] += len(_divisors(where.devices // t))
            continue
        for p in _divisors(where.devices // t):
            if a.n_layers % p:
                dropped["layers"] += 1
            else:
                yield Split(t, p, where.devices // t // p)


def _kinds(architecture: Architecture, where: Machine, split: Split, sequence_length: int) -> Iterator[Kind]:
    chunks = _divisors(architecture.n_layers // split.pipeline) if split.pipeline > 1 else [1]
    stages = [0] if split.data == 1 else [0, 1] if split.pipeline > 1 else [0, 1, 2, 3]
    norms = [False] if split.tensor == 1 or sequence_length % split.tensor else [False, True]
    for interleave in chunks:
        for zero in stages:
            for sequence_parallel in norms:
                for recompute in RECOMPUTES:
                    yield Kind(interleave, zero, sequence_parallel, recompute)


def _micro_batches(per_copy: int, split: Split, kind: Kind) -> list[int]:
    sizes = _divisors(per_copy)
    if kind.interleave == 1:
        return sizes
    return [size for size in sizes if per_copy // size % split.pipeline == 0]


def _fitting(
    architecture: Architecture,
    where: Machine,
    split: Split,
    kind: Kind,
    sizes: list[int],
    sequence_length: int,
) -> tuple[int, Miss | None]:
    """How many of the micro-batches fit, the smallest if none does. Memory grows with them, so it is a bisection."""
    limit = usable_bytes(where)

    def needs(size: int) -> tuple[Layout, int]:
        layout = Layout.model_construct(  # checked by construction; there are many
            precision=where.dtype,
            zero_stage=kind.zero_stage,
            data_parallel_size=split.data,
            tensor_parallel_size=split.tensor,
            pipeline_parallel_size=split.pipeline,
            interleave=kind.interleave,
            sequence_parallel=kind.sequence_parallel,
            micro_batch_size=size,
            recompute=kind.recompute,
        )
        counted, at_work = needed_bytes(architecture, layout, sequence_length)
        return layout, counted.total + at_work

    fits, too_many = 0, len(sizes)
    while fits < too_many:
        middle = (fits + too_many) // 2
        if needs(sizes[middle])[1] <= limit:
            fits = middle + 1
        else:
            too_many = middle
    miss = Miss(*needs(sizes[0])) if sizes and not fits else None
    return fits, miss


def _divisors(number: int) -> list[int]:
    small = [k for k in range(1, int(number**0.5) + 1) if number % k == 0]
    return small + [number // k for k in reversed(small) if k * k != number]
