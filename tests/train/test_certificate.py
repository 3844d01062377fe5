"""The data-order certificate is of the tokens and their order, and of nothing else."""

import hashlib
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from train import certificate
from train.generated import batch_rows, row_order
from train.meters import Progress
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


def _batch(rows: Ids, size: int = 2) -> Callable[[int], Ids]:
    return lambda step: rows[step * size : (step + 1) * size]


def _read(rows: Ids, steps: int, progress: Progress | None = None) -> Progress:
    """A run over rows in their order, from the start or from where one stopped."""
    progress = progress or Progress()
    while progress.step < steps:
        progress.read(_batch(rows)(progress.step))
        progress.add(1.0, 1)
    return progress


MANY = np.random.default_rng(1).integers(0, 512, (2000, 5), dtype=np.uint16)


@pytest.mark.parametrize("steps", [1, 2, 15, 16, 17, 31, 32, 100, 1000])
def test_a_run_that_goes_on_has_the_certificate_of_one_that_did_not_stop(steps: int) -> None:
    whole = _read(MANY, steps)
    parts = Progress()
    for stop in (steps // 3, steps // 2, steps):
        parts = _read(MANY, stop, Progress.of_state(json.loads(json.dumps(parts.state()))))
    assert parts.data_order_sha256 == whole.data_order_sha256 == certificate.of_steps(_batch(MANY), steps)
    assert parts.data_order_links == whole.data_order_links


@given(st.integers(1, 1000))
def test_links_are_few_and_lie_over_all_of_the_run(steps: int) -> None:
    links: list[certificate.Link] = []
    for step in range(steps):
        links = certificate.with_link(links, certificate.Link(step, "", ""))
    found = [link.step for link in links]
    assert len(found) <= certificate.LINKS + 1
    assert (found[0], found[-1]) == (0, steps - 1)
    assert max(np.diff([*found, steps])) <= max(1, 2 * steps / certificate.LINKS)


def test_a_step_that_reads_other_ids_is_found_where_there_is_a_link() -> None:
    links = _read(MANY, 1000).data_order_links
    assert certificate.broken_link(links, _batch(MANY)) is None
    for link in links:
        changed = MANY.copy()
        changed[2 * link.step + 1, 3] ^= 1
        assert certificate.broken_link(links, _batch(changed)) == link.step
    shifted = np.roll(MANY, 1, axis=0)
    assert certificate.broken_link(links, _batch(shifted)) == 0


def test_looking_at_the_links_reads_no_more_steps_after_a_longer_run() -> None:
    def read_for(steps: int) -> int:
        seen = []

        def batch(step: int) -> Ids:
            seen.append(step)
            return _batch(MANY)(step)

        assert certificate.broken_link(_read(MANY, steps).data_order_links, batch) is None
        return len(seen)

    assert max(map(read_for, (16, 100, 999))) <= certificate.LINKS + 1
