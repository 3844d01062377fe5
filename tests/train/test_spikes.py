"""Losses out of line, and only those."""

import random

from train.spikes import ENOUGH, spike_limit


def test_noise_and_a_falling_loss_are_no_spikes_and_a_jump_is() -> None:
    rng = random.Random(0)
    losses = [6.0 * 0.999**step + rng.gauss(0, 0.05) for step in range(3000)]
    for step in range(64, 3000):
        limit = spike_limit(losses[step - 64 : step])
        assert limit is not None
        assert losses[step] < limit
        assert losses[step] + 2.5 > limit


def test_few_losses_say_nothing_and_equal_ones_leave_some_room() -> None:
    assert spike_limit([3.0] * (ENOUGH - 1)) is None
    limit = spike_limit([3.0] * ENOUGH)
    assert limit is not None
    assert 3.1 < limit < 3.3
