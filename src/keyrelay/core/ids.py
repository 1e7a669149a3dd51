"""Request ids: UUIDs of version 7, so that they sort by time."""

_LOW_BITS = 62


def request_id(now_ms: int, random_bits: int) -> str:
    """`req_` and the 32 hex digits of a UUIDv7 made of a time in milliseconds and 74 random bits (RFC 9562)."""
    high = random_bits >> _LOW_BITS & 0xFFF
    low = random_bits & ((1 << _LOW_BITS) - 1)
    number = (now_ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | low
    return f"req_{number:032x}"
