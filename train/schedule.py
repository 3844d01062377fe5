"""The learning rate as a pure function of the step, so that a resume has nothing to restore."""

import math

from configs.schema import ScheduleConfig


def warmup_steps(schedule: ScheduleConfig, steps: int) -> int:
    """Whole steps of linear warm-up; the fraction is of the schedule's horizon, where it has one."""
    return round(schedule.warmup_fraction * (schedule.horizon_steps or steps))


def learning_rate_factor(schedule: ScheduleConfig, step: int, steps: int) -> float:
    """Share of the peak learning rate for update number `step` (0-based) of `steps`.

    Warm-up rises linearly to the peak on its last step; the decay would reach `final_fraction` one update after the
    last, so that no update is made at a learning rate of zero. "wsd" stays at the peak until the last `decay_fraction`
    of the steps, then falls linearly (warm-up-stable-decay; Hu et al. 2024, arXiv:2404.06395). All of this is of the
    horizon where the schedule has one: training that ends before it has the rates of the longer one, and training that
    goes on after it stays at `final_fraction`.
    """
    steps = schedule.horizon_steps or steps
    warmup = warmup_steps(schedule, steps)
    if step < warmup:
        return (step + 1) / warmup
    if schedule.kind == "constant":
        return 1.0
    start = warmup if schedule.kind != "wsd" else max(warmup, steps - round(schedule.decay_fraction * steps))
    if step < start:
        return 1.0
    progress = min(1.0, (step - start) / (steps - start))
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if schedule.kind == "cosine" else 1 - progress
    return schedule.final_fraction + (1 - schedule.final_fraction) * shape
