"""From the target, the machine and a user's own runs, if there are any, to time, cost and loss, with 90 % intervals.

Nothing is defined here: the plan and its MFU are of `throughput`, lost work of `duration`, dollars of `cost`, the loss
of `loss`. This module joins them into one record.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field

from accounting.architecture import Architecture
from accounting.errors import SizeError
from accounting.estimate import FlopSummary, estimate
from accounting.memory import Layout
from configs import presets
from configs.costs import cost_assumptions
from configs.distributions import Distribution
from configs.errors import BadInputError
from configs.files import Record
from configs.forecast import ForecastConfig
from configs.presets import ArchitecturePreset, Cluster
from configs.prices import parse_date
from extrapolate.cost import Assumption, CostUsd, Driver, cost
from extrapolate.distributions import Draws, Quantiles, draws, quantiles
from extrapolate.duration import (
    Effective,
    Prior,
    WhileTraining,
    accelerator_hours,
    days,
    effective_mfu_checks,
    effective_mfu_prior,
    goodput_prior,
    ideal_accelerator_hours,
    measured_goodput,
)
from extrapolate.gpt3_like import Gpt3Like, of_preset
from extrapolate.loss import LossForecast, loss_forecast
from extrapolate.plans import least_copies
from extrapolate.runs import Runs
from extrapolate.step_time import machine
from extrapolate.throughput import Plan, Planning, plan
from extrapolate.widening import Held
from train.record import RunRecord

# Brown et al. 2020, Table 2.1: 3.2e6 tokens a step at 175e9 parameters, 0.5e6 at 125e6. The fourth root of the
# parameters meets both ends, and the six rows between them within two thirds.
BATCH_TOKENS, BATCH_PARAMETERS, BATCH_POWER = 3.2e6, 175e9, 0.25
BATCH_ROUNDING = 1 / 8
LEAST_BUSY = 0.5  # matmuls' share of a step below which a warning says so


class Days(Quantiles):
    """Of the wall-clock. `ideal`: at the median MFU with nothing lost; None where the MFU has the lost work in it.

    `coverage`: the share of known intervals made in this way that held, all of `Forecast.checks`' last.
    """

    ideal: float | None
    coverage: float


class ForecastCluster(Record):
    """The machine it would run on. `peak_flop_per_s` is one accelerator's dense peak at `dtype`."""

    name: str
    accelerator: str
    accelerator_count: int
    dtype: str
    peak_flop_per_s: float
    peak_source: str


class PublishedComparison(Record):
    """The published training FLOP of the target and how far the two counts are from it (100·(ours/theirs − 1))."""

    published_flop: float
    source: str
    model_exact_difference_percent: float
    six_nd_difference_percent: float


class RunSummary(Record):
    """What is shown of a measured run. `mfu` is a share of a peak, which `peak_source` labels."""

    name: str
    parameters: int
    tokens: int
    model_flop: int
    device_name: str
    n_devices: int
    mfu: float | None
    peak_source: str | None


class Forecast(Record):
    """`forecast.json`. Intervals are 90 %: `p5` to `p95`. Time and hours are of the final run, lost work in them;
    dollars are of it and of the experiments and failed attempts before it.

    `checks`: what intervals of time and hours, made in the same way without the run they are of, held of what is known.
    Those of dollars are checked by nothing.
    `plan` is None where no step time can be predicted; then the MFU is an effective one, over all booked hours.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    schema_: Literal["replibench.forecast/1"] = Field(default="replibench.forecast/1", alias="schema")
    target: str = Field(description="an architecture preset")
    target_source: str
    parameters: int
    tokens: int
    sequence_length: int
    flop: FlopSummary
    published: PublishedComparison | None = Field(description="None: nothing, or of another number of tokens")
    runs: tuple[RunSummary, ...]
    extrapolation_factor: float | None = Field(description="target's model FLOP over the largest run's")
    cluster: ForecastCluster
    batch: int | None = Field(description="sequences a step; None without a plan")
    plan: Plan | None
    wall_clock_days: Days
    accelerator_hours: Quantiles
    checks: tuple[Held, ...]
    price_date: dt.date
    usd_per_accelerator_hour: Quantiles
    cost_usd: CostUsd
    compute_share: Quantiles
    compute_to_labour: Quantiles
    loss: LossForecast | None
    gpt3_like: Gpt3Like
    drivers: tuple[Driver, ...]
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]
    samples: int
    seed: int


class _Target(NamedTuple):
    """The model with what is to be done to it."""

    preset: ArchitecturePreset
    tokens: int
    sequence_length: int
    flop: FlopSummary

    @property
    def architecture(self) -> Architecture:
        return self.preset.architecture

    @property
    def parameters(self) -> int:
        return int(self.architecture.parameter_counts().total)


class _Speed(NamedTuple):
    """What the hours come from: an MFU with a goodput, or without one where it has the lost work in it."""

    planning: Planning | None
    mfu: Prior
    goodput: Prior | Distribution | None
    checks: tuple[Held, ...]
    assumptions: tuple[Assumption, ...]
    warnings: tuple[str, ...]


def forecast(config: ForecastConfig, runs: Sequence[RunRecord] = (), ladder: Runs | None = None) -> Forecast:
    """Time, cost and loss of the target on the cluster.

    `runs` are the user's own: the largest gives MFU and goodput where it can say anything of the plan, and all of them
    the loss law, unless `ladder` holds the runs for it. The same arguments give the same numbers.
    accelerator-hours = model FLOP / (peak × MFU × goodput) / 3600, or model FLOP / (peak × effective MFU) / 3600.
    Raises BadInputError for what the target, the cluster or the date cannot have (a model that fits in no layout, no
    price), a goodput beside an effective MFU, and a target below the smallest of the runs.
    """
    target, cluster = _target(config), presets.cluster(config.cluster)
    about = _about(cluster)
    run = max(runs, key=lambda each: each.flops.model_flop, default=None)
    if ladder is None and runs:
        _refuse_smaller(target, runs)
    speed = _speed(config, target, cluster, run)
    drawn = _shares(speed, config)
    hours = _hours(target, about.peak_flop_per_s, drawn)
    money = cost(
        hours,
        cluster.accelerator.name,
        parse_date(config.price_date),
        cost_assumptions(Path(config.assumptions) if config.assumptions else None),
        days=np.asarray(days(hours, cluster.count)),
        hours_from=drawn,
        seed=config.seed,
        samples=config.samples,
    )
    in_hours = quantiles(hours)
    expected, loss_warnings = loss_forecast(target.parameters, target.tokens, runs, ladder)
    return Forecast(
        target=target.preset.name,
        target_source=target.preset.source,
        parameters=target.parameters,
        tokens=target.tokens,
        sequence_length=target.sequence_length,
        flop=target.flop,
        published=_published(target),
        runs=tuple(_summary(each) for each in runs),
        extrapolation_factor=None if run is None else target.flop.model_exact / run.flops.model_flop,
        cluster=about,
        batch=None if speed.planning is None else speed.planning.global_batch,
        plan=None if speed.planning is None else speed.planning.plans[0],
        wall_clock_days=_days(
            in_hours, cluster.count, _ideal_hours(target, about.peak_flop_per_s, speed), speed.checks[-1]
        ),
        accelerator_hours=in_hours,
        checks=speed.checks,
        price_date=money.price_date,
        usd_per_accelerator_hour=money.usd_per_accelerator_hour,
        cost_usd=money.cost_usd,
        compute_share=money.compute_share,
        compute_to_labour=money.compute_to_labour,
        loss=expected,
        gpt3_like=of_preset(target.preset, target.tokens),
        drivers=money.drivers,
        assumptions=(*speed.assumptions, *(each for each in money.assumptions if each.distribution != "given")),
        warnings=(
            *_about_runs(runs, ladder),
            *speed.warnings,
            *_about_checks(speed.checks),
            *money.warnings,
            *loss_warnings,
            *_ALWAYS,
            *target.preset.notes,
        ),
        samples=config.samples,
        seed=config.seed,
    )


def usual_batch(architecture: Architecture, cluster: Cluster, sequence_length: int) -> int:
    """Sequences a step where nobody says: GPT-3's tokens a step, carried to this size, so that copies divide them.

    A multiple of the fewest copies that the cluster can hold and, within an eighth, of as many times two as can be.
    Raises BadInputError as `step_time.machine` does.
    """
    parameters = architecture.parameter_counts().total
    wanted: float = BATCH_TOKENS * (parameters / BATCH_PARAMETERS) ** BATCH_POWER / sequence_length
    step = least_copies(architecture, machine(cluster))
    found = max(1, round(wanted / step)) * step
    while True:
        step *= 2
        near = max(1, round(wanted / step)) * step
        if abs(near / wanted - 1) > BATCH_ROUNDING:
            return found
        found = near


def _target(config: ForecastConfig) -> _Target:
    preset = presets.architecture_preset(config.target)
    tokens = config.tokens or (preset.published.tokens if preset.published else None)
    if tokens is None:
        raise BadInputError(f"tokens: no number was published for {config.target}; say how many to train on (--tokens)")
    length = config.sequence_length or preset.architecture.context
    try:
        counted = estimate(config.target, preset.architecture, tokens, length, Layout())
    except SizeError as error:
        raise BadInputError(f"target {config.target}: {error}") from None
    return _Target(preset, tokens, length, counted.flop)


def _about(cluster: Cluster) -> ForecastCluster:
    name = cluster.accelerator.name
    peak = cluster.accelerator.peak(cluster.dtype)
    if peak is None:
        raise BadInputError(f"cluster {cluster.name}: {name} has no {cluster.dtype} peak in configs/accelerators.yaml")
    return ForecastCluster(
        name=cluster.name,
        accelerator=name,
        accelerator_count=cluster.count,
        dtype=cluster.dtype,
        peak_flop_per_s=peak,
        peak_source=cluster.accelerator.source,
    )


def _speed(config: ForecastConfig, target: _Target, cluster: Cluster, run: RunRecord | None) -> _Speed:
    """The plan's MFU and a goodput; where no step can be timed, the effective MFU of published runs."""
    if cluster.node is None:
        return _effective(config, cluster, run)
    length = target.sequence_length
    batch = config.batch or usual_batch(target.architecture, cluster, length)
    planning = plan(target.architecture, cluster, batch, length, run=run, best=1)
    goodput, about_goodput, warnings = _goodput(config, run)
    said = (
        "given"
        if config.batch
        else f"{BATCH_TOKENS:g} tokens × (parameters / {BATCH_PARAMETERS:g})^{BATCH_POWER:g}, Brown et al. 2020, "
        "Table 2.1, whose rows it meets within two thirds; rounded so that copies of the model divide it"
    )
    assumptions = (
        _share("mfu", "share of the peak, of steps that count", planning.utilisation.mfu),
        about_goodput,
        _constant("batch", "sequences a step", batch, said),
        _constant("node.accelerators", "in a node", cluster.node.accelerators, cluster.node.source),
        _constant(
            "node.bandwidth_bytes_per_s",
            "bytes/s out of a node",
            cluster.node.bandwidth_bytes_per_s,
            cluster.node.source,
        ),
    )
    first = planning.plans[0]
    busy = first.parts.matmul_s / first.step_time_s
    if busy < LEAST_BUSY:
        warnings += (
            f"matmuls are {100 * busy:.0f} % of the best plan's step: {cluster.count:,} accelerators are many for a "
            f"batch of {batch:,} sequences; a larger one (--batch), or fewer of them, would be used better",
        )
    used = planning.utilisation
    return _Speed(planning, used.mfu, goodput, used.checks, assumptions, (*planning.warnings, *warnings))


def _effective(config: ForecastConfig, cluster: Cluster, run: RunRecord | None) -> _Speed:
    name = cluster.accelerator.name
    if config.goodput is not None:
        raise BadInputError(
            f"goodput: lost work is already inside the effective MFU, which is all that is known of {name} "
            "(configs/nodes.yaml has no node of it, so no step is timed); leave it out"
        )
    prior = effective_mfu_prior()
    warnings = [
        f"no step of {name} can be timed (configs/nodes.yaml has no node of it): the MFU is that of published runs "
        "over all booked hours, lost work included, the same for every size; nothing says that the model fits"
    ]
    if run is not None:
        warnings.append(f"MFU and goodput of run {run.name} are not used: there is no plan to carry them to")
    about = _share("effective_mfu", "share of the peak, over all booked hours", prior)
    return _Speed(None, prior, None, effective_mfu_checks(), (about,), tuple(warnings))


def _goodput(config: ForecastConfig, run: RunRecord | None) -> tuple[Prior | Distribution, Assumption, tuple[str, ...]]:
    """What was given, else that of a run on accelerators that is long enough to show one, else the prior.

    Whether its MFU is carried is another question: lost work is of the machine, and not of the model.
    """
    unit = "share of booked accelerator-hours"
    given, warnings = config.goodput, tuple[str, ...]()
    if given is None and run is not None:
        measured = measured_goodput(run)
        if measured.warnings:
            warnings = (*measured.warnings, f"so the goodput of run {run.name} is not used")
        else:
            source = f"measured by run {run.name}: steps × the median step over the wall-clock of all attempts"
            given = Distribution(distribution="constant", value=measured.share, source=source)
    if given is None:
        prior = goodput_prior()
        return prior, _share("goodput", unit, prior), warnings
    return given, Assumption.of("goodput", unit, given), warnings


def _shares(speed: _Speed, config: ForecastConfig) -> dict[str, Draws]:
    """Draws of what the peak is multiplied with, by name."""
    if speed.goodput is None:
        return {"effective_mfu": speed.mfu.draws(config.samples, config.seed)}
    if isinstance(speed.goodput, Prior):
        goodput = speed.goodput.draws(config.samples, config.seed)
    else:
        scores = np.random.default_rng([config.seed, *b"goodput"]).standard_normal(config.samples)
        goodput = draws(speed.goodput, scores)
    return {"mfu": speed.mfu.draws(config.samples, config.seed), "goodput": goodput}


def _hours(target: _Target, peak: float, drawn: dict[str, Draws]) -> Draws:
    utilisation = (
        WhileTraining(drawn["mfu"], drawn["goodput"]) if "goodput" in drawn else Effective(drawn["effective_mfu"])
    )
    return np.asarray(accelerator_hours(float(target.flop.model_exact), peak, utilisation))


def _ideal_hours(target: _Target, peak: float, speed: _Speed) -> float | None:
    if speed.goodput is None:
        return None
    return float(ideal_accelerator_hours(float(target.flop.model_exact), peak, speed.mfu.median))


def _days(hours: Quantiles, count: int, ideal: float | None, check: Held) -> Days:
    """Days are hours over the number of accelerators, and so are their quantiles."""
    found = {name: float(days(value, count)) for name, value in hours.model_dump().items()}
    return Days(**found, ideal=None if ideal is None else float(days(ideal, count)), coverage=check.held / check.of)


def _published(target: _Target) -> PublishedComparison | None:
    """A published figure is of the tokens it was published for, and of nothing else."""
    published = target.preset.published
    if published is None or published.training_flop is None or published.tokens != target.tokens:
        return None
    theirs = published.training_flop
    return PublishedComparison(
        published_flop=theirs,
        source=published.source,
        model_exact_difference_percent=100 * (target.flop.model_exact / theirs - 1),
        six_nd_difference_percent=100 * (target.flop.six_nd / theirs - 1),
    )


def _refuse_smaller(target: _Target, runs: Sequence[RunRecord]) -> None:
    for what, asked, known in (
        ("parameters", target.parameters, [run.flops.parameters_all for run in runs]),
        ("tokens", target.tokens, [run.tokens for run in runs]),
    ):
        if asked < min(known):
            raise BadInputError(
                f"target {target.preset.name}: {asked:,} {what} are fewer than the {min(known):,} of the smallest run; "
                "name a larger target (--target, --tokens), or smaller runs"
            )


def _summary(run: RunRecord) -> RunSummary:
    return RunSummary(
        name=run.name,
        parameters=run.flops.parameters_all,
        tokens=run.tokens,
        model_flop=run.flops.model_flop,
        device_name=run.device_name,
        n_devices=run.n_devices,
        mfu=run.mfu,
        peak_source=None if run.peak is None else run.peak.source,
    )


def _share(name: str, unit: str, about: Prior) -> Assumption:
    parameters = {key: getattr(about, key) for key in ("low", "high", "mu", "sigma")}
    return Assumption(name=name, unit=unit, distribution="logit_normal", parameters=parameters, source=about.source)


def _constant(name: str, unit: str, value: float, source: str) -> Assumption:
    return Assumption.of(name, unit, Distribution(distribution="constant", value=value, source=source))


_ALWAYS = (
    "the days are the final run's; experiments and failed attempts before it are in the dollars, and take time too",
)


def _about_runs(runs: Sequence[RunRecord], ladder: Runs | None) -> Iterator[str]:
    if ladder is not None:
        yield f"of {ladder.source} only the loss follows: time and cost rest on published runs and on the assumptions"
    elif not runs:
        yield "no run was given: everything rests on published runs and on the assumptions"


def _about_checks(checks: Sequence[Held]) -> Iterator[str]:
    held = "; ".join(f"{check.held} of {check.of} {check.what}" for check in checks)
    yield f"90 % intervals of days and hours, made likewise, held {held} (docs/validation.md); dollars were not checked"
