"""Going on from a checkpoint: find the newest good one, check that the data is the same, load it at any layout."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from configs.errors import BadInputError, WorkFailedError
from configs.schema import TrainConfig
from train import certificate, checkpoints, events
from train import engine as deepspeed_engine
from train.checkpoints import Layout, Marker
from train.meters import PhaseClock, Progress
from train.processes import worker_environment
from train.rows import Corpus
from train.saving import restore_random_state

UNIVERSAL = ".universal"  # beside the checkpoints: one that is converted, while it is loaded
_POLL_S = 0.2


@dataclass(frozen=True)
class Found:
    """A checkpoint to go on from, verified; `needs_conversion` where it was written at another layout."""

    path: Path
    step: int
    layout: Layout
    needs_conversion: bool


def layout_of(train: TrainConfig, precision: str) -> Layout:
    """How a run of this configuration splits its state."""
    return Layout(
        world_size=train.world_size,
        data_parallel_size=train.data_parallel_size,
        tensor_parallel_size=train.tensor_parallel_size,
        pipeline_parallel_size=train.pipeline_parallel_size,
        zero_stage=train.zero_stage,
        precision=precision,
    )


def find(run_dir: Path, ours: Layout, control: Any) -> Found | None:
    """The newest good checkpoint, the same on all ranks; what is damaged is said and set aside. Collective.

    Raises BadInputError, on all ranks, where it is of another precision.
    """
    answer: list[Found | None] = [None]
    if dist.get_rank() == 0:
        directory = run_dir / "checkpoints"
        checkpoints.clean(directory)

        def on_damage(path: Path, words: str) -> None:
            step = checkpoints.step_of(path)
            events.note(run_dir, step, "damaged_checkpoint", f"the checkpoint {path.name} is not used: {words}")
            checkpoints.set_aside(path)

        named = checkpoints.all_of(directory)
        good = checkpoints.newest_good(directory, on_damage)
        if named and not good:
            events.note(run_dir, 0, "resumed", "no checkpoint can be used: the run begins again")
        answer[0] = _found(*good, ours) if good else None
    dist.broadcast_object_list(answer, src=0, group=control)
    found = answer[0]
    if found is not None and found.layout.precision != ours.precision:
        raise BadInputError(
            f"train.precision: the checkpoint of step {found.step:,} is of a run in {found.layout.precision}, and here "
            f"it is {ours.precision} (auto: bf16 on CUDA, fp32 on a CPU), which would be another training; go on where "
            "it began, or in another directory"
        )
    return found


def load(found: Found, engine: Any, run_dir: Path, ours: Layout, control: Any, clock: PhaseClock) -> Progress:
    """Load model, optimizer and random state into `engine`; where training stands. Collective."""
    if not found.needs_conversion:
        deepspeed_engine.read(engine, found.path.parent, found.path.name)
        if found.layout == ours:
            restore_random_state(found.path)
    else:
        target = found.path.parent / UNIVERSAL / found.path.name
        _convert(found.path, target, control, clock)
        deepspeed_engine.read(engine, target.parent, target.name)
        dist.barrier(control)
        if dist.get_rank() == 0:
            shutil.rmtree(target.parent)
    if dist.get_rank() == 0:
        words = f"going on from the checkpoint of step {found.step:,}"
        if found.layout != ours:
            words += f" ({found.layout.words()}), now with {ours.words()}"
        events.note(run_dir, found.step, "resumed", words)
    progress = Progress.of_state(json.loads((found.path / checkpoints.PROGRESS).read_text(encoding="utf-8")))
    if found.layout != ours:  # speed is said of the layout that run.json names, so of its own steps only
        progress.interval_step_times_s, progress.warm_up_step_times_s = [], []
    return progress


def check_data_order(progress: Progress, corpus: Corpus) -> None:
    """Raises BadInputError unless the corpus on disk, in the run's order, is what was trained on so far.

    Its hash must be the same, and the few steps that the checkpoint has links of must read the same ids. Every rank
    looks for itself: on several machines each reads its own copy.
    """
    reason = None
    if corpus.facts.sha256 != progress.corpus_sha256:
        reason = f"its sha256 is {corpus.facts.sha256[:12]}…, the checkpoint's is {str(progress.corpus_sha256)[:12]}…"
    elif (step := certificate.broken_link(progress.data_order_links, corpus.batch)) is not None:
        reason = f"step {step + 1:,} would read other tokens than it did"
    if reason:
        raise BadInputError(
            f"data: the corpus or its order is not what the run began with: {reason}; restore data/ or start in "
            "another directory"
        )


def _found(path: Path, marker: Marker, ours: Layout) -> Found:
    theirs = marker.layout
    # Without ZeRO in fp32 every data-parallel rank has the whole state.
    bare = {"data_parallel_size": 0, "world_size": 0} if ours.zero_stage == 0 and ours.precision == "fp32" else {}
    same = theirs.model_copy(update=bare) == ours.model_copy(update=bare)
    return Found(path=path, step=marker.step, layout=theirs, needs_conversion=not same)


def _convert(source: Path, target: Path, control: Any, clock: PhaseClock) -> None:
    """DeepSpeed's conversion to a universal checkpoint, in a process of its own; the other ranks wait. Collective."""
    process = log = None
    if dist.get_rank() == 0:
        target.mkdir(parents=True)
        log = (target.parent / "log").open("w+")
        command = [sys.executable, "-m", "train.convert", str(source), str(target)]
        process = subprocess.Popen(command, env=worker_environment(1, "cpu"), stdout=log, stderr=log)
    state = torch.zeros(1, dtype=torch.int64)  # 0 at work, 1 done, 2 failed: asked often, so that no wait is long
    while not int(state):
        if process is not None and process.poll() is not None:
            state[0] = 1 if process.returncode == 0 else 2
        dist.broadcast(state, src=0, group=control)
        clock.at("start_up")  # so that the watchdog lets a long one come to its end
        time.sleep(_POLL_S)
    if int(state) == 2:
        words = ""
        if log is not None:
            log.seek(0)
            words = (log.read().strip().split("\n") or [""])[-1]
        raise WorkFailedError(f"cannot convert {source} to this layout: {words or 'rank 0 says why'}")
