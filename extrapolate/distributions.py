"""Draws of named distributions, how they depend on one another, and which of them a result varies with."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from configs.distributions import Distribution
from configs.errors import BadInputError
from configs.files import Record

Draws = npt.NDArray[np.float64]

SHARES_FROM = 100_000  # draws that the decomposition looks at, and the classes it sorts each input into: the error of a
CLASSES = 50  # share is then about 0.004 (√(2·50)/100,000 of noise, and what a straight line varies within a class)


class Quantiles(Record):
    """Draws in four numbers. Between the 5th and the 95th percentile lie the central 90 %."""

    p5: float
    median: float
    mean: float
    p95: float


class Correlated(NamedTuple):
    """Two inputs by name, and the correlation of their normal scores."""

    first: str
    second: str
    correlation: float


def quantiles(values: Draws) -> Quantiles:
    """The four numbers. Raises BadInputError for draws that are not all finite."""
    mean = float(values.mean())
    if not np.isfinite(mean):
        raise BadInputError("the draws are not all finite numbers; narrow the ranges")
    if values.min() == values.max():  # a constant, which there is no need to sort
        mean = float(values[0])
        return Quantiles(p5=mean, median=mean, mean=mean, p95=mean)
    p5, median, p95 = (float(q) for q in np.quantile(values, (0.05, 0.5, 0.95)))
    return Quantiles(p5=p5, median=median, mean=mean, p95=p95)


def draws(belief: Distribution, scores: Draws) -> Draws:
    """The values of a distribution at standard normal `scores`: its quantile at the score's probability."""
    values: Draws
    if belief.distribution == "constant":
        return np.full(scores.shape, float(belief.value or 0))
    if belief.distribution == "uniform":
        from scipy.special import ndtr

        low, high = float(belief.low or 0), float(belief.high or 0)
        values = low + (high - low) * ndtr(scores)
    else:
        mu, sigma = belief.normal()
        values = scores * sigma
        values += mu
        if belief.distribution == "lognormal":
            np.exp(values, out=values)
        else:
            values = 1 / (1 + np.exp(-values))
    return values if belief.minimum is None else np.maximum(values, belief.minimum)


def normal_scores(
    names: Sequence[str],
    correlated: Collection[Correlated],
    seed: int,
    samples: int,
    given: Mapping[str, Draws] | None = None,
    constants: Collection[str] = (),
) -> dict[str, Draws]:
    """Standard normal scores of each name, `samples` of them, with the correlations that are asked for.

    The name is part of the seed: an input more or less changes no other's scores. `given` holds draws that come from
    elsewhere and may be correlated with (one of them at most); they stay as they are and the others follow their ranks.
    `constants` are inputs that are there and do not vary: they get no scores. Raises BadInputError for a correlation
    with a name that is not there, with a constant, and for correlations that no numbers can have all at once.
    """
    given = given or {}
    for pair in correlated:
        for name in pair[:2]:
            if name in constants:
                raise BadInputError(f"correlations: {name} is constant, so nothing can be correlated with it")
            if name not in names and name not in given:
                raise BadInputError(
                    f"correlations: no input is called {name!r} (choices: {', '.join((*given, *names))})"
                )
    own = {name: np.random.default_rng([seed, *name.encode()]) for name in names}
    scores = {name: own[name].standard_normal(samples) for name in names}
    involved = {name for pair in correlated for name in pair[:2]}
    outside = {name: _scores_of_ranks(name, given[name]) for name in given if name in involved}
    order = [*outside, *(name for name in names if name in involved)]
    if order:
        factor = _cholesky(order, correlated)
        independent = [outside[name] if name in outside else scores[name] for name in order]
        for at in range(len(outside), len(order)):
            scores[order[at]] = sum(factor[at, j] * independent[j] for j in range(at + 1))
    return scores


def first_order_shares(result: Draws, inputs: Mapping[str, Draws]) -> dict[str, float]:
    """How much of the variance of `result` goes when each input is known: Var(E[result | input]) / Var(result).

    These are the first-order (Sobol) indices, estimated from the draws themselves: an input's draws are sorted into
    `CLASSES` of equal size, and the variance of the classes' means is taken, less what chance alone gives them
    (Plischke et al. 2013, doi:10.1016/j.ejor.2012.11.047). For a sum of independent inputs they add up to 1; to less
    where inputs interact, to more where they are correlated.
    The largest goes first; an input that does not vary has none.
    """
    result = result[:SHARES_FROM]
    variance = float(result.var())
    shares = {}
    for name, all_values in inputs.items():
        values = all_values[:SHARES_FROM]
        if variance == 0 or values.min() == values.max():
            continue
        shares[name] = max(0.0, _variance_between(result, values) / variance)
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _variance_between(result: Draws, values: Draws) -> float:
    """Variance of the classes' means, less what is expected of classes that were drawn by lot."""
    classes = min(CLASSES, len(result) // 2)
    parts = np.array_split(result[np.argsort(values, kind="stable")], classes)
    means = np.array([part.mean() for part in parts])
    within = np.array([part.var(ddof=1) / len(part) for part in parts])
    return float(means.var() - within.mean() * (classes - 1) / classes)


def _scores_of_ranks(name: str, values: Draws) -> Draws:
    """The standard normal that has the ranks of `values`."""
    if values.min() == values.max():
        raise BadInputError(f"correlations: {name} does not vary, so nothing can be correlated with it")
    from scipy.special import ndtri

    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    scores: Draws = ndtri((ranks + 0.5) / len(values))
    return scores


def _cholesky(order: Sequence[str], correlated: Collection[Correlated]) -> Draws:
    """Lower triangle of the correlation matrix; pairs that are not named are 0."""
    matrix = np.eye(len(order))
    for first, second, correlation in correlated:
        i, j = order.index(first), order.index(second)
        matrix[i, j] = matrix[j, i] = correlation
    if np.linalg.eigvalsh(matrix).min() < -1e-12:
        raise BadInputError(
            f"correlations: no numbers can have all of these ({', '.join(order)}); bring some nearer to 0"
        )
    # On the edge (a correlation of ±1) rounding would let the factorisation fail; this moves it by nothing visible.
    return np.asarray(np.linalg.cholesky(matrix + 1e-12 * np.eye(len(order))), dtype=np.float64)
