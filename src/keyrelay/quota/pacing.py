"""Pacing: how an amount is spread over what is left of its window once more than half of it is used.

Until something comes back, what remains has to last. So the next request comes no earlier than its even share of that
time after the last one: with room for r requests in D seconds, each waits D / (r + 1), and the last of them is
let in one such step before the end. In a calendar window, what comes back is everything, at the reset.

In a rolling window it is what was used first, and when that was little, the share is next to nothing. There the whole
window sets a floor: requests do not follow each other faster than the amount per length allows on average. It is
what a window gives that is always in use, so that pacing costs nothing of it.
"""

import math


def next_admission_s(
    amount: int, *, limit: int, used: int, last_s: float, returns_s: float, length_s: float = 0.0
) -> float:
    """The earliest time (epoch seconds) at which pacing lets in a request that takes `amount`.

    `last_s` is when the last one was let in, `returns_s` when something comes back, `length_s` the length of a
    rolling window, 0 for any other. Minus infinity as long as no more than half of the limit is used, and for the first
    request.
    """
    if amount <= 0 or 2 * used <= limit or last_s == -math.inf:
        return -math.inf
    share = amount / (max(0, limit - used) + amount)
    floor = amount / (limit + amount)
    return last_s + max((returns_s - last_s) * share, length_s * floor)
