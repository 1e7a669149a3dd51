"""Request ids: UUIDs of version 7, so that they sort by time."""

from typing import Final

_LOW_BITS: Final = 62
_LOW: Final = (1 << _LOW_BITS) - 1
_VERSION_AND_VARIANT: Final = 7 << 76 | 0b10 << _LOW_BITS
_TIME: Final = (1 << 48) - 1
_BYTES: Final = 16


def request_id(now_ms: int, random_bits: int) -> str:
    """`req_` and the 32 hex digits of a UUIDv7 made of a time in milliseconds and 74 random bits (RFC 9562)."""
    high = (now_ms & _TIME) << 80 | (random_bits >> _LOW_BITS & 0xFFF) << 64
    return "req_" + (high | random_bits & _LOW | _VERSION_AND_VARIANT).to_bytes(_BYTES, "big").hex()
