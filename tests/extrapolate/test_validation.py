"""Predictions of published runs: that the truth is kept out of them, what is held, and the page that says so."""

import math

import numpy as np
import pytest
from scipy import stats

from configs.booked import booked_runs
from configs.errors import BadInputError
from extrapolate.calibration import calibration
from extrapolate.duration import effective_mfu, effective_mfu_prior, goodput_prior
from extrapolate.validation import (
    Check,
    coverage,
    effective_checks,
    flop_checks,
    planned_checks,
    planned_mfu,
    speed_checks,
    team_checks,
)
from scripts import document_validation


def test_an_effective_mfu_is_predicted_from_the_other_runs() -> None:
    """Student's t on the logits of the others, computed apart."""
    rows = {name: row for name, row in booked_runs().effective_mfu.items() if row.booked}
    checks = {check.run: check for check in effective_checks()}
    assert checks.keys() == rows.keys()
    for name, row in rows.items():
        shares = np.array([effective_mfu(other) for key, other in rows.items() if key != name])
        logits = np.log(shares / (1 - shares))
        spread = logits.std(ddof=1) * math.sqrt(1 + 1 / len(logits))
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
    row = booked_runs().effective_mfu["opt-175b"]
    own, known = planned_mfu(row), planned_mfu(row.model_copy(update={"team": None}))
    assert row.team in calibration().practice
    others = [ratio for team, ratio in calibration().practice.items() if team != row.team]
    every = list(calibration().practice.values())
    shift = math.log(own.median / known.median)
    assert shift == pytest.approx(np.mean(every) - np.mean(others))


def test_what_holds_and_what_does_not() -> None:
    """Published runs by name: a change here is a change of what the forecast is worth."""
    held = {check.run: check.held for check in planned_checks()}
    assert held == {"gpt3-175b": False, "gpt-neox-20b": True, "opt-175b": False, "bloom-176b": True}
    held = {check.run: check.held for check in effective_checks()}
    assert [run for run, inside in held.items() if not inside] == ["opt-175b"]
    assert [check.run for check in team_checks() if not check.held] == ["Megatron-LM 2022"]
    six_nd = {check.run: check.error_percent for check in flop_checks()}
    assert [run for run, error in six_nd.items() if abs(error) > 5] == ["gopher-280b", "opt-175b"]
    assert all(abs(check.convention_error_percent or 0) < 3 for check in flop_checks())


def test_every_measured_step_is_there_once() -> None:
    found = calibration()
    names = [check.run for check in speed_checks()]
    rows = (*found.left_out, *found.held_out, *found.pairs, *found.beyond)
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
