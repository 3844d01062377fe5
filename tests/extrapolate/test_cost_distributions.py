"""Draws against the formulas of their distributions, correlations that come out, and a decomposition known exactly."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from configs.distributions import Distribution
from configs.errors import BadInputError
from extrapolate.distributions import Correlated, Draws, draws, first_order_shares, normal_scores, quantiles

N = 200_000
Z95 = 1.6448536269514722


def lognormal(low: float, high: float, minimum: float | None = None) -> Distribution:
    return Distribution(distribution="lognormal", low=low, high=high, minimum=minimum)


def drawn(belief: Distribution, name: str = "x", seed: int = 0) -> Draws:
    return draws(belief, normal_scores([name], (), seed, N)[name])


def test_a_lognormal_has_its_range_its_median_and_its_mean() -> None:
    q = quantiles(drawn(lognormal(2, 18)))
    sigma = math.log(3) / Z95
    assert (q.p5, q.median, q.p95) == pytest.approx((2, 6, 18), rel=0.02)
    assert q.mean == pytest.approx(6 * math.exp(sigma**2 / 2), rel=0.01)


def test_a_logit_normal_has_its_range_and_a_uniform_its_moments() -> None:
    q = quantiles(drawn(Distribution(distribution="logit_normal", low=0.64, high=0.98)))
    assert (q.p5, q.p95) == pytest.approx((0.64, 0.98), rel=0.01)
    values = drawn(Distribution(distribution="uniform", low=3, high=5))
    assert values.min() >= 3
    assert values.max() <= 5
    assert (values.mean(), values.std()) == pytest.approx((4, 2 / math.sqrt(12)), rel=0.01)


def test_a_constant_is_one_and_a_minimum_is_kept() -> None:
    assert set(drawn(Distribution(distribution="constant", value=7))) == {7}
    cut = drawn(lognormal(0.5, 4, minimum=1))
    assert cut.min() == 1
    assert np.quantile(cut, 0.95) == pytest.approx(4, rel=0.02)


def test_a_product_of_lognormals_is_the_lognormal_that_theory_says() -> None:
    beliefs = {"a": lognormal(1, 4), "b": lognormal(2, 3), "c": lognormal(0.1, 0.9)}
    scores = normal_scores(list(beliefs), (), 1, N)
    q = quantiles(np.prod([draws(belief, scores[name]) for name, belief in beliefs.items()], axis=0))
    normals = [belief.normal() for belief in beliefs.values()]
    mu, sigma = sum(m for m, _ in normals), math.sqrt(sum(s**2 for _, s in normals))
    expected = (math.exp(mu - Z95 * sigma), math.exp(mu), math.exp(mu + sigma**2 / 2), math.exp(mu + Z95 * sigma))
    assert (q.p5, q.median, q.mean, q.p95) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("rho", [-1.0, -0.7, 0.0, 0.5, 1.0])
def test_correlations_come_out(rho: float) -> None:
    scores = normal_scores(["a", "b", "c"], [Correlated("a", "b", rho)], 0, N)
    assert np.corrcoef(scores["a"], scores["b"])[0, 1] == pytest.approx(rho, abs=0.01)
    assert np.corrcoef(scores["a"], scores["c"])[0, 1] == pytest.approx(0, abs=0.01)
    assert scores["b"].std() == pytest.approx(1, abs=0.01)


def test_draws_from_elsewhere_stay_and_the_others_follow_their_ranks() -> None:
    outside = np.random.default_rng(3).exponential(size=N)  # nothing normal about it
    scores = normal_scores(["a"], [Correlated("hours", "a", 0.6)], 0, N, {"hours": outside})
    assert list(scores) == ["a"]

    def ranks(x: Draws) -> Draws:
        return np.argsort(np.argsort(x)).astype(float)

    spearman = np.corrcoef(ranks(outside), ranks(scores["a"]))[0, 1]
    assert spearman == pytest.approx(6 / math.pi * math.asin(0.6 / 2), abs=0.01)  # of a Gaussian copula


def test_an_input_more_changes_no_others_draws_and_the_seed_does() -> None:
    few, more = normal_scores(["a"], (), 5, 1000)["a"], normal_scores(["b", "a"], (), 5, 1000)["a"]
    assert np.array_equal(few, more)
    assert not np.array_equal(few, normal_scores(["a"], (), 6, 1000)["a"])


def test_shares_of_a_product_of_lognormals_are_the_shares_of_log_variance() -> None:
    beliefs = {"a": lognormal(1, 20), "b": lognormal(2, 7), "c": lognormal(0.3, 0.5)}
    scores = normal_scores([*beliefs, "unused"], (), 0, N)
    inputs = {name: draws(belief, scores[name]) for name, belief in beliefs.items()}
    logs = np.log(np.prod(list(inputs.values()), axis=0))
    shares = first_order_shares(logs, inputs | {"unused": scores["unused"], "constant": np.ones(N)})
    variances = {name: belief.normal()[1] ** 2 for name, belief in beliefs.items()}
    exact = {name: variance / sum(variances.values()) for name, variance in variances.items()}
    assert {name: shares[name] for name in exact} == pytest.approx(exact, abs=0.01)
    assert shares["unused"] == pytest.approx(0, abs=0.004)
    assert "constant" not in shares
    assert list(shares) == sorted(shares, key=lambda name: -shares[name])


def test_an_interaction_belongs_to_no_input_alone() -> None:
    scores = normal_scores(["a", "b"], (), 0, N)
    shares = first_order_shares(scores["a"] * scores["b"], scores)
    assert sum(shares.values()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(
    ("correlated", "message"),
    [
        ([Correlated("a", "d", 0.5)], "called 'd'"),
        ([Correlated("a", "b", 0.9), Correlated("b", "c", 0.9), Correlated("a", "c", -0.9)], "no numbers can have all"),
    ],
)
def test_impossible_correlations_are_refused(correlated: list[Correlated], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        normal_scores(["a", "b", "c"], correlated, 0, 1000)


def test_nothing_is_correlated_with_what_does_not_vary() -> None:
    with pytest.raises(BadInputError, match="hours does not vary"):
        normal_scores(["a"], [Correlated("hours", "a", 0.5)], 0, 1000, {"hours": np.ones(1000)})


def test_draws_that_overflow_are_refused() -> None:
    with pytest.raises(BadInputError, match="finite"):
        quantiles(np.array([1.0, math.inf]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"distribution": "lognormal", "low": 3, "high": 2},
        {"distribution": "lognormal", "low": 0, "high": 2},
        {"distribution": "lognormal", "low": -1, "high": 2},
        {"distribution": "lognormal", "low": 1, "high": math.nan},
        {"distribution": "lognormal", "low": 1, "high": math.inf},
        {"distribution": "lognormal", "low": True, "high": 2},
        {"distribution": "lognormal", "low": 1},
        {"distribution": "lognormal", "low": 1, "high": 2, "minimum": 3},
        {"distribution": "logit_normal", "low": 0.5, "high": 1},
        {"distribution": "constant", "low": 1, "high": 2},
        {"distribution": "constant"},
        {"distribution": "uniform", "value": 1},
        {"distribution": "normal", "low": 1, "high": 2},
        {"distribution": "uniform", "low": 1, "high": 2, "hihg": 3},
    ],
)
def test_what_is_no_distribution_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Distribution.model_validate(wrong)
