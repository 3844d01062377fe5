"""Writing a checkpoint: whatever goes wrong, in whichever thread, ends the run and says what is left."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from configs.schema import CheckpointConfig
from tests.distributed import run_distributed
from train import checkpoints
from train.checkpoints import Layout
from train.saving import Saver


class Engine:
    """What a Saver needs of an engine: each rank writes a file, of 30 kB."""

    def save_checkpoint(self, directory: str, tag: str, save_latest: bool) -> None:
        path = Path(directory, tag)
        path.mkdir(exist_ok=True)
        torch.save(torch.ones(7_500), path / f"state-{dist.get_rank()}.pt")


def _saver(run_dir: Path, *, asynchronous: bool = True) -> Saver:
    dist.init_process_group("gloo")
    size = dist.get_world_size()
    layout = Layout(world_size=size, data_parallel_size=size, tensor_parallel_size=1, zero_stage=1, precision="fp32")
    return Saver(run_dir, layout, CheckpointConfig(asynchronous=asynchronous), dist.new_group(), patience_s=30)


def _break(how: str) -> None:
    """From now on, on this rank."""
    if how == "full":
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))  # how a full disk looks to a writer
        return
    if how == "blind":  # a listing over the network that came too late: of two files this rank sees one
        share = checkpoints.share
        checkpoints.share = lambda files, rank, size: share(sorted(files)[:1], 0, 1)  # type: ignore[assignment]
        return

    def facts(path: Path) -> Any:
        raise {"value": ValueError("boom"), "memory": MemoryError(), "thread": SystemExit()}[how]

    checkpoints.file_facts = facts


def save_twice(run_dir: Path, how: str) -> None:
    """The second time the last rank is broken."""
    saver, engine = _saver(run_dir), Engine()
    saver.begin(engine, 4, {})
    saver.finish()
    if dist.get_rank() == dist.get_world_size() - 1:
        _break(how)
    saver.begin(engine, 8, {})
    saver.finish()


@pytest.mark.parametrize(
    ("how", "ranks", "words"),
    [
        ("value", 1, "boom"),
        ("memory", 1, "MemoryError"),
        ("thread", 1, "it is not there after writing"),
        ("full", 2, ""),
        ("blind", 2, r"the ranks do not see the same files in it, \S+ for one"),
    ],
)
def test_a_checkpoint_that_cannot_be_written_is_never_passed_over(
    how: str, ranks: int, words: str, tmp_path: Path
) -> None:
    expected = rf"cannot write checkpoint .*step-00000008: {words}.*; the one before it \(step-00000004\) is whole"
    with pytest.raises(RuntimeError, match=expected):
        run_distributed(save_twice, ranks, tmp_path, how)
    assert [path.name for path in checkpoints.all_of(tmp_path / "checkpoints")] == ["step-00000004"]
    checkpoints.verify(tmp_path / "checkpoints" / "step-00000004")


def what_stands_after_begin(run_dir: Path, asynchronous: bool) -> tuple[bool, bool]:
    """Whether the checkpoint has its name when `begin` returns, though hashing takes its time; and after `finish`."""
    plain, may_hash = checkpoints.file_facts, threading.Event()
    if asynchronous:
        checkpoints.file_facts = lambda path: (may_hash.wait(), plain(path))[1]
    saver, path = _saver(run_dir, asynchronous=asynchronous), run_dir / "checkpoints" / "step-00000004"
    saver.begin(Engine(), 4, {"step": 4})
    begun = path.is_dir()
    dist.barrier()
    may_hash.set()
    saver.finish()
    return begun, path.is_dir()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_training_waits_for_a_whole_checkpoint_exactly_where_it_is_asked_to(asynchronous: bool, tmp_path: Path) -> None:
    stands = run_distributed(what_stands_after_begin, 2, tmp_path, asynchronous)
    assert stands == [(not asynchronous, True)] * 2
    marker = checkpoints.verify(tmp_path / "checkpoints" / "step-00000004")
    assert set(marker.files) == {
        "progress.json",
        *(f"{kind}-{rank}.pt" for kind in ("random", "state") for rank in (0, 1)),
    }
