"""Measured steps of published runs (throughput.yaml): the layout, the batch, the machine, and how long it took."""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from accounting.accelerators import Accelerator
from accounting.architecture import Architecture
from accounting.flops import FlopLedger, flop_ledger
from accounting.hf_config import from_hf_config
from accounting.memory import Layout
from configs import presets, published
from configs.errors import BadInputError
from configs.loader import explain, parse_yaml

ORIGIN = "configs/throughput.yaml"
PATH = Path(__file__).resolve().with_name("throughput.yaml")

Role = Literal["calibration", "held_out", "beyond", "pair", "doubtful"]
Measure = Literal["step_s", "hardware_flop_per_s", "mfu"]


class _Row(BaseModel):
    """A row as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Role
    team: str
    published: str | None = None
    model: str | None = None
    accelerator: str | None = None
    layout: dict[str, Any] = {}
    sequences: PositiveInt
    sequence_length: PositiveInt | None = None
    measured: Annotated[dict[Measure, PositiveFloat], Field(max_length=1)] = {}
    accelerators_per_node: PositiveInt
    node_bandwidth_bytes_per_s: PositiveFloat
    pair: str | None = None
    note: str | None = None
    source: str

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.model is not None and self.published is not None:
            raise ValueError("needs model or published, and not both")
        if self.model is not None and not (self.measured and self.accelerator):
            raise ValueError("needs measured and accelerator beside model")
        if (self.role == "pair") != (self.pair is not None):
            raise ValueError("pair is for rows of role pair, and each of those needs it")
        return self


class MeasuredStep(NamedTuple):
    """A published run's step: `ledger` is of one, and `step_s` follows from what was published."""

    name: str
    role: Role
    team: str
    architecture: Architecture
    accelerator: Accelerator
    accelerators: int
    layout: Layout
    sequences: int
    sequence_length: int
    ledger: FlopLedger
    step_s: float
    accelerators_per_node: int
    node_bandwidth_bytes_per_s: float
    pair: str | None
    note: str | None
    source: str

    @property
    def hardware_flop_per_s(self) -> float:
        """Of one accelerator, recompute included."""
        return self.ledger.hardware_flop / self.step_s / self.accelerators


@functools.cache
def measured_steps() -> tuple[MeasuredStep, ...]:
    """Every row of throughput.yaml, in its order. Raises BadInputError, naming the row and the key, for a wrong one."""
    return parse_steps(PATH.read_text(encoding="utf-8"))


def parse_steps(text: str) -> tuple[MeasuredStep, ...]:
    """The rows of such a file. Raises BadInputError as `measured_steps` does."""
    tree = parse_yaml(text, ORIGIN)
    groups = tree.items() if isinstance(tree, dict) else ()
    if not groups or not all(isinstance(group, dict) and isinstance(group.get("runs"), dict) for _, group in groups):
        raise BadInputError(f"{ORIGIN}: must be a mapping of groups, each with a mapping of runs")
    steps = []
    for team, group in groups:
        common = {key: value for key, value in group.items() if key != "runs"}
        steps += [_step(str(name), {"team": str(team), **common, **row}) for name, row in group["runs"].items()]
    return tuple(steps)


def _step(name: str, tree: dict[str, Any]) -> MeasuredStep:
    try:
        row = _Row.model_validate({"name": name, **tree})
    except ValidationError as error:
        raise BadInputError(f"{ORIGIN}: {name}: {explain(error, _Row)}") from None
    try:
        original = _original(row)
        layout = Layout.model_validate({**(original.layout.model_dump() if original else {}), **row.layout})
        return _assembled(row, original, layout)
    except ValidationError as error:
        raise BadInputError(f"{ORIGIN}: {name}: layout: {explain(error, Layout)}") from None
    except (ValueError, BadInputError) as error:
        raise BadInputError(f"{ORIGIN}: {name}: {error}") from None


def _original(row: _Row) -> published.Run | None:
    if row.model is not None:
        return None
    wanted = row.published or row.name
    for run in published.runs():
        if run.name == wanted:
            return run
    raise BadInputError(f"published: no row {wanted!r} in {published.ORIGIN}")


def _assembled(row: _Row, original: published.Run | None, layout: Layout) -> MeasuredStep:
    shape = _architecture(row, original)
    length = row.sequence_length or (original and original.sequence_length) or shape.context
    machine = presets.accelerator(row.accelerator or str(original and original.accelerator))
    peak, count = machine.peak(layout.precision), layout.devices // machine.devices
    if peak is None:
        raise BadInputError(f"{machine.name} has no {layout.precision} peak")
    if row.sequences % (layout.data_parallel_size * layout.micro_batch_size):
        raise BadInputError(f"sequences: {row.sequences} do not divide into the layout's micro-batches")
    ledger = flop_ledger(shape, row.sequences * length, length, layout.recompute)
    return MeasuredStep(
        name=row.name,
        role=row.role,
        team=row.team,
        architecture=shape,
        accelerator=machine,
        accelerators=count,
        layout=layout,
        sequences=row.sequences,
        sequence_length=length,
        ledger=ledger,
        step_s=_step_s(row, original, ledger, count, peak),
        accelerators_per_node=row.accelerators_per_node,
        node_bandwidth_bytes_per_s=row.node_bandwidth_bytes_per_s,
        pair=row.pair,
        note=row.note,
        source=row.source,
    )


def _architecture(row: _Row, original: published.Run | None) -> Architecture:
    if original and original.hf_config:
        return from_hf_config(original.hf_config)
    return presets.architecture(str(original.model if original else row.model))


def _step_s(row: _Row, original: published.Run | None, ledger: FlopLedger, count: int, peak: float) -> float:
    """Seconds of a step from whichever way its speed was published."""
    if row.measured:
        said: tuple[str, float] = next(iter(row.measured.items()))
    elif original and original.iteration:
        said = ("step_s", original.iteration.seconds * row.sequences / original.iteration.sequences)
    elif original and original.speed:
        said = next(iter(original.speed.items()))
    else:
        raise BadInputError("measured: the published row has no speed; give one")
    kind, value = said
    of_each = {
        "mfu": ledger.model_flop / (value * peak),
        "hfu": ledger.hardware_flop / (value * peak),
        "hardware_flop_per_s": ledger.hardware_flop / value,
        "flop_per_s_per_accelerator": ledger.hardware_flop / value,
        "tokens_per_s_per_accelerator": ledger.tokens / value,
    }
    return value if kind == "step_s" else of_each[kind] / count
