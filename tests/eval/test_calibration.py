import math

import numpy as np
import pytest
from scipy import stats

from configs.errors import BadInputError
from configs.files import read_record, write_record
from eval.calibration import Calibration, CalibrationRun, calibrate, clopper_pearson, loss_tolerance


def run(label, recipe, facts, loss, n=1000):
    scores = {"facts": (facts, n), "agreement": (990, n)}
    return CalibrationRun(label=label, recipe=recipe, seed=0, scores=scores, held_out_loss=loss)


# The shape of a real suite: four good seeds, two half-trained.
RUNS = [
    run("g0", "good", 838, 0.8125),
    run("g1", "good", 821, 0.8180),
    run("g2", "good", 822, 0.8229),
    run("g3", "good", 812, 0.8170),
    run("h0", "half", 815, 0.8490),
    run("h1", "half", 551, 0.8580),
]


def test_pairs_readings_and_failures():
    calibration = calibrate(RUNS)
    every = calibration.good.rates["every_benchmark"]
    assert (every.passed, every.pairs, every.independent_pairs) == (5, 6, 2)  # 83.8 and 81.2 are 2.6 apart
    assert calibration.good.failures == {"facts": 1}
    assert calibration.good.rates["mean_absolute_difference"].passed == 6
    (half,) = calibration.controls
    assert (half.recipe, half.runs, len(half.pairs)) == ("half", 2, 8)
    assert half.rates["every_benchmark"].passed == 3  # h0 is within 2 points of g1, g2 and g3
    assert half.rates["every_benchmark + held_out_loss"].passed == 1  # three runs set a loose limit


def test_spreads_are_in_points():
    calibration = calibrate(RUNS)
    facts = {b.name: b for b in calibration.benchmarks}["facts"]
    assert facts.mean_pp == pytest.approx(82.325)
    assert facts.sd_pp == pytest.approx(np.std([83.8, 82.1, 82.2, 81.2], ddof=1))
    assert calibration.macro_mean.sd_pp == pytest.approx(facts.sd_pp / 2)


def test_no_pair_sets_its_own_limit():
    calibration = calibrate(RUNS)
    first = calibration.good.pairs[0]
    assert (first.original, first.replica) == ("g0", "g1")
    assert first.loss_tolerance == pytest.approx(loss_tolerance([0.8229, 0.8170]))
    assert calibration.controls[0].pairs[0].loss_tolerance == pytest.approx(loss_tolerance([0.8180, 0.8229, 0.8170]))
    assert calibration.loss_tolerance == pytest.approx(loss_tolerance([0.8125, 0.8180, 0.8229, 0.8170]))


def test_tolerance_is_the_prediction_limit_of_a_new_pair():
    losses = [0.81, 0.82, 0.83, 0.80]
    expected = stats.t.ppf(0.975, 3) * math.sqrt(2) * np.std(losses, ddof=1)
    assert loss_tolerance(losses) == pytest.approx(expected)
    assert loss_tolerance([0.8]) is None
    rng = np.random.default_rng(0)
    kept = [abs(a - b) <= loss_tolerance(rest) for a, b, *rest in rng.normal(1, 0.01, (2000, 6))]
    assert np.mean(kept) == pytest.approx(0.95, abs=0.015)


def test_three_good_runs_cannot_gate_a_good_pair():
    calibration = calibrate(RUNS[:3])
    assert {pair.gate for pair in calibration.good.pairs} == {None}
    assert "held_out_loss" not in calibration.good.rates
    assert calibration.controls == ()


def test_intervals_by_seeds_are_wider():
    for rate in calibrate(RUNS).good.rates.values():
        assert rate.low_by_seeds <= rate.low_if_independent <= rate.rate <= rate.high_if_independent
        assert rate.high_if_independent <= rate.high_by_seeds


def test_clopper_pearson_published_and_at_the_edges():
    # All of n: lower limit (α/2)^(1/n); 10 of 100: 0.0490 to 0.1762 (Newcombe & Vollset 1994's kind of table).
    assert clopper_pearson(20, 20) == pytest.approx((0.025 ** (1 / 20), 1))
    assert clopper_pearson(10, 100) == pytest.approx((0.0490, 0.1762), abs=5e-5)
    assert clopper_pearson(0, 0) == (0, 1)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (RUNS[:1], "fewer than two runs"),
        ([RUNS[0], RUNS[0]], "'g0' stands twice"),
        ([*RUNS, run("x", "half", 1, 0.9, n=999)], "x was not scored on the same items"),
    ],
)
def test_bad_input(runs, message):
    with pytest.raises(BadInputError, match=message):
        calibrate(runs)


def test_round_trip(tmp_path):
    calibration = calibrate(RUNS)
    write_record(tmp_path / "calibration.json", calibration)
    assert read_record(tmp_path / "calibration.json", Calibration) == calibration
