"""Rows hold the documents, and the order does not know how many ranks there are."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.data import PAD, batch_rows, inputs_and_labels, pack, row_order

END = 0
documents = st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=40), min_size=1, max_size=60)


@given(documents, st.integers(8, 33))
def test_packing_loses_nothing_and_keeps_the_order(docs: list[list[int]], width: int) -> None:
    rows = np.stack(list(pack(docs, width, END)))
    assert rows.shape[1] == width
    flat = [int(token) for token in rows.flatten() if token != PAD]
    assert flat == [token for doc in docs for token in [*doc, END]]


@given(documents)
def test_a_document_that_fits_a_row_is_not_cut(docs: list[list[int]]) -> None:
    width = 41
    for row in pack(docs, width, END):
        kept = [int(token) for token in row if token != PAD]
        assert kept[-1] == END


def test_labels_are_the_next_token_and_padding_is_not_predicted() -> None:
    inputs, labels = inputs_and_labels(np.array([[5, 6, 0, PAD, PAD]], dtype=np.uint16))
    assert inputs.tolist() == [[5, 6, 0, 0]]
    assert labels.tolist() == [[6, 0, -100, -100]]


@given(st.integers(1, 300), st.integers(0, 5))
def test_an_epoch_visits_every_row_once_in_an_order_of_the_seed(n_rows: int, seed: int) -> None:
    order = row_order(n_rows, seed)
    assert sorted(order) == list(range(n_rows))
    assert np.array_equal(order, row_order(n_rows, seed))
    steps = [batch_rows(order, step, 7) for step in range(n_rows // 7)]
    assert np.array_equal(np.concatenate([*steps, order[len(steps) * 7 :]]), order)
