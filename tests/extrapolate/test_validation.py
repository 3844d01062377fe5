"""Predictions of published runs: that the truth is kept out of them, what is held, and the page that says so."""

import math

import numpy as np
import pytest
from scipy import stats

from configs import presets
from configs.booked import booked_runs
from configs.errors import BadInputError
from extrapolate.calibration import calibration
from extrapolate.duration import effective_mfu, effective_mfu_prior, goodput_prior, team_of
from extrapolate.throughput import plan
from extrapolate.utilisation import Predicted, in_practice
from extrapolate.validation import (
    Check,
    coverage,
    effective_checks,
    flop_checks,
    planned_checks,
    planned_mfu,
    speed_checks,
    team_checks,
    trials,
)
from extrapolate.widening import Trial, held_by_the_others, least_factor, published_trials, widening
from scripts import document_validation


def test_an_effective_mfu_is_predicted_from_the_other_runs() -> None:
    """Student's t on the logits of the others, computed apart."""
    rows = {name: row for name, row in booked_runs().effective_mfu.items() if row.booked}
    checks = {check.run: check for check in effective_checks()}
    assert checks.keys() == rows.keys()
    for name, row in rows.items():
        shares = np.array([effective_mfu(other) for key, other in rows.items() if key != name])
        logits = np.log(shares / (1 - shares))
        spread = widening(team_of(name)) * logits.std(ddof=1) * math.sqrt(1 + 1 / len(logits))
        low, high = 1 / (1 + np.exp(-np.array(stats.t.interval(0.9, len(logits) - 1, logits.mean(), spread))))
        ours = effective_mfu(row) * row.accelerator_hours
        assert checks[name].interval == pytest.approx((ours / high, ours / low), rel=1e-6)
        assert effective_mfu_prior(without=name).runs == len(rows) - 1


def test_a_goodput_is_of_the_other_runs() -> None:
    rows = booked_runs().goodput
    assert goodput_prior(without="opt-175b").runs == len(rows) - 1
    assert goodput_prior(without="opt-175b").low > goodput_prior().low
    assert goodput_prior(without="nobody") == goodput_prior()


def test_an_mfu_in_practice_is_of_the_other_teams() -> None:
    """OPT's own row moves the MFU of everybody else's plans, and not that of its own."""
    row, cluster = booked_runs().effective_mfu["opt-175b"], presets.cluster("1024xa100-sxm-80gb")
    first = plan(presets.architecture("opt-175b"), cluster, row.batch or 0, 2048, best=1).plans[0]
    own = planned_mfu("opt-175b")
    known = in_practice(Predicted(first.mfu, first.hfu, 1024), cluster, calibration()).mfu
    assert row.team in calibration().practice
    others = [ratio for team, ratio in calibration().practice.items() if team != row.team]
    every = list(calibration().practice.values())
    shift = math.log(own.median / known.median)
    assert shift == pytest.approx(np.mean(every) - np.mean(others))


def test_what_holds_and_what_does_not() -> None:
    """Published runs by name: a change here is a change of what the forecast is worth."""
    held = {check.run: check.held for check in planned_checks()}
    assert held == {"gpt3-175b": True, "gpt-neox-20b": True, "opt-175b": True, "bloom-176b": True}
    held = {check.run: check.held for check in effective_checks()}
    assert [run for run, inside in held.items() if not inside] == ["opt-175b"]
    assert all(check.held for check in team_checks())
    six_nd = {check.run: check.error_percent for check in flop_checks()}
    assert [run for run, error in six_nd.items() if abs(error) > 5] == ["gopher-280b", "opt-175b"]
    assert all(abs(check.convention_error_percent or 0) < 3 for check in flop_checks())


def test_every_measured_step_is_there_once() -> None:
    found = calibration()
    names = [check.run for check in speed_checks()]
    rows = (*found.left_out, *found.held_out, *found.pairs, *found.beyond, *found.doubtful)
    assert names == [row.step.name for row in rows] and len(set(names)) == len(names)
    for check in speed_checks():  # on another accelerator nothing was kept out of the widening
        assert (check.kept_out is None) == ("h100" in check.run)


@pytest.mark.parametrize(("held", "of"), [(0, 3), (2, 4), (10, 14), (5, 5)])
def test_coverage_is_clopper_and_pearson_s(held: int, of: int) -> None:
    checks = [Check("a", 1, 1 if at < held else 5, (0.5, 2), "so", "") for at in range(of)]
    found = coverage([*checks, Check("b", 1, 1, None, "so", "")])
    expected = stats.binomtest(held, of).proportion_ci(0.9, "exact")
    assert (found.held, found.of) == (held, of)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.at_most == pytest.approx(stats.binom.cdf(held, of, 0.9))
    with pytest.raises(ValueError, match="no check has an interval"):
        coverage([])


def test_the_page_is_todays() -> None:
    page = document_validation.PAGE.read_text(encoding="utf-8")
    assert document_validation.updated(page) == page, "run `python -m scripts.document_validation`"
    with pytest.raises(BadInputError, match="once each"):
        document_validation.updated("# no markers\n")


def test_a_failure_without_a_reason_is_refused() -> None:
    with pytest.raises(LookupError, match="a-new-run: its interval did not hold; say why"):
        document_validation.reason(Check("a-new-run", 1, 5, (0.5, 2), "so", ""), document_validation.SPEED_REASONS)


def test_the_stored_trials_are_those_of_the_facts() -> None:
    """And the widening, tried by the others, is what the checks show."""
    stored = published_trials()
    assert [(each.run, each.kind) for each in stored] == [(each.run, each.kind) for each in trials()]
    needs = [each.needs for each in trials()]
    assert needs == pytest.approx([each.needs for each in stored], abs=2e-3), "run `python -m scripts.publish_practice`"
    checks = [*team_checks(), *effective_checks(), *planned_checks()]
    assert held_by_the_others() == (sum(check.held is True for check in checks), len(checks))


def test_the_widening_is_the_need_of_nine_in_ten_and_one_more() -> None:
    made = [Trial(run=str(at), team=str(at % 2), needs=at) for at in range(1, 21)]
    assert least_factor(made) == 19 and least_factor(made, "0") == 19 and least_factor(made[:5]) == 5
    with pytest.raises(ValueError, match="no trial is left"):
        least_factor(made[:1], "1")
