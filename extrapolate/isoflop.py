"""IsoFLOP parabolas: at each budget the size of least loss, and how it grows with compute.

Hoffmann et al. (2022), section 3.2 (approach 2): a parabola of loss in log N for each budget, and a power law
N = k·C^exponent through its minima. It needs no form of the law, so it is a check on the other.
"""

import numpy as np
import numpy.typing as npt

from configs.files import Record
from extrapolate.levenberg import Array
from extrapolate.runs import Runs
from extrapolate.scaling_law import RESAMPLES, SEED, Range, central_90

WINDOW = 1.1  # runs within this factor of compute are of one budget
LEAST_SIZES = 5  # different ones, of a budget: a parabola and two to spare
LEAST_BUDGETS = 3


class Budget(Record):
    """One parabola: the geometric mean of its runs' compute, how many they are, and its minimum."""

    flop: float
    n_runs: int
    optimal_parameters: float
    loss: float


class IsoFlop(Record):
    """N = coefficient·C^exponent through the minima. Ranges are of the bootstrap over the runs within each budget."""

    budgets: tuple[Budget, ...]
    exponent: float
    coefficient: float
    exponent_range: Range


def fit_isoflop(runs: Runs, resamples: int = RESAMPLES, seed: int = SEED) -> IsoFlop | None:
    """The parabolas of all budgets with a minimum between their sizes; None where these are fewer than three."""
    groups, budgets = [], []
    for chosen in _budgets(runs):
        log_n, loss = np.log(runs.parameters[chosen]), runs.loss[chosen]
        best, least = _minima(log_n, loss, np.ones((1, len(loss))))
        if np.isfinite(best[0]):
            flop = float(np.exp(np.log(runs.flop[chosen]).mean()))
            groups.append((log_n, loss))
            budgets.append(
                Budget(flop=flop, n_runs=len(loss), optimal_parameters=float(np.exp(best[0])), loss=float(least[0]))
            )
    if len(budgets) < LEAST_BUDGETS:
        return None
    log_c = np.log([budget.flop for budget in budgets])
    slope, constant = _lines(log_c, np.log([[budget.optimal_parameters for budget in budgets]]))
    generator = np.random.default_rng(seed)
    minima = []
    for log_n, loss in groups:
        n = len(loss)
        minima.append(_minima(log_n, loss, generator.multinomial(n, np.full(n, 1 / n), resamples).astype(float))[0])
    slopes, _ = _lines(log_c, np.stack(minima, axis=1))
    return IsoFlop(
        budgets=tuple(budgets),
        exponent=float(slope[0]),
        coefficient=float(np.exp(constant[0])),
        exponent_range=central_90(slopes[np.isfinite(slopes)]),
    )


def _budgets(runs: Runs) -> list[npt.NDArray[np.intp]]:
    """Indices of the runs of each budget, by compute: again and again the window that holds most of what is left."""
    found, left = [], np.argsort(runs.flop, kind="stable")
    while len(left) >= LEAST_SIZES:
        flop = runs.flop[left]
        ends = np.searchsorted(flop, flop * WINDOW, side="right")
        start = int((ends - np.arange(len(left))).argmax())
        chosen = left[start : ends[start]]
        if len(chosen) < LEAST_SIZES:
            break
        if len(np.unique(runs.parameters[chosen])) >= LEAST_SIZES:
            found.append(chosen)
        left = np.delete(left, np.s_[start : ends[start]])
    return sorted(found, key=lambda chosen: float(runs.flop[chosen].min()))


def _minima(log_n: Array, loss: Array, counts: Array) -> tuple[Array, Array]:
    """Where the least-squares parabola of each resample (R, n) is least, in log N, and its value there: (R,) each.

    Not a number where it opens downwards, where the minimum is not between the sizes, or where three are not drawn.
    """
    centre, x = log_n.mean(), log_n - log_n.mean()
    powers = np.stack([np.ones_like(x), x, x**2], axis=1)
    normal = np.einsum("rn,ni,nj->rij", counts, powers, powers)
    right = np.einsum("rn,ni,n->ri", counts, powers, loss)
    constant, slope, curve = np.einsum("rij,rj->ri", np.linalg.pinv(normal, hermitian=True), right).T
    drawn = np.stack([(counts[:, log_n == size] > 0).any(1) for size in np.unique(log_n)]).sum(0)
    valid = (curve > 0) & (drawn >= 3)
    best = -slope / (2 * np.where(valid, curve, np.nan))
    best = np.where((best > x.min()) & (best < x.max()), best, np.nan)
    return best + centre, constant + slope * best + curve * best**2


def _lines(x: Array, y: Array) -> tuple[Array, Array]:
    """Slope and constant of the least-squares line through each row of y (R, B) over x (B,), leaving out what is nan.

    Not a number where fewer than three are left.
    """
    known = np.isfinite(y)
    number = known.sum(1)
    weights = np.where(number >= LEAST_BUDGETS, number, np.nan)
    mean_x = (known * x).sum(1) / weights
    mean_y = np.where(known, y, 0).sum(1) / weights
    apart = np.where(known, x - mean_x[:, None], 0)
    slope = (apart * np.where(known, y, 0)).sum(1) / (apart**2).sum(1)
    return slope, mean_y - slope * mean_x
