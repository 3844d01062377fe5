"""The order is a permutation by epochs, in proportion to the weights, and any step of it can be had alone."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.corpus.mixture import Mixture
from train.corpus.permutation import Permutation


@given(st.integers(1, 3000), st.integers(0, 9))
def test_a_permutation_is_one_to_one(n: int, key: int) -> None:
    assert sorted(Permutation(n, key)(np.arange(n)).tolist()) == list(range(n))


def test_permutations_look_random() -> None:
    """Over many keys each index goes everywhere equally often, and neighbours do not stay together."""
    n, keys = 20, 6000
    went = np.stack([Permutation(n, key)(np.arange(n)) for key in range(keys)])
    for index in range(n):
        counts = np.bincount(went[:, index], minlength=n)
        chi2 = float(((counts - keys / n) ** 2 / (keys / n)).sum())
        assert chi2 < 50  # 19 degrees of freedom: 50 is passed once in 7,000 times
    steps = np.abs(np.diff(Permutation(100_000, 1)(np.arange(100_000))))
    assert 32_000 < steps.mean() < 34_700  # a third of n


def test_any_index_costs_the_same_however_many_there_are() -> None:
    start = time.perf_counter()
    where = Permutation(10**15, 3)(np.array([0, 1, 10**15 - 1]))
    Mixture([10**12, 10**13], [1, 3], 0).rows(10**14, 10**14 + 1024)
    assert time.perf_counter() - start < 5
    assert len(set(where.tolist())) == 3


mixtures = st.lists(st.tuples(st.integers(1, 40), st.floats(0.01, 5)), min_size=1, max_size=4)


@given(mixtures, st.integers(0, 5), st.integers(1, 400), st.integers(1, 50))
def test_a_step_alone_is_that_step_of_the_whole(
    sources: list[tuple[int, float]], seed: int, total: int, batch: int
) -> None:
    sizes, weights = zip(*sources, strict=True)
    whole = Mixture(sizes, weights, seed).rows(0, total)
    for start in reversed(range(0, total, batch)):  # from the end: nothing before is needed
        stop = min(start + batch, total)
        alone = Mixture(sizes, weights, seed).rows(start, stop)
        assert alone[0].tolist() == whole[0][start:stop].tolist()
        assert alone[1].tolist() == whole[1][start:stop].tolist()


@given(mixtures, st.integers(0, 5), st.integers(0, 400))
def test_no_row_comes_again_before_all_of_its_source_have_come(
    sources: list[tuple[int, float]], seed: int, total: int
) -> None:
    sizes, weights = zip(*sources, strict=True)
    mixture = Mixture(sizes, weights, seed)
    of, rows = mixture.rows(0, total)
    assert mixture.counts(total) == np.bincount(of, minlength=len(sizes)).tolist()
    for source, size in enumerate(sizes):
        mine = rows[of == source]
        for start in range(0, len(mine), size):
            epoch = mine[start : start + size].tolist()
            assert len(set(epoch)) == len(epoch)
            assert set(epoch) <= set(range(size))


def test_every_batch_holds_the_sources_in_their_proportions() -> None:
    mixture = Mixture([1000, 1000, 1000], [6, 3, 1], 1)
    for start in range(0, 20_000, 100):
        counts = np.bincount(mixture.rows(start, start + 100)[0], minlength=3)
        assert np.abs(counts - [60, 30, 10]).max() <= 3
    assert mixture.epochs(20_000) == pytest.approx([12, 6, 2], abs=0.01)


def test_seeds_epochs_and_sources_have_orders_of_their_own() -> None:
    one, other = Mixture([500], [1], 1), Mixture([500], [1], 2)
    first, second = one.rows(0, 500)[1], one.rows(500, 1000)[1]
    assert first.tolist() != second.tolist()
    assert first.tolist() != other.rows(0, 500)[1].tolist()
    of, rows = Mixture([500, 500], [1, 1], 1).rows(0, 1000)
    assert rows[of == 0][:400].tolist() != rows[of == 1][:400].tolist()


@pytest.mark.parametrize(("rows", "weights"), [([], []), ([3], [0.0]), ([0], [1.0]), ([1, 2], [1.0])])
def test_a_mixture_of_nothing_is_refused(rows: list[int], weights: list[float]) -> None:
    with pytest.raises(ValueError, match="needs a weight above 0 and at least one row"):
        Mixture(rows, weights, 0)
