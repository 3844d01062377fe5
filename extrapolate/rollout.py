"""Prediction intervals of a run's loss, widened until they hold for runs that were held out because they are larger.

A cut at a compute budget is one rehearsal of what the law is for: it is fitted to the runs below and predicts those
above. How often its interval then holds says what a bootstrap cannot: that knows nothing of a law which is slightly
wrong, nor of errors that runs share. docs/scaling-law.md says what is guaranteed (little) and what was measured.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from configs.distributions import Z95
from configs.files import Record
from configs.prices import FACTS
from extrapolate.levenberg import Array, Points, log_prediction
from extrapolate.runs import FLOP_PER_PARAMETER_AND_TOKEN, Runs
from extrapolate.scaling_law import (
    SEED,
    Allocation,
    Bootstrap,
    LawFit,
    allocate,
    bootstrap,
    draw_counts,
    fit,
    least,
    log_losses,
    resampled,
    starts,
)

LEVEL = 0.9
MOST_CUTS = 24
LEAST_BELOW = 8  # runs below a cut: three more than the law has parameters
LEAST_ABOVE = 3  # runs above it: of one alone, the share that is covered is 0 or 1
LEAST_CUTS = 9  # with fewer, no factor is large enough for 90 % of one cut more
CUT_RESAMPLES = 100
FAR = 10.0  # times the largest run: one order of magnitude
PUBLISHED_LAW = FACTS.with_name("calibrations") / "hoffmann2022-law.json"


class Band(Record):
    """What the rollout says at one distance: compute more than `above`, at most `up_to` times the largest run below.

    `cuts` and `predictions` are how many were tried there. `widening` multiplies the half-width on log loss; None: too
    few cuts. The test is `sequential_held` of `sequential_predictions`: of a widening that was found, at each cut, from
    the runs below it alone, so it is no part of what it is tried on; 0 of 0: no cut had enough others below, not
    tested. `coverage` (of the widened interval, which was chosen to reach the level here) and `unwidened_coverage` (of
    the bootstrap with the noise of a run) are means over cuts of the share of held-out runs inside.
    """

    above: float
    up_to: float
    cuts: int
    predictions: int
    widening: float | None
    sequential_cuts: int
    sequential_predictions: int
    sequential_held: int
    coverage: float | None
    unwidened_coverage: float

    @property
    def sequential_coverage(self) -> float | None:
        """The share of the test's predictions that held; None: not tested."""
        return self.sequential_held / self.sequential_predictions if self.sequential_predictions else None


class Calibration(Record):
    """What the rollout found, by distance. `reason` says why nothing could be calibrated; None where something was."""

    level: float = LEVEL
    cuts: int
    reason: str | None
    bands: tuple[Band, ...]

    def band(self, factor: float) -> Band | None:
        """The calibrated band of an extrapolation factor; runs no larger than the largest belong to the nearest."""
        distance = max(factor * (1 - 1e-9), 1 + 1e-9)  # ten times, but for rounding, is ten times
        found = (band for band in self.bands if band.above < distance <= band.up_to)
        return next((band for band in found if band.widening is not None), None)

    @property
    def widest(self) -> float:
        """The largest widening of all; 1 where there is none."""
        return max((band.widening for band in self.bands if band.widening is not None), default=1.0)

    def widening(self, factor: float) -> float:
        """That of the band of an extrapolation factor, or the largest of all where no band is calibrated."""
        band = self.band(factor)
        return self.widest if band is None or band.widening is None else band.widening


class LossInterval(Record):
    """The loss of one run that is still to be trained, nats per token: the law's (`median`), and a central 90 %.

    `widening` is what the half-width was multiplied by, and `widening_source` whose rollout it is from: that of these
    runs, or that of the published runs of Hoffmann et al. (2022), where these test none of their own and it is larger.
    `sequential_*` and `coverage` are those of the runs' own `Band` at `extrapolation_factor`, the compute over that of
    the largest run; None where it is not tested, and where the width is not the runs' own. `warnings` say why.
    """

    parameters: float
    tokens: float
    flop: float
    extrapolation_factor: float
    median: float
    p5: float
    p95: float
    widening: float
    widening_source: Literal["own", "hoffmann2022"]
    sequential_held: int | None
    sequential_predictions: int | None
    sequential_coverage: float | None
    coverage: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CalibratedLaw:
    """The law of the kept runs with all that predictions need."""

    runs: Runs
    law: LawFit
    drawn: Bootstrap
    calibration: Calibration

    def predict(self, parameters: float, tokens: float) -> LossInterval:
        """The loss of one run of N parameters on D tokens. Raises BadInputError below the smallest run."""
        self.runs.refuse_smaller(parameters, "parameters")
        self.runs.refuse_smaller(tokens, "tokens")
        flop = FLOP_PER_PARAMETER_AND_TOKEN * parameters * tokens
        factor = flop / float(self.runs.flop.max())
        band = self.calibration.band(factor)
        places = (np.array([parameters]), np.array([tokens]))
        half = float(_half_width(self.runs.points, self.law.theta[0], self.drawn.theta, *places)[0])
        own, stored = self.calibration.widening(factor), published_calibration().widening(factor)
        tested = band is not None and band.sequential_predictions > 0
        is_own = tested or own >= stored
        half *= own if is_own else stored
        median = self.law.loss(parameters, tokens)
        p5 = median * math.exp(-half)
        warnings = (
            *self._of_distance(parameters, tokens, factor),
            *self._of_calibration(band),
            *([] if is_own else [_borrowed(stored)]),
            *self._of_floor(p5),
        )
        return LossInterval(
            parameters=parameters,
            tokens=tokens,
            flop=flop,
            extrapolation_factor=factor,
            median=median,
            p5=p5,
            p95=median * math.exp(half),
            widening=own if is_own else stored,
            widening_source="own" if is_own else "hoffmann2022",
            sequential_held=band.sequential_held if band is not None and tested else None,
            sequential_predictions=band.sequential_predictions if band is not None and tested else None,
            sequential_coverage=None if band is None else band.sequential_coverage,
            coverage=band.coverage if band is not None and is_own else None,
            warnings=warnings,
        )

    def allocate(self, flop: float) -> Allocation:
        """The compute-optimal model of a budget. Raises BadInputError below the smallest run's compute."""
        self.runs.refuse_smaller(flop, "flop")
        return allocate(self.law, self.drawn, flop)

    def _of_distance(self, parameters: float, tokens: float, factor: float) -> Iterator[str]:
        for ratio, what in (
            (factor, "compute"),
            (parameters / float(self.runs.parameters.max()), "parameters"),
            (tokens / float(self.runs.tokens.max()), "tokens"),
        ):
            if ratio > FAR * (1 + 1e-9):
                yield (
                    f"{ratio:.3g} times the {what} of the largest run: beyond one order of magnitude the law may bend "
                    "where no run shows it"
                )

    def _of_calibration(self, band: Band | None) -> Iterator[str]:
        if self.calibration.reason is not None:
            yield f"the interval is not calibrated: {self.calibration.reason}"
        elif band is None:
            yield "not tested: too few runs were held out as far beyond their cut"
        elif band.sequential_coverage is None:
            yield "not tested: too few runs to try the interval's width on others than those from which it was found"
        elif band.sequential_coverage < LEVEL:
            yield (
                f"with a width found from smaller runs alone, {band.sequential_held} of {band.sequential_predictions} "
                f"predictions as far held, fewer than {100 * LEVEL:.0f} %"
            )

    def _of_floor(self, p5: float) -> Iterator[str]:
        if p5 < self.law.E:
            yield (
                f"the interval's lower end is below the law's floor, E = {self.law.E:.4g}, which by the law no run "
                "reaches; it is left there, as E is uncertain itself"
            )


@cache
def published_calibration() -> Calibration:
    """The rollout of the published runs, as `python -m scripts.publish_law` stored it."""
    return Calibration.model_validate(json.loads(PUBLISHED_LAW.read_text(encoding="utf-8"))["calibration"])


def _borrowed(widening: float) -> str:
    return (
        f"the interval is widened by {widening:.2f}, as the 240 runs of Hoffmann et al. (2022) needed: these runs "
        "test no factor of their own; how often it then holds for runs like these is not known"
    )


@dataclass(frozen=True)
class _Cut:
    """One rehearsal. `score` of each held-out run: its error on log loss over the unwidened half-width, (m,)."""

    flop: float
    held_out_flop: Array
    score: Array

    def at(self, decade: int, known_flop: float = math.inf) -> Array:
        """Scores of the runs of at most `known_flop` that are 10^decade to 10^(decade+1) times beyond the cut."""
        factor = self.held_out_flop / self.flop
        return self.score[
            (factor > 10.0**decade) & (factor <= 10.0 ** (decade + 1)) & (self.held_out_flop <= known_flop)
        ]


def calibrated(runs: Runs, drop_highest: int = 0, seed: int = SEED) -> CalibratedLaw:
    """Fit, bootstrap and rollout of the runs less the highest losses. Raises BadInputError as `fit` does."""
    law = fit(runs, drop_highest)
    kept = runs.without_highest(drop_highest)
    return CalibratedLaw(kept, law, bootstrap(runs, law, seed=seed), calibrate(kept, seed))


def calibrate(runs: Runs, seed: int = SEED) -> Calibration:
    """Fit below each cut, predict above it, and find by distance how much wider 90 % of one cut more would need."""
    budgets = _budgets(runs)
    if len(budgets) < LEAST_CUTS:
        reason = (
            f"{len(runs)} runs allow {len(budgets)} cuts in compute with at least {LEAST_BELOW} runs below (of three "
            f"sizes and three numbers of tokens) and {LEAST_ABOVE} above; {LEAST_CUTS} are needed"
        )
        return Calibration(cuts=len(budgets), reason=reason, bands=())
    cuts = [_rehearse(runs, budget, seed) for budget in budgets]
    farthest = max(float(cut.held_out_flop.max()) / cut.flop for cut in cuts)
    decades = range(math.ceil(math.log10(farthest) - 1e-9))
    bands = tuple(_band(cuts, decade) for decade in decades if any(len(cut.at(decade)) for cut in cuts))
    return Calibration(cuts=len(cuts), reason=None, bands=bands)


def _budgets(runs: Runs) -> list[float]:
    """Compute of the largest run below each cut: evenly spaced in log compute, each with other runs below."""
    flop = np.sort(runs.flop)
    if len(flop) < LEAST_BELOW + LEAST_ABOVE:
        return []
    wanted = np.geomspace(flop[LEAST_BELOW - 1], flop[-1 - LEAST_ABOVE], MOST_CUTS)
    below = np.unique(np.searchsorted(flop, wanted * (1 + 1e-9), side="right"))
    largest = [float(flop[count - 1]) for count in below if count <= len(flop) - LEAST_ABOVE]
    return [budget for budget in largest if runs.only(runs.flop <= budget).why_too_few() is None]


def _rehearse(runs: Runs, budget: float, seed: int) -> _Cut:
    below, above = runs.only(runs.flop <= budget), runs.only(runs.flop > budget)
    points = below.points
    theta, _ = least(points, starts())
    draws = resampled(points, theta[None], starts(), draw_counts(len(below), CUT_RESAMPLES, seed), more_starts=1)
    error = np.log(above.loss) - log_losses(theta[None], above.parameters, above.tokens)[0]
    half = _half_width(points, theta, draws, above.parameters, above.tokens)
    return _Cut(budget, above.flop, np.abs(error) / half)


def _half_width(points: Points, theta: Array, draws: Array, parameters: Array, tokens: Array) -> Array:
    """Half of a central 90 % interval of one new run's log loss at each place (m,), before any widening: (m,).

    The spread of the law over resamples, which grows with distance, and the noise of a single run, as normal deviates:
    the standard deviation of the residuals, as a run far off the law is not less of a run.
    """
    p5, p95 = np.quantile(log_losses(draws, parameters, tokens), (0.05, 0.95), axis=0)
    residuals = points.log_loss - log_prediction(points.log_x, theta[None])[0]
    noise = math.sqrt(float(np.square(residuals).sum()) / (len(residuals) - len(theta)))
    return np.asarray(np.hypot((p95 - p5) / 2, Z95 * noise))


def _widening(scores: Sequence[Array]) -> float:
    """The factor, at least 1, that covers 90 % of the held-out runs of one cut more, as conformal prediction has it.

    The unit is the cut, as the held-out runs of one share a fit: each of K weighs 1/(K + 1), spread evenly over its
    runs, and the rest stands for the cut to come (Lee, Barber and Willett, 2023, hierarchical conformal prediction).
    """
    weights = np.concatenate([np.full(len(score), 1 / (len(score) * (len(scores) + 1))) for score in scores])
    pooled = np.concatenate(scores)
    order = np.argsort(pooled)
    at = int(np.searchsorted(np.cumsum(weights[order]), LEVEL - 1e-9))
    return max(1.0, float(pooled[order[at]]))


def _widening_at(cuts: Sequence[_Cut], decade: int, known_flop: float = math.inf) -> float | None:
    """The widening at a distance, never less than nearer by; None where too few cuts have held-out runs there."""
    found = None
    for nearer in range(decade + 1):
        scores = [score for cut in cuts if len(score := cut.at(nearer, known_flop))]
        own = _widening(scores) if len(scores) >= LEAST_CUTS else None
        if nearer == decade and own is None:
            return None
        found = max((each for each in (found, own) if each is not None), default=None)
    return found


def _band(cuts: Sequence[_Cut], decade: int) -> Band:
    scores = [score for cut in cuts if len(score := cut.at(decade))]
    widening = _widening_at(cuts, decade)
    sequential = []
    for number, cut in enumerate(cuts):
        earlier = _widening_at(cuts[:number], decade, known_flop=cut.flop)
        if earlier is not None and len(cut.at(decade)):
            sequential.append(cut.at(decade) <= earlier)
    return Band(
        above=10.0**decade,
        up_to=10.0 ** (decade + 1),
        cuts=len(scores),
        predictions=sum(map(len, scores)),
        widening=widening,
        sequential_cuts=len(sequential),
        sequential_predictions=sum(map(len, sequential)),
        sequential_held=sum(int(held.sum()) for held in sequential),
        coverage=None if widening is None else _mean_share([score <= widening for score in scores]),
        unwidened_coverage=_mean_share([score <= 1 for score in scores]),
    )


def _mean_share(covered: Sequence[npt.NDArray[np.bool_]]) -> float:
    """Mean over cuts of the share of runs that are covered."""
    return float(np.mean([each.mean() for each in covered]))
