"""Recipes that are broken on purpose differ from the good one in what their names say, and in nothing else."""

import pytest

from configs.controls import broken
from configs.errors import BadInputError
from configs.loader import load_config
from configs.schema import RunConfig
from train.schedule import learning_rate_factor


def _factors(config: RunConfig) -> list[float]:
    train = config.train
    return [learning_rate_factor(train.schedule, step, train.steps) for step in range(train.steps)]


def _config(*overrides: str) -> RunConfig:
    return load_config("smoke", ("train.steps=400", "train.schedule.kind=cosine", *overrides))


def test_half_the_steps_are_half_of_the_same_schedule() -> None:
    for overrides in ((), ("train.schedule.horizon_steps=1000",), ("train.schedule.horizon_steps=300",)):
        good = _config(*overrides)
        assert _factors(broken(good, "half_steps")) == pytest.approx(_factors(good)[::2], abs=0.06)


def test_without_decay_the_warm_up_is_the_same_and_the_rest_is_the_peak() -> None:
    good = _config("train.schedule.warmup_fraction=0.1", "train.schedule.horizon_steps=300")
    factors = _factors(broken(good, "no_decay"))
    assert factors[:30] == _factors(good)[:30]
    assert set(factors[30:]) == {1.0}


def test_no_decay_of_a_run_that_ends_before_the_decay_is_refused() -> None:
    with pytest.raises(BadInputError, match="no_decay: the run ends before its learning rate has decayed"):
        broken(_config("train.schedule.horizon_steps=143000"), "no_decay")
