import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from eval.statistics import (
    PairedCounts,
    above_chance,
    design_effect,
    holm,
    items_needed,
    macro_mean_interval,
    miettinen_nurminen_z,
    paired_counts,
    paired_test,
    tango_z,
    units_needed,
    unpaired_test,
)

MARGIN = 0.02


def independent(n, b, c):
    return paired_test(PairedCounts(n, b, c, n_units=n))


# ---- Tango


def test_tango_published_interval():
    # Bentur et al. 2009, airway hyper-responsiveness: Fagerland, Lydersen & Laake, Statistics in Medicine 33 (2014),
    # "Recommended tests and confidence intervals for paired binomial proportions": Tango −0.517 to −0.026.
    assert independent(21, 7, 1).interval(0.95) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize("n", [1, 50, 1000])
def test_tango_has_width_when_nothing_disagrees(n):
    # From eq. 17 with b = c = 0: n δ / (1 − δ) = z².
    z2 = stats.norm.ppf(0.95) ** 2
    low, high = independent(n, 0, 0).interval(0.90)
    assert (low, high) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), rel=1e-6)


@pytest.mark.parametrize(
    ("n", "b", "c", "delta"), [(100, 12, 5, 0.02), (40, 0, 3, -0.1), (30, 9, 0, 0.3), (25, 4, 4, 0.01)]
)
def test_tango_variance_is_that_of_the_constrained_likelihood(n, b, c, delta):
    def negative_likelihood(q):
        return -(b * math.log(q) + c * math.log(q + delta) + (n - b - c) * math.log(1 - 2 * q - delta))

    low = max(0.0, -delta)
    q = optimize.minimize_scalar(
        negative_likelihood, bounds=(low + 1e-12, (1 - delta) / 2 - 1e-12), method="bounded", options={"xatol": 1e-13}
    ).x
    expected = (c - b - n * delta) / math.sqrt(n * (2 * q + delta - delta**2))
    assert tango_z(n, b, c, delta) == pytest.approx(expected, abs=1e-4)


def test_at_zero_tango_is_mcnemar():
    assert tango_z(500, 30, 14, 0.0) ** 2 == pytest.approx((30 - 14) ** 2 / (30 + 14))


counts = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 200)).filter(lambda t: sum(t) > 0)


@given(counts)
def test_paired_intervals_hold_the_estimate_mirror_and_agree_with_the_tests(triple):
    b, c, agreeing = triple
    n = b + c + agreeing
    test = independent(n, b, c)
    low, high = test.interval(0.90)
    assert -1 <= low <= (c - b) / n <= high <= 1
    assert high - low > 0
    mirrored = independent(n, c, b).interval(0.90)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)
    margin = 0.1
    if min(abs(low + margin), abs(high - margin)) > 1e-9:
        assert (-margin < low and high < margin) == (test.p_equivalence(margin) < 0.05)


# ---- unpaired


def test_miettinen_nurminen_published_interval():
    # Newcombe, Statistics in Medicine 17 (1998) 873–890, table II (a), 56/70 − 48/80: 0.0528 to 0.3382.
    assert unpaired_test(48, 80, 56, 70).interval(0.95) == pytest.approx((0.0528, 0.3382), abs=5e-5)


@pytest.mark.parametrize(
    ("c1", "n1", "c2", "n2", "delta"), [(48, 80, 56, 70, 0.1), (3, 40, 9, 30, -0.05), (5, 9, 2, 30, 0.2)]
)
def test_miettinen_nurminen_variance_is_that_of_the_constrained_likelihood(c1, n1, c2, n2, delta):
    def negative_likelihood(p1):
        p2 = p1 + delta
        return -sum(c * math.log(p) + (n - c) * math.log(1 - p) for c, n, p in ((c1, n1, p1), (c2, n2, p2)))

    bounds = (max(0, -delta) + 1e-12, min(1, 1 - delta) - 1e-12)
    p1 = optimize.minimize_scalar(negative_likelihood, bounds=bounds, method="bounded", options={"xatol": 1e-13}).x
    p2 = p1 + delta
    total = n1 + n2
    variance = (p1 * (1 - p1) / n1 + p2 * (1 - p2) / n2) * total / (total - 1)
    expected = (c2 / n2 - c1 / n1 - delta) / math.sqrt(variance)
    assert miettinen_nurminen_z(c1, n1, c2, n2, delta) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("counts", [(0, 20, 0, 20), (20, 20, 20, 20), (0, 10, 20, 20), (20, 20, 0, 10)])
def test_unpaired_at_the_edges_is_finite_and_has_width(counts):
    low, high = unpaired_test(*counts).interval(0.9)
    assert -1 <= low < high <= 1


def test_paired_is_narrower_than_unpaired_on_the_same_scores():
    paired, unpaired = independent(1000, 30, 35).interval(0.9), unpaired_test(800, 1000, 805, 1000).interval(0.9)
    assert unpaired[0] < paired[0] < paired[1] < unpaired[1]


# ---- error rates, by simulation (seeded)


def test_false_positive_rate_of_equivalence_at_the_margin_is_five_percent():
    rng = np.random.default_rng(1)
    n, discordance, repetitions = 3000, 0.10, 3000
    b_rate, c_rate = (discordance - MARGIN) / 2, (discordance + MARGIN) / 2
    draws = rng.multinomial(n, [b_rate, c_rate, 1 - discordance], size=repetitions)
    shown = sum(independent(n, int(b), int(c)).p_equivalence(MARGIN) <= 0.05 for b, c, _ in draws)
    assert shown / repetitions == pytest.approx(0.05, abs=0.012)  # 3 standard errors


@pytest.mark.parametrize(("likeness", "low", "high"), [(0.0, 0.89, 0.98), (0.7, 0.87, 0.96), (1.0, 0.87, 0.95)])
def test_coverage_with_items_clustered_in_units(likeness, low, high):
    rng = np.random.default_rng(2)
    n_units, repetitions, discordance, covered = 150, 500, 0.15, 0
    rates = [(discordance - MARGIN) / 2, (discordance + MARGIN) / 2, 1 - discordance]
    for _ in range(repetitions):
        index = np.repeat(np.arange(n_units), rng.integers(1, 12, n_units))
        together = rng.choice([-1.0, 1.0, 0.0], n_units, p=rates)[index]
        apart = rng.choice([-1.0, 1.0, 0.0], len(index), p=rates)
        values = np.where(rng.random(len(index)) < likeness, together, apart)
        counts = paired_counts(values < 0, values > 0, index.tolist())
        test = paired_test(counts)
        covered += abs(test.statistic(MARGIN)) <= test.critical(0.90)
    assert low <= covered / repetitions <= high


# ---- clusters


def test_clustered_interval_is_never_narrower_nor_of_no_width():
    rng = np.random.default_rng(3)
    units = [str(i // 8) for i in range(800)]
    original, replica = rng.random(800) < 0.9, rng.random(800) < 0.9
    plain, clustered = paired_counts(original, replica), paired_counts(original, replica, units)
    assert (plain.b, plain.c, clustered.n_units) == (clustered.b, clustered.c, 100)
    narrow, wide = paired_test(plain).interval(0.9), paired_test(clustered).interval(0.9)
    assert wide[0] <= narrow[0] < narrow[1] <= wide[1]
    same = paired_test(paired_counts(original, original, units))
    z2 = stats.t.ppf(0.95, 99) ** 2
    assert same.interval(0.9)[1] == pytest.approx(z2 / (100 + z2))  # 100 units, not 800 items


def test_items_that_all_change_together_count_as_their_units():
    rng = np.random.default_rng(4)
    by_unit = rng.choice([-1.0, 0.0, 1.0], 400, p=[0.1, 0.8, 0.1])
    values, units = np.repeat(by_unit, 5), np.repeat(np.arange(400), 5).tolist()
    assert design_effect(values, units) == pytest.approx(5, rel=0.02)


def test_one_unit_shows_nothing():
    right = np.ones(50, dtype=bool)
    test = paired_test(paired_counts(right, right, ["the only one"] * 50))
    assert test.interval(0.9) == (-1, 1)
    assert test.p_equivalence(MARGIN) == 1


def test_units_of_one_item_are_no_clusters():
    right = np.array([True, False, True])
    assert not paired_counts(right, ~right, ["a", "b", "c"]).clustered


# ---- several benchmarks, chance, power


def test_macro_mean_of_equal_symmetric_intervals_shrinks_by_the_root():
    mean, low, high = macro_mean_interval([1.0, -1.0, 0.0, 0.0], [(d - 2, d + 2) for d in (1.0, -1.0, 0.0, 0.0)])
    assert (mean, low, high) == pytest.approx((0, -1, 1))


def test_holm_worked_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_above_chance_is_exact_and_one_sided():
    assert above_chance(59, 100, 0.5)  # P(X ≥ 59) = 0.0443
    assert not above_chance(58, 100, 0.5)  # 0.0666
    assert not above_chance(59, 100, 0.5, effect=4)
    assert not above_chance(0, 100, 0.0)


@pytest.mark.parametrize(
    ("discordance", "n_90", "n_80"), [(0.02, 542, 429), (0.05, 1353, 1071), (0.10, 2706, 2141), (0.20, 5412, 4282)]
)
def test_items_needed_table(discordance, n_90, n_80):
    # n = ψ (z.95 + z.95)² / 0.02² and ψ (z.95 + z.90)² / 0.02²: 27,055.4 ψ and 21,409.6 ψ.
    assert items_needed(discordance, MARGIN, power=0.9) == n_90
    assert items_needed(discordance, MARGIN, power=0.8) == n_80


def test_items_needed_have_a_floor():
    n = items_needed(0.0, MARGIN, power=0.9)
    assert independent(n, 0, 0).interval(0.9)[1] <= MARGIN < independent(n - 1, 0, 0).interval(0.9)[1]


def test_items_needed_give_the_power_they_promise():
    rng = np.random.default_rng(5)
    n = items_needed(0.1, MARGIN, power=0.9)
    draws = rng.multinomial(n, [0.05, 0.05, 0.9], size=1500)
    shown = sum(independent(n, int(b), int(c)).p_equivalence(MARGIN) <= 0.05 for b, c, _ in draws)
    assert shown / 1500 == pytest.approx(0.90, abs=0.03)


def agreeing(sizes):
    """Counts of two models that always agree, on units of these sizes."""
    right = np.ones(sum(sizes), dtype=bool)
    return paired_counts(right, right, np.repeat(np.arange(len(sizes)), sizes).tolist())


def test_without_disagreement_the_interval_depends_on_the_units_alone():
    few, many = (paired_test(agreeing([items] * 57)).interval(0.9) for items in (18, 70))
    assert few == pytest.approx(many, rel=1e-9)
    assert many[1] == pytest.approx(0.0468, abs=1e-4)
    shown = [units for units in range(120, 150) if paired_test(agreeing([4] * units)).interval(0.9)[1] < MARGIN]
    assert shown[0] == units_needed(0.0, MARGIN, items_per_unit=1, power=0.9) == 135


@pytest.mark.parametrize("sizes", [[70] * 57, [1, 3, 12] * 40, [5, 6], [2] * 134])
def test_units_needed_are_the_fewest_at_which_the_interval_itself_shows_it(sizes):
    counts = agreeing(sizes)
    per_unit = counts.n / counts.design_effect / counts.n_units
    units = units_needed(0.0, MARGIN, items_per_unit=per_unit, power=0.9)
    assert units > len(sizes)

    def high(units):
        n = round(units * per_unit * 1e6)  # effective items in millionths: the design effect takes the rest away
        return paired_test(PairedCounts(n, 0, 0, units, design_effect=1e6, clustered=True)).interval(0.9)[1]

    assert high(units) <= MARGIN < high(units - 1)


def test_units_needed_give_the_power_they_promise():
    # Whole units that disagree: what they need is what items would, with t for z.
    rng = np.random.default_rng(7)
    units, size = units_needed(0.1, MARGIN, items_per_unit=1, power=0.9), 3
    index = np.repeat(np.arange(units), size).tolist()
    assert units == pytest.approx(items_needed(0.1, MARGIN, power=0.9), rel=0.002)
    shown = 0
    for _ in range(200):
        values = np.repeat(rng.choice([-1, 0, 1], units, p=[0.05, 0.9, 0.05]), size)
        shown += paired_test(paired_counts(values < 0, values > 0, index)).p_equivalence(MARGIN) <= 0.05
    assert shown / 200 == pytest.approx(0.90, abs=0.065)  # 3 standard errors


@pytest.mark.parametrize(("difference", "rejected"), [(MARGIN, 0.05), (-MARGIN, 0.05), (0.0, 0.0), (0.06, 1.0)])
def test_a_difference_beyond_the_margin_is_declared_at_its_rate(difference, rejected):
    rng = np.random.default_rng(6)
    n, discordance = 3000, 0.10
    rates = [(discordance - difference) / 2, (discordance + difference) / 2, 1 - discordance]
    draws = rng.multinomial(n, rates, size=2000)
    declared = sum(independent(n, int(b), int(c)).p_beyond(MARGIN) <= 0.05 for b, c, _ in draws)
    assert declared / 2000 == pytest.approx(rejected, abs=0.015)
