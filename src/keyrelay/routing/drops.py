"""Why a candidate is not taken."""

from enum import StrEnum

import msgspec

from keyrelay.core.failures import FailureKind


class DropReason(StrEnum):
    """Why a candidate was not taken."""

    LIMITED = "limited"  # one of its limits is full
    BUSY = "busy"  # as many calls in flight as may be
    RESTING = "resting"  # refused a short while ago
    EXHAUSTED = "exhausted"  # its daily, monthly or once-only quota is gone
    DEAD = "dead"  # only a person can bring it back
    DISABLED = "disabled"  # by a person
    EXPIRED = "expired"  # the operator has said until when it holds
    OTHER_HOST = "other_host"  # it was entered for another address than its provider's
    CIRCUIT_OPEN = "circuit_open"  # its provider, or the key there, is failing
    UNPRICED = (
        "unpriced"  # a limit on money or on the provider's own units, and nobody knows what a request takes of it
    )
    UNPROVEN = "unproven"  # another request is finding out whether it works
    NO_OPERATION = "no_operation"  # the provider has no such endpoint
    NO_CAPABILITY = "no_capability"  # the model cannot do what is asked
    INEXPRESSIBLE = "inexpressible"  # the provider's dialect has no words for what is asked
    ELSEWHERE = "elsewhere"  # a file that the request names is with another key
    CONTEXT_TOO_SMALL = "context_too_small"
    FAILED = "failed"  # tried for this request, and failed
    NOT_REACHED = "not_reached"  # the request had ended before its turn came


PASSING_REASONS = frozenset(
    {DropReason.LIMITED, DropReason.BUSY, DropReason.RESTING, DropReason.EXHAUSTED, DropReason.UNPROVEN}
)
"""Reasons that are limits: a caller who meets nothing else gets 429, not 503."""


LASTING_REASONS = frozenset(
    {
        DropReason.LIMITED,
        DropReason.RESTING,
        DropReason.EXHAUSTED,
        DropReason.DEAD,
        DropReason.CIRCUIT_OPEN,
        DropReason.UNPRICED,
    }
)
"""Reasons that hold for every request until their time, unless they are about its size."""


class Dropped(msgspec.Struct, frozen=True):
    """Why a candidate is out, and the kind of failure behind it if there is one.

    `until_s` (epoch) is when it may be back: None when unknown, infinity when never by itself. `sized` says that a
    smaller request might have passed.
    """

    reason: DropReason
    text: str
    until_s: float | None = None
    kind: FailureKind | None = None
    sized: bool = False
