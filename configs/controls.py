"""Recipes broken on purpose: negative controls that a benchmark suite must be able to tell from a good replica."""

import difflib
from collections.abc import Callable
from typing import Any

from configs.errors import BadInputError
from configs.schema import RunConfig, TrainConfig


def _steps(share: float) -> Callable[[TrainConfig], dict[str, Any]]:
    """The whole schedule in fewer steps: a finished, under-trained model, not one cut off in the middle."""

    def fewer(train: TrainConfig) -> dict[str, Any]:
        horizon = train.schedule.horizon_steps
        schedule = train.schedule.model_copy(update={"horizon_steps": horizon and round(horizon * share)})
        return {"steps": round(train.steps * share), "schedule": schedule}

    return fewer


def _tenth_of_learning_rate(train: TrainConfig) -> dict[str, Any]:
    optimizer = train.optimizer
    return {"optimizer": optimizer.model_copy(update={"learning_rate": optimizer.learning_rate / 10})}


def _no_decay(train: TrainConfig) -> dict[str, Any]:
    if (train.schedule.horizon_steps or train.steps) > train.steps:
        raise BadInputError(
            "--controls: no_decay: the run ends before its learning rate has decayed (train.schedule.horizon_steps is "
            "beyond train.steps), so this would hardly be another recipe; leave it out"
        )
    return {"schedule": train.schedule.model_copy(update={"kind": "constant"})}


CONTROLS: dict[str, Callable[[TrainConfig], dict[str, Any]]] = {
    "half_steps": _steps(1 / 2),
    "three_quarter_steps": _steps(3 / 4),
    "lr_tenth": _tenth_of_learning_rate,
    "no_decay": _no_decay,
}


def broken(config: RunConfig, control: str) -> RunConfig:
    """`config` with the recipe of a control. Raises BadInputError naming the nearest known one."""
    if control not in CONTROLS:
        close = difflib.get_close_matches(control, CONTROLS, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise BadInputError(f"--controls: unknown control {control!r}; {hint}choices: {', '.join(CONTROLS)}")
    return config.model_copy(update={"train": config.train.model_copy(update=CONTROLS[control](config.train))})


def parse_controls(text: str, runs: int) -> dict[str, int]:
    """'half_steps:4,lr_tenth' → runs by control, `runs` where none are given. Raises BadInputError."""
    wanted: dict[str, int] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        name, colon, count = part.partition(":")
        if colon and not (count.isdigit() and int(count) >= 1):
            raise BadInputError(f"--controls {part}: the runs after the colon must be a number from 1")
        if name in wanted:
            raise BadInputError(f"--controls: {name} stands twice")
        wanted[name] = int(count) if colon else runs
    return wanted


def one_process(config: RunConfig) -> RunConfig:
    """The same recipe on one process: the global batch stays, so does the data order."""
    train = config.train.model_copy(
        update={
            "micro_batch_size": config.train.global_batch_rows,
            "gradient_accumulation_steps": 1,
            "data_parallel_size": 1,
            "tensor_parallel_size": 1,
        }
    )
    return config.model_copy(update={"train": train})


def with_seed(config: RunConfig, seed: int) -> RunConfig:
    """The same recipe from another initialisation and data order."""
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": seed})})
