"""A sweep: models of several sizes, each trained on several numbers of tokens, and a larger one that is held out.

Each member is a run like any other, so that it can also be trained alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from accounting.errors import SizeError
from accounting.flops import FlopLedger, Recompute, flop_ledger
from accounting.hf_config import from_hf_config
from configs.loader import explain, has_key, load_as, merged
from configs.schema import Count, DataConfig, Positive, RunConfig, Section, TinyworldData, TrainConfig

HELD_OUT = "held-out"  # the member that is predicted
# What the members share, as the same processes train all of them on one corpus.
SHARED = ("sequence_length", "world_size", "threads_per_process", "device", "precision", "collective_timeout_s")


class BaseConfig(Section):
    """What all members share: sections of a run's configuration."""

    architecture: dict[str, Any] = Field(default_factory=dict)
    data: DataConfig = TinyworldData()
    train: TrainConfig = TrainConfig()


class SizeConfig(Section):
    """What is different at one size: keys of a config.json, and keys of `train`, such as the learning rate."""

    architecture: dict[str, Any]
    train: dict[str, Any] = Field(default_factory=dict)


class HeldOutConfig(SizeConfig):
    """The run that is predicted: its size, and how long it is trained."""

    tokens: Count | None = None
    tokens_per_parameter: Positive | None = None


class SweepConfig(Section):
    """A ladder, every size trained on every budget with a schedule of its own, and the run that it predicts."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    base: BaseConfig = BaseConfig()
    sizes: dict[str, SizeConfig]
    tokens: tuple[Count, ...] = Field((), description="budgets of each size; whole steps are taken")
    tokens_per_parameter: tuple[Positive, ...] = Field((), description="instead of `tokens`")
    held_out: HeldOutConfig
    cluster: str | None = Field(None, description="COUNTxACCELERATOR or a preset, for the times of --dry-run")

    @model_validator(mode="after")
    def _is_a_ladder(self) -> Self:
        if bool(self.tokens) == bool(self.tokens_per_parameter):
            raise ValueError("a sweep needs budgets: give one of `tokens` and `tokens_per_parameter`")
        if (self.held_out.tokens is None) == (self.held_out.tokens_per_parameter is None):
            raise ValueError("held_out needs a budget: give one of `tokens` and `tokens_per_parameter`")
        if "steps" in self.base.train.model_fields_set:
            raise ValueError("base.train.steps: the steps of a member follow from its budget; leave it out")
        ledgers = {name: ledger(config) for name, config in members(self).items()}
        _refuse_equals(ledgers)
        _refuse_smaller_held_out(ledgers)
        return self


def load_sweep(path: Path | str, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep's YAML, checked. Raises BadInputError as `load_config` does."""
    return load_as(SweepConfig, "sweeps", path, overrides)


def is_sweep(path: Path | str) -> bool:
    """Is it a sweep's file, or the name of a sweep's preset?"""
    return has_key("held_out", "sweeps", path)


def members(sweep: SweepConfig) -> dict[str, RunConfig]:
    """The configuration of each run by its name, least compute first, the held-out one last.

    Raises ValueError, naming the key, for what is no run or cannot be trained by the processes of the others.
    """
    ladder: list[tuple[str, RunConfig]] = []
    for size, config in sweep.sizes.items():
        for tokens in sweep.tokens:
            ladder.append(_member(sweep, f"sizes.{size}", f"{size}-{short(tokens)}", config, tokens, None))
        for share in sweep.tokens_per_parameter:
            ladder.append(_member(sweep, f"sizes.{size}", f"{size}-{share:g}x", config, None, share))
    names = [name for name, _ in ladder]
    double = next((name for name in names if names.count(name) > 1 or name == HELD_OUT), None)
    if double:
        raise ValueError(f"two members are called {double}; give budgets that differ in their first three digits")
    held_out = sweep.held_out
    last = _member(sweep, "held_out", HELD_OUT, held_out, held_out.tokens, held_out.tokens_per_parameter)
    found = dict([*sorted(ladder, key=lambda member: ledger(member[1]).model_flop), last])
    _refuse_strangers(found)
    return found


def ledger(config: RunConfig) -> FlopLedger:
    """The size, the tokens and the FLOPs of a member's training. Raises SizeError (a ValueError)."""
    train = config.train
    tokens = train.steps * train.global_batch_rows * train.sequence_length
    recompute: Recompute = "full" if train.activation_checkpointing else "none"
    return flop_ledger(from_hf_config(config.architecture), tokens, train.sequence_length, recompute)


def short(number: float) -> str:
    """Three digits and a letter: 131k, 2.48B."""
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * unit:
            return f"{float(f'{number / unit:.3g}'):g}{letter}"
    return f"{number:g}"


def _member(
    sweep: SweepConfig, key: str, name: str, size: SizeConfig, tokens: int | None, per_parameter: float | None
) -> tuple[str, RunConfig]:
    """One run of so many tokens, or so many for each parameter, in whole steps. Raises ValueError that names `key`."""
    base = sweep.base
    train = merged(base.train.model_dump(), size.train)
    if "steps" in size.train:
        raise ValueError(f"{key}.train.steps: the steps of a member follow from its budget; leave it out")
    tree = {
        "name": f"{sweep.name}-{name}",
        "architecture": merged(base.architecture, size.architecture),
        "data": base.data,
        "train": train,
    }
    try:
        config = RunConfig.model_validate(tree)
        parameters = from_hf_config(config.architecture).parameter_counts().total
    except ValidationError as error:
        raise ValueError(f"{key}: {explain(error, RunConfig)}") from None
    except SizeError as error:
        raise ValueError(f"{key}.architecture.{error}") from None
    wanted = tokens if per_parameter is None else per_parameter * parameters
    assert wanted is not None  # one of the two is given
    steps = max(1, round(wanted / (config.train.global_batch_rows * config.train.sequence_length)))
    return name, config.model_copy(update={"train": config.train.model_copy(update={"steps": steps})})


def _refuse_strangers(found: dict[str, RunConfig]) -> None:
    (first, of_first), *others = found.items()
    for name, config in others:
        for key in SHARED:
            ours, theirs = getattr(of_first.train, key), getattr(config.train, key)
            if ours != theirs:
                raise ValueError(
                    f"train.{key}: {theirs} of {name}, {ours} of {first}: the same processes train all members on one "
                    "corpus; give it in base"
                )


def _refuse_equals(ledgers: dict[str, FlopLedger]) -> None:
    seen: dict[tuple[int, int], str] = {}
    for name, counted in ledgers.items():
        other = seen.setdefault((counted.parameters_all, counted.tokens), name)
        if other != name:
            raise ValueError(
                f"{other} and {name} are both {short(counted.parameters_all)} parameters on {short(counted.tokens)} "
                "tokens; leave one out"
            )


def _refuse_smaller_held_out(ledgers: dict[str, FlopLedger]) -> None:
    target = ledgers[HELD_OUT]
    for name, counted in ledgers.items():
        if counted.parameters_all > target.parameters_all or counted.tokens > target.tokens:
            raise ValueError(
                f"held_out: {short(target.parameters_all)} parameters on {short(target.tokens)} tokens is not the "
                f"largest: {name} is {short(counted.parameters_all)} on {short(counted.tokens)}"
            )
