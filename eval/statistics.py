"""The statistics behind the evidence layer: score intervals and tests for a difference of two accuracies.

Everything here is a proportion in 0..1, and every difference is replica − original. Three models of the data share
one shape, a *score statistic* Z(δ): standard normal (or t) when the true difference is δ, falling as δ grows.

- paired, independent items: Tango (1998). Unlike Wald's, its interval has width when no item disagrees.
- paired, items clustered in units (several questions about one fact): Tango's Z divided by √(design effect), after
  Rao & Scott (1992), with a t critical value on units − 1 degrees of freedom.
- unpaired (no per-item samples): Miettinen & Nurminen (1985).

Inverting Z gives the interval, evaluating it at ±margin gives the two one-sided tests, so an interval never
contradicts its tests.

References: Tango, Statistics in Medicine 17 (1998) 891–908, eq. 17–19. Rao & Scott, Biometrics 48 (1992) 577–585.
Miettinen & Nurminen, Statistics in Medicine 4 (1985) 213–226; the constrained estimate in closed form: Farrington &
Manning, Statistics in Medicine 9 (1990) 1447–1454, appendix. Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657–680
(two one-sided tests). Zou & Donner, Statistics in Medicine 27 (2008) 1693–1702 (MOVER). Clustered standard errors in
language-model evaluation: Miller, arXiv:2411.00640 (2024), section 2.2.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairedCounts:
    """Paired right/wrong answers, summed. `n` items, `b` only the original has right, `c` only the replica.

    `n_units` independent units and the `design_effect` (≥ 1) of their sizes and likeness; both trivial when items
    are independent (`n_units` == `n`, `clustered` False).
    """

    n: int
    b: int
    c: int
    n_units: int
    design_effect: float = 1.0
    clustered: bool = False


@dataclass(frozen=True)
class ScoreTest:
    """A score statistic with its reference distribution: standard normal, or t with `degrees_of_freedom`."""

    estimate: float
    statistic: Callable[[float], float]  # Z(δ), falling in δ; 0 at the estimate
    degrees_of_freedom: float = math.inf

    def tail(self, z: float) -> float:
        """P(Z > z) if the difference were the one that `z` was computed at."""
        return float(stats.t.sf(z, self.degrees_of_freedom)) if self.degrees_of_freedom > 0 else 1.0

    def critical(self, level: float) -> float:
        """Two-sided critical value of a `level` interval; infinite when a single unit leaves no degree of freedom."""
        if self.degrees_of_freedom <= 0:
            return math.inf
        return float(stats.t.ppf(0.5 + level / 2, self.degrees_of_freedom))

    def interval(self, level: float) -> tuple[float, float]:
        """All δ with |Z(δ)| ≤ the critical value, within [−1, 1]."""
        critical = self.critical(level)
        return _crossing(self.statistic, critical, -1.0, self.estimate), _crossing(
            self.statistic, -critical, self.estimate, 1.0
        )

    def p_equivalence(self, margin: float) -> float:
        """Two one-sided tests (Schuirmann 1987): the larger p of H: δ ≥ margin and H: δ ≤ −margin."""
        return max(self.tail(-self.statistic(margin)), self.tail(self.statistic(-margin)))

    def p_beyond(self, margin: float) -> float:
        """p of H: |δ| ≤ margin against a difference beyond it.

        At the edge of the hypothesis both tails reject, so both are counted: with few items the far one matters.
        """
        sign = math.copysign(1.0, self.estimate)
        return min(1.0, self.tail(sign * self.statistic(margin)) + self.tail(sign * self.statistic(-margin)))


def _crossing(statistic: Callable[[float], float], level: float, low: float, high: float) -> float:
    """Where a falling `statistic` crosses `level` in [low, high]; the far end (±1) where it never does."""
    if low >= high:
        return low
    edge = 1e-12  # at exactly ±1 the variance under the hypothesis is 0
    left, right = max(low, -1 + edge), min(high, 1 - edge)
    if statistic(left) < level or statistic(right) > level or not math.isfinite(level):
        return low if level > 0 else high
    return float(optimize.brentq(lambda delta: statistic(delta) - level, left, right, xtol=1e-12))


# ---- paired


def tango_z(n: int, b: int, c: int, delta: float) -> float:
    """Tango's score statistic of H: p_replica − p_original = delta, from the discordant counts b and c.

    Tango (1998), eq. 17–19. Zero when the variance under the hypothesis and the numerator both vanish.
    """
    numerator = c - b - n * delta
    linear = -(b + c) + (2 * n + b - c) * delta
    constant = -b * delta * (1 - delta)
    # Constrained estimate of P(only the original right): the larger root of 2n q² + linear q + constant.
    q = (math.sqrt(max(0.0, linear * linear - 8 * n * constant)) - linear) / (4 * n)
    variance = n * (2 * q + delta * (1 - delta))
    if variance <= 0:
        return 0.0 if numerator == 0 else math.copysign(math.inf, numerator)
    return numerator / math.sqrt(variance)


def paired_counts(
    original: npt.NDArray[np.bool_], replica: npt.NDArray[np.bool_], units: Sequence[Hashable] | None = None
) -> PairedCounts:
    """McNemar's counts of two aligned right/wrong vectors of shape (n,), with the design effect if units are given."""
    difference = replica.astype(np.float64) - original.astype(np.float64)
    n, b, c = len(difference), int((difference < 0).sum()), int((difference > 0).sum())
    n_units = len(set(units)) if units is not None else n
    if units is None or n_units == n:
        return PairedCounts(n, b, c, n_units=n)
    return PairedCounts(n, b, c, n_units, design_effect(difference, units), clustered=True)


def design_effect(values: Floats, units: Sequence[Hashable]) -> float:
    """Variance of the mean of `values` (shape (n,), |value| ≤ 1) with items clustered in units, over that without. ≥ 1.

    The cluster-robust variance (G/(G−1) · Σ_g (Σ_{i∈g} (x_i − x̄))², Liang & Zeger 1986) over the plain one. Two guards
    keep it from being too small, since sums over few discordant items say little about their likeness: one pseudo-unit
    of average size m whose items all change together adds m² to the numerator and m to the denominator (so with no
    discordant item the effect is m, units counted instead of items; with many it is washed out), and the floor of 1
    (an interval is never narrower than for independent items). `tests/eval/test_statistics.py` checks the coverage.
    """
    codes = {unit: index for index, unit in enumerate(dict.fromkeys(units))}
    index = np.fromiter((codes[unit] for unit in units), dtype=np.intp, count=len(values))
    sizes = np.bincount(index).astype(np.float64)
    if len(sizes) < 2:
        return float(len(values))
    residuals = values - values.mean()
    sums = np.bincount(index, weights=residuals)
    pseudo = float((sizes**2).sum() / sizes.sum())  # size of the unit that an average item lives in
    between = len(sizes) / (len(sizes) - 1) * float((sums**2).sum()) + pseudo**2
    return max(1.0, between / (float((residuals**2).sum()) + pseudo))


def paired_test(counts: PairedCounts) -> ScoreTest:
    """The score test of a paired difference: Tango's, or with clusters Tango's over √(design effect) on t."""
    scale = math.sqrt(counts.design_effect)
    return ScoreTest(
        estimate=(counts.c - counts.b) / counts.n,
        statistic=lambda delta: tango_z(counts.n, counts.b, counts.c, delta) / scale,
        degrees_of_freedom=counts.n_units - 1 if counts.clustered else math.inf,
    )


# ---- unpaired


def miettinen_nurminen_z(c1: int, n1: int, c2: int, n2: int, delta: float) -> float:
    """Score statistic of H: p2 − p1 = delta for independent samples, c1 of n1 (original) and c2 of n2 (replica) right.

    Miettinen & Nurminen (1985) with their factor N/(N−1); the constrained estimate by Farrington & Manning (1990).
    """
    p1, p2 = c1 / n1, c2 / n2
    restricted_2 = _constrained_rate(p2, n2, p1, n1, delta)
    restricted_1 = min(1.0, max(0.0, restricted_2 - delta))
    total = n1 + n2
    variance = (restricted_1 * (1 - restricted_1) / n1 + restricted_2 * (1 - restricted_2) / n2) * total / (total - 1)
    numerator = p2 - p1 - delta
    if variance <= 0:
        return 0.0 if abs(numerator) < 1e-15 else math.copysign(math.inf, numerator)
    return numerator / math.sqrt(variance)


def _constrained_rate(p: float, n: int, other: float, n_other: int, delta: float) -> float:
    """Maximum-likelihood rate of one sample when it exceeds the other's by delta: root of a cubic, in closed form."""
    ratio = n_other / n
    a = 1 + ratio
    b = -(1 + ratio + p + ratio * other + delta * (ratio + 2))
    c = delta * delta + delta * (2 * p + ratio + 1) + p + ratio * other
    d = -p * delta * (1 + delta)
    v = (b / (3 * a)) ** 3 - b * c / (6 * a * a) + d / (2 * a)
    u = math.copysign(math.sqrt(max(0.0, (b / (3 * a)) ** 2 - c / (3 * a))), v)
    angle = 0.0 if u == 0 else math.acos(min(1.0, max(-1.0, v / u**3)))
    rate = 2 * u * math.cos((math.pi + angle) / 3) - b / (3 * a)
    return min(1.0, 1.0 + delta, max(0.0, delta, rate))


def unpaired_test(c1: int, n1: int, c2: int, n2: int) -> ScoreTest:
    """The score test of p2 − p1 from counts alone. Wider than a paired one: it cannot see that the items are shared."""
    return ScoreTest(c2 / n2 - c1 / n1, lambda delta: miettinen_nurminen_z(c1, n1, c2, n2, delta))


# ---- several benchmarks


def macro_mean_interval(
    differences: Sequence[float], intervals: Sequence[tuple[float, float]]
) -> tuple[float, float, float]:
    """(mean, low, high) of the unweighted mean difference over independent benchmarks, at the intervals' own level.

    MOVER (Zou & Donner 2008): distances from estimate to limit are recombined in quadrature, so that asymmetric
    and clustered intervals, and those where nothing disagrees, keep their width.
    """
    k = len(differences)
    mean = sum(differences) / k
    below = math.sqrt(sum((d - low) ** 2 for d, (low, _) in zip(differences, intervals, strict=True))) / k
    above = math.sqrt(sum((high - d) ** 2 for d, (_, high) in zip(differences, intervals, strict=True))) / k
    return mean, mean - below, mean + above


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values (Scand. J. Statist. 6 (1979) 65–70), in the order given."""
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = running
    return adjusted


# ---- one model against chance, and power


def above_chance(correct: int, n: int, chance: float, *, effect: float = 1.0, significance: float = 0.05) -> bool:
    """One-sided exact binomial test of accuracy > chance, on counts divided by the design effect (rounded down)."""
    effective_n, effective_correct = math.floor(n / effect), math.floor(correct / effect)
    return float(stats.binom.sf(effective_correct - 1, effective_n, chance)) <= significance


def items_needed(variance: float, margin: float, *, power: float, significance: float = 0.05) -> int:
    """Independent items for `power` to show equivalence within ±margin if the true difference is nil.

    `variance` is that of one item's difference: the discordance (b + c)/n when paired, p1(1−p1) + p2(1−p2) when not.
    """
    return math.ceil(_sample_needed(variance, margin, power, significance, math.inf))


def units_needed(
    variance: float, margin: float, *, items_per_unit: float, power: float, significance: float = 0.05
) -> int:
    """Independent units for `power` to show equivalence within ±margin if the true difference is nil.

    `items_per_unit` counts *effective* items, n/(design effect · units): it stays what it is when units are added. The
    fewest units G that make the sample which t on G − 1 degrees of freedom, the interval's own reference, needs.
    """

    def enough(units: int) -> bool:
        return units * items_per_unit >= _sample_needed(variance, margin, power, significance, units - 1)

    few, many = 1, 2  # a single unit has no degree of freedom; more units need a smaller sample, so bisection finds G
    while not enough(many):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def _sample_needed(variance: float, margin: float, power: float, significance: float, freedom: float) -> float:
    """Effective items for two one-sided tests at a true difference of 0, with t quantiles (normal at infinity).

    n = v (t_{1−α} + t_{1−(1−power)/2})²/m² (Julious, Statistics in Medicine 23 (2004) 1921–1986, section 5, with t
    for z). Never below t²(1 − m)/m, which Tango's interval needs when no item at all disagrees.
    """
    t_alpha, t_beta = (float(stats.t.ppf(level, freedom)) for level in (1 - significance, 1 - (1 - power) / 2))
    return max(variance * (t_alpha + t_beta) ** 2 / margin**2, t_alpha**2 * (1 - margin) / margin)
