"""Loss against compute alone, along the frontier: L(C) = E + (C0/C)^γ.

Kaplan et al. (2020), equation 1.3, have no E; Henighan et al. (2020), equation 1.1, add it. With it a curve that bends
is not taken for a straight one, which would promise too low a loss far out, and E → 0 gives back Kaplan's.
"""

import numpy as np
import numpy.typing as npt

from configs.files import Record
from extrapolate.levenberg import Array, Points
from extrapolate.runs import Runs
from extrapolate.scaling_law import RESAMPLES, SEED, Range, central_90, draw_counts, least, resampled

LEAST_FRONTIER = 6  # runs; twice the parameters


class ComputeLaw(Record):
    """L(C) = E + (C0/C)^γ of the frontier: the runs whose loss no run of less or equal compute reaches. C0 is in FLOP.

    Ranges are the bootstrap's. The frontier is made of lucky runs: the curve lies a little below what a typical run of
    that compute reaches.
    """

    E: float
    C0: float
    gamma: float
    objective: float
    n_frontier: int
    ranges: dict[str, Range]

    def loss(self, flop: float) -> float:
        """The curve's loss, nats per token."""
        return float(self.E + (self.C0 / flop) ** self.gamma)


def fit_compute_law(runs: Runs, resamples: int = RESAMPLES, seed: int = SEED) -> ComputeLaw | None:
    """The law of the runs' frontier, by the objective of the law of N and D.

    None where fewer than six runs are on the frontier. A resample draws from all runs, so it has a frontier of its own.
    """
    order = np.lexsort((runs.loss, runs.flop))
    log_c, loss = np.log(runs.flop[order]), runs.loss[order]
    everyone = np.ones((1, len(loss)), bool)
    frontier = _frontier(loss, everyone)[0]
    if frontier.sum() < LEAST_FRONTIER:
        return None
    grid = _starts(log_c)
    theta, objective = least(Points(log_c[None, frontier], np.log(loss[frontier])), grid)
    drawn = _frontier(loss, draw_counts(len(loss), resamples, seed) > 0)
    draws = resampled(Points(log_c[None], np.log(loss)), theta[None], grid, drawn.astype(np.float64))
    values, spread = _named(theta[None]), _named(draws)
    return ComputeLaw(
        **{name: float(value[0]) for name, value in values.items()},
        objective=objective,
        n_frontier=int(frontier.sum()),
        ranges={name: central_90(column) for name, column in spread.items()},
    )


def _frontier(loss: Array, drawn: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of the drawn runs, in order of compute, are better than all before them: (R, n)."""
    seen = np.where(drawn, loss, np.inf)
    before = np.minimum.accumulate(seen, axis=1)
    before = np.concatenate([np.full((len(drawn), 1), np.inf), before[:, :-1]], axis=1)
    return np.asarray(drawn & (seen < before))


def _starts(log_c: Array) -> Array:
    """A grid in the minimiser's order (a, e, γ), with a = γ·log C0: exponents, floors, and losses above the floor."""
    exponents, floors = np.geomspace(0.01, 1.0, 10), np.arange(-3, 1.5, 0.5)
    above = np.log(np.geomspace(0.03, 10, 10))  # at the mean of log C
    gamma, e, height = (axis.ravel() for axis in np.meshgrid(exponents, floors, above, indexing="ij"))
    return np.stack([height + gamma * log_c.mean(), e, gamma], axis=1)


def _named(theta: Array) -> dict[str, Array]:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # a flat curve has no finite C0
        return {"E": np.exp(theta[:, 1]), "C0": np.exp(theta[:, 0] / theta[:, 2]), "gamma": theta[:, 2]}
