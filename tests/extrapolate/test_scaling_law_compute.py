"""Loss against compute alone, and IsoFLOP parabolas: known curves are found again."""

import numpy as np
import pytest

from extrapolate.isoflop import fit_isoflop
from extrapolate.kaplan import fit_compute_law
from extrapolate.runs import Runs, read_runs
from tests.extrapolate.synthetic_runs import LAW, ladder, law_loss
from tests.extrapolate.test_scaling_law import HOFFMANN


@pytest.mark.parametrize("E", [1.7, 1e-9])  # with a floor, and Kaplan's pure power law
def test_a_known_frontier_is_found_again(E: float) -> None:
    flop = np.geomspace(1e17, 1e22, 12)
    best = E + (3e19 / flop) ** 0.15
    runs = Runs(
        np.sqrt(np.tile(flop, 2) / 120), 20 * np.sqrt(np.tile(flop, 2) / 120), np.concatenate([best, best * 1.05])
    )
    found = fit_compute_law(runs, resamples=20)
    assert found is not None and found.n_frontier == 12
    assert found.gamma == pytest.approx(0.15, rel=1e-2)
    assert abs(found.E - E) <= 0.03
    assert found.loss(1e23) == pytest.approx(E + (3e19 / 1e23) ** 0.15, rel=1e-2)


def test_few_runs_on_the_frontier_are_no_curve() -> None:
    runs = Runs(np.full(8, 1e8) * np.arange(1, 9), np.full(8, 1e9), np.linspace(2, 3, 8))
    assert fit_compute_law(runs) is None


def isoflop_runs(noise: float, budgets: int = 5, sizes: int = 9) -> Runs:
    """Each budget on sizes about its best one."""
    exponent = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
    g = (LAW["alpha"] * LAW["A"] / (LAW["beta"] * LAW["B"])) ** (1 / (LAW["alpha"] + LAW["beta"]))
    flop = np.repeat(np.geomspace(1e18, 1e21, budgets), sizes)
    parameters = g * (flop / 6) ** exponent * np.tile(np.geomspace(1 / 4, 4, sizes), budgets)
    tokens = flop / 6 / parameters
    errors = np.random.default_rng(0).normal(0, noise, len(flop))
    return Runs(parameters, tokens, law_loss(parameters, tokens, LAW) * np.exp(errors))


def test_the_exponent_of_the_best_size_is_that_of_the_law() -> None:
    truth = LAW["beta"] / (LAW["alpha"] + LAW["beta"])
    exact = fit_isoflop(isoflop_runs(noise=0))
    assert exact is not None and len(exact.budgets) == 5
    assert exact.exponent == pytest.approx(truth, abs=0.005)
    noisy = fit_isoflop(isoflop_runs(noise=0.002))
    assert noisy is not None
    assert noisy.exponent_range.p5 < truth < noisy.exponent_range.p95
    assert noisy.exponent_range.p95 - noisy.exponent_range.p5 < 0.2
    assert noisy.coefficient * 1e20**noisy.exponent == pytest.approx(exact.coefficient * 1e20**exact.exponent, rel=0.2)


def test_the_runs_of_hoffmann_give_the_published_exponent() -> None:
    """Hoffmann et al. (2022), table 2, approach 2: 0.49 (0.462–0.534)."""
    found = fit_isoflop(read_runs([HOFFMANN]).without_highest(5))
    assert found is not None
    assert 0.462 <= found.exponent <= 0.534


def test_runs_of_other_budgets_are_no_parabola() -> None:
    assert fit_isoflop(ladder(5, 4, noise=0)) is None
    assert fit_isoflop(isoflop_runs(noise=0, budgets=2)) is None
    one_sided = isoflop_runs(noise=0)
    small = np.tile(np.arange(9) < 5, 5)  # the best size is the largest: no minimum between them
    assert fit_isoflop(one_sided.only(small & (np.arange(45) % 9 < 4))) is None
