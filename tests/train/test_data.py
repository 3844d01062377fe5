"""Rows hold the documents, and the order does not know how many ranks there are."""

from itertools import zip_longest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.generated import batch_rows, cut_off, pack, row_order
from train.rows import PAD, Ids, inputs_and_labels

END = 0
documents = st.lists(st.lists(st.integers(1, 500), min_size=1, max_size=40), min_size=1, max_size=60)


@given(documents, st.integers(8, 70))
def test_packing_loses_nothing_and_cuts_only_what_is_longer_than_a_row(docs: list[list[int]], width: int) -> None:
    rows = list(pack([[*doc, END] for doc in docs], width))
    pieces = []
    for row in rows:
        assert row.shape == (width,)
        kept = [int(token) for token in row if token != PAD]
        assert (row[len(kept) :] == PAD).all()  # padding stands at the end only
        pieces += _split(kept)
    expected = [piece for doc in docs for piece in _cut([*doc, END], width)]
    assert sorted(pieces) == sorted(piece for part in expected for piece in _split(part))


def _cut(document: list[int], width: int) -> list[list[int]]:
    return [document[start : start + width] for start in range(0, len(document), width)]


def _split(row: list[int]) -> list[list[int]]:
    """A row at its end-of-text tokens."""
    parts: list[list[int]] = [[]]
    for token in row:
        parts[-1].append(token)
        if token == END:
            parts.append([])
    return [part for part in parts if part]


def test_packing_is_tight_and_always_the_same() -> None:
    lengths = np.random.default_rng(0).integers(6, 30, 4000)
    docs = [[1] * int(length) for length in lengths]
    rows = np.stack(list(pack([[*doc, END] for doc in docs], 65)))
    assert (rows == PAD).mean() < 0.05
    assert np.array_equal(rows, np.stack(list(pack([[*doc, END] for doc in docs], 65))))


@given(documents, documents, st.integers(8, 70))
def test_nothing_is_predicted_after_a_document_that_was_cut_off(
    docs: list[list[int]], cut: list[list[int]], width: int
) -> None:
    parts = [x for pair in zip_longest([[*d, END] for d in docs], [cut_off(d, width) for d in cut]) for x in pair if x]
    rows = list(pack(parts, width))
    assert sum(int((row == END).sum()) for row in rows) == len(docs)
    assert sum(int((row != PAD).sum()) for row in rows) == sum(map(len, docs)) + len(docs) + sum(map(len, cut))
    loose = sorted(_trimmed(row) for row in rows if END not in row)
    pieces = [piece for doc in docs for piece in _cut([*doc, END], width) if END not in piece]
    assert loose == sorted([*pieces, *(piece for doc in cut for piece in _cut(doc, width))])


def _trimmed(row: Ids) -> list[int]:
    return [int(token) for token in row if token != PAD]


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
