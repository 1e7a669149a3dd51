"""Plans and traces of a few lines, and a loop on virtual time."""

import asyncio
import datetime as dt
from collections.abc import Coroutine
from typing import Any, TypeVar

from keyrelay.replay.plan import Plan, plan_of
from keyrelay.replay.trace import Header, Trace, TraceRequest
from keyrelay.replay.virtual_time import VirtualLoop

T = TypeVar("T")
START = dt.datetime(2026, 11, 16, 8, tzinfo=dt.UTC)
START_S = START.timestamp()
INSTANT: dict[str, Any] = {"latency": {"first_token_ms": [0, 0]}, "transit_ms": [0, 0]}


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def per_minute(amount: int, unit: str = "requests") -> dict[str, Any]:
    return {"unit": unit, "amount": amount, "window": "60s"}


def acme(*, ledger: bool = True, settings: dict[str, Any] | None = None, **fields: Any) -> Plan:
    """A plan of one provider of its own, `acme`, with one model `m`."""
    entry = {"models": ["m"], "limits": [], "true_limits": [], **fields}
    return plan_of({"ledger": ledger, "settings": settings or {}, "providers": {"acme": entry}}, "test")


def every(gap_s: float, count: int, **fields: Any) -> Trace:
    """A request for `m` each so many seconds."""
    given = {"model": "m", "input_tokens": 100, "output_tokens": 20, **fields}
    requests = tuple(TraceRequest(at_s=round(number * gap_s, 3), **given) for number in range(count))
    return Trace(Header(trace="t", version=1, start=START), requests)
