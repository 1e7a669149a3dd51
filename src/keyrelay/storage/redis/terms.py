"""What a worker and Redis agree on: the terms, the states of a partition, and the answer to a sign of life."""

from collections.abc import Callable
from enum import Enum, auto

import msgspec

from keyrelay.quota.values import Amounts, LimitKey
from keyrelay.storage.redis.scripts import Script

Spent = tuple[tuple[LimitKey, ...], Amounts, float]
"""What the store or the journal knows to be used: path, amounts, and when (epoch seconds)."""


ADMITTED_WITH_LESS = 1
REFUSED = 0
EPOCH_OVER = -1
TOO_LATE = -2
ANOTHER_PERIOD = -4
"""How the answers of the scripts begin that are more than a number."""

BY_OWN_WORD = 1
BY_REDIS_WORD = 2
"""By whose word a worker admits requests; see `word` in `lua/common.lua`."""


class State(Enum):
    """How a partition stands."""

    DOWN = auto()
    ATTACHING = auto()
    APART = auto()
    RETURNING = auto()
    SERVING = auto()


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A worker as the roster has it; `workers` is 0 while it has no share."""

    id: str
    workers: int
    rank: int


class Beat(msgspec.Struct, frozen=True, array_like=True):
    """The answer to a sign of life: see `lua/beat.lua`."""

    time_us: int
    open: int
    build: int
    workers: int
    rank: int
    members: list[Member]
    windows: list[tuple[list[int], list[int]]]
    tight: list[str]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What all partitions of a worker go by. `slot` is what the ids of its predecessors begin with.

    `predecessor_told` says that what they used is told; otherwise all that they had set aside counts as used.
    """

    prefix: str
    member: str
    slot: str
    scripts: dict[str, Script]
    timeout_s: float
    skew_us: int
    silent_s: float
    expiry_s: float
    barrier_s: float
    predecessor_told: bool
    new_epoch: Callable[[], str]
    report: Callable[[str], None]
