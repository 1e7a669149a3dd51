"""The data plane: what callers' requests go through. Pure ASGI.

(method, path) is looked up in a table; there is no middleware, no database and no lock. A request is read, decoded
and handed to the engine's gateway; every error, whoever finds it, leaves in the dialect of the door that it came in by.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
from starlette.types import Receive, Scope, Send

from keyrelay.api.answering import direct_answer, send_error, send_whole, without_secrets
from keyrelay.api.bounds import DataPlaneSettings
from keyrelay.api.callers import Callers, Introduced, RequestHead, check_encoding, check_model, too_large
from keyrelay.api.doors import DOORS, Door, codec_at, gemini_door
from keyrelay.api.files import FILE_PATHS, file_door, own_files
from keyrelay.api.kept_responses import kept_response
from keyrelay.api.lookups import Lookup, Lookups
from keyrelay.api.text_copies import Copies, TextCopying
from keyrelay.api.uploads import Uploads
from keyrelay.api.visits import Ended, Visit, Visits
from keyrelay.core.configuration import Client
from keyrelay.core.errors import CallerError
from keyrelay.core.ids import request_id
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.heads import ESTIMATED, WHOLE_HEAD, whole_head
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import Clock
from keyrelay.quota.fairness import Priority
from keyrelay.wire.dialects import CallerCodec
from keyrelay.wire.generate import GenerateStream, encode_answer_generate
from keyrelay.wire.registry import DIALECTS

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]

_RESPONSES: Final = ("/v1/responses/", "/responses/")
_FILES: Final = tuple(f"{path}/" for path in FILE_PATHS)


class DataPlane:
    """Serves the callers' endpoints. `handler` finds the one for a request, or None when it is not ours.

    `texts` take down what is asked and answered; None where nothing of that is kept.
    """

    def __init__(
        self,
        gateway: Gateway,
        callers: Callers,
        clock: Clock,
        *,
        settings: DataPlaneSettings,
        texts: TextCopying | None = None,
    ) -> None:
        self._callers = callers
        self._texts = texts
        self._gateway = gateway
        self._clock = clock
        self._settings = settings
        self.visits = Visits(body_timeout_s=settings.body_timeout_s, reader_timeout_s=settings.reader_timeout_s)
        self._uploads = Uploads(settings.uploads)
        self.routes: dict[tuple[str, str], Handler] = {}
        for path, door in DOORS.items():
            self.routes["POST", path] = partial(self._call, door=door)
        for path in FILE_PATHS:
            self.routes["POST", path] = self._file
            self.routes["GET", path] = self.routes["HEAD", path] = self._own_files
        self._lookups = Lookups(gateway, clock)
        for path, answer in self._lookups.paths.items():
            self.routes["GET", path] = self.routes["HEAD", path] = partial(self._look_up, answer=answer)

    def configure(self, settings: DataPlaneSettings) -> None:
        """Go on with other settings; the depth of a body's JSON stays bounded as it was."""
        self._settings = settings
        self.visits.body_timeout_s = settings.body_timeout_s
        self._uploads.configure(settings.uploads)

    def handler(self, method: str, path: str) -> Handler | None:
        """The handler of a request, found by its exact method and path, else by their tolerated spellings."""
        return self.routes.get((method, path)) or self._tolerant(method, path)

    def _tolerant(self, method: str, path: str) -> Handler | None:
        bare = path.rstrip("/")
        found = self.routes.get((method, bare))
        if found is not None:
            return found
        named = self._named(method, bare)
        if named is not None:
            return named
        methods = sorted(known for known, known_path in self.routes if known_path == bare)
        if methods:
            return partial(self._wrong_method, allow=", ".join(methods))
        return self._unknown_path if bare == "/v1" or bare.startswith("/v1/") else None

    def _named(self, method: str, path: str) -> Handler | None:
        """The handler of a path that holds a name."""
        model, _, verb = path.partition("/models/")[2].rpartition(":")
        if model and method == "POST":
            return partial(self._gemini, model=model, verb=verb)
        if path.startswith(_RESPONSES):
            return self._kept_response
        if path.startswith(_FILES):
            return self._file
        answer = self._lookups.one(path)
        if answer is not None:
            if method in {"GET", "HEAD"}:
                return partial(self._look_up, answer=answer)
            return partial(self._wrong_method, allow="GET, HEAD")
        return None

    async def _call(self, scope: Scope, receive: Receive, send: Send, *, door: Door) -> None:
        record = self._record()
        copies = None if self._texts is None else self._texts.begin(scope["headers"])
        visit = self.visits.enter(scope, receive, send, record.started_at, copies)
        try:
            asked = self._admit(scope, record, visit)
            content = None if door.form else visit.take_body()
            if content is None or not asked.plain or len(content) > self._settings.max_body_bytes:
                request = await self._read(visit, asked, door, content)
            else:
                request = self._decode(door, asked, content, copies)
            visit.reading_since = 0.0
            usual = asked.plain and not door.generate
            wishes = door.wishes if usual else self._wishes(asked, door, request, visit.client)
            reply = None if door.local is None else self._answer_here(door, request, record, copies)
            if reply is None:
                reply = await self._gateway.serve(request, record, visit, wishes)
            if reply is not None:
                head, body = reply
                if not visit.write_whole(head, body):
                    await visit.send_whole(head, body)
        except CallerError as error:
            await self._refuse(scope, send, visit, error, record, codec=door.codec)
        except asyncio.CancelledError:
            if not await self._cut_short(scope, send, visit, record, door.codec):
                raise
        except Exception:
            record.category = "internal"
            await self._refuse(scope, send, visit, _internal_error(), record, codec=door.codec)
            raise
        finally:
            self._leave(visit, record)

    def _leave(self, visit: Visit, record: RequestRecord) -> None:
        """The visit is over: what is to be written down of it and has not been, is now."""
        self.visits.leave(visit)
        if record.started_at:
            self._gateway.finish(record)
        if visit.copies is not None and self._texts is not None:
            self._texts.end(visit.copies, record)

    async def _read(self, visit: Visit, head: RequestHead, door: Door, content: bytes | None) -> CallRequest:
        """The request, where its body is still to come or has to be looked at. Raise CallerError."""
        if door.form:
            request = await self._uploads.read(visit, head, door.decode)
            if visit.copies is not None:
                visit.copies.take(request.body, "application/json")
            return request
        return self._decode(door, head, await self._read_body(visit, head, content), visit.copies)

    def _decode(self, door: Door, head: RequestHead, body: bytes, copies: Copies | None) -> CallRequest:
        if copies is not None:
            copies.take(body, head.content_type)
        request = door.decode(body, max_depth=self._settings.max_body_depth)
        return msgspec.structs.replace(request, headers=head.forwarded(door.forwards)) if door.forwards else request

    def _answer_here(
        self, door: Door, request: CallRequest, record: RequestRecord, copies: Copies | None
    ) -> tuple[bytes, bytes] | None:
        """Head and body of an answer that takes no provider; nothing is written down for it. Raise CallerError."""
        body = None if door.local is None else door.local(self._gateway, request, self._clock.epoch_s())
        if body is None:
            return None
        record.mark_written()
        if copies is not None:
            copies.wanted = False
        estimated = ESTIMATED if door.counts else ""
        return _own_head(record, whole_head(door.codec.whole_type) + estimated), body

    def _admit(self, scope: Scope, record: RequestRecord, visit: Visit) -> RequestHead:
        """Who calls, and whether one more may; raise CallerError."""
        known, callers = visit.known, self._callers
        introduced = None if known is None else known.introduced
        if introduced is not None and introduced.edition is callers.edition:
            head, client = introduced.head, introduced.client
        else:
            head = RequestHead(scope)
            client = callers.find(head)
            if known is not None and client.rules is None:
                known.introduced = Introduced(callers.edition, head, client)
        record.client = client.label
        if client.rules is not None:
            head.plain, visit.client = False, client
            if client.rules.limits:
                visit.limit_lines = partial(self._gateway.client_limits.lines, client.label)
        if len(self.visits) > self._settings.max_concurrent_requests:
            raise _too_busy()
        return head

    def _wishes(self, head: RequestHead, door: Door, request: CallRequest, client: Client | None) -> Wishes:
        """What the caller wishes, within what is said of the `client`, if anything is. Raise CallerError (400, 403)."""
        rules, generate = client and client.rules, door.generate
        if client is not None and request.file is None:
            check_model(client, request.model, self._gateway.pool.snapshot.providers)
        return Wishes(
            deadline_s=head.deadline_s(),
            prefer=head.prefer.decode("latin-1"),
            priority=head.priority(Priority(rules.priority) if rules and rules.priority else Priority.INTERACTIVE),
            limited=bool(rules and rules.limits),
            shape_whole=encode_answer_generate if generate else None,
            shape_stream=GenerateStream(self._settings.max_event_bytes) if generate else None,
            cache=head.cache_wishes(),
            caller=door.wishes.caller,
            passes=door.wishes.passes,
        )

    async def _read_body(self, visit: Visit, head: RequestHead, whole: bytes | None) -> bytes:
        """The body, if it is one that is taken: read when it comes in pieces, else as it is. Raise CallerError."""
        check_encoding(head)
        if max(head.content_length, len(whole or b"")) > self._settings.max_body_bytes:
            raise too_large(self._settings.max_body_bytes, "max_body_bytes")
        if whole is not None:
            return whole
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await visit.receive()
            if message["type"] == "http.disconnect":
                visit.ended = Ended.GONE
                raise asyncio.CancelledError
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > self._settings.max_body_bytes:
                raise too_large(self._settings.max_body_bytes, "max_body_bytes")
            more = message.get("more_body", False)
        return b"".join(pieces)

    async def _refuse(
        self, scope: Scope, send: Send, visit: Visit, error: CallerError, record: RequestRecord, *, codec: CallerCodec
    ) -> None:
        if record.started_at:  # else it has been written down
            record.status = error.status
            record.category = record.category or error.code or error.kind
            self._gateway.finish(record)
        if visit.started:
            if record.operation == "files":
                visit.break_off()
            elif not visit.finished:
                await visit.end(codec.error_event(error, record.id))
            return
        if error.status in _REPEATS_NAMES:
            error = without_secrets(error, self._gateway.learner.redactor.redact)
        if visit.copies is not None:
            visit.copies.refused(codec.error(error, record.id)[1])
        more = () if visit.limit_lines is None else self._gateway.client_limits.fields(record.client)
        await send_error(scope, send, error, record.id, codec, more=more)

    async def _cut_short(
        self, scope: Scope, send: Send, visit: Visit, record: RequestRecord, codec: CallerCodec
    ) -> bool:
        """Deal with a cancelled request; False when it has to go on being cancelled."""
        if record.started_at:
            record.category = "shutdown" if visit.ended is None else _CATEGORIES[visit.ended]
        if visit.ended is Ended.SLOW_BODY:
            timeout = f"{self._settings.body_timeout_s:g} s"
            error = CallerError(408, f"The request's body did not arrive within {timeout}.", code="body_timeout")
            error.headers = (("connection", "close"),)  # what is still to come of the body is not worth reading
            await self._refuse(scope, send, visit, error, record, codec=codec)
            return True
        if visit.ended is not None:
            return visit.ended is Ended.GONE
        await self._refuse(scope, send, visit, _shutting_down(), record, codec=codec)
        return False

    async def _gemini(self, scope: Scope, receive: Receive, send: Send, *, model: str, verb: str) -> None:
        door = gemini_door(model, verb, events=b"alt=sse" in scope["query_string"].split(b"&"))
        if door is None:
            await self._unknown_path(scope, receive, send)
        else:
            await self._call(scope, receive, send, door=door)

    async def _kept_response(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        """An answer of the Responses dialect that was kept: it, the items that it answered, or its end."""
        record, asked = self._record(), RequestHead(scope)
        try:
            client = self._callers.find(asked).label
            body = await kept_response(scope, self._gateway.recall.responses, client, self._clock.epoch_s())
            await send_whole(direct_answer(scope), send, 200, _own_head(record), body)
        except CallerError as error:
            await send_error(scope, send, error, record.id)

    async def _file(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(scope, receive, send, door=file_door(scope))

    async def _own_files(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        """The files that a client has uploaded; nobody else is asked."""
        record, asked = self._record(), RequestHead(scope)
        try:
            client = self._callers.find(asked).label
            body = await own_files(scope, self._gateway.files, client, self._clock.epoch_s())
            await send_whole(direct_answer(scope), send, 200, _own_head(record), body)
        except CallerError as error:
            await send_error(scope, send, error, record.id)

    async def _look_up(self, scope: Scope, receive: Receive, send: Send, *, answer: Lookup) -> None:  # noqa: ARG002 - as ASGI calls it
        record, asked = self._record(), RequestHead(scope)
        dialect = self._lookups.dialect(scope["path"], asked)
        try:
            body = answer(dialect, self._callers.find(asked))
            await send_whole(direct_answer(scope), send, 200, _own_head(record), body)
        except CallerError as error:
            error = without_secrets(error, self._gateway.learner.redactor.redact)
            await send_error(scope, send, error, record.id, DIALECTS.callers[dialect])

    async def _wrong_method(self, scope: Scope, receive: Receive, send: Send, *, allow: str) -> None:  # noqa: ARG002 - as ASGI calls it
        message = f"{scope['method']} is not possible here; use {allow}."
        error = CallerError(405, message, code="method_not_allowed", headers=(("allow", allow),))
        await send_error(scope, send, error, self._record().id, codec_at(scope["path"]))

    async def _unknown_path(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        error = without_secrets(unknown_path(scope), self._gateway.learner.redactor.redact)
        await send_error(scope, send, error, self._record().id, codec_at(scope["path"]))

    def _record(self) -> RequestRecord:
        made_id = request_id(int(self._clock.epoch_s() * 1000), random.getrandbits(74))
        return RequestRecord(made_id, self._clock.monotonic_s())

    def __repr__(self) -> str:
        return f"<DataPlane {len(self.routes)} routes, {self.visits!r}>"


_REPEATS_NAMES: Final = frozenset({400, 404})
"""Refusals that repeat what the caller has sent. The others are made of Keyrelay's own words, and there may be many."""

_CATEGORIES: Final = {Ended.GONE: "caller_gone", Ended.SLOW_READER: "caller_gone", Ended.SLOW_BODY: "slow_body"}


def _own_head(record: RequestRecord, rest: str = WHOLE_HEAD) -> bytes:
    """The head of an answer that comes from no provider."""
    return f"x-request-id: {record.id}\r\n{rest}".encode("ascii")


def unknown_path(scope: Scope) -> CallerError:
    """The error for a path that is not served."""
    message = f"There is no {scope['method']} {scope['path'][:200]!a} here; /docs lists what there is."
    return CallerError(404, message, code="unknown_path")


def _too_busy() -> CallerError:
    return CallerError(
        503,
        "Keyrelay is serving as many requests as it may (KEYRELAY_MAX_CONCURRENT_REQUESTS). Try again shortly.",
        kind="service_unavailable_error",
        code="too_busy",
        headers=(("retry-after", "1"), ("x-should-retry", "true")),
    )


def _shutting_down() -> CallerError:
    message = "Keyrelay is shutting down; the request was cut off."
    headers = (("retry-after", "1"), ("x-should-retry", "true"))
    return CallerError(503, message, kind="service_unavailable_error", code="shutting_down", headers=headers)


def _internal_error() -> CallerError:
    message = "Keyrelay failed to serve this request; its log says why under the request id."
    return CallerError(500, message, kind="internal_error", code="internal_error")
