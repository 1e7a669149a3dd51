"""Request ids: UUIDs of version 7, so that they sort by time."""

_LOW_BITS = 62
_LOW = (1 << _LOW_BITS) - 1
_VARIANT = 0b10 << _LOW_BITS
_TIME = (1 << 48) - 1


def request_id(now_ms: int, random_bits: int) -> str:
    """`req_` and the 32 hex digits of a UUIDv7 made of a time in milliseconds and 74 random bits (RFC 9562)."""
    low = random_bits & _LOW | _VARIANT
    return f"req_{now_ms & _TIME:012x}7{random_bits >> _LOW_BITS & 0xFFF:03x}{low:016x}"
