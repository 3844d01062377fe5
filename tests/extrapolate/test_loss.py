"""The stored law of the published runs is the one that its runs give."""

import numpy as np
import pytest

from extrapolate.loss import PUBLISHED_DROPPED, PUBLISHED_RUNS, StoredLaw, loss_forecast, published_law
from extrapolate.rollout import calibrate
from extrapolate.runs import read_runs
from extrapolate.scaling_law import bootstrap, fit


def test_the_stored_law_is_that_of_its_runs() -> None:
    """Of the bootstrap the first draws, which do not depend on how many there are."""
    runs, stored = read_runs([PUBLISHED_RUNS]), published_law()
    law = fit(runs, PUBLISHED_DROPPED)
    assert law.model_dump() == pytest.approx(stored.law.model_dump(), rel=1e-6), "run `python -m scripts.publish_law`"
    draws = bootstrap(runs, law, resamples=20).theta
    assert len(stored.drawn.theta) == 1000
    assert np.allclose(draws, stored.drawn.theta[:20], rtol=1e-4)
    assert stored.calibration.bands[0].coverage is not None
    assert StoredLaw.of(stored).law == stored.law


def test_the_stored_widenings_are_what_the_rollout_finds() -> None:
    """Whole, as a rollout of fewer runs or cuts is another: eleven seconds of one core."""
    stored = published_law()
    found = calibrate(stored.runs)
    assert found.model_dump(exclude={"bands"}) == stored.calibration.model_dump(exclude={"bands"})
    bands, stored_bands = (  # what is None is nan, on both sides
        np.array([list(band.model_dump().values()) for band in each.bands], np.float64)
        for each in (found, stored.calibration)
    )
    np.testing.assert_allclose(bands, stored_bands, rtol=1e-4, err_msg="run `python -m scripts.publish_law`")


def test_the_published_law_predicts_gpt3_and_not_what_is_smaller_than_its_runs() -> None:
    found, warnings = loss_forecast(174_604_259_328, 300_000_000_000)
    assert found is not None
    law = 1.8172 + 477.83 / 174_604_259_328**0.34731 + 2143.4 / 3e11**0.36717
    assert found.median == pytest.approx(law, abs=1e-3)
    assert found.p5 < found.median < found.p95
    assert any("Hoffmann" in warning for warning in warnings)
    nothing, reasons = loss_forecast(1_000_000, 300_000_000_000)
    assert nothing is None
    assert "smaller than the published runs" in reasons[0]
