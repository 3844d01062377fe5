"""The data-order certificate is of the tokens and their order, and of nothing else."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from train import certificate
from train.generated import batch_rows, row_order
from train.rows import Ids

ROWS = np.random.default_rng(0).integers(0, 512, (60, 9), dtype=np.uint16)
ORDER = row_order(len(ROWS), seed=3)


def of(rows: Ids, order: NDArray[np.int64], steps: int, size: int) -> str:
    """The certificate of rows in an order."""
    return certificate.of_steps(lambda step: rows[batch_rows(order, step, size)], steps)


def test_it_is_what_the_page_says() -> None:
    """Written out again, from the definition."""
    expected = hashlib.sha256(b"replibench.data-order/1").digest()
    for step in range(5):
        ids = b"".join(int(t).to_bytes(4, "little") for row in ORDER[step * 8 : step * 8 + 8] for t in ROWS[row])
        expected = hashlib.sha256(expected + step.to_bytes(8, "little") + ids).digest()
    assert of(ROWS, ORDER, 5, 8) == expected.hex()


def test_no_step_is_the_start() -> None:
    assert of(ROWS, ORDER, 0, 8) == certificate.START


def test_another_token_order_or_number_of_steps_is_another_certificate() -> None:
    changed = ROWS.copy()
    changed[ORDER[17], 4] ^= 1
    all_of_them = {
        of(ROWS, ORDER, 5, 8),
        of(changed, ORDER, 5, 8),
        of(ROWS, row_order(len(ROWS), seed=4), 5, 8),
        of(ROWS, ORDER, 4, 8),
        of(ROWS, ORDER, 4, 10),
    }
    assert len(all_of_them) == 5


def test_what_was_not_consumed_does_not_count() -> None:
    changed = ROWS.copy()
    changed[ORDER[40]] = 0
    assert of(changed, ORDER, 5, 8) == of(ROWS, ORDER, 5, 8)


def test_the_type_in_which_ids_are_stored_does_not_count() -> None:
    assert of(ROWS.astype(np.uint32), ORDER, 5, 8) == of(ROWS, ORDER, 5, 8)
