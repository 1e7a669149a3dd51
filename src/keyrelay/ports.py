"""The protocols that the engine speaks to. Adapters implement them; `bootstrap` joins the two.

Values here are what crosses those borders. Nothing in this module does anything.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from keyrelay.core.alerts import AlertMessage, AlertRecord, Channel, ChannelSecret, Outcome
from keyrelay.core.configuration import Credential
from keyrelay.core.origins import Origin
from keyrelay.core.records import Attempt, RequestRecord, Reserved
from keyrelay.quota.values import Amounts, LimitKey, Refusal, Standing
from keyrelay.wire.file_lists import FileList


class UpstreamCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a provider.

    `target` is path and query. `headers` hold no secret. Deadlines are readings of the event loop's clock
    (`loop.time()`), so that time spent elsewhere counts. `first_byte_at` bounds the wait for the answer's head
    (of a whole answer: for its end), `total_at` everything. `max_body_bytes` bounds a whole answer. `parts` follow
    `body` and are never copied; `content_type` is that of a body whose type differs from call to call. `streams`: a 200
    is read piece by piece, whatever its type.
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
    streams: bool = False


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A call that failed below HTTP. `reached` is False when the provider cannot have seen the request.

    `address`: the origin is guarded and leads to an address that is not allowed; nothing was connected to.
    """

    kind: Literal["network", "timeout", "malformed", "address"]
    message: str
    reached: bool = True


class UpstreamAnswer(Protocol):
    """An answer whose head has arrived.

    A whole answer (anything but a stream by its type or by the call) carries its `body`; a stream is read with `read`.
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

    Where records are gathered, it has them before anything that they are about is sent (`outbox`). Neither
    waits nor raises: when the disk takes no more, `full` says so before a row is lost.
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


class StoredEntry(msgspec.Struct, frozen=True):
    """An administered entry as it is kept: its document in JSON, and its secret as the vault has sealed it."""

    kind: str
    id: str
    document: bytes
    sealed: bytes = b""


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change, or one attempt to sign in, that is written down for good.

    `id` is a UUIDv7 as in `core.ids`, `at_ms` epoch milliseconds. `before` and `after` are documents in JSON without
    secrets, empty for what was not there or is not there any more. `address` is where the request came from.
    """

    id: str
    at_ms: int
    actor: str
    action: str
    kind: str = ""
    entry: str = ""
    before: bytes = b""
    after: bytes = b""
    address: str = ""


class EntryChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is to change, all of it or nothing, and what is written down about it."""

    put: tuple[StoredEntry, ...] = ()
    delete: tuple[tuple[str, str], ...] = ()
    audit: tuple[AuditEntry, ...] = ()


class EntryStore(Protocol):
    """Where administered entries are kept, with the log of their changes. All of it raises StoreError."""

    async def revision(self) -> int:
        """The number of the last change; 0 before the first one."""
        ...

    async def read(self) -> tuple[int, tuple[StoredEntry, ...]]:
        """The revision and all entries as of it."""
        ...

    async def commit(self, expected: int, changes: EntryChanges) -> int:
        """Make the changes in one transaction and return the new revision.

        Raise RevisionError, with nothing changed, when the revision is not the expected one any more.
        """
        ...

    async def note(self, entries: Sequence[AuditEntry]) -> None:
        """Write down what changes no entry."""
        ...

    async def audit(self, *, before: str = "", limit: int = 100) -> tuple[AuditEntry, ...]:
        """What was written down, the newest first; `before` is the id of the last one of the page before."""
        ...


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has signed in. `digest` is the SHA-256 of what their cookie holds; times are epoch seconds."""

    digest: bytes
    user: str
    created_s: float
    seen_s: float
    expires_s: float
    address: str = ""


class SessionStore(Protocol):
    """Where those are kept who have signed in, and wrong guesses counted. All of it raises StoreError."""

    async def add(self, session: Session) -> None:
        """Keep a session, and forget those that have expired by when it was created."""
        ...

    async def find(self, digest: bytes) -> Session | None:
        """The session of a cookie; None when there is none. Whether it still holds is for the caller to say."""
        ...

    async def seen(self, digest: bytes, now_s: float) -> None:
        """Note that a session was used."""
        ...

    async def of_user(self, user: str) -> tuple[Session, ...]:
        """All sessions of a person."""
        ...

    async def remove(self, *, digest: bytes = b"", user: str = "") -> int:
        """Forget a session, or all of a person; how many those were."""
        ...

    async def guess(self, counts: Mapping[str, Callable[[int, float], float]], now_s: float) -> float:
        """Count a guess under these names, before it is known whether it is right.

        `counts` say of each how many guesses were wrong in a row, and when the last one was, from when on the next one
        may come. Returns 0 when this one may be tried, else the moment from which on one may, and nothing is counted.
        """
        ...

    async def forgive(self, names: Sequence[str]) -> None:
        """Begin these counts anew: the guess was right."""
        ...


class StoredAlerts(msgspec.Struct, frozen=True):
    """What is known of alerts as a store has it; `generation` counts its changes."""

    generation: int
    value: bytes


class AlertStore(Protocol):
    """Where alerts and the history of their messages are kept, one for all that share a store. Raises StoreError."""

    async def read(self) -> StoredAlerts:
        """What is known; generation 0 and nothing before there is anything."""
        ...

    async def commit(self, expected: int, value: bytes, records: Sequence[AlertRecord] = ()) -> bool:
        """Keep what is known, and new messages with it, all or nothing.

        False, and nothing is kept, when the generation is not the expected one any more.
        """
        ...

    async def put(self, record: AlertRecord) -> None:
        """Keep a message as it is now, new or not."""
        ...

    async def waiting(self, limit: int) -> tuple[AlertRecord, ...]:
        """Messages that are still to be delivered somewhere, the oldest first."""
        ...

    async def history(self, *, before: str = "", limit: int = 100) -> tuple[AlertRecord, ...]:
        """Messages, the newest first; `before` is the id of the last one of the page before."""
        ...

    async def purge(self, before_s: float, most: int) -> int:
        """Delete messages that were sent before a moment (epoch seconds), and all but the newest so many; how many."""
        ...


class Notifier(Protocol):
    """Delivers messages to channels."""

    async def notify(self, channel: Channel, secret: ChannelSecret, message: AlertMessage) -> Outcome:
        """Deliver one message, once. Never raises for what the other side or the network does."""
        ...


class Vault(Protocol):
    """Seals what must not be read where it is kept; a value opens only at the place that it was sealed for."""

    def seal(self, plaintext: bytes, *, table: str, row: str, column: str) -> bytes:
        """The sealed value."""
        ...

    def open(self, sealed: bytes, *, table: str, row: str, column: str) -> bytes:
        """What was sealed. Raise VaultError for anything else."""
        ...


class StoredRing(msgspec.Struct, frozen=True):
    """The vault's key ring as a store has it: `generation` counts its changes, from 1."""

    generation: int
    value: bytes


class RingStore(Protocol):
    """Where the vault's key ring is: one for all that share a store. Both verbs raise StoreError."""

    async def read_ring(self) -> StoredRing | None:
        """The ring; None before there is one."""
        ...

    async def write_ring(self, value: bytes, *, replaces: int, audit: Sequence[AuditEntry] = ()) -> bool:
        """Keep a ring in place of the one with that generation, 0 for none, and write down that it was changed.

        Both or neither; False, and neither, if that is not the one there.
        """
        ...


class SealedTexts(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked and answered in one request, both sealed; None for what was not kept."""

    request_id: str
    request: bytes | None
    answer: bytes | None


class TextStore(Protocol):
    """Where sealed texts of requests are kept. Both verbs raise StoreError."""

    async def write_texts(self, rows: Sequence[SealedTexts]) -> None:
        """Keep them, all or none; a row that is there already stays as it is."""
        ...

    async def read_texts(self, request_id: str) -> SealedTexts | None:
        """Those of one request; None when there are none."""
        ...


class FileRegister(Protocol):
    """What clients have uploaded, so that they can list it. Nothing waits, and nothing raises.

    Objects are JSON, under the ids that the clients know.
    """

    def add(self, client: str, file_id: str, told: bytes) -> None:
        """Put down a client's file, in place of what was said of it before."""
        ...

    def forget(self, client: str, file_id: str) -> None:
        """Put down that a file is gone."""
        ...

    def read_on(self) -> bool:
        """Learn of some of what others have put down; whether there is more."""
        ...

    def of(self, client: str) -> FileList:
        """A client's files, as far as `read_on` has learnt of them."""
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
