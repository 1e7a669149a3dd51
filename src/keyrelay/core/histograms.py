"""Histograms of durations on a fixed scale, so that those of any group can be added up.

Bounds are the preferred numbers of ISO 3's series R5: five a decade, each about 1.6 times the one before it. Within a
bucket, durations are taken to be spread evenly over the logarithm, so that a percentile is seldom wrong by more than a
tenth, and by no more than the width of a bucket.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence

_R5 = (1.0, 1.6, 2.5, 4.0, 6.3)

LATENCY_MS = (*(step * decade for decade in (10, 100, 1_000, 10_000, 100_000) for step in _R5), 1_000_000.0)
"""Upper bounds in milliseconds, inclusive, of a whole request: 10 ms to 1,000 s; a last bucket is beyond them."""

FIRST_TOKEN_MS = (*(step * decade for decade in (10, 100, 1_000, 10_000) for step in _R5), 100_000.0)
"""The same for the time to a stream's first token: 10 ms to 100 s."""


def bucket(bounds: Sequence[float], value: float) -> int:
    """The place, from 0 to `len(bounds)`, of the bucket that a value belongs to."""
    return bisect_left(bounds, value)


def percentile(bounds: Sequence[float], counts: Sequence[int], percent: float) -> float | None:
    """The value below or at which `percent` (0 to 100) of what was counted lies; None when nothing was.

    `counts` has one place more than `bounds`. What lies beyond the last bound counts as that bound, what lies below
    the first as evenly spread from 0.
    """
    total = sum(counts)
    if total <= 0:
        return None
    rank = total * percent / 100
    below = 0
    for place, count in enumerate(counts):
        if count > 0 and below + count >= rank:
            return _within(bounds, place, (rank - below) / count)
        below += count
    return bounds[-1]  # rounding left a rank that is beyond the total by a hair


def _within(bounds: Sequence[float], place: int, share: float) -> float:
    if place == len(bounds):
        return bounds[-1]
    if place == 0:
        return bounds[0] * share
    low, high = bounds[place - 1], bounds[place]
    return low * math.pow(high / low, share)
