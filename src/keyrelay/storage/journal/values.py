"""Values of the journal."""

import msgspec


class Scan(msgspec.Struct, frozen=True, gc=False):
    """What was found: (kind, payload) of each record, and `end`, up to where the bytes were read.

    `wanted` is how many bytes from `end` on the next record has, when they were not all there. `damaged` bytes were
    passed over before a record, `torn` ones behind the last: the end of a write that was cut short, as a rule.
    """

    records: list[tuple[int, bytes]]
    end: int
    wanted: int = 0
    damaged: int = 0
    torn: int = 0


class OnlyId(msgspec.Struct):
    """Of the line of a request's end its id alone."""

    request_id: str = ""
