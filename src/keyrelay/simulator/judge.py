"""The judge: what really arrived at the simulated providers, call by call.

It writes down each call when it arrives, so that its figures owe nothing to what the gateway believes.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator

import msgspec

from keyrelay.core.limits import Limit, Unit, WindowKind
from keyrelay.simulator.limits import Scope, period

MAX_RECORDED_CALLS = 200_000


class Call(msgspec.Struct, kw_only=True):
    """One call as its provider saw it.

    `arrived_s`, `ended_s`, `disconnected_s` are epoch seconds on the simulator's clock, `*_mono_s` readings of
    the monotonic clock. `key` is a label. `status` is the HTTP status answered, 0 when none was. `refused_by` is
    the limit that refused the call, `fault` the fault that struck it. `disconnected_*` is set when the peer went
    away before its answer ended. `request_id` repeats the caller's `x-request-id`.
    """

    number: int
    provider: str
    account: str = ""
    key: str = ""
    model: str = ""
    operation: str = ""
    stream: bool = False
    arrived_s: float = 0.0
    arrived_mono_s: float = 0.0
    status: int = 0
    error: str = ""
    refused_by: Limit | None = None
    refused_scope: Scope | None = None
    fault: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    ended_s: float | None = None
    disconnected_s: float | None = None
    disconnected_mono_s: float | None = None
    request_id: str = ""


class Violation(msgspec.Struct, frozen=True):
    """The calls that one limit refused in one scope, and when they arrived (epoch seconds)."""

    limit: Limit
    scope: Scope
    calls: tuple[int, ...]
    arrived_s: tuple[float, ...]


class Disconnect(msgspec.Struct, frozen=True):
    """A peer that went away before its answer ended; `after_s` real seconds after its call arrived."""

    call: Call
    at_mono_s: float
    after_s: float


class Judge:
    """The record of all calls: the newest `capacity` of them, with `dropped` saying how many are gone."""

    def __init__(self, capacity: int = MAX_RECORDED_CALLS) -> None:
        self.calls: deque[Call] = deque(maxlen=capacity)
        self.total = 0

    def __repr__(self) -> str:
        return f"Judge({self.total} calls, {len(self.calls)} kept)"

    @property
    def dropped(self) -> int:
        """How many calls no longer stand in the record."""
        return self.total - len(self.calls)

    def open(self, call: Call) -> None:
        """Write down a call that has arrived."""
        self.total += 1
        self.calls.append(call)

    def reset(self) -> None:
        """Forget everything."""
        self.calls.clear()
        self.total = 0

    def select(self, scope: Scope) -> Iterator[Call]:
        """The calls of a scope, in order of arrival; model listings, probes and counts of tokens are none."""
        for call in self.calls:
            if call.operation in COUNTED_OPERATIONS and _matches(call, scope):
                yield call

    def calls_per_key(self, *, provider: str | None = None) -> dict[str, int]:
        """How many calls each key (by label) made, refused ones included, model listings and probes not."""
        return dict(
            Counter(
                call.key
                for call in self.calls
                if call.operation in COUNTED_OPERATIONS and provider in (None, call.provider)
            )
        )

    def violations(self) -> list[Violation]:
        """What each limit refused: a gateway that knows its limits leaves this empty."""
        refused: defaultdict[tuple[Limit, Scope], list[Call]] = defaultdict(list)
        for call in self.calls:
            if call.refused_by is not None and call.refused_scope is not None:
                refused[call.refused_by, call.refused_scope].append(call)
        return [
            Violation(limit, scope, tuple(c.number for c in calls), tuple(c.arrived_s for c in calls))
            for (limit, scope), calls in refused.items()
        ]

    def max_in_window(self, limit: Limit, scope: Scope, *, refused: bool = True) -> int:
        """The most that any window of the limit ever held, wherever it starts.

        `refused` says whether calls that were answered with an error count too: with them the figure shows how
        hard the caller pressed, without them what the provider let through.
        """
        events = sorted(_events(limit.unit, [c for c in self.select(scope) if refused or c.status == _OK]))
        if limit.window.kind is not WindowKind.ROLLING:
            periods: Counter[float] = Counter()
            for at_s, amount in events:
                periods[period(limit.window, at_s)[0]] += amount
            return max(periods.values(), default=0)
        return _sliding_maximum(events, limit.window.length_s)

    def disconnects(self) -> list[Disconnect]:
        """The calls whose peer closed before the answer ended."""
        return [
            Disconnect(call, call.disconnected_mono_s, call.disconnected_mono_s - call.arrived_mono_s)
            for call in self.calls
            if call.disconnected_mono_s is not None
        ]


COUNTED_OPERATIONS = frozenset(
    {
        "chat", "completions", "embeddings", "images", "image_edits", "image_variations", "speech", "transcriptions",
        "translations", "moderations", "rerank", "files",
    }
)  # fmt: skip
_OK = 200


def _matches(call: Call, scope: Scope) -> bool:
    return (
        scope.provider in ("", call.provider)
        and scope.account in ("", call.account)
        and scope.key in ("", call.key)
        and scope.model in ("", call.model)
    )


def _events(unit: Unit, calls: list[Call]) -> Iterator[tuple[float, int]]:
    for call in calls:
        if unit is Unit.REQUESTS:
            yield call.arrived_s, 1
        if unit in (Unit.INPUT_TOKENS, Unit.TOKENS):
            yield call.arrived_s, call.input_tokens
        if unit in (Unit.OUTPUT_TOKENS, Unit.TOKENS) and call.ended_s is not None:
            yield call.ended_s, call.output_tokens


def _sliding_maximum(events: list[tuple[float, int]], length_s: float) -> int:
    held: deque[tuple[float, int]] = deque()
    total = most = 0
    for at_s, amount in events:
        held.append((at_s, amount))
        total += amount
        while held[0][0] <= at_s - length_s:
            total -= held.popleft()[1]
        most = max(most, total)
    return most
