"""Values of the transport."""

import msgspec


class TransportCounters(msgspec.Struct, frozen=True):
    """How many connections are open, idle and in flight now; how many were opened and used again so far."""

    open: int
    idle: int
    in_flight: int
    opened_total: int
    reused_total: int


class Framing(msgspec.Struct, frozen=True, gc=False):
    """What the head says about the body. `length` is -1 without a content-length; `problem` is empty when usable."""

    streaming: bool
    until_close: bool
    length: int
    problem: str = ""
