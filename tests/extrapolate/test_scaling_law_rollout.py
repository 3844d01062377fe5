"""Intervals calibrated by rollout: they hold for larger runs of a known law, and say so where nothing shows it."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from configs.errors import BadInputError
from extrapolate.rollout import (
    LEAST_CUTS,
    PUBLISHED_LAW,
    Band,
    CalibratedLaw,
    Calibration,
    LossInterval,
    calibrate,
    calibrated,
)
from extrapolate.runs import Runs
from extrapolate.scaling_law import bootstrap
from tests.extrapolate.synthetic_runs import LAW, ladder, law_loss

NOISE = 0.005


@pytest.fixture(scope="module")
def laws() -> list[CalibratedLaw]:
    return [calibrated(ladder(5, 5, NOISE, seed=seed)) for seed in (1, 2)]


@pytest.fixture(scope="module")
def few() -> CalibratedLaw:
    """Noisy runs of five sizes on four budgets, each four times the last: eight levels of compute, too few cuts."""
    sizes, budgets = 3e7 * 4.0 ** np.arange(5), 5e8 * 4.0 ** np.arange(4)
    n, d = (axis.ravel() for axis in np.meshgrid(sizes, budgets))
    return calibrated(Runs(n, d, law_loss(n, d, LAW) * np.exp(np.random.default_rng(0).normal(0, NOISE, len(n)))))


def _rolled_out(law: CalibratedLaw, widening: float, *, tested: bool) -> CalibratedLaw:
    """The same law as if its rollout had found this widening at all distances; of 7 predictions 3 held, if tested."""
    band = Band(
        above=1,
        up_to=1e9,
        cuts=LEAST_CUTS,
        predictions=30,
        widening=widening,
        sequential_cuts=5 * tested,
        sequential_predictions=7 * tested,
        sequential_held=3 * tested,
        coverage=0.95,
        unwidened_coverage=0.7,
    )
    return replace(law, calibration=Calibration(cuts=LEAST_CUTS, reason=None, bands=(band,)))


def _width(predicted: LossInterval) -> float:
    return math.log(predicted.p95 / predicted.p5)


def test_intervals_hold_for_new_runs_of_the_law(laws: list[CalibratedLaw]) -> None:
    """Stated 90 %, runs up to ten times the largest; it may cover more, as it is never narrowed."""
    held = []
    for law in laws:
        generator = np.random.default_rng(7)
        size, data = law.runs.parameters.max(), law.runs.tokens.max()
        for n, d in zip(size * generator.uniform(0.2, 3, 40), data * generator.uniform(0.2, 3, 40), strict=True):
            truth = float(law_loss(n, d, LAW)) * math.exp(generator.normal(0, NOISE))
            predicted = law.predict(n, d)
            held.append(predicted.p5 <= truth <= predicted.p95)
    assert np.mean(held) >= 0.87


def test_the_rollout_covers_what_it_states_and_counts(laws: list[CalibratedLaw]) -> None:
    for law in laws:
        near = law.calibration.bands[0]
        assert law.calibration.cuts >= near.cuts >= LEAST_CUTS
        assert near.widening is not None and 1 <= near.widening < 4
        assert near.coverage is not None and near.coverage >= max(0.9 - 1 / near.cuts, near.unwidened_coverage)
        widenings = [band.widening for band in law.calibration.bands if band.widening is not None]
        assert widenings == sorted(widenings)
    sequential = [law.calibration.bands[0].sequential_coverage for law in laws]
    known = [value for value in sequential if value is not None]
    assert len(known) == len(laws) and np.mean(known) >= 0.8


def test_an_overconfident_law_is_widened(laws: list[CalibratedLaw]) -> None:
    """A loss that falls ever more slowly: the law of the runs below knows nothing of what comes above."""
    runs = laws[0].runs
    bent = Runs(runs.parameters, runs.tokens, runs.loss + 0.01 * np.log10(runs.flop / runs.flop.min()) ** 2)
    straight, curved = laws[0].calibration.bands[0], calibrate(bent).bands[0]
    assert curved.unwidened_coverage < 0.7 < straight.unwidened_coverage
    assert curved.coverage is not None and curved.coverage >= 0.9


def test_farther_is_wider_and_warned_of(laws: list[CalibratedLaw]) -> None:
    law = laws[0]
    n, d = law.runs.parameters.max(), law.runs.tokens.max()
    near, far = law.predict(n * 2, d * 2), law.predict(n * 200, d * 200)
    assert near.extrapolation_factor == pytest.approx(4)
    assert not [warning for warning in near.warnings if "order of magnitude" in warning]
    assert far.p95 / far.p5 > near.p95 / near.p5 > 1
    assert "40000" in far.warnings[0] or "4e+04" in far.warnings[0]
    assert far.coverage is None and any("not tested" in warning for warning in far.warnings)
    assert near.median == pytest.approx(law.law.loss(n * 2, d * 2))


def test_ten_times_is_within_one_order_of_magnitude(laws: list[CalibratedLaw]) -> None:
    law = laws[0]
    n, d = law.runs.parameters.max(), law.runs.tokens.max()
    at, beyond = law.predict(n, d * 10), law.predict(n, d * 10.01)
    assert at.coverage == law.calibration.bands[0].coverage
    assert not any("order of magnitude" in warning for warning in at.warnings)
    assert any("times the compute" in warning for warning in beyond.warnings)


@pytest.mark.parametrize(("times", "decade"), [(3, 0), (30, 1), (300, 2), (1e5, 2)])
def test_too_few_runs_to_calibrate_take_the_published_widening_and_say_so(
    few: CalibratedLaw, times: float, decade: int
) -> None:
    """Five sizes on four budgets. The unwidened width is that of the same law under a rollout that widens by 1."""
    stored = json.loads(PUBLISHED_LAW.read_text(encoding="utf-8"))["calibration"]["bands"][decade]["widening"]
    place = (few.runs.parameters.max(), few.runs.tokens.max() * times)
    predicted, unwidened = few.predict(*place), _rolled_out(few, 1.0, tested=True).predict(*place)
    assert few.calibration.bands == () and few.calibration.cuts < LEAST_CUTS
    assert (predicted.widening, predicted.widening_source) == (stored, "hoffmann2022")
    assert _width(predicted) == pytest.approx(stored * _width(unwidened)) and stored > 1.5
    assert (predicted.coverage, predicted.sequential_coverage, predicted.sequential_predictions) == (None, None, None)
    said = " ".join(predicted.warnings)
    assert f"the interval is not calibrated: {few.calibration.reason}" in said
    assert f"widened by {stored:.2f}, as the 240 runs of Hoffmann et al. (2022)" in said


def test_an_untested_widening_counts_only_where_it_is_larger_than_the_published_one(few: CalibratedLaw) -> None:
    place = (few.runs.parameters.max(), few.runs.tokens.max() * 3)
    small, large, tested = (
        _rolled_out(few, widening, tested=is_tested).predict(*place)
        for widening, is_tested in ((1.2, False), (3.0, False), (1.2, True))
    )
    assert small.widening_source == "hoffmann2022" and small.widening > 1.2 and small.coverage is None
    assert (large.widening, large.widening_source, large.coverage) == (3.0, "own", 0.95)
    assert all(any("not tested" in warning for warning in each.warnings) for each in (small, large))
    assert (tested.widening, tested.widening_source, tested.coverage) == (1.2, "own", 0.95)
    assert (tested.sequential_held, tested.sequential_predictions) == (3, 7)
    assert any("3 of 7 predictions" in warning for warning in tested.warnings)


def test_an_interval_that_reaches_below_the_floor_is_said_and_left(few: CalibratedLaw) -> None:
    place = (few.runs.parameters.max(), few.runs.tokens.max())
    above, below = (_rolled_out(few, widening, tested=True).predict(*place) for widening in (1.0, 50.0))
    assert below.p5 < few.law.E < above.p5
    assert not any("floor" in warning for warning in above.warnings)
    assert any(f"below the law's floor, E = {few.law.E:.4g}" in warning for warning in below.warnings)


@pytest.mark.parametrize(("size", "data"), [(0.5, 1), (1, 0.5), (math.nan, 1), (1, math.inf), (-1, 1)])
def test_targets_smaller_than_the_data_are_refused(laws: list[CalibratedLaw], size: float, data: float) -> None:
    runs = laws[0].runs
    with pytest.raises(BadInputError, match="as the smallest of the runs"):
        laws[0].predict(runs.parameters.min() * size, runs.tokens.min() * data)
    with pytest.raises(BadInputError, match="as the smallest of the runs"):
        laws[0].allocate(runs.flop.min() * 0.5)


def test_the_same_seed_gives_the_same_numbers(laws: list[CalibratedLaw]) -> None:
    law = laws[0]
    again, other = (bootstrap(law.runs, law.law, seed=seed) for seed in (0, 1))
    assert again.ranges() == law.drawn.ranges() != other.ranges()
