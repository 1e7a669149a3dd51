"""Admission on a worker's own word, while Redis is not there to ask: see `partition` for why this keeps every limit."""

import msgspec

from keyrelay.quota.packed import PLACES, amount_at
from keyrelay.storage.redis.entries import Entry
from keyrelay.storage.redis.partition import Partition
from keyrelay.storage.redis.window_hold import (
    CALENDAR,
    CONCURRENT,
    LEASE_S,
    MICROS,
    NO_LIMIT,
    ONCE,
    ROLLING,
    UNIT_ORDER,
    WindowHold,
    packed,
    six,
)

LEASE_US = int(LEASE_S * MICROS)

SWEEP_S = 1.0
"""Redis notices a silent worker later by so much at most: no admission goes by an older look at the roster."""

MARGIN_S = 0.5
"""For clocks that do not run equally fast."""

ASK_AGAIN_S = 0.5
"""After so long Redis may be back."""


class OwnRefusal(msgspec.Struct, frozen=True):
    """What does not fit: place of the window in the plan, index of the unit, what is used, until when."""

    window: int
    unit: int
    used: int
    until_us: int


def admit_by_own_word(partition: Partition, entry: Entry) -> OwnRefusal | None:
    """Take a request if it fits into what this worker may use without asking; else say what does not fit."""
    now_us = partition.now_us()
    amounts = six(packed(entry.amounts))
    for place, (hold, limits) in enumerate(zip(entry.plan.holds, entry.plan.limits, strict=True)):
        hold.turn(now_us)
        sharing = _may_share(partition, hold, now_us)
        in_use = _used(hold, now_us, sharing=sharing)
        for unit, (limit, amount) in enumerate(zip(limits, amounts, strict=True)):
            if limit == NO_LIMIT or not amount:
                continue
            allowed = hold.set_aside[unit]
            if sharing:
                allowed = max(allowed, _share(partition, hold, limit, now_us))
            if hold.kind == ONCE and 0 < hold.expires_us <= now_us:
                allowed = 0
            used = amount_at(in_use, PLACES[UNIT_ORDER[unit]])
            if used + amount > allowed:
                return OwnRefusal(place, unit, used, _until_us(hold, unit, used + amount - allowed, now_us))
    partition.took(entry)
    return None


def share_of(limit: int, workers: int, rank: int) -> int:
    """The share of one worker, ranks counted from 0: over all ranks they make the whole. 0 workers: it has none."""
    return max(0, -((rank - limit) // workers)) if workers else 0


def _share(partition: Partition, hold: WindowHold, limit: int, now_us: int) -> int:
    """The least share that this worker has had of the limit since a window ago.

    Somebody else had the difference to a larger one, and what they used of it may still count.
    """
    least = share_of(limit, partition.workers, partition.rank)
    since_us = now_us - LEASE_US if hold.kind == CONCURRENT else hold.since_us(now_us)
    for workers, rank, until_us in reversed(partition.former):
        if until_us + partition.terms.skew_us <= since_us:
            break
        least = min(least, share_of(limit, workers, rank))
    return least


def _may_share(partition: Partition, hold: WindowHold, now_us: int) -> bool:
    """Whether nothing counts any more that Redis admitted before it held this worker's share free."""
    if partition.alone_since_us is None or hold.kind == ONCE:
        return False
    terms = partition.terms
    held_from_us = partition.alone_since_us + int((terms.silent_s + SWEEP_S + MARGIN_S) * MICROS) + terms.skew_us
    if hold.kind == CALENDAR:
        return hold.start_us >= held_from_us
    length_us = hold.length_us + hold.span_us if hold.kind == ROLLING else int(LEASE_S * MICROS)
    return now_us >= held_from_us + length_us


def _used(hold: WindowHold, now_us: int, *, sharing: bool) -> int:
    if hold.kind == CONCURRENT:
        return hold.flying if sharing else hold.flying_own
    return hold.own.used(hold.since_us(now_us))


def _until_us(hold: WindowHold, unit: int, excess: int, now_us: int) -> int:
    """When it may be worth asking again: when something comes back, or when Redis may."""
    free_us = None
    if hold.kind == ROLLING:
        free_us = hold.own.free_at_us(excess, PLACES[UNIT_ORDER[unit]], hold.length_us)
    again_us = now_us + int(ASK_AGAIN_S * MICROS)
    return again_us if free_us is None else min(max(free_us, now_us), again_us)
