"""The protocols that the engine speaks to. Adapters implement them; `bootstrap` joins the two.

Values here are what crosses those borders. Nothing in this module does anything.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from keyrelay.core.configuration import Credential
from keyrelay.core.origins import Origin
from keyrelay.core.records import Attempt, RequestRecord, Reserved
from keyrelay.quota.values import Amounts, LimitKey, Refusal, Standing


class UpstreamCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a provider.

    `target` is path and query. `headers` hold no secret. Deadlines are readings of the event loop's clock
    (`loop.time()`), so that time spent elsewhere counts. `first_byte_at` bounds the wait for the answer's head
    (of a whole answer: for its end), `total_at` everything. `max_body_bytes` bounds a whole answer. `parts` follow
    `body` and are never copied; `content_type` is that of a body whose type differs from call to call.
    """

    origin: Origin
    target: str
    credential: Credential | None
    body: bytes
    first_byte_at: float
    total_at: float
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    max_body_bytes: int = 16 * 1024 * 1024
    parts: tuple[memoryview, ...] = ()
    content_type: str = ""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A call that failed below HTTP. `reached` is False when the provider cannot have seen the request."""

    kind: Literal["network", "timeout", "malformed"]
    message: str
    reached: bool = True


class UpstreamAnswer(Protocol):
    """An answer whose head has arrived.

    A whole answer (anything but `text/event-stream`) carries its `body`; a stream is read with `read`.
    `close` may be called at any time and more than once: a connection whose answer is not finished is dropped.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    streaming: bool
    fault: Fault | None
    deadline_at: float
    tap: Callable[[bytes], bool] | None
    """While somebody waits in `read`, what arrives goes to the tap first, at once and without waking anybody, until
    the tap returns False: then it is taken out, and `read` returns (nothing, if nothing has come since)."""

    async def read(self) -> bytes:
        """Return what has arrived, at least one byte; empty at the end, which was clean unless `fault` is set.

        Waiting is bounded by `deadline_at` (event-loop clock), which the reader moves on as content arrives.
        """
        ...

    def release(self) -> None:
        """Let go of an answer whose last event has been read; the connection may be used again once its body ends."""
        ...

    def close(self) -> None:
        """Let go of the answer; drops the connection unless the answer has ended."""
        ...


class Upstream(Protocol):
    """Sends calls to providers."""

    async def send(self, call: UpstreamCall) -> UpstreamAnswer | Fault:
        """Send and return once the head (of a stream) or the whole answer has arrived.

        Never raises for what the other side or the network does. Raises HostBindingError, before a byte has
        left, when the credential is bound to another origin. Cancelling it drops the connection.
        """
        ...


class Reservation(Protocol):
    """What `reserve` gave out, to be settled exactly once."""


class Ledger(Protocol):
    """What has been used and reserved in every window. Three verbs, each atomic over all the limits named.

    Times are epoch seconds. `path` is the tuple of limits on a candidate's path, made once and used again.
    """

    def reserve(
        self, path: tuple[LimitKey, ...], amounts: Amounts, now_s: float, *, beyond_belief: bool = False
    ) -> Reservation | Refusal:
        """Take `amounts` from every limit at once, or from none.

        With `beyond_belief`, limits that are not firm let one request at a time pass although they are full.
        """
        ...

    def settle(self, reservation: Reservation, amounts: Amounts, now_s: float, *, arrived: bool = False) -> None:
        """Correct the reservation to what was really used. A second call changes nothing.

        `arrived` says that the provider has seen the request by now, as `answered` would.
        """
        ...

    def answered(self, reservation: Reservation, now_s: float) -> None:
        """Note that the provider has seen the request by now: rolling windows count it from here at the latest."""
        ...

    def raise_belief(self, reservation: Reservation) -> None:
        """A request that went beyond a belief succeeded: the belief rises."""
        ...

    def confirm_belief(self, key: LimitKey, now_s: float) -> None:
        """The provider refused for this limit: for a while the belief is firm."""
        ...

    def follow(self, key: LimitKey, now_s: float, *, amount: int | None = None, used: int | None = None) -> bool:
        """The provider says that this limit is `amount`, and that `used` of it are used by now.

        `amount` takes the place of what was believed, and makes what the operator configured smaller, never larger;
        `used` only ever raises the count. Returns whether `amount` contradicted what was in force.
        """
        ...

    def restore(self, path: tuple[LimitKey, ...], amounts: Amounts, at_s: float, *, once: bool = False) -> None:
        """Count what was used by calls that were over at `at_s`, to be told in order of time, before anything else.

        With `once` it counts for quotas without a reset alone, else for all others.
        """
        ...

    def peek(self, path: tuple[LimitKey, ...], now_s: float) -> tuple[Standing, ...]:
        """How each limit stands."""
        ...


class Journal(Protocol):
    """Keeps what must survive this process being killed. Both verbs return once the operating system has it.

    Neither waits nor raises: when the disk takes no more, `full` says so before a row is lost.
    """

    full: bool
    """No request may be admitted any more: what is under way needs the room that is left."""
    syncs: bool
    """Whether `synced` has anything to wait for."""

    def reserved(self, entry: Reserved) -> None:
        """An attempt is about to be sent."""
        ...

    def ended(self, line: bytes, request_id: str | None = None) -> None:
        """A request has ended: its record in JSON, without a line end, and its id where that is at hand.

        Its reservations are settled by it.
        """
        ...

    async def synced(self) -> None:
        """Return once everything written so far is on the disk; at once unless that was asked for (`fsync`)."""
        ...


class UsageStore(Protocol):
    """Where rows of ended requests are kept for good."""

    async def write(self, lines: Sequence[bytes]) -> None:
        """Keep rows, each a `RequestRecord` in JSON, all or none; a row that is there already changes nothing.

        Raise StoreError when the store cannot take them now.
        """
        ...


class Clock(Protocol):
    """Time. Waits and deadlines use `monotonic_s`, quotas and resets `epoch_s`."""

    def monotonic_s(self) -> float:
        """The event loop's clock."""
        ...

    def epoch_s(self) -> float:
        """Seconds since 1970 in UTC."""
        ...


class Observer(Protocol):
    """Is told what happened: for metrics, log and, later, accounts. Must neither wait nor raise."""

    def attempt_failed(self, record: RequestRecord, attempt: Attempt) -> None:
        """An attempt failed; another may follow."""
        ...

    def finished(self, record: RequestRecord) -> None:
        """The request has ended, one way or another; called exactly once per request."""
        ...


class Sink(Protocol):
    """Where a streamed answer goes. Writing waits for the caller to take what was written."""

    @property
    def gone(self) -> bool:
        """Whether the caller has left, or does not read: if not, it is Keyrelay that ends."""
        ...

    async def start(self, head: bytes) -> None:
        """Send status 200 and the head: lines `name: value`, each with its line end."""
        ...

    def write_now(self, data: bytes) -> bool:
        """Send a piece of the body if that takes no waiting; False when it does, and nothing was sent."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a piece of the body."""
        ...

    async def end(self, data: bytes) -> None:
        """Send the last piece, which may be empty, and end the answer."""
        ...


Confirm = Callable[[Reservation, float], Awaitable[Refusal | None]]
"""Asks whoever else uses the same limits whether a reservation may stand; told is the time (epoch seconds).

None: it may. A refusal: it has been taken back, and the ledger refuses that limit by itself for as long as it says.
"""


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine is joined with. `random` gives numbers from 0 to 1.

    Without a `journal` nothing outlives the process; without `confirm` the ledger's word is enough.
    """

    upstream: Upstream
    ledger: Ledger
    clock: Clock
    observer: Observer
    random: Callable[[], float]
    journal: Journal | None = None
    confirm: Confirm | None = None
