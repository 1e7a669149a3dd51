"""Values of the shared ledger."""

import msgspec

from keyrelay.quota.values import Refusal


class RedisStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the shared state stands. `apart` are the providers for which this worker goes by its own word."""

    connected: bool
    openings: int
    workers: int
    apart: tuple[str, ...]
    unsent: int


class Block(msgspec.Struct, frozen=True):
    """A limit that was refused, and until when (epoch) nobody asks for so much of it again.

    `probed`: it was asked for beyond a belief, so that nobody does that again either.
    """

    until_s: float
    amount: int
    refusal: Refusal
    probed: bool
