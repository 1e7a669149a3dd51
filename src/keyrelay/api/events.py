"""`GET /api/v1/events`: what happens, as server-sent events, for live screens.

Each listener's queue and each write has a bound, so that one who does not read costs little and soon nothing. Who
listens is asked again for their right to, so that a revoked secret ends its streams too.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Query, Request, Response
from starlette.types import Receive, Scope, Send

from keyrelay.api.access import Access
from keyrelay.api.answering import direct_answer
from keyrelay.api.policies import Permission, Policy, Principal
from keyrelay.api.stored import LONGEST_TEXT, wrong
from keyrelay.api.views import JSON, SECURITY
from keyrelay.core.administered import EntryKind
from keyrelay.core.errors import CallerError
from keyrelay.engine.events import EVERYTHING, MAX_LISTENERS, OF_CLIENTS, Event, Events, Listener, Topic

HEARTBEAT_S = 15.0
ASK_AGAIN_S = 25.0
"""How often a listener's right is looked at again; with a write that hangs until WRITE_S, within a minute."""

WRITE_S = 30.0
"""How long a listener may take no bytes at all."""

MEDIA_TYPE = "text/event-stream"
_KINDS: Mapping[Topic, EntryKind] = MappingProxyType(
    {
        Topic.REQUESTS: "usage",
        Topic.ATTEMPTS: "usage",
        Topic.KEYS: "key",
        Topic.HEALTH: "provider",
        Topic.QUOTA: "key",
        Topic.ALERTS: "alert",
        Topic.CONFIGURATION: "setting",
    }
)
"""The scope that a token with scopes takes to hear of a topic."""

_BEGIN = b"retry: 2000\n\n"
_HEARTBEAT = b": still here\n\n"
_SERVER_ERRORS = 500
_PIECE_BYTES = 65_536


class EventsView:
    """The route."""

    __slots__ = ("_access", "_events")

    def __init__(self, events: Events, access: Access) -> None:
        self._events = events
        self._access = access

    def install(self, app: FastAPI) -> None:
        """Add the route."""
        policy = self._access.requires(Permission.CLIENT)

        @app.get(
            "/api/v1/events",
            tags=["events"],
            summary="What happens, as it happens.",
            description="Server-sent events. A client hears of its own requests and attempts, people of everything. "
            "Each event has an `id`, its topic as `event` and a document in JSON as `data`; `lost` says how many "
            "events a slow listener has missed (null: nobody knows), `hosts` that those of other hosts are missing, or "
            "no longer, `end` why the stream ends. Comments come when nothing else does. With `Last-Event-ID` it goes "
            "on behind that event, if it is still kept.",
            response_class=Response,
            responses=_described(),
            openapi_extra={
                **SECURITY,
                "parameters": [
                    {
                        "name": "last-event-id",
                        "in": "header",
                        "required": False,
                        "schema": {"type": "string", "maxLength": LONGEST_TEXT},
                        "description": "The `id` of the last event that was heard.",
                    }
                ],
            },
        )
        async def events(
            request: Request,
            who: Annotated[Principal, Depends(policy)],
            topics: Annotated[
                str,
                Query(
                    max_length=LONGEST_TEXT,
                    description=f"Which ones, with commas between them: {', '.join(Topic)}. By default all.",
                    examples=["requests,health"],
                ),
            ] = "",
        ) -> Response:
            wanted = _wanted(topics, who)
            after = request.headers.get("last-event-id") or None
            listener = self._events.subscribe(wanted, client=None if who.operator else who.client, after=after)
            return EventStream(listener, lambda: _still(policy, request, who))

    def schemas(self) -> dict[str, Any]:
        """None: its answer is no document."""
        return {}

    def __repr__(self) -> str:
        return f"<EventsView of {self._events!r}>"


class EventStream(Response):
    """The answer: a listener's events as they come. `allowed` says whether it may still listen, and why not."""

    media_type = MEDIA_TYPE

    def __init__(self, listener: Listener, allowed: Callable[[], Awaitable[CallerError | None]]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._listener = listener
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the listener leaves, may not listen any more, or is told that it ends."""
        gone = asyncio.ensure_future(_gone(receive))
        gone.add_done_callback(lambda _: self._listener.close())
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for text in self._texts():
                message = {"type": "http.response.body", "body": text, "more_body": True}
                await asyncio.wait_for(send(message), WRITE_S)
            if not gone.done():
                await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), WRITE_S)
        except TimeoutError:  # it takes nothing: whatever would still be said waits behind what it has not taken
            direct = direct_answer(scope)
            if direct is not None:
                direct.break_off()
        finally:
            self._listener.close()
            gone.cancel()

    async def _texts(self) -> AsyncIterator[bytes]:
        listener, loop = self._listener, asyncio.get_running_loop()
        ask_at = loop.time() + ASK_AGAIN_S
        yield _BEGIN
        while not listener.closed:
            events = await listener.take(min(HEARTBEAT_S, max(0.0, ask_at - loop.time())))
            if loop.time() >= ask_at:
                refusal = await self._allowed()
                if refusal is not None:
                    yield _text("end", {"code": refusal.code, "message": refusal.message})
                    return
                ask_at = loop.time() + ASK_AGAIN_S
            apart = listener.taken_apart()
            if apart is not None:
                yield _text("hosts", {"joined": not apart, "message": apart or "Other hosts are heard of again."})
            for text in _told(listener.taken_lost(), events):
                yield text
        yield _text("end", {"code": "closed", "message": "This process stops. Come back: another one may answer."})

    def __repr__(self) -> str:
        return f"<EventStream of {self._listener!r}>"


def _wanted(text: str, who: Principal) -> frozenset[Topic]:
    """The topics that are asked for. Raise CallerError (400, 403)."""
    allowed = frozenset(topic for topic in Topic if who.may(Permission.VIEWER, _KINDS[topic]))
    if not who.operator:
        allowed = OF_CLIENTS
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in EVERYTHING]
    if unknown:
        raise wrong("topics", f"there is no {unknown[0][:64]!a}; there are {', '.join(Topic)}")
    wanted = frozenset(map(Topic, names)) or allowed
    if not wanted <= allowed:
        refused = ", ".join(sorted(wanted - allowed))
        message = f"A client hears of its requests and attempts. {refused}: with the operator's secret, or signed in."
        if who.operator:
            message = f"{who.name} has no scope for these: {refused}."
        raise CallerError(403, message, kind="permission_error", code="operator_only", param="topics")
    if not wanted:
        message = f"{who.name} has no scope that anything happens in."
        raise CallerError(403, message, kind="permission_error", code="not_permitted")
    return wanted


async def _still(policy: Policy, request: Request, who: Principal) -> CallerError | None:
    """Why somebody may not listen any more; None if they may. A store that is away is no reason."""
    try:
        again = await policy(request)
    except CallerError as error:
        return None if error.status >= _SERVER_ERRORS else error
    if (again.name, again.role, again.client, again.scopes) == (who.name, who.role, who.client, who.scopes):
        return None
    return CallerError(403, "What you may see has changed. Listen anew.", kind="permission_error", code="not_permitted")


async def _gone(receive: Receive) -> None:
    """Return when the caller has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _told(lost: int | None, events: list[Event]) -> Iterator[bytes]:
    """What was lost and what has happened, in pieces of some size; a comment when that is nothing."""
    piece = _text("lost", {"count": lost}) if lost != 0 else b""
    for event in events:
        piece += b"id: %b\nevent: %b\ndata: %b\n\n" % (event.id.encode(), event.topic.encode(), event.data)
        if len(piece) >= _PIECE_BYTES:
            yield piece
            piece = b""
    if piece or not events:
        yield piece or _HEARTBEAT


def _text(name: str, document: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(document))


def _described() -> dict[int | str, dict[str, Any]]:
    error = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    example = (
        'id: 019aa5c1e2f00000010000\nevent: health\ndata: {"about":"circuit","provider":"groq","state":"open"}\n\n'
    )
    return {
        200: {
            "description": "Events until either side ends it.",
            "content": {MEDIA_TYPE: {"schema": {"type": "string"}, "example": example}},
        },
        400: {"description": "There is no such topic.", "content": error},
        401: {"description": "No secret, or an unknown one.", "content": error},
        403: {"description": "Clients hear of their own requests alone.", "content": error},
        503: {"description": f"{MAX_LISTENERS} listen already.", "content": error},
    }
