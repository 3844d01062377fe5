"""Time: the arithmetic by hand, lost work counted once, and priors against an independent computation."""

import inspect
import math
import time

import numpy as np
import pytest
from scipy import stats

from configs.booked import booked_runs, parse_booked
from configs.errors import BadInputError
from extrapolate.duration import (
    Effective,
    WhileTraining,
    accelerator_hours,
    days,
    effective_mfu,
    effective_mfu_prior,
    goodput_prior,
    ideal_accelerator_hours,
    measured_goodput,
    prediction,
)
from extrapolate.widening import widening
from tests.extrapolate.run_records import run_record


def test_by_hand() -> None:
    """OPT-175B: 33 days of 4.3e23 FLOP at 147e12 on 1024, in 50/29.7 as many with its goodput."""
    ideal = ideal_accelerator_hours(4.3e23, 312e12, 147 / 312)
    assert days(ideal, 1024) == pytest.approx(33.06, abs=0.01)
    real = accelerator_hours(4.3e23, 312e12, WhileTraining(mfu=147 / 312, goodput=0.594))
    assert real == pytest.approx(ideal / 0.594)
    assert accelerator_hours(4.3e23, 312e12, Effective(mfu=147 / 312 * 0.594)) == pytest.approx(real)


def test_an_effective_mfu_has_no_room_for_a_goodput() -> None:
    assert list(inspect.signature(Effective).parameters) == ["mfu"]
    with pytest.raises(TypeError):
        Effective(0.3, 0.9)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        WhileTraining(0.3)  # type: ignore[call-arg]


def test_a_million_draws_take_no_time() -> None:
    start = time.perf_counter()
    mfu, goodput = effective_mfu_prior().draws(1_000_000, 0), goodput_prior().draws(1_000_000, 0)
    hours = accelerator_hours(3.14e23, 312e12, WhileTraining(mfu, goodput))
    assert time.perf_counter() - start < 1
    assert np.shape(hours) == (1_000_000,)
    assert not np.array_equal(mfu, goodput)
    assert abs(np.corrcoef(mfu, goodput)[0, 1]) < 0.01
    assert np.array_equal(mfu, effective_mfu_prior().draws(1_000_000, 0))


@pytest.mark.parametrize("prior", [goodput_prior(), effective_mfu_prior()], ids=lambda prior: prior.name)
def test_priors_are_t_predictions_on_the_logit(prior: object) -> None:
    name = getattr(prior, "name", "")
    runs = booked_runs()
    if name == "goodput":
        shares = [row.value for row in runs.goodput.values()]
    else:
        shares = [effective_mfu(row) for row in runs.effective_mfu.values() if row.booked]
    logits = [math.log(share / (1 - share)) for share in shares]
    n = len(logits)
    spread = stats.sem(logits) * math.sqrt(n) * math.sqrt(1 + 1 / n)
    bounds = [1 / (1 + math.exp(-x)) for x in stats.t.interval(0.9, n - 1, np.mean(logits), spread)]
    if name == "effective_mfu":  # wider by what leaving published runs out says
        middle = float(np.mean(logits))
        wider = [middle + widening() * (math.log(p / (1 - p)) - middle) for p in bounds]
        assert widening() > 1
        bounds = [1 / (1 + math.exp(-x)) for x in wider]
    assert [getattr(prior, "low", 0), getattr(prior, "high", 0)] == pytest.approx(bounds)


def test_the_effective_prior_is_of_booked_hours() -> None:
    rows = booked_runs().effective_mfu
    prior = effective_mfu_prior()
    assert prior.runs == sum(row.booked for row in rows.values()) == len(rows) - 1
    assert prior.low < min(effective_mfu(row) for row in rows.values()) < prior.high
    opt = effective_mfu(rows["opt-175b"])
    assert opt == pytest.approx(0.2106, abs=5e-4)  # 270e9 tokens × 1.078e12 FLOP over 1,228,800 h of 312e12


def test_goodput_of_one_s_own_run() -> None:
    found = measured_goodput(run_record(steps=10, step_time_median_s=9.0, wall_clock_s=100.0))
    assert found.share == pytest.approx(0.9)
    assert len(found.warnings) == 2  # short, and on a CPU
    long = run_record(device_type="cuda", steps=100_000, step_time_median_s=9.0, wall_clock_s=1e6)
    assert measured_goodput(long) == (pytest.approx(0.9), ())
    with pytest.raises(BadInputError, match="has no finished step"):
        measured_goodput(run_record(steps=0))


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01, math.nan])
def test_what_is_no_share_is_refused(share: float) -> None:
    for utilisation in (Effective(share), WhileTraining(share, 0.9), WhileTraining(0.4, np.array([0.9, share]))):
        with pytest.raises(BadInputError, match="must be above 0 and at most 1"):
            accelerator_hours(1e20, 1e14, utilisation)
    with pytest.raises(ValueError, match="at least two shares"):
        prediction("a", [0.5], "")
    with pytest.raises(BadInputError, match="0 accelerators"):
        days(1.0, 0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("share: 0.9", "share: 1.2", "goodput.b.share"),
        ("share: 0.9", "useful_days: 3", "needs share, or useful_days and booked_days"),
        ("booked_days: 50", "booked_days: 20", "are not less than booked_days"),
        ("dtype: fp16", "dtype: int8", "'int8' is not a choice"),
    ],
)
def test_a_wrong_row_is_named(old: str, new: str, message: str) -> None:
    run = "{model: gpt3-175b, tokens: 1, accelerator: v100-sxm-32gb, dtype: fp16, accelerator_hours: 1, source: here}"
    text = f"""
goodput:
  a: {{useful_days: 29.7, booked_days: 50, source: here}}
  b: {{share: 0.9, source: here}}
effective_mfu:
  a: {run}
  b: {run}
"""
    assert parse_booked(text)
    with pytest.raises(BadInputError, match=message) as error:
        parse_booked(text.replace(old, new))
    assert str(error.value).startswith("configs/booked.yaml: ")
