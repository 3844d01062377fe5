"""What a run that is about to be written takes: on this machine, and on a cluster with its fastest layout there."""

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

from accounting.accelerators import match_device_name
from accounting.architecture import Architecture
from accounting.flops import flop_ledger
from configs import presets
from configs.errors import BadInputError
from extrapolate.loss import loss_forecast
from extrapolate.throughput import Plan, plan
from report.formatting import percent, scientific, seconds

PLANS = 300  # that are looked through for one that the engine can train
AS_FAST = 1.01  # the planner's steps are no better known
ROOM = 0.5  # of a device's memory: what activations take differs by kernels
CHINCHILLA = 20  # tokens a parameter, about: Hoffmann et al. 2022, Table 3


class Budget(NamedTuple):
    """What is trained, as the arithmetic needs it."""

    shape: Architecture
    rows: int
    sequence_length: int
    steps: int

    @property
    def tokens(self) -> int:
        """Positions that are trained on."""
        return self.rows * self.sequence_length * self.steps

    @property
    def flop(self) -> int:
        """Model FLOP of all of it: every matmul, the full square of attention."""
        return flop_ledger(self.shape, self.tokens, self.sequence_length).model_flop

    @property
    def parameters(self) -> int:
        """Every parameter."""
        return self.shape.parameter_counts().total


class Taken(NamedTuple):
    """A line for people, and the fastest layout that the engine can train, where one was planned."""

    words: str
    layout: Plan | None = None


def on_cluster(budget: Budget, name: str) -> Taken:
    """Time and accelerator-hours on a cluster, by the planner. BadInputError for what is none or cannot be timed."""
    cluster = presets.cluster(name)
    found = plan(budget.shape, cluster, budget.rows, budget.sequence_length, best=PLANS)
    mfu = found.utilisation.mfu
    at_peak_s = budget.flop / (found.peak_flop_per_s * found.accelerator_count)
    low, median, high = (at_peak_s / share for share in (mfu.high, mfu.median, mfu.low))
    hours = median / 3600 * found.accelerator_count
    words = (
        f"{cluster.name}: {seconds(median)} (90 %: {seconds(low)} to {seconds(high)}), {hours:,.1f} "
        "accelerator-hours, at "
        f"an MFU of {percent(mfu.median, 0)} % ({percent(mfu.low, 0)} to {percent(mfu.high, 0)})"
    )
    return Taken(words, _layout(found.plans))


def _layout(plans: Sequence[Plan]) -> Plan | None:
    """The fastest that can be trained; of equally fast ones that with the fewest launches, which are not timed."""
    possible = [each for each in plans if trainable(each)]
    fast = [each for each in possible if each.step_time_s <= AS_FAST * possible[0].step_time_s]
    roomy = [each for each in fast if each.memory.share <= ROOM]
    return max(
        roomy, key=lambda each: (-each.pipeline_parallel_size, each.micro_batch_size), default=next(iter(fast), None)
    )


def trainable(layout: Plan) -> bool:
    """Can train/engine.py do it? It has no interleaved stages, no sequence parallelism, and one thing at a time."""
    if layout.interleave > 1 or layout.sequence_parallel or layout.recompute == "selective":
        return False
    if layout.pipeline_parallel_size > 1:
        return layout.tensor_parallel_size == 1 and layout.zero_stage <= 1
    return layout.tensor_parallel_size == 1 or layout.zero_stage <= 1


def on_this_machine(budget: Budget) -> str:
    """The same for where the command runs: by the planner on known GPUs, on a CPU by its measured matmul."""
    from train.prepare import accelerators

    names = accelerators()
    if not names:
        return _on_cpu(budget)
    row = match_device_name(names[0], presets.accelerators())
    if row is None:
        return f"{len(names)} × {names[0]}: no estimate, since configs/accelerators.yaml has no row for it"
    try:
        return on_cluster(budget, f"{len(names)}x{row.name}").words
    except BadInputError as error:
        return f"{len(names)} × {names[0]}: no estimate ({error})"


def _on_cpu(budget: Budget) -> str:
    import torch

    from train.meters import matmul_flop_per_s

    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    before = torch.get_num_threads()
    torch.set_num_threads(cores)
    rate = matmul_flop_per_s()
    torch.set_num_threads(before)
    return (
        f"{cores} CPU cores: at least {seconds(budget.flop / rate)}, which is at the {rate / 1e9:,.0f} GFLOP/s of "
        "their "
        "best matmul, measured now; training is slower than that"
    )


def size_words(budget: Budget) -> str:
    """Tokens, tokens a parameter and FLOP."""
    ratio = budget.tokens / budget.parameters
    return (
        f"{budget.steps:,} steps of {budget.rows * budget.sequence_length:,} tokens = {scientific(budget.tokens)} "
        "tokens "
        f"for {budget.parameters:,} parameters, {ratio:,.3g} tokens a parameter (about {CHINCHILLA} are "
        "compute-optimal: "
        f"Hoffmann et al. 2022); {scientific(budget.flop)} FLOP"
    )


def loss_words(budget: Budget, whole: Budget) -> str:
    """How much higher the loss of the smaller budget will be, where a law can say it."""
    here, there = (loss_forecast(each.parameters, each.tokens)[0] for each in (budget, whole))
    if here is None or there is None:
        return "how much higher the loss will be is not known: the law of published runs does not reach so far down"
    return (
        f"by the law of {here.law} the loss will be {here.median - there.median:.2f} nats a token above that of the "
        "whole "
        f"budget ({here.median:.2f} against {there.median:.2f}, there)"
    )
