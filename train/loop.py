"""The training loop: rows in, optimizer steps out. Everything it reports goes through the meters."""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy

from configs.errors import WorkFailedError
from configs.schema import TrainConfig
from train import engine as deepspeed_engine
from train import events
from train.certificate import after_batch
from train.data import Corpus, batch_rows, inputs_and_labels, row_order
from train.meters import PhaseClock, Progress
from train.saving import Saver
from train.schedule import learning_rate_factor
from train.skipping import poisoned
from train.spikes import WINDOW, spike_limit


@dataclass(frozen=True)
class Workplace:
    """What a process of the run works with; `control` is a gloo group for flags, also where tensors use NCCL."""

    engine: Any
    device: torch.device
    control: Any
    clock: PhaseClock
    saver: Saver
    data_parallel_rank: int
    is_main: bool


@dataclass(frozen=True)
class StepDone:
    """What all ranks together did in one optimizer step."""

    loss: float  # mean over the predicted tokens of the global batch
    tokens: int  # of them
    stop: bool  # some rank was asked to stop
    skipped: bool  # no weight was changed


class Watch:
    """Looks at each step's loss: steps that were skipped, how many in a row, and losses out of line."""

    def __init__(self, place: Workplace, train: TrainConfig, run_dir: Path) -> None:
        self._place, self._train, self._run_dir = place, train, run_dir

    def look_at(self, progress: Progress, done: StepDone) -> None:
        """Note what is worth it. Raises WorkFailedError when too many steps in a row were skipped."""
        if done.skipped:
            self._skipped(progress, done.loss)
            return
        progress.skipped_in_row = 0
        usual = spike_limit(progress.recent_losses)
        if usual is not None and done.loss > usual:
            words = (
                f"the loss of step {progress.step:,} is {done.loss:.3f}, far above those before it (limit {usual:.3f})"
            )
            self._note(progress, "loss_spike", words)
        progress.recent_losses = [*progress.recent_losses, done.loss][-WINDOW:]

    def _skipped(self, progress: Progress, loss: float) -> None:
        scale = deepspeed_engine.loss_scale(self._place.engine)
        is_scaling = scale is not None and math.isfinite(loss)
        progress.count_skip(is_scaling=is_scaling)
        if is_scaling:
            words = f"step {progress.step:,} is skipped: its fp16 gradients overflowed; the loss scale is now {scale:g}"
            self._note(progress, "loss_scale", words)
            return
        what = "its gradients are not finite" if math.isfinite(loss) else f"its loss is {loss}"
        self._note(progress, "skipped_step", f"step {progress.step:,} is skipped: {what}")
        if progress.skipped_in_row > self._train.max_skipped_steps:
            self._place.saver.finish()
            raise WorkFailedError(
                f"step {progress.step:,}: {what}, the {progress.skipped_in_row}. step in a row that had to be skipped "
                f"(train.max_skipped_steps: {self._train.max_skipped_steps}); {self._place.saver.newest()}; "
                "a lower train.optimizer.learning_rate may help"
            )

    def _note(self, progress: Progress, kind: events.Kind, words: str) -> None:
        if self._place.is_main:
            events.note(self._run_dir, progress.step, kind, words)


def train_steps(
    place: Workplace,
    train: TrainConfig,
    corpus: Corpus,
    progress: Progress,
    run_dir: Path,
    elapsed_s: Callable[[], float],
    stop_requested: Callable[[], bool],
) -> bool:
    """Train from `progress` to the last step. Returns False when a stop was requested (a checkpoint is written).

    Raises WorkFailedError when too many steps in a row had a loss or gradient that is not finite.
    """
    order = row_order(len(corpus.rows), train.seed)
    watch = Watch(place, train, run_dir)
    interval_start, untimed_s, timed_steps = time.perf_counter(), 0.0, 0
    while progress.step < train.steps:
        done = _step(place, train, corpus, order, progress, stop_requested())
        progress.add(done.loss, done.tokens)
        watch.look_at(progress, done)
        place.saver.check()
        timed_steps += 1  # after a resume fewer than the interval has
        place.clock.settle()
        if progress.step % train.log_every_steps == 0 or progress.step == train.steps:
            seconds = (time.perf_counter() - interval_start - untimed_s) / timed_steps
            _log(place, train, progress, seconds, elapsed_s(), run_dir / "metrics.jsonl")
            interval_start, untimed_s, timed_steps = time.perf_counter(), 0.0, 0
        if progress.step % train.checkpoint.every_steps == 0 or progress.step == train.steps or done.stop:
            begin = time.perf_counter()
            _checkpoint(place, progress)
            untimed_s += time.perf_counter() - begin
        if done.stop and progress.step < train.steps:
            place.saver.finish()
            return False
    with place.clock.phase("checkpoint"):
        place.saver.finish()
    return True


def _step(place: Workplace, train: TrainConfig, corpus: Corpus, order: Any, progress: Progress, stop: bool) -> StepDone:
    """One optimizer step over the global batch; `stop`: this rank was asked to. Says what all ranks agree on."""
    with place.clock.phase("data"):
        stored = corpus.rows[batch_rows(order, progress.step, train.global_batch_rows)]
        progress.data_order_sha256 = after_batch(progress.data_order_sha256, progress.step, stored)
        inputs, labels = (torch.from_numpy(a) for a in inputs_and_labels(stored))
        tokens = int((labels != -100).sum())
        mine = list(_micro_batches(inputs, labels, train, place.data_parallel_rank, place.device))
    rate = train.optimizer.learning_rate * learning_rate_factor(train.schedule, progress.step, train.steps)
    for group in place.engine.optimizer.param_groups:
        group["lr"] = rate
    summed = torch.zeros((), device=place.device)
    skipped = deepspeed_engine.skipped_steps(place.engine)
    for batch_inputs, batch_labels in mine:
        with place.clock.phase("forward_backward"):
            logits = place.engine(input_ids=batch_inputs).logits
            loss = cross_entropy(logits.float().flatten(0, 1), batch_labels.flatten(), reduction="sum")
            # DeepSpeed averages over ranks and micro-batches; this makes the average that over all tokens of the
            # global batch, however they fall on ranks, so the layout does not change the gradient.
            factor = train.data_parallel_size * train.gradient_accumulation_steps / tokens
            place.engine.backward(poisoned(loss, factor))
            summed += loss.detach()
        with place.clock.phase("optimizer"):
            place.engine.step()
    skipped = deepspeed_engine.skipped_steps(place.engine) - skipped
    return _agree(place, train, float(summed), tokens, stop, skipped)


def _agree(place: Workplace, train: TrainConfig, summed: float, tokens: int, stop: bool, skipped: int) -> StepDone:
    """What all ranks together did. Raises WorkFailedError where some skipped the step and some did not."""
    shared = torch.tensor([summed / train.tensor_parallel_size, stop, skipped], dtype=torch.float64)
    dist.all_reduce(shared, group=place.control)
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


def _log(place: Workplace, train: TrainConfig, progress: Progress, step_s: float, elapsed_s: float, path: Path) -> None:
    loss = progress.close_interval(step_s)
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
        "elapsed_s": elapsed_s,
    }
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
    except OSError as error:
        raise WorkFailedError(f"cannot write {path}: {error.strerror}; the last checkpoint is whole") from None


def _checkpoint(place: Workplace, progress: Progress) -> None:
    with place.clock.phase("checkpoint"):
        progress.phase_s = dict(place.clock.seconds)
        place.saver.begin(place.engine, progress.step, progress.state())
