"""Answers that are given again: those kept from before, and those that somebody else is being given right now.

The gateway asks first whether the cache has a say in a request (`asked`), which for most requests ends with a glance at
two members. If it has, `serve` answers in the gateway's place: with what was kept; else with the answer of a call that
is under way for the same request; else by a call that others may then share (`engine.flights`).

No answer crosses a scope: it is in the key, the flight and the kept value each name it, and both are compared with that
of the caller once more before a byte goes out.
"""

import asyncio
from typing import Final, Protocol

import msgspec

from keyrelay.core.configuration import Snapshot
from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord, milliseconds
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.engine.cache_counts import CacheCounts
from keyrelay.engine.flights import Flight, Flights, Passenger
from keyrelay.engine.kept import Kept
from keyrelay.engine.pool import MAX_PLANS, Pool
from keyrelay.engine.replays import Naming, naming_of, replay_head, stream_pieces
from keyrelay.engine.shelf import Asked, CacheSettings, Shelf, stood_in
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import Ports, Sink
from keyrelay.wire.cache_answers import NotKept
from keyrelay.wire.cache_keys import cache_key, may_answer, scope_of
from keyrelay.wire.cache_replays import last_response
from keyrelay.wire.cache_wishes import AS_CONFIGURED, CacheWishes

_OK: Final = 200
_INTERNAL: Final = 500
_SHUT_DOWN: Final = 503
_GENERATE: Final = "generate"
_MISS: Final = b"x-keyrelay-cache: miss\r\n"


class Origin(Protocol):
    """Where answers come from that have not been given yet."""

    async def serve(
        self, request: CallRequest, record: RequestRecord, sink: Sink, wishes: Wishes, *, fresh: bool
    ) -> tuple[bytes, bytes] | None:
        """As `Gateway.serve`; with `fresh` by a provider in any case."""
        ...

    async def keep_response(self, request: CallRequest, record: RequestRecord, response: bytes) -> None:
        """Keep an answer of the Responses dialect, so that it can be asked for and gone on from by its id."""
        ...

    def finish(self, record: RequestRecord) -> None:
        """Write the request down; only the first call counts."""
        ...


class Ride:
    """A request on its way to its answer: what `Gateway.serve` was given."""

    __slots__ = ("origin", "record", "request", "sink", "wishes")

    def __init__(self, origin: Origin, request: CallRequest, record: RequestRecord, sink: Sink, wishes: Wishes) -> None:
        self.origin = origin
        self.request = request
        self.record = record
        self.sink = sink
        self.wishes = wishes

    def __repr__(self) -> str:
        return f"<Ride {self.record!r}>"


class AnswerCache:
    """Answers requests with what is kept or under way, and keeps what is answered."""

    __slots__ = ("_clock", "_journal", "_pool", "_settings", "_shelf", "_snapshot", "_targets", "counts", "flights")

    def __init__(self, pool: Pool, ports: Ports, shelf: Shelf, counts: CacheCounts, *, settings: CacheSettings) -> None:
        self._pool = pool
        self._clock = ports.clock
        self._journal = ports.journal
        self._shelf = shelf
        self._settings = settings
        self._snapshot: Snapshot | None = None
        self._targets: dict[str, tuple[str, ...]] = {}
        self.counts = counts
        self.flights = Flights(most_bytes=settings.most_answer_bytes, most_held_bytes=settings.most_bytes)

    def configure(self, settings: CacheSettings) -> None:
        """Go on with other settings; how much is kept at most takes a new start."""
        self._settings = settings
        self._shelf.configure(settings)

    def asked(
        self, request: CallRequest, record: RequestRecord, wishes: Wishes, wanted: CacheWishes = AS_CONFIGURED
    ) -> Asked | None:
        """What the request asks of the cache; None when the cache has no say in it."""
        settings = self._settings
        routes = self._pool.snapshot.routes
        route = routes.get(request.model) if routes else None
        generate = wishes.shape_whole is not None
        mode = (route and route.cache) or (settings.generate_mode if generate else settings.mode)
        if wanted is not AS_CONFIGURED:
            if not (wanted.look or wanted.keep):
                return None
            if wanted.mode is not None and mode != "off":
                mode = wanted.mode
        if not may_answer(request, mode):
            return None
        scope = scope_of(record.client, shared=settings.shared)
        form, targets = _form_of(wishes), self._targets_of(request.model)
        key = cache_key(request, scope=scope, form=form, prefer=wishes.prefer, targets=targets)
        joins = wanted.look and (settings.tools or not _offers_tools(request))
        leads = joins and wishes.deadline_s is None
        alone = "" if request.dialect == "openai" else record.client  # what comes with an answer is kept for one client
        return Asked(key, scope, wanted, wishes.priority, joins, leads, alone)

    def _targets_of(self, name: str) -> tuple[str, ...]:
        """The targets that a name stands for, in their order; found once for each configuration."""
        if self._snapshot is not self._pool.snapshot:
            self._snapshot, self._targets = self._pool.snapshot, {}
        targets = self._targets.get(name)
        if targets is None:
            plan = self._pool.plan(name)
            found = (f"{each.provider_id}/{each.model}" for each in plan.candidates()) if plan else ()
            targets = tuple(dict.fromkeys(found))
            if len(self._targets) >= MAX_PLANS:
                self._targets.clear()
            self._targets[name] = targets
        return targets

    async def serve(self, asked: Asked, ride: Ride) -> tuple[bytes, bytes] | None:
        """Answer as `Gateway.serve` does. Raise CallerError."""
        if asked.wanted.look:
            kept = self._shelf.look(asked)
            if kept is None and self._shelf.waits and self._under_way(asked) is None:
                kept = await self._shelf.look_up(asked)
            if kept is not None:
                return await self._give(kept, ride)
        failed = False
        while True:
            flight = self._under_way(asked)
            if flight is None:
                return await self._lead(asked, ride)
            outcome = await self._follow(flight, ride)
            if not isinstance(outcome, Exception):
                return outcome
            if failed or self.flights.stopped:
                raise _of(outcome, ride.record)
            failed = True

    def _under_way(self, asked: Asked) -> Flight | None:
        return self.flights.find(asked.flight, asked.scope) if asked.joins else None

    # With a kept answer.

    async def _give(self, kept: Kept, ride: Ride) -> tuple[bytes, bytes] | None:
        record, request, caller = ride.record, ride.request, ride.wishes.caller
        self._note(record, "hit", kept.provider, kept.model, kept.label)
        record.usage, record.left_out = kept.usage, kept.left_out
        naming = naming_of(request, kept.made_for, record.id)
        body = naming.apply(kept.body)
        age_s = max(0, int(self._clock.epoch_s() - kept.created_s))
        head = self._head(ride, stream=kept.stream, age_s=age_s)
        if not kept.stream:
            await self._keep_response(ride, naming, body)
            await self._finish(ride, kept.usage, kept.cost_usd)
            return head, body
        sink, last = ride.sink, b""
        await sink.start(head)
        record.first_token_ms = self._since_start(record)
        for piece in stream_pieces(body, caller):
            if last and not sink.write_now(last):
                await sink.write(last)
            last = piece
        await self._keep_response(ride, naming, body)
        await self._finish(ride, kept.usage, kept.cost_usd)
        await sink.end(last)
        return None

    # With the answer to somebody else.

    async def _follow(self, flight: Flight, ride: Ride) -> tuple[bytes, bytes] | Exception | None:
        """The answer of a call under way, as `serve`; how it failed, if nothing has been given to the caller yet."""
        record, asked_s = ride.record, ride.wishes.deadline_s
        naming = naming_of(ride.request, flight.record.id, record.id)
        passenger = flight.board(naming.sink(ride.sink))
        total_s = self._settings.total_s if asked_s is None else asked_s
        try:
            async with asyncio.timeout_at(record.started_at + total_s):
                return await self._share(flight, passenger, ride, naming)
        except TimeoutError:
            raise _deadline_passed(record) from None
        finally:
            flight.leave(passenger)

    async def _share(
        self, flight: Flight, passenger: Passenger, ride: Ride, naming: Naming
    ) -> tuple[bytes, bytes] | Exception | None:
        record, made = ride.record, flight.record
        joined_at = self._clock.monotonic_s()
        await flight.begun(passenger)
        record.upstream_ms += milliseconds(self._clock.monotonic_s() - joined_at)
        if flight.head is None and flight.error is not None:
            return flight.error
        self._note(record, "shared", made.provider, made.model, made.key)
        record.left_out = made.left_out

        async def finish() -> None:
            self._note(record, "shared", made.provider, made.model, made.key)
            record.category, record.left_out = made.category, made.left_out
            if naming.renames and not made.category:
                await self._keep_response(ride, naming, naming.apply(flight.body))
            await self._finish(ride, made.usage, made.cost_usd)

        if flight.whole is not None:
            record.usage = made.usage
            body, head = naming.apply(flight.whole[1]), self._head(ride, stream=False)
            await self._keep_response(ride, naming, body)
            await self._finish(ride, made.usage, made.cost_usd)
            return head, body
        record.first_token_ms = self._since_start(record)
        try:
            await flight.deliver(passenger, self._head(ride, stream=True), finish)
        except CallerError as error:
            raise _of(error, record) from None
        return None

    # With an answer of its own.

    async def _lead(self, asked: Asked, ride: Ride) -> tuple[bytes, bytes] | None:
        """Have a call made, and take its answer like any other passenger.

        The row of the request is that of the call from now on: it is written when the call is over, whoever is still
        there by then.
        """
        self.counts.misses += 1
        made = msgspec.structs.replace(ride.record)
        ride.record.mark_written()
        flight = self.flights.begin(asked.flight, asked.scope, made, shared=asked.leads)
        passenger = flight.board(ride.sink)
        flight.task = asyncio.create_task(self._fly(flight, asked, ride))
        flight.task.add_done_callback(lambda task: self._over(task, flight, ride.origin))
        try:
            await flight.begun(passenger)
            told = _MISS if self._settings.answer_headers else b""
            if flight.whole is not None:
                return flight.whole[0] + told, flight.whole[1]
            if flight.head is None and flight.error is not None:
                raise flight.error
            await flight.deliver(passenger, (flight.head or b"") + told)
        finally:
            flight.leave(passenger)
            ride.record.status, ride.record.category = made.status, made.category  # how it went, as far as it has
        return None

    async def _fly(self, flight: Flight, asked: Asked, ride: Ride) -> None:
        """The call itself, in a task of its own."""
        origin, record = ride.origin, flight.record
        wishes = msgspec.structs.replace(ride.wishes, told=flight.tell)
        try:
            whole = await origin.serve(ride.request, record, flight, wishes, fresh=True)
            self._keep(flight, asked, ride.request, flight.body if whole is None else whole[1])
            flight.land(whole=whole)
        except CallerError as error:
            record.status, record.category = error.status, record.category or error.code or error.kind
            origin.finish(record)
            flight.land(error=error)
        except asyncio.CancelledError:
            if record.started_at:  # else it has been written down
                record.category = record.category or ("caller_gone" if flight.gone else "shutdown")
                record.status = record.status or (0 if flight.gone else _SHUT_DOWN)
                origin.finish(record)
            flight.land(error=_cut_off())
            raise
        except Exception as error:
            record.status, record.category = _INTERNAL, "internal"
            origin.finish(record)
            flight.land(error=error)
            raise
        finally:
            self.flights.landed(flight)

    def _over(self, task: asyncio.Task[None], flight: Flight, origin: Origin) -> None:
        """Take note of how a call ended: whoever waited has been told, unless it ended before its first step."""
        if not task.cancelled():
            task.exception()
        elif not flight.ended:
            flight.record.status, flight.record.category = _SHUT_DOWN, "shutdown"
            origin.finish(flight.record)
            flight.land(error=_cut_off())
            self.flights.landed(flight)

    def _keep(self, flight: Flight, asked: Asked, request: CallRequest, body: bytes) -> None:
        record = flight.record
        kept: bytes | NotKept = body
        if not (asked.wanted.keep and flight.keep):
            kept = NotKept.UNWANTED
        elif not flight.complete:
            kept = NotKept.TOO_LARGE
        elif stood_in(self._pool.snapshot, record):
            kept = NotKept.FALLBACK
        self._shelf.keep(asked, request, record, kept, answer=flight.answer)

    async def purge(self, client: str | None = None) -> int:
        """Forget what is kept, for one client or for all; how many answers. Raise StoreError when that cannot be.

        What is being answered meanwhile is not kept either.
        """
        scope = None if client is None else scope_of(client, shared=self._settings.shared)
        self.flights.forget(scope)
        return await self._shelf.purge(scope)

    def size(self) -> tuple[int, int] | None:
        """How many answers are kept and how many bytes they take; None where only Redis knows."""
        return self._shelf.size()

    @property
    def evicted(self) -> int:
        """How many answers had to make room for others, as far as that is known."""
        return self._shelf.evicted

    # What all ways share.

    def _note(self, record: RequestRecord, how: str, provider: str, model: str, key: str) -> None:
        """Who gave the answer, at no cost to this request."""
        record.cached, record.status, record.cost_usd = how, _OK, 0.0
        record.provider, record.model, record.key = provider, model, key

    async def _keep_response(self, ride: Ride, naming: Naming, body: bytes) -> None:
        """Keep an answer that has an id of its own, so that it can be asked for."""
        if not naming.renames:
            return
        response = last_response(body) if ride.request.stream else body
        if response:
            await ride.origin.keep_response(ride.request, ride.record, response)

    async def _finish(self, ride: Ride, usage: Usage | None, cost_usd: float | None) -> None:
        """Write down a request that took no call, and wait until that is safe where it has to be."""
        record, journal = ride.record, self._journal
        record.usage = usage
        if record.cached == "hit":
            self.counts.hits += 1
        else:
            self.counts.shared += 1
        self.counts.save(usage, cost_usd)
        ride.origin.finish(record)
        if journal is not None and journal.syncs:
            await journal.synced()

    def _since_start(self, record: RequestRecord) -> float:
        return milliseconds(self._clock.monotonic_s() - record.started_at)

    def _head(self, ride: Ride, *, stream: bool, age_s: int | None = None) -> bytes:
        """The lines of the head of an answer that took no call."""
        record = ride.record
        own_ms = self._since_start(record) - record.upstream_ms if self._settings.answer_headers else None
        return replay_head(record, ride.wishes.caller, stream=stream, own_ms=own_ms, age_s=age_s)

    def __repr__(self) -> str:
        return f"<AnswerCache {self._shelf!r} {self.flights!r}>"


def _form_of(wishes: Wishes) -> str:
    """What tells apart the endpoints of one dialect whose answers differ for the same body."""
    if wishes.shape_whole is not None:
        return _GENERATE
    caller = wishes.caller
    return "" if caller is None else f"{caller.stream_type} {'as it is' if wishes.passes else 'translated'}"


def _offers_tools(request: CallRequest) -> bool:
    return "tools" in request.needs or "functions" in request.fields


def _of(error: Exception, record: RequestRecord) -> Exception:
    """An error that somebody else's call ended in, for this request."""
    if not isinstance(error, CallerError):
        return error
    detail = None if error.detail is None else {**error.detail, "request_id": record.id}
    return CallerError(
        error.status,
        error.message,
        kind=error.kind,
        code=error.code,
        param=error.param,
        headers=error.headers,
        detail=detail,
    )


def _deadline_passed(record: RequestRecord) -> CallerError:
    return CallerError(
        504,
        "The request's deadline passed before the answer was there. Raise x-keyrelay-deadline-ms or try again.",
        kind="timeout_error",
        code="deadline_exceeded",
        detail={"request_id": record.id},
    )


def _cut_off() -> CallerError:
    headers = (("retry-after", "1"), ("x-should-retry", "true"))
    message = "The call that this answer was to come from was cut off; ask again."
    return CallerError(503, message, kind="service_unavailable_error", code="shutting_down", headers=headers)
