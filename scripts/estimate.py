"""The command `estimate`: its flags to one `Estimate`; an error names the flag."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from accounting.errors import SizeError
from accounting.estimate import Estimate, Speed, SpeedKind, data_parallel_copies, estimate
from accounting.memory import Layout
from configs import presets
from configs.errors import BadInputError

MOST_TOKENS = 10**18  # a million times what has been written
# The flags that are not simply a field's name.
FLAGS = {
    "tensor_parallel_size": "--tensor-parallel",
    "pipeline_parallel_size": "--pipeline-parallel",
    "micro_batch_size": "--micro-batch",
}


def estimate_from_flags(
    model: str,
    tokens: float | None,
    sequence_length: int | None,
    accelerator: str | None,
    count: int | None,
    speeds: Mapping[SpeedKind, float | None],
    layout: Mapping[str, Any],
) -> Estimate:
    """The estimate. What is left out is the published number of tokens, the context, one model's accelerators.

    Where no tokens are given or published, it is of one token. BadInputError names the flag and the mend.
    """
    with _naming("--model"):
        shape, left_out = presets.model_architecture(model)
    with _naming("--accelerator"):
        machine = presets.accelerator(accelerator) if accelerator is not None else None
    preset = presets.architecture_preset(model) if model in presets.architecture_names() else None
    published = preset.published.tokens if preset and preset.published else None
    speed, warnings = _speed(speeds), []
    if left_out:
        warnings.append(f"{model} does not give {', '.join(left_out)}: the defaults of {shape.family} are taken")
    if tokens is None and published is None:
        if speed:
            raise BadInputError(f"--tokens: no number was published for {model}; say how many to train on")
        warnings.append("no number of tokens was given or published: the FLOPs are those of one token")
    try:
        copies = data_parallel_copies(count, machine, layout["tensor_parallel_size"] * layout["pipeline_parallel_size"])
        result = estimate(
            model,
            shape,
            (published or 1) if tokens is None else whole_tokens(tokens),
            sequence_length or shape.context,
            Layout(**layout, data_parallel_size=copies),
            machine,
            speed,
        )
    except SizeError as error:
        raise BadInputError(f"{_flag(error.field)}: {error.reason}") from None
    notes = preset.notes if preset else ()
    return result.model_copy(update={"warnings": (*warnings, *result.warnings), "notes": notes})


@contextmanager
def _naming(flag: str) -> Iterator[None]:
    try:
        yield
    except BadInputError as error:
        raise BadInputError(f"{flag}: {error}") from None


def _flag(field: str) -> str:
    return FLAGS.get(field, "--" + field.replace("_", "-"))


def whole_tokens(tokens: float) -> int:
    """What the flag --tokens means. Raises BadInputError for what is no number of tokens."""
    if not (1 <= tokens <= MOST_TOKENS and tokens == round(tokens)):  # also nan, which is not between anything
        raise BadInputError(f"--tokens: {tokens:g} is not a number of tokens; give a whole number such as 300e9")
    return round(tokens)


def _speed(speeds: Mapping[SpeedKind, float | None]) -> Speed | None:
    given = [Speed(kind, value) for kind, value in speeds.items() if value is not None]
    if not given:
        return None
    if len(given) > 1:
        raise BadInputError(f"{' and '.join(_flag(speed.kind) for speed in given)}: give one speed")
    (speed,) = given
    if not (math.isfinite(speed.value) and speed.value > 0):
        raise BadInputError(f"{_flag(speed.kind)}: {speed.value:g} is not a speed; give a number above 0")
    if speed.kind in ("mfu", "hfu") and speed.value > 1:
        raise BadInputError(f"{_flag(speed.kind)}: {speed.value:g} is not a share; for 46 % write 0.46")
    return speed
