"""The learning rate, against transformers' own schedules."""

import math

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup, get_wsd_schedule

from configs.schema import ScheduleConfig
from train.schedule import learning_rate_factor

STEPS = 200


@pytest.mark.parametrize(
    ("kind", "theirs"), [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)]
)
def test_the_decay_is_the_usual_one(kind: str, theirs: object) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = theirs(optimizer, 10, STEPS)  # type: ignore[operator]
    schedule = ScheduleConfig(kind=kind, warmup_fraction=0.05)  # type: ignore[arg-type]
    for step in range(STEPS):
        if step >= 10:
            assert learning_rate_factor(schedule, step, STEPS) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_warm_up_rises_to_the_peak_and_starts_above_zero() -> None:
    schedule = ScheduleConfig(kind="constant", warmup_fraction=0.05)
    factors = [learning_rate_factor(schedule, step, STEPS) for step in range(STEPS)]
    assert factors[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert set(factors[10:]) == {1.0}


def test_the_floor_is_a_share_of_the_peak() -> None:
    schedule = ScheduleConfig(kind="cosine", warmup_fraction=0.0, final_fraction=0.1)
    assert learning_rate_factor(schedule, 0, STEPS) == 1.0
    assert math.isclose(learning_rate_factor(schedule, STEPS - 1, STEPS), 0.1, abs_tol=1e-3)


def test_warm_up_stable_decay_is_the_usual_one() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    reference = get_wsd_schedule(optimizer, 10, 40, num_training_steps=STEPS, decay_type="linear", min_lr_ratio=0.1)
    schedule = ScheduleConfig(kind="wsd", warmup_fraction=0.05, decay_fraction=0.2, final_fraction=0.1)
    for step in range(STEPS):
        if step >= 10:
            assert learning_rate_factor(schedule, step, STEPS) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("kind", ["linear", "cosine", "wsd", "constant"])
def test_training_that_ends_before_the_horizon_has_the_rates_of_the_longer_one(kind: str) -> None:
    whole = ScheduleConfig(kind=kind, warmup_fraction=0.05, final_fraction=0.1)  # type: ignore[arg-type]
    part = whole.model_copy(update={"horizon_steps": STEPS})
    for step in range(30):
        assert learning_rate_factor(part, step, 30) == learning_rate_factor(whole, step, STEPS)


@pytest.mark.parametrize("kind", ["linear", "cosine", "wsd"])
def test_after_the_horizon_the_rate_stays_at_its_lowest(kind: str) -> None:
    schedule = ScheduleConfig(kind=kind, final_fraction=0.1, horizon_steps=100)  # type: ignore[arg-type]
    assert [learning_rate_factor(schedule, step, STEPS) for step in (100, 150, 199)] == pytest.approx([0.1] * 3)
