"""The loss law: published values, known laws, an independent optimiser, finite differences, closed forms."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from configs.errors import BadInputError
from extrapolate.levenberg import DELTA, Points, derivatives, log_prediction, objectives
from extrapolate.runs import Runs, read_runs
from extrapolate.scaling_law import Bootstrap, LawFit, allocate, bootstrap, draw_counts, fit, least, resampled, starts
from tests.extrapolate.synthetic_runs import LAW, ladder

HOFFMANN = Path(__file__).parents[2] / "configs" / "facts" / "hoffmann2022_runs.csv"


@pytest.fixture(scope="module")
def hoffmann() -> Runs:
    return read_runs([HOFFMANN])


@pytest.fixture(scope="module")
def published(hoffmann: Runs) -> LawFit:
    return fit(hoffmann, drop_highest=5)


def huber_sum(theta: np.ndarray, runs: Runs) -> float:
    """The objective written anew, without batches or shortcuts."""
    a, b, e, alpha, beta = theta
    terms = np.stack([a - alpha * np.log(runs.parameters), b - beta * np.log(runs.tokens), np.full(len(runs), e)])
    residual = np.abs(np.log(runs.loss) - np.logaddexp.reduce(terms))
    return float(np.where(residual <= DELTA, residual**2 / 2, DELTA * (residual - DELTA / 2)).sum())


def test_the_replication_of_chinchilla(hoffmann: Runs, published: LawFit) -> None:
    """Besiroglu et al. (2024), table 1 and notebook: 240 of 245 runs."""
    assert (published.n_points, published.dropped) == (240, 5)
    assert published.objective <= 0.00101828
    assert published.alpha == pytest.approx(0.3473, abs=0.002)
    assert published.beta == pytest.approx(0.3672, abs=0.002)
    assert abs(published.E - 1.8172) <= 0.001
    assert published.objective == pytest.approx(huber_sum(published.theta[0], hoffmann.without_highest(5)), rel=1e-9)


def test_standard_errors_are_the_published_ones(hoffmann: Runs, published: LawFit) -> None:
    """Besiroglu et al. (2024), table 1: of 4,000 resamples from one start; here 300."""
    errors = bootstrap(hoffmann, published, resamples=300).standard_errors()
    assert errors["A"] == pytest.approx(124.58, rel=0.25)
    assert errors["B"] == pytest.approx(1293.23, rel=0.25)
    assert errors["E"] == pytest.approx(0.03, abs=0.008)
    assert errors["alpha"] == pytest.approx(0.02, abs=0.006)
    assert errors["beta"] == pytest.approx(0.02, abs=0.006)


@settings(max_examples=8, deadline=None)
@given(
    E=st.floats(0.5, 2.5),
    alpha=st.floats(0.2, 0.6),
    beta=st.floats(0.2, 0.6),
    size_share=st.floats(0.05, 1.0),
    data_share=st.floats(0.05, 1.0),
)
def test_a_known_law_is_found_again(E: float, alpha: float, beta: float, size_share: float, data_share: float) -> None:
    """Without noise: shares are what each term adds to E at the smallest run."""
    law = {"E": E, "A": size_share * E * 1e5**alpha, "B": data_share * E * 1e7**beta, "alpha": alpha, "beta": beta}
    found = fit(ladder(5, 5, noise=0, law=law, smallest=(1e5, 1e7)))
    assert {name: getattr(found, name) for name in law} == pytest.approx(law, rel=1e-2)
    assert found.objective < 1e-10


@pytest.mark.parametrize("noise", [0.005, 0.03])
def test_no_other_optimiser_finds_less(noise: float) -> None:
    """scipy's L-BFGS-B as in the replication's notebook, from 40 starts of the grid, then Nelder–Mead."""
    runs = ladder(5, 4, noise=noise, seed=4)
    ours = fit(runs)
    grid = starts()
    chosen = grid[np.argsort([huber_sum(start, runs) for start in grid[::15]])[:40] * 15]
    ends = [optimize.minimize(huber_sum, start, args=(runs,), method="L-BFGS-B") for start in chosen]
    best = min(ends, key=lambda end: float(end.fun))
    best = optimize.minimize(
        huber_sum, best.x, args=(runs,), method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-15}
    )
    assert ours.objective <= best.fun * (1 + 1e-6)
    assert ours.objective == pytest.approx(best.fun, rel=1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), terms=st.sampled_from([1, 2]))
def test_derivatives_are_those_of_finite_differences(seed: int, terms: int) -> None:
    generator = np.random.default_rng(seed)
    points = Points(generator.normal(0, 2, (terms, 12)), generator.normal(0.5, 0.5, 12))
    theta = generator.normal(0, 0.5, (1, 2 * terms + 1))
    inside = (
        log_prediction(points.log_x, theta)[0, :4] + generator.uniform(-0.8, 0.8, 4) * DELTA
    )  # both of Huber's arms
    points = Points(points.log_x, np.concatenate([inside, points.log_loss[4:]]))
    counts = generator.integers(0, 4, (1, 12)).astype(float)
    step = 1e-6

    def moved(at: int, sign: int) -> np.ndarray:
        return theta + sign * step * np.eye(2 * terms + 1)[at]

    exact = derivatives(points, theta, counts, exact=True)
    assert exact.objective == pytest.approx(objectives(points, theta, counts)[0])
    for at in range(2 * terms + 1):
        up, down = (derivatives(points, moved(at, sign), counts, exact=True) for sign in (1, -1))
        slope = (up.objective - down.objective) / (2 * step)
        assert exact.gradient[0, at] == pytest.approx(slope[0], rel=1e-4, abs=1e-8)
        curvature = (up.gradient - down.gradient)[0] / (2 * step)
        assert exact.curvature[0, at] == pytest.approx(curvature, rel=1e-4, abs=1e-6)


def test_the_reweighted_curvature_is_never_negative() -> None:
    points = ladder(5, 4, noise=0.05).points
    everywhere = derivatives(points, starts()[::9], np.ones((1, 20)), exact=False)
    values = np.linalg.eigvalsh(everywhere.curvature)
    assert (values >= -1e-9 * values.max(1, keepdims=True)).all()


@pytest.mark.parametrize(("noise", "excess"), [(0.005, 1e-5), (0.03, 0.02)])
def test_a_resample_refined_is_a_resample_fitted_anew(noise: float, excess: float) -> None:
    """A batch that starts from the point fit does not get stuck; where noise makes pits of its own, in none of note."""
    runs = ladder(5, 4, noise=noise, seed=2)
    theta = fit(runs).theta
    counts = draw_counts(len(runs), 8, seed=3)
    ends = resampled(runs.points, theta, starts(), counts)
    for end, drawn in zip(ends, counts.astype(int), strict=True):
        log_x, log_loss = np.repeat(runs.points.log_x, drawn, axis=1), np.repeat(runs.points.log_loss, drawn)
        _, anew = least(Points(log_x, log_loss), starts())
        assert objectives(runs.points, end[None], drawn[None].astype(float))[0, 0] <= anew * (1 + excess) + 1e-12


@settings(max_examples=30, deadline=None)
@given(alpha=st.floats(0.1, 0.9), beta=st.floats(0.1, 0.9), ratio=st.floats(-4, 4), log_flop=st.floats(15, 27))
def test_the_closed_form_allocation_is_the_numeric_minimum(
    alpha: float, beta: float, ratio: float, log_flop: float
) -> None:
    law = LawFit(E=1.7, A=400.0, B=400.0 * 10**ratio, alpha=alpha, beta=beta, objective=0, n_points=6, dropped=0)
    flop = 10**log_flop
    best = allocate(law, Bootstrap(np.repeat(law.theta, 2, axis=0)), flop)
    assert 6 * best.parameters * best.tokens == pytest.approx(flop, rel=1e-9)

    def log_reducible(log_n: float) -> float:
        n = np.exp(log_n)
        return float(np.log(law.A / n**alpha + law.B / (flop / 6 / n) ** beta))

    middle = np.log(best.parameters)
    numeric = optimize.minimize_scalar(log_reducible, bounds=(middle - 9, middle + 8), method="bounded")
    assert numeric.x == pytest.approx(middle, abs=1e-2)
    assert best.loss == pytest.approx(law.E + np.exp(numeric.fun), rel=1e-9)
    assert best.parameters_range.p5 == pytest.approx(best.parameters)


def test_equal_runs_weigh_as_often_as_they_stand_there() -> None:
    once = ladder(4, 4, noise=0.01)
    twice = Runs(*(np.repeat(column, 2) for column in (once.parameters, once.tokens, once.loss)))
    assert fit(twice).objective == pytest.approx(2 * fit(once).objective, rel=1e-6)
    assert fit(twice).alpha == pytest.approx(fit(once).alpha, rel=1e-4)


def test_the_highest_losses_are_dropped() -> None:
    runs = ladder(5, 4, noise=0.001)
    spoilt = Runs(
        *(
            np.append(getattr(runs, name), value)
            for name, value in (("parameters", 1e9), ("tokens", 1e10), ("loss", 9.0))
        )
    )
    dropped = fit(spoilt, drop_highest=1)
    assert dropped.model_dump(exclude={"dropped"}) == fit(runs).model_dump(exclude={"dropped"})
    assert dropped.dropped == 1
    with pytest.raises(BadInputError, match="21 highest losses of 21 runs cannot be dropped"):
        fit(spoilt, drop_highest=21)


def test_runs_that_cannot_fix_five_parameters_are_refused() -> None:
    n, d, loss = (
        np.array(column)
        for column in zip(
            *(
                (s, t, 3 - 0.01 * i)
                for i, (s, t) in enumerate((s, t) for s in (1e6, 2e6, 4e6) for t in (1e8, 2e8, 4e8))
            ),
            strict=True,
        )
    )
    with pytest.raises(BadInputError, match="5 runs are too few"):
        fit(Runs(n[:5], d[:5], loss[:5]))
    with pytest.raises(BadInputError, match="all runs have one size"):
        fit(Runs(np.full(9, 1e6), d * np.arange(1, 10), loss))
    with pytest.raises(BadInputError, match="all runs have one number of tokens"):
        fit(Runs(n * np.arange(1, 10), np.full(9, 1e8), loss))
    with pytest.raises(BadInputError, match="2 different sizes"):
        fit(Runs(np.where(n > 1e6, 2e6, n), d, loss))


def test_losses_that_rise_with_size_are_no_law() -> None:
    runs = ladder(5, 4, noise=0)
    with pytest.raises(BadInputError, match="do not fall with model size"):
        fit(Runs(1e16 / runs.parameters, runs.tokens, runs.loss))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -2.0])
@pytest.mark.parametrize("column", ["parameters", "tokens", "loss"])
def test_a_number_that_is_none_is_refused_with_its_row(column: str, value: float) -> None:
    columns = {"parameters": [1e6, 2e6], "tokens": [1e8, 2e8], "loss": [3.0, 2.9]}
    columns[column][1] = value
    with pytest.raises(BadInputError, match=f"run 2: {column} is "):
        Runs(**{name: np.array(values) for name, values in columns.items()})


def test_the_law_of_the_test_is_where_real_ones_are(published: LawFit) -> None:
    """What is synthetic here is of the same kind as what is measured."""
    for name, value in LAW.items():
        assert getattr(published, name) == pytest.approx(value, rel=0.1)
