"""Is a loss out of line with those just before it?"""

import statistics
from collections.abc import Sequence

WINDOW = 64  # losses looked back on
ENOUGH = 16  # fewer say nothing
MADS = 12.0  # median absolute deviations above the median
_LEAST = 0.005  # of the median: where the losses before it hardly vary at all


def spike_limit(recent: Sequence[float]) -> float | None:
    """The loss above which a step is a spike: median + 12 median absolute deviations; None with too few losses.

    Of normally distributed losses 12 deviations are 8 standard deviations. A loss that falls is never a spike.
    """
    if len(recent) < ENOUGH:
        return None
    median = statistics.median(recent)
    deviation = statistics.median(abs(loss - median) for loss in recent)
    return median + MADS * max(deviation, _LEAST * abs(median))
