"""The loss law L(N, D) = E + A/N^α + B/D^β: its fit, its bootstrap, and the best model for a budget.

Form and objective are those of Hoffmann et al. (2022), section 3.3: Huber loss with δ = 1e-3 on log loss. It is summed,
not averaged, as Besiroglu et al. (2024, "Chinchilla Scaling: A replication attempt") found that the mean makes
L-BFGS-B stop early. Starts are theirs too: a grid of 4,500.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from configs.errors import BadInputError
from configs.files import Record
from extrapolate.levenberg import Array, Points, log_prediction, objectives, refine
from extrapolate.runs import FLOP_PER_PARAMETER_AND_TOKEN, Runs

RESAMPLES = 1_000
MORE_STARTS = 2  # of a resample, beside the point fit
SEED = 0
SCREENED, FINALISTS = 256, 16  # starts that are refined at all, and those of them that are refined to the end
FEW_STEPS, NEAR_STEPS = 15, 5  # reweighted steps from far away, and from a fit of nearly the same runs
PARAMETERS = ("E", "A", "B", "alpha", "beta")


class LawFit(Record):
    """The fitted law. `objective` is the summed Huber loss at the fit, `dropped` the highest losses left out before."""

    E: float
    A: float
    B: float
    alpha: float
    beta: float
    objective: float
    n_points: int
    dropped: int

    @property
    def theta(self) -> Array:
        """As the minimiser has it, (1, 5): log A, log B, log E, α, β."""
        logs = np.log(np.maximum([self.A, self.B, self.E], np.finfo(float).tiny))
        return np.array([[*logs, self.alpha, self.beta]])

    def loss(self, parameters: float, tokens: float) -> float:
        """The law's loss, nats per token, of N parameters trained on D tokens."""
        return float(self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta)


class Range(Record):
    """Central 90 % of the bootstrap: 5th and 95th percentile."""

    p5: float
    p95: float


@dataclass(frozen=True)
class Bootstrap:
    """The law fitted to resamples of the runs: θ of each, shape (R, 5), in the minimiser's order."""

    theta: Array

    @property
    def columns(self) -> dict[str, Array]:
        """Each parameter's values over the resamples, (R,)."""
        A, B, E = np.exp(self.theta[:, :3]).T
        return dict(zip(PARAMETERS, (E, A, B, self.theta[:, 3], self.theta[:, 4]), strict=True))

    def standard_errors(self) -> dict[str, float]:
        """Standard deviation of each parameter over the resamples."""
        return {name: float(values.std(ddof=1)) for name, values in self.columns.items()}

    def ranges(self) -> dict[str, Range]:
        """Central 90 % of each parameter."""
        return {name: central_90(values) for name, values in self.columns.items()}


class Allocation(Record):
    """The compute-optimal model of a budget C = 6ND, and the central 90 % of the bootstrap, which is not calibrated."""

    flop: float
    parameters: float
    tokens: float
    tokens_per_parameter: float
    loss: float
    parameters_range: Range
    tokens_range: Range
    tokens_per_parameter_range: Range


def fit(runs: Runs, drop_highest: int = 0) -> LawFit:
    """The law of least objective, from the best of 4,500 starts.

    Raises BadInputError where the runs cannot fix five parameters, or where their losses do not fall with size or data.
    """
    kept = runs.without_highest(drop_highest)
    reason = kept.why_too_few()
    if reason:
        raise BadInputError(f"{runs.source}: {reason}")
    theta, objective = least(kept.points, starts())
    A, B, E = (float(value) for value in np.exp(theta[:3]))
    alpha, beta = (float(value) for value in theta[3:])
    for exponent, what, name in ((alpha, "model size", "alpha"), (beta, "tokens", "beta")):
        if exponent <= 0:
            raise BadInputError(
                f"{runs.source}: the losses do not fall with {what} ({name} = {exponent:.3g}), so there is no law to "
                "extrapolate; give runs that span more of it"
            )
    return LawFit(E=E, A=A, B=B, alpha=alpha, beta=beta, objective=objective, n_points=len(kept), dropped=drop_highest)


@cache
def starts() -> Array:
    """The grid of 4,500 starts of Hoffmann et al. (2022), section D.3, in the minimiser's order (a, b, e, α, β)."""
    exponents = np.arange(0, 2.5, 0.5)
    axes = (np.arange(0, 30, 5), np.arange(0, 30, 5), np.arange(-1, 1.5, 0.5), exponents, exponents)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    grid.setflags(write=False)
    return grid


def least(points: Points, grid: Array) -> tuple[Array, float]:
    """θ (P,) of the least objective and its value: all starts are screened in one batch, and ever fewer refined."""
    once = np.ones((1, len(points.log_loss)))
    value = objectives(points, grid, once)[:, 0]
    near = refine(points, grid[np.argsort(value)[:SCREENED]], once, reweighted=FEW_STEPS, newton=0)
    last = refine(points, near.theta[np.argsort(near.objective)[:FINALISTS]], once)
    best = last.theta[[last.objective.argmin()]]
    end = refine(points, best, once, reweighted=500, newton=500)  # some valleys are long and flat
    return end.theta[0], float(end.objective[0])


def bootstrap(runs: Runs, law: LawFit, resamples: int = RESAMPLES, seed: int = SEED) -> Bootstrap:
    """The law fitted to `resamples` draws of the kept runs with replacement.

    Each is refined from the point fit and from the best starts of the grid; the lowest end counts.
    """
    points = runs.without_highest(law.dropped).points
    return Bootstrap(resampled(points, law.theta, starts(), draw_counts(law.n_points, resamples, seed)))


def draw_counts(n: int, resamples: int, seed: int) -> Array:
    """How often each of n runs is drawn in each resample of n, with replacement: (R, n)."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)


def resampled(points: Points, point_fit: Array, grid: Array, counts: Array, more_starts: int = MORE_STARTS) -> Array:
    """θ (R, P) of the least objective on each resample (R, n), from `point_fit` (1, P) and the best of the grid."""
    order = objectives(points, grid, counts.mean(0, keepdims=True))[:, 0].argsort()
    beginnings = [(point_fit, NEAR_STEPS), *((grid[[at]], FEW_STEPS) for at in order[:more_starts])]
    candidates = [
        refine(points, np.repeat(start, len(counts), axis=0), counts, reweighted=steps) for start, steps in beginnings
    ]
    best = np.argmin([found.objective for found in candidates], axis=0)
    return np.asarray(np.stack([found.theta for found in candidates])[best, np.arange(len(counts))])


def allocate(law: LawFit, drawn: Bootstrap, flop: float) -> Allocation:
    """The N and D of least loss with 6ND = `flop`; closed form, Hoffmann et al. (2022), equation 4.

    N = G·(C/6)^(β/(α+β)), D = G⁻¹·(C/6)^(α/(α+β)), G = (αA/βB)^(1/(α+β)).
    """
    log_n, log_d = _optimal(law.theta, flop)
    n, d = (float(np.exp(value[0])) for value in (log_n, log_d))
    falls = (drawn.theta[:, 3] > 0) & (drawn.theta[:, 4] > 0)  # of the others nothing is optimal
    log_ns, log_ds = _optimal(drawn.theta[falls], flop)
    return Allocation(
        flop=flop,
        parameters=n,
        tokens=d,
        tokens_per_parameter=d / n,
        loss=law.loss(n, d),
        parameters_range=central_90(np.exp(log_ns)),
        tokens_range=central_90(np.exp(log_ds)),
        tokens_per_parameter_range=central_90(np.exp(log_ds - log_ns)),
    )


def _optimal(theta: Array, flop: float) -> tuple[Array, Array]:
    a, b, _, alpha, beta = theta.T
    log_product = np.log(flop / FLOP_PER_PARAMETER_AND_TOKEN)
    log_g = (np.log(alpha) + a - np.log(beta) - b) / (alpha + beta)
    log_n = log_g + beta / (alpha + beta) * log_product
    return log_n, log_product - log_n


def central_90(values: Array) -> Range:
    """5th and 95th percentile."""
    p5, p95 = np.quantile(values, (0.05, 0.95))
    return Range(p5=float(p5), p95=float(p95))


def log_losses(theta: Array, parameters: Array, tokens: Array) -> Array:
    """log L of each θ (S, 5) at each place (m,): (S, m)."""
    return log_prediction(np.log(np.stack([parameters, tokens])), theta)
