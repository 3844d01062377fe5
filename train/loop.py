"""The training loop: rows in, optimizer steps out. Everything it reports goes through the meters."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from configs.errors import WorkFailedError
from configs.schema import TrainConfig
from train import engine as deepspeed_engine
from train.attempts import Attempts
from train.distillation import Teacher
from train.meters import Interval, PhaseClock, Progress
from train.rows import Corpus, inputs_and_labels
from train.saving import Saver
from train.schedule import learning_rate_factor
from train.skipping import poisoned
from train.trackers import Feed
from train.watch import StepDone, Watch


@dataclass(frozen=True)
class Workplace:
    """What a process of the run works with; `control` is a gloo group for flags, also where tensors use NCCL."""

    engine: Any
    device: torch.device
    control: Any
    clock: PhaseClock
    teacher: Teacher | None  # whose logits are learned, in place of the text
    saver: Saver
    trackers: list[Feed]
    attempts: Attempts
    data_parallel_rank: int
    is_main: bool


def train_steps(
    place: Workplace,
    train: TrainConfig,
    corpus: Corpus,
    progress: Progress,
    run_dir: Path,
    totals: Callable[[], dict[str, float]],
    stop_requested: Callable[[], bool],
) -> bool:
    """Train from `progress` to the last step. Returns False when a stop was requested (a checkpoint is written).

    `totals`: what goes into each logged line beside the steps' own figures. Collective. Raises WorkFailedError when too
    many steps in a row had a loss or gradient that is not finite.
    """
    watch = Watch(place.engine, place.saver, train, run_dir if place.is_main else None)
    interval = Interval(place.clock)
    while progress.step < train.steps:
        done = _step(place, train, corpus, progress, stop_requested())
        progress.add(done.loss, done.tokens)
        watch.look_at(progress, done)
        place.saver.check()
        interval.steps += 1  # after a resume fewer than a line stands for
        place.clock.settle()
        if progress.step % train.log_every_steps == 0 or progress.step == train.steps:
            _log(place, train, progress, interval, totals(), run_dir / "metrics.jsonl")
            interval.start_next()
        place.attempts.came_to(progress.step)
        if progress.step % train.checkpoint.every_steps == 0 or progress.step == train.steps or done.stop:
            _checkpoint(place, progress)
        if done.stop and progress.step < train.steps:
            place.saver.finish()
            totals()
            place.attempts.came_to(progress.step)
            return False
    with place.clock.phase("checkpoint"):
        place.saver.finish()
    return True


def _step(place: Workplace, train: TrainConfig, corpus: Corpus, progress: Progress, stop: bool) -> StepDone:
    """One optimizer step over the global batch; `stop`: this rank was asked to. Says what all ranks agree on."""
    with place.clock.phase("data"):
        stored = corpus.batch(progress.step)
        progress.read(stored)
        inputs, labels = (torch.from_numpy(a) for a in inputs_and_labels(stored))
        tokens = int((labels != -100).sum())
        mine = list(_micro_batches(inputs, labels, train, place.data_parallel_rank, place.device))
    rate = train.optimizer.learning_rate * learning_rate_factor(train.schedule, progress.step, train.steps)
    for group in place.engine.optimizer.param_groups:
        group["lr"] = rate
    skipped = deepspeed_engine.skipped_steps(place.engine)
    # DeepSpeed averages over ranks and micro-batches; this makes the average that over all tokens of the global batch,
    # however they fall on ranks, so the layout does not change the gradient.
    factor = train.data_parallel_size * train.gradient_accumulation_steps / tokens
    summed = _take(place, mine, factor)
    skipped = deepspeed_engine.skipped_steps(place.engine) - skipped
    data = int(progress.data_order_sha256[:10], 16)  # 40 bits: their sum over ranks is exact
    return _agree(place, train, float(summed), tokens, stop, skipped, data)


def _take(place: Workplace, mine: list[tuple[torch.Tensor, torch.Tensor]], factor: float) -> torch.Tensor:
    """The optimizer step over this rank's micro-batches; its summed loss."""
    if deepspeed_engine.is_pipeline(place.engine):
        with ExitStack() as phase:
            phase.enter_context(place.clock.phase("forward_backward"))

            def before_update() -> None:
                phase.close()
                phase.enter_context(place.clock.phase("optimizer"))

            return deepspeed_engine.run_pipeline(place.engine, mine, factor, before_update)
    summed = torch.zeros((), device=place.device)
    for inputs, labels in mine:
        taught = _taught(place, inputs)
        with place.clock.phase("forward_backward"):
            loss = _summed_loss(place, inputs, taught, labels)
            place.engine.backward(poisoned(loss, factor))
            summed += loss.detach()
        with place.clock.phase("optimizer"):
            place.engine.step()
    return summed


def _taught(place: Workplace, inputs: torch.Tensor) -> torch.Tensor | None:
    """The teacher's logits, where they are learned."""
    if place.teacher is None:
        return None
    with place.clock.phase("teacher"):
        return place.teacher.logits(inputs)


def _summed_loss(
    place: Workplace, inputs: torch.Tensor, taught: torch.Tensor | None, labels: torch.Tensor
) -> torch.Tensor:
    """Of one micro-batch, over its predicted tokens."""
    logits = place.engine(input_ids=inputs).logits
    if place.teacher is None or taught is None:
        return deepspeed_engine.summed_loss(place.engine, logits, labels)
    return place.teacher.summed_loss(logits, taught, labels)


def _agree(
    place: Workplace, train: TrainConfig, summed: float, tokens: int, stop: bool, skipped: int, data: int
) -> StepDone:
    """What all ranks together did. Raises WorkFailedError where they did not do the same."""
    place.clock.at("agreement")
    shared = torch.tensor([summed / train.tensor_parallel_size, stop, skipped, data], dtype=torch.float64)
    dist.all_reduce(shared, group=place.control)
    if shared[3] != data * train.world_size:
        raise WorkFailedError(f"the ranks read different data: their corpora differ; {place.saver.newest()}")
    if shared[2] not in (0, train.world_size):
        raise WorkFailedError(
            f"{int(shared[2])} of {train.world_size} ranks skipped a step and the others did not: their weights are no "
            f"longer of one model; {place.saver.newest()}"
        )
    return StepDone(float(shared[0]) / tokens, tokens, bool(shared[1] > 0), bool(shared[2] > 0))


def _micro_batches(
    inputs: torch.Tensor, labels: torch.Tensor, train: TrainConfig, rank: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """This data-parallel rank's part of the global batch, in micro-batches of (rows, length)."""
    size = train.micro_batch_size
    for start in range(rank * size, len(inputs), train.data_parallel_size * size):
        part = slice(start, start + size)
        yield inputs[part].to(device, non_blocking=True), labels[part].to(device, non_blocking=True)


def _log(
    place: Workplace, train: TrainConfig, progress: Progress, interval: Interval, totals: dict[str, float], path: Path
) -> None:
    step_s = interval.seconds_per_step()
    loss = progress.close_interval(step_s, is_warm_up=interval.is_first)
    if not place.is_main:
        return
    batch_tokens = train.global_batch_rows * train.sequence_length
    factor = learning_rate_factor(train.schedule, progress.step - 1, train.steps)
    line = {
        "step": progress.step,
        "tokens": progress.step * batch_tokens,
        "loss": loss,
        "learning_rate": train.optimizer.learning_rate * factor,
        "grad_norm": deepspeed_engine.gradient_norm(place.engine),
        "step_time_s": step_s,
        "tokens_per_s": batch_tokens / step_s,
        **totals,
    }
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
    except OSError as error:
        raise WorkFailedError(f"cannot write {path}: {error.strerror}; {place.saver.newest()}") from None
    for tracker in place.trackers:
        tracker.log(line)


def _checkpoint(place: Workplace, progress: Progress) -> None:
    with place.clock.phase("checkpoint"):
        progress.phase_s = dict(place.clock.seconds)
        place.saver.begin(place.engine, progress.step, progress.state())
