"""Batched Levenberg–Marquardt for laws L = E + Σ A_k / x_k^α_k under a Huber loss: many starts and resamples at once.

In logs, as Hoffmann et al. (2022), section 3.3, have it: log L = log-sum-exp(a_1 − α_1·log x_1, …, e), with a = log A
and e = log E. With S fits of K terms to n runs, a parameter array θ has shape (S, 2K + 1) and the columns
(a_1 … a_K, e, α_1 … α_K). All derivatives are analytic. As the runs are the same for every fit, each 5 × 5 matrix of
second derivatives is a weighted sum over runs of products of log x_k, so those of all fits come from a few matrix
products.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

DELTA = 1e-3  # of the Huber loss on log loss; Hoffmann et al. (2022), section 3.3
BLOCK = 2**15  # fits × runs that are worked on at a time: a dozen arrays of 256 KiB stay in the cache
REWEIGHTED, NEWTON = 30, 60  # most iterations of each kind
LEAST_GAIN = 1e-12  # relative; a step that gains less ends a fit
MOST_DAMPING = 1e8


@dataclass(frozen=True)
class Points:
    """What is fitted: log x of each term, shape (K, n), and log loss, shape (n,)."""

    log_x: Array
    log_loss: Array

    @cached_property
    def centre(self) -> Array:
        """Mean of log x of each term, (K,). Fits work about it: a and α are all but collinear otherwise."""
        return np.asarray(self.log_x.mean(1))

    @cached_property
    def centred(self) -> "Points":
        """The same points about their centre."""
        return Points(self.log_x - self.centre[:, None], self.log_loss)

    def about_centre(self, theta: Array, sign: int = 1) -> Array:
        """θ for `centred`; with sign −1 back again."""
        terms = len(self.log_x)
        moved = theta.copy()
        moved[:, :terms] -= sign * theta[:, terms + 1 :] * self.centre
        return moved


class Derivatives(NamedTuple):
    """Of the objective: the value (S,), its gradient (S, P) and a curvature (S, P, P)."""

    objective: Array
    gradient: Array
    curvature: Array


class Minima(NamedTuple):
    """Where the fits ended: θ (S, P), the objective there (S,), and the iterations that each took (S,)."""

    theta: Array
    objective: Array
    iterations: npt.NDArray[np.int64]


def log_prediction(log_x: Array, theta: Array) -> Array:
    """log L of each fit at each place: θ of shape (S, 2K + 1), log x of shape (K, m); returns (S, m)."""
    return _log_sum_exp(log_x, theta)[0]


def huber(residuals: Array) -> Array:
    """The Huber loss of each residual: r²/2 up to DELTA, and DELTA·(|r| − DELTA/2) beyond."""
    size = np.abs(residuals)
    inner = np.minimum(size, DELTA)
    return np.asarray(inner * (size - 0.5 * inner))


def objectives(points: Points, theta: Array, counts: Array) -> Array:
    """The summed Huber loss of each θ (S, P) on each resample (R, n), whose entries count draws of a run: (S, R)."""
    found = np.empty((len(theta), len(counts)))
    for block in _blocks(len(theta), len(points.log_loss)):
        found[block] = huber(points.log_loss - log_prediction(points.log_x, theta[block])) @ counts.T
    return found


def derivatives(points: Points, theta: Array, counts: Array, exact: bool) -> Derivatives:
    """Value, gradient and curvature of the objective; `counts` of shape (S, n), or (1, n) where all have the same.

    The curvature is that of iteratively reweighted least squares, which is never negative and whose parabola lies above
    the objective of the linearised law; or, `exact`, the second derivatives, where no residual is just ±DELTA.
    """
    prediction, shares = _log_sum_exp(points.log_x, theta)
    residuals = points.log_loss - prediction
    size = np.abs(residuals)
    weights = counts * (DELTA / np.maximum(size, DELTA))
    slopes = weights * residuals
    objective = (counts * huber(residuals)).sum(1)
    gradient = -_gradient(points.log_x, [slopes * share for share in shares])
    if exact:
        curvature = _curvature(points.log_x, shares, np.where(size <= DELTA, counts, 0.0) + slopes, slopes)
    else:
        curvature = _curvature(points.log_x, shares, weights, None)
    return Derivatives(objective, gradient, curvature)


def refine(points: Points, starts: Array, counts: Array, reweighted: int = REWEIGHTED, newton: int = NEWTON) -> Minima:
    """Each start (S, P) to its minimum: damped reweighted steps, which get near from anywhere, then damped Newton's.

    `counts` (S, n) or (1, n) says how often each run counts. Of a sum that is nearly one of absolute values reweighting
    takes hundreds of steps to find the last digits, Newton about ten. An objective never rises.
    """
    theta, objective = points.about_centre(starts), np.empty(len(starts))
    iterations = np.zeros(len(starts), np.int64)
    for block in _blocks(len(starts), len(points.log_loss)):
        own = counts if len(counts) == 1 else counts[block]
        for most, exact in ((reweighted, False), (newton, True)):
            theta[block], objective[block], took = _descend(points.centred, theta[block], own, most, exact)
            iterations[block] += took
    return Minima(points.about_centre(theta, -1), objective, iterations)


def _descend(points: Points, starts: Array, counts: Array, most: int, exact: bool) -> Minima:
    """Levenberg–Marquardt of all starts side by side; one that has come to rest is left out of the rest."""
    theta, damping = starts.copy(), np.full(len(starts), 1e-2)
    objective = _own_objectives(points, theta, counts)
    iterations = np.zeros(len(starts), np.int64)
    moving = np.arange(len(starts))
    for _ in range(most):
        if not len(moving):
            break
        own = counts if len(counts) == 1 else counts[moving]
        at = derivatives(points, theta[moving], own, exact)
        tried = theta[moving] + _step(at, damping[moving])
        value = _own_objectives(points, tried, own)
        gain = at.objective - value
        better = gain > 0  # not where the value is no number
        theta[moving[better]], objective[moving[better]] = tried[better], value[better]
        damping[moving] *= np.where(better, 0.2, 4.0)
        iterations[moving] += 1
        at_rest = np.where(better, gain <= LEAST_GAIN * at.objective, damping[moving] > MOST_DAMPING)
        damping = np.maximum(damping, 1e-9)
        moving = moving[~at_rest]
    return Minima(theta, objective, iterations)


def _own_objectives(points: Points, theta: Array, counts: Array) -> Array:
    """The summed Huber loss of each θ (S, P) on its own resample (S, n), or on the one that all share (1, n): (S,)."""
    return np.asarray((counts * huber(points.log_loss - log_prediction(points.log_x, theta))).sum(1))


def _step(at: Derivatives, damping: Array) -> Array:
    """The damped step, with each parameter in units of its own curvature.

    An exact matrix may have negative directions; their curvature is taken by its size, so that they too lead down.
    """
    diagonal = np.abs(np.einsum("sii->si", at.curvature))
    units = np.sqrt(np.maximum(diagonal, 1e-12 * diagonal.max(1, keepdims=True)) + np.finfo(float).tiny)
    values, vectors = np.linalg.eigh(at.curvature / (units[:, :, None] * units[:, None, :]))
    along = np.einsum("spv,sp->sv", vectors, at.gradient / units)
    return np.asarray(-np.einsum("spv,sv->sp", vectors, along / (np.abs(values) + damping[:, None])) / units)


def _log_sum_exp(log_x: Array, theta: Array) -> tuple[Array, list[Array]]:
    """log L (S, m), and the share of each term in L, E's last: K + 1 arrays (S, m)."""
    terms = len(log_x)
    logs = [theta[:, k, None] - theta[:, terms + 1 + k, None] * log_x[k] for k in range(terms)]
    logs.append(np.broadcast_to(theta[:, terms, None], (len(theta), log_x.shape[1])))
    largest = reduce(np.maximum, logs)
    parts = [np.exp(log - largest) for log in logs]
    total = sum(parts[1:], parts[0])
    return largest + np.log(total), [part / total for part in parts]


def _gradient(log_x: Array, weighted: list[Array]) -> Array:
    """Σ over runs of `weighted` shares times the derivative of each term's logarithm: 1 for a and e, −log x for α."""
    constants = [share.sum(1) for share in weighted]
    return np.stack([*constants, *(-(share @ x) for share, x in zip(weighted, log_x, strict=False))], axis=1)


def _curvature(log_x: Array, shares: list[Array], outer: Array, own: Array | None) -> Array:
    """Σ over runs of `outer`·∇f∇fᵀ, less `own`·Σ_k share_k·z_k z_kᵀ if given; f = log L, z_k = ∇ log of term k.

    With ∇²f = Σ_k share_k·z_k z_kᵀ − ∇f∇fᵀ the second derivatives of the objective are of this form.
    """
    terms, fits = len(log_x), len(outer)
    ones = np.ones(log_x.shape[1])
    basis = [*log_x, np.zeros_like(ones)]  # E's term has no exponent; its column is never written
    matrix = np.zeros((fits, 2 * terms + 1, 2 * terms + 1))

    def put(i: int, j: int, value: Array) -> None:
        matrix[:, i, j] = matrix[:, j, i] = value

    for j in range(terms + 1):
        for k in range(j, terms + 1):
            pair = outer * shares[j] * shares[k]
            if j == k and own is not None:
                pair = pair - own * shares[j]
            columns = np.stack([ones, basis[j], basis[k], basis[j] * basis[k]], axis=1)
            constant, first, second, both = (pair @ columns).T
            put(j, k, constant)
            if j < terms:
                put(terms + 1 + j, k, -first)
            if k < terms:
                put(j, terms + 1 + k, -second)
                put(terms + 1 + j, terms + 1 + k, both)
    return matrix


def _blocks(fits: int, runs: int) -> Iterator[slice]:
    size = max(1, BLOCK // max(runs, 1))
    return (slice(start, start + size) for start in range(0, fits, size))
