"""The pre-flight's last part, from within the processes of the run: do all nodes reach each other, and how fast?

A few small all-reduces: within each node, between neighbours in the ring of nodes, and over all ranks. One between two
nodes is as slow as the slower of them, but a good node has a good neighbour too, unless both are bad.
"""

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import Field

from configs.errors import NodeError
from configs.files import Record, write_record
from train.exits import directory_of
from train.failures import node_name
from train.place import ATTEMPT

FILE = "links.json"
SLOW = 0.25  # of the median of all nodes; the best of some repeats varies by much less
FLOATS = 4 * 2**20  # 16 MiB: large enough for the bandwidth, not the latency, to count
REPEATS = 5


class Links(Record):
    """attempts/ID/links.json: bus bandwidths of all-reduces, bytes/s (data sent and received by each rank)."""

    within: dict[str, float] = Field(description="a node's ranks among themselves; nothing for a node of one")
    between: dict[str, dict[str, float]] = Field(description="node → its neighbours in the ring → one rank of each")
    all_ranks: float

    def slow(self) -> str | None:
        """Which node is far behind the others, in words; None if none is."""
        best = {node: max(neighbours.values()) for node, neighbours in self.between.items()}
        for what, found in (("among its own devices", self.within), ("to its neighbours", best)):
            usual = statistics.median(found.values()) if len(found) > 2 else 0.0  # of two, neither is the usual one
            node = min(found, key=lambda name: found[name], default=None)
            if node is not None and found[node] < SLOW * usual:
                return (
                    f"{node}: an all-reduce {what} has {found[node] / 1e9:.3g} GB/s, and the median of the nodes is "
                    f"{usual / 1e9:.3g} GB/s"
                )
        return None


def nodes_of_ranks(control: Any) -> list[str]:
    """The node of each rank. Collective."""
    names: list[str] = [""] * dist.get_world_size()
    dist.all_gather_object(names, node_name(), group=control)
    return names


def check(run_dir: Path, nodes: Sequence[str], device: torch.device, control: Any) -> None:
    """Measure and keep it (rank 0) for an attempt on several processes. Collective.

    Raises NodeError, on all ranks, naming a node that is far slower than the others.
    """
    attempt = os.environ.get(ATTEMPT)
    if not attempt or len(nodes) == 1:
        return
    found = measure(nodes, device, control)
    if dist.get_rank() == 0:
        write_record(directory_of(run_dir, attempt) / FILE, found)
    reason = found.slow()
    if reason is not None:
        raise NodeError(f"pre-flight: {reason}")


def measure(nodes: Sequence[str], device: torch.device, control: Any) -> Links:
    """`nodes`: the node of each rank. Collective."""
    ranks = {node: [rank for rank, name in enumerate(nodes) if name == node] for node in nodes}
    names = list(ranks)
    ring = list(zip(names, names[1:] + names[:1], strict=True)) if len(names) > 2 else [(names[0], names[-1])]
    mine: dict[tuple[str, str], float] = {}
    for node, members in ranks.items():
        if len(members) > 1:
            _measure_among(members, (node, node), device, mine)
    if len(names) > 1:
        for pair in (*ring[0::2], *ring[1::2]):  # the same order for all, and side by side where they do not meet
            _measure_among([ranks[node][0] for node in pair], pair, device, mine)
    mine["", ""] = _bandwidth(None, device)
    found: list[dict[tuple[str, str], float]] = [{}] * len(nodes)
    dist.all_gather_object(found, mine, group=control)
    slowest = {pair: min(each[pair] for each in found if pair in each) for each in found for pair in each}
    between: dict[str, dict[str, float]] = {}
    for (one, other), rate in slowest.items():
        if one != other:
            between.setdefault(one, {})[other] = between.setdefault(other, {})[one] = rate
    within = {one: rate for (one, other), rate in slowest.items() if one == other and one}
    return Links(within=within, between=between, all_ranks=slowest["", ""])


def _measure_among(
    members: list[int], pair: tuple[str, str], device: torch.device, mine: dict[tuple[str, str], float]
) -> None:
    """Only the members come here; their group is given back, as NCCL's would keep memory."""
    if dist.get_rank() not in members:
        return
    group = dist.new_group(members, use_local_synchronization=True)
    mine[pair] = _bandwidth(group, device)
    dist.destroy_process_group(group)


def _bandwidth(group: Any, device: torch.device) -> float:
    """The best of some all-reduces, the first of which nobody counts: there the ranks wait for each other."""
    tensor, n, best = torch.ones(FLOATS, device=device), dist.get_world_size(group), 0.0
    for repeat in range(1 + REPEATS):
        tensor.fill_(1)
        begin = time.perf_counter()
        dist.all_reduce(tensor, group=group)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        rate = 2 * (n - 1) / n * tensor.nbytes / (time.perf_counter() - begin)
        best = max(best, rate) if repeat else 0.0
    return best
