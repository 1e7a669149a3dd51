"""Answers of the Responses dialect that can be asked for again, and gone on from.

Each answer is kept with the items of its own request and the id of the answer before, so that a conversation takes its
length and not the square of it. Going on from an answer means that the items of all before it are put before those of
the new request: what reads them then is the reader of a request that brought its whole history along. An answer also
names those before the one before, as far as `MOST_LINKS` go: where answers have to be fetched from elsewhere, they are
fetched many at a time.

Kept answers are for the client that asked for them; anybody else is told what someone would be told who made the id up.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.engine.continuity_store import ContinuityStore
from keyrelay.wire.body import field
from keyrelay.wire.responses.reading import ABSENT
from keyrelay.wire.responses.shapes import RESOLVED

KEEP_S = 24 * 3600.0
"""How long an answer is kept, unless a setting says otherwise."""

MOST_TURNS = 1000
"""The longest conversation that is put together."""

MOST_LINKS = 100
"""Answers before the one before that an answer names: their ids take some bytes each, in every answer."""

MOST_LISTED = 100

_RESPONSE = "response:"
_PREVIOUS = "previous_response_id"
_FALSE = b"false"
_ID_DIGITS = 32
_COMPLETED = msgspec.Raw(b'"completed"')
_WITH_STATUS = frozenset(
    {"message", "function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"}
)


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """`items` are those of the request, each as JSON; `body` is the `response` object.

    `links` are the ids of the answers before the one before, the newest first.
    """

    previous: str
    items: tuple[bytes, ...]
    body: bytes
    links: tuple[str, ...] = ()


class _Body(msgspec.Struct, frozen=True):
    """A `response` object as far as it is read here."""

    id: str
    output: tuple[msgspec.Raw, ...] = ()


class _ItemHead(msgspec.Struct, frozen=True):
    type: str | None = None
    id: str | None = None
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw()


_encoder = msgspec.json.Encoder()
_packer = msgspec.msgpack.Encoder()
_kept = msgspec.msgpack.Decoder(_Kept)
_body = msgspec.json.Decoder(_Body)
_head = msgspec.json.Decoder(_ItemHead)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class StoredResponses:
    """Keeps answers for `keep_s` seconds; 0 keeps none. Times are epoch seconds."""

    __slots__ = ("_keep_s", "_store")

    def __init__(self, store: ContinuityStore, *, keep_s: float = KEEP_S) -> None:
        self._store = store
        self._keep_s = keep_s

    @property
    def waits(self) -> bool:
        """Whether what is fetched may be more than what is known here."""
        return self._keep_s > 0 and self._store.waits

    def unwritten(self, client: str) -> asyncio.Future[None] | None:
        """What is done when others may know of all that was kept or deleted for a client; None when it is done."""
        return self._store.unwritten(client)

    async def fetch(self, request: CallRequest, client: str, *, now_s: float) -> None:
        """Learn of other processes what `expand` will need. Raise CallerError (400)."""
        previous = field(request.fields, _PREVIOUS, str)
        held = bytes(request.fields.get("input", b""))
        ids = list(_answers_of(_input_items(held))) if b'"item_reference"' in held else []
        line, seen = [previous] if previous else [], 0
        while True:
            line += self._known_before(line, client, now_s)
            await self._fetch(dict.fromkeys((*ids, *line)), client, now_s)
            kept, seen = self._found(line[-1], client, now_s) if line else None, seen + len(line)
            if kept is None or not kept.previous or seen > MOST_TURNS:
                return
            ids, line = [], [kept.previous, *kept.links]

    def _known_before(self, line: Sequence[str], client: str, now_s: float) -> list[str]:
        """The ids of the answers before the last of a line, as far as they are known here; the last one may not be."""
        before = list[str]()
        kept = self._found(line[-1], client, now_s) if line else None
        while kept is not None and kept.previous and len(before) < MOST_TURNS:
            before.append(kept.previous)
            kept = self._found(kept.previous, client, now_s)
        return before

    async def fetch_one(self, response_id: str, client: str, *, now_s: float) -> None:
        """Learn of other processes whether there is such an answer."""
        await self._fetch((response_id,), client, now_s)

    async def _fetch(self, response_ids: Iterable[str], client: str, now_s: float) -> None:
        await self._store.fetch(client, [_RESPONSE + each for each in response_ids], now_s)

    def expand(self, request: CallRequest, client: str, *, now_s: float) -> CallRequest:
        """The request with the items of the answers before it, and with items in place of references to them.

        The same object when it refers to nothing. Its `body` stays what the caller sent. Raise CallerError (400).
        """
        fields = request.fields
        previous = field(fields, _PREVIOUS, str)
        held = bytes(fields.get("input", b""))
        refers = b'"item_reference"' in held
        if not previous and not refers:
            return request
        items = [*self._before(previous, client, now_s)] if previous else []
        items += self._resolved(_input_items(held), client, now_s) if refers else _input_items(held)
        changed = {**fields, "input": msgspec.Raw(_encoder.encode(items))}
        if previous:
            changed[RESOLVED] = changed.pop(_PREVIOUS)
        return replace(request, fields=changed)

    def keep(self, request: CallRequest, body: bytes, client: str, *, now_s: float) -> bool:
        """Keep an answer, unless the caller does not want it; `body` is the `response` object. Whether it is kept."""
        members = _members.decode(request.body)  # what the caller sent, whatever was put before it
        if not wants_keeping(request) or self._keep_s <= 0:
            return False
        try:
            items = self._resolved(_input_items(bytes(members.get("input", b""))), client, now_s)
        except CallerError:
            return False  # what an item referred to has gone meanwhile
        answer = _body.decode(body)
        previous = field(members, _PREVIOUS, str) or ""
        links = self._links(previous, client, now_s) if previous else ()
        kept = _Kept(previous=previous, items=tuple(bytes(item) for item in items), body=body, links=links)
        return self._store.put(client, _RESPONSE + answer.id, _packer.encode(kept), now_s=now_s, ttl_s=self._keep_s)

    def retrieve(self, response_id: str, client: str, *, now_s: float) -> bytes:
        """The `response` object. Raise CallerError (404)."""
        return self._kept(response_id, client, now_s).body

    def delete(self, response_id: str, client: str, *, now_s: float) -> bytes:
        """Forget an answer, and so what goes on from it; the body that says so. Raise CallerError (404)."""
        self._kept(response_id, client, now_s)
        self._store.delete(client, _RESPONSE + response_id, ttl_s=self._keep_s)
        return _encoder.encode({"id": response_id, "object": "response", "deleted": True})

    def input_items(
        self,
        response_id: str,
        client: str,
        *,
        now_s: float,
        after: str = "",
        limit: int = 20,
        newest_first: bool = True,
    ) -> bytes:
        """A page of the items of an answer's own request, after the item with id `after`. Raise CallerError."""
        if not 1 <= limit <= MOST_LISTED:
            message = f"Invalid value for 'limit': expected 1 to {MOST_LISTED}, got {limit}."
            raise CallerError(400, message, param="limit", code="invalid_value")
        kept = self._kept(response_id, client, now_s)
        listed = [_listed(item, response_id, place) for place, item in enumerate(kept.items)]
        if newest_first:
            listed.reverse()
        ids = [item_id for item_id, _ in listed]
        if after:
            if after not in ids:
                message = f"Invalid value for 'after': no item '{after}'."
                raise CallerError(400, message, param="after", code="invalid_value")
            listed = listed[ids.index(after) + 1 :]
        page = listed[:limit]
        return _encoder.encode(
            {
                "object": "list",
                "data": [item for _, item in page],
                "first_id": page[0][0] if page else None,
                "last_id": page[-1][0] if page else None,
                "has_more": len(listed) > limit,
            }
        )

    def _kept(self, response_id: str, client: str, now_s: float) -> _Kept:
        kept = self._found(response_id, client, now_s)
        if kept is None:
            raise CallerError(404, f"Response with id '{response_id}' not found.", param="id")
        return kept

    def _found(self, response_id: str, client: str, now_s: float) -> _Kept | None:
        value = self._store.get(client, _RESPONSE + response_id, now_s)
        try:
            return None if value is None else _kept.decode(value)
        except msgspec.DecodeError:
            return None  # kept in another form by another release, while both of them run

    def _links(self, previous: str, client: str, now_s: float) -> tuple[str, ...]:
        """What an answer after this one names of the answers before it."""
        kept = self._found(previous, client, now_s)
        return (kept.previous, *kept.links)[:MOST_LINKS] if kept is not None and kept.previous else ()

    def _before(self, previous: str, client: str, now_s: float) -> Iterator[msgspec.Raw]:
        """The items of all answers up to this one, and of their requests, the oldest first."""
        chain: list[_Kept] = []
        response_id = previous
        while response_id:
            kept = self._found(response_id, client, now_s)
            if kept is None or len(chain) == MOST_TURNS:
                raise CallerError(
                    400,
                    f"Previous response with id '{response_id}' not found.",
                    param=_PREVIOUS,
                    code="previous_response_not_found",
                )
            chain.append(kept)
            response_id = kept.previous
        for kept in reversed(chain):
            yield from map(msgspec.Raw, kept.items)
            yield from _body.decode(kept.body).output

    def _resolved(self, items: list[msgspec.Raw], client: str, now_s: float) -> list[msgspec.Raw]:
        """Items with those in place that are only referred to."""
        return [self._referred(item, place, client, now_s) for place, item in enumerate(items)]

    def _referred(self, item: msgspec.Raw, place: int, client: str, now_s: float) -> msgspec.Raw:
        head = _read_head(item)
        if head is None or head.type != "item_reference":
            return item
        item_id = head.id or ""
        kept = self._found(_answer_of(item_id), client, now_s)
        for candidate in () if kept is None else _body.decode(kept.body).output:
            if _head.decode(candidate).id == item_id:
                return candidate
        raise CallerError(
            400, f"Item with id '{item_id}' not found.", param=f"input[{place}].id", code="item_not_found"
        )

    def __repr__(self) -> str:
        return f"<StoredResponses over {self._store!r}>"


def wants_keeping(request: CallRequest) -> bool:
    """Whether the caller has nothing against its answer being kept."""
    return bytes(request.fields.get("store", b"")) != _FALSE


def _answer_of(item_id: str) -> str:
    """The id of the answer that an item with this id is of, if it is of any."""
    return f"resp_{item_id.partition('_')[2][:_ID_DIGITS]}"


def _answers_of(items: Iterable[msgspec.Raw]) -> Iterator[str]:
    """The ids of the answers that items refer to."""
    for item in items:
        head = _read_head(item)
        if head is not None and head.type == "item_reference":
            yield _answer_of(head.id or "")


def _input_items(held: bytes) -> list[msgspec.Raw]:
    """The items of an `input`, of which a string is the short form of one."""
    if held in ABSENT:
        return []
    if held[:1] == b'"':
        return [msgspec.Raw(b'{"type":"message","role":"user","content":%b}' % held)]
    return _raws.decode(held)


def _read_head(item: msgspec.Raw) -> _ItemHead | None:
    """What an item is; None for what is none, which its reader will say better."""
    try:
        return _head.decode(item)
    except msgspec.DecodeError:
        return None


def _listed(item: bytes, response_id: str, place: int) -> tuple[str, dict[str, msgspec.Raw]]:
    """An item as lists show it: with an id, a type, a status, and its content as a list."""
    members = _members.decode(item)
    head = _head.decode(item)
    kind = head.type or "message"
    item_id = head.id or f"in_{response_id.removeprefix('resp_')}{place:04x}"
    own = {"id": msgspec.Raw(_encoder.encode(item_id))}
    shown = own | members | own | {"type": msgspec.Raw(_encoder.encode(kind))}  # also in place of an id that is null
    if kind in _WITH_STATUS:
        shown.setdefault("status", _COMPLETED)
    if bytes(head.content)[:1] == b'"':
        form = b'[{"type":"input_text","text":%b}]'
        if head.role == "assistant":
            form = b'[{"type":"output_text","annotations":[],"text":%b}]'
        shown["content"] = msgspec.Raw(form % bytes(head.content))
    return item_id, shown
