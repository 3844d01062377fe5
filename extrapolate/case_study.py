"""A case beside what comes out here: parameters, FLOP by kind, accelerator-hours, and whether it is GPT-3-like."""

from collections.abc import Iterator
from typing import Literal

from pydantic import ConfigDict, Field

from accounting.errors import SizeError
from accounting.estimate import Estimate, Speed, data_parallel_copies, estimate
from accounting.flops import Recompute
from accounting.memory import Layout
from configs import presets
from configs.cases import AcceleratorFact, Case
from configs.errors import BadInputError
from configs.files import Record
from extrapolate.duration import effective_mfu_prior
from extrapolate.gpt3_like import Gpt3Like, of_case


class Comparison(Record):
    """A published figure beside ours. `published` is None where nothing was; `ratio` = ours / published."""

    quantity: Literal["parameters", "training_flop", "accelerator_hours"]
    published: float | None
    published_as: str = Field(description="whose figure, and of FLOP its kind: model, hardware or utilisation-derived")
    ours: float
    interval90: tuple[float, float] | None = Field(None, description="of ours")
    ours_as: str
    ratio: float | None


class CaseStudy(Record):
    """One case, whole."""

    name: str
    case: Case
    gpt3_like: Gpt3Like
    comparisons: tuple[Comparison, ...]


class CaseList(Record):
    """What `replibench cases --format json` prints."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.cases/1"] = Field(default="replibench.cases/1", alias="schema")
    cases: tuple[CaseStudy, ...]


def study(name: str, case: Case) -> CaseStudy:
    """The case with everything that follows from it."""
    return CaseStudy(name=name, case=case, gpt3_like=of_case(name, case), comparisons=tuple(_comparisons(case)))


def _comparisons(case: Case) -> Iterator[Comparison]:
    counted = _estimate(case)
    parameters = case.parameters_fact()
    if case.preset is not None:  # of a run of one's own they are counted already
        yield _beside("parameters", parameters.value, "published", counted.parameters.total, "every parameter once")
    for fact in case.flop_facts():
        ours = getattr(counted.flop, fact.field_of_ours())
        yield _beside("training_flop", fact.value, fact.kind, ours, counted.convention[f"flop.{fact.field_of_ours()}"])
    if not case.flop_facts():
        ours_as = counted.convention["flop.six_nd"]
        yield _beside("training_flop", None, "nothing published", counted.flop.six_nd, ours_as)
    yield from _accelerator_hours(case)


def _accelerator_hours(case: Case) -> Iterator[Comparison]:
    """At the reported speed; without one over the range of effective MFU. None where the peak is not known."""
    hours, speed, machine = case.resources.accelerator_hours, case.resources.speed, case.resources.accelerator
    published, published_as = (hours.value, "published") if hours else (None, "nothing published")
    if speed is not None:
        ours = _hours(_estimate(case, machine, Speed(speed.kind, speed.value), speed.recompute))
        ours_as = f"at {speed.words()}: steps that count, nothing lost"
        yield _beside("accelerator_hours", published, published_as, ours, ours_as)
    elif machine is not None and machine.row is not None:
        prior = effective_mfu_prior()
        most, middle, least = (
            _hours(_estimate(case, machine, Speed("mfu", share))) for share in (prior.low, prior.median, prior.high)
        )
        range90 = f"{100 * prior.low:.3g} to {100 * prior.high:.3g} % (90 %)"
        ours_as = f"no speed is known: at the effective MFU of published runs, {range90}"
        yield _beside("accelerator_hours", published, published_as, middle, ours_as, (least, most))


def _beside(
    quantity: Literal["parameters", "training_flop", "accelerator_hours"],
    published: float | None,
    published_as: str,
    ours: float,
    ours_as: str,
    interval90: tuple[float, float] | None = None,
) -> Comparison:
    return Comparison(
        quantity=quantity,
        published=published,
        published_as=published_as,
        ours=ours,
        interval90=interval90,
        ours_as=ours_as,
        ratio=None if published is None else ours / published,
    )


def _hours(counted: Estimate) -> float:
    if counted.accelerator_hours is None:
        raise ValueError(f"{counted.model}: an estimate without a speed")
    return counted.accelerator_hours


def _estimate(
    case: Case, machine: AcceleratorFact | None = None, speed: Speed | None = None, recompute: Recompute = "none"
) -> Estimate:
    """Ours. Raises BadInputError for a speed that cannot be: a share of a peak that is not known, or beyond it."""
    accelerator = presets.accelerator(machine.row) if machine is not None and machine.row is not None else None
    layout = Layout(
        precision=machine.precision if machine else "bf16",
        recompute=recompute,
        data_parallel_size=data_parallel_copies(None, accelerator, 1),
    )
    shape = case.shape()
    length = case.sequence_length or shape.context
    try:
        return estimate(case.title, shape, case.training_tokens(), length, layout, accelerator, speed)
    except SizeError as error:
        raise BadInputError(f"{case.title}: {error}") from None
