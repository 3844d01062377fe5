"""Run the real training worker on N gloo processes: the one way in which tests here go distributed.

A fork server imports torch, transformers and DeepSpeed once; each test's processes are forked from it.
"""

import multiprocessing
import os
import socket
import traceback
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.distributed_preload"])
TIMEOUT_S = 180


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def run_distributed(function: Any, world_size: int, *arguments: Any) -> list[Any]:
    """Call `function(*arguments)` on `world_size` processes with torchrun's environment; their results by rank.

    Raises RuntimeError with the traceback of the first rank that failed.
    """
    results = _context.Queue()
    port = free_port()
    processes = [
        _context.Process(target=_child, args=(function, arguments, rank, world_size, port, results))
        for rank in range(world_size)
    ]
    for process in processes:
        process.start()
    by_rank: dict[int, Any] = {}
    try:
        while len(by_rank) < world_size:
            rank, error, value = results.get(timeout=TIMEOUT_S)
            if error:
                raise RuntimeError(f"rank {rank}:\n{error}")
            by_rank[rank] = value
    finally:
        for process in processes:
            process.join(timeout=0 if len(by_rank) < world_size else 20)
            process.kill()
    return [by_rank[rank] for rank in range(world_size)]


def _child(function: Any, arguments: Any, rank: int, world_size: int, port: int, results: Any) -> None:
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(world_size),
        LOCAL_WORLD_SIZE=str(world_size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        CUDA_VISIBLE_DEVICES="",
        DS_ACCELERATOR="cpu",
    )
    try:
        results.put((rank, None, function(*arguments)))
    except BaseException:
        results.put((rank, traceback.format_exc(), None))


def train_worker(run_dir: Path) -> None:
    """What torchrun starts, in this process."""
    from train import trainer

    trainer.main(run_dir)
