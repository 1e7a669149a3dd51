"""Answers that took no call of their own, as their callers get them: the head, and what changes in the body.

A replay says what was said, ids and times included, in every dialect but one: an answer of the Responses dialect can be
asked for again, gone on from and deleted by its id, so each has its own there and is kept under it. All ids in it are
made of the id of the request that it answers, which nothing else in it can be taken for.
"""

from collections.abc import Iterator

import msgspec

from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.engine.heads import ESTIMATED, STREAM_HEAD, WHOLE_HEAD, left_out, served_by, stream_head, whole_head
from keyrelay.ports import Sink
from keyrelay.wire.cache_replays import pieces_of
from keyrelay.wire.dialects import CallerCodec

_ID_PREFIX = "req_"
_EVENTS = "text/event-stream"


class Naming(msgspec.Struct, frozen=True):
    """Under which id an answer was made, and under which it is given; the same where ids are nobody's to ask for."""

    made: bytes
    given: bytes

    @property
    def renames(self) -> bool:
        """Whether the answer gets an id of its own."""
        return self.made != self.given

    def apply(self, data: bytes) -> bytes:
        """A piece of whole frames as the caller gets it."""
        return data.replace(self.made, self.given) if self.renames else data

    def sink(self, sink: Sink) -> Sink:
        """The sink of a caller who gets it so."""
        return _RenamingSink(sink, self) if self.renames else sink


_AS_IT_IS = Naming(b"", b"")


def naming_of(request: CallRequest, made_for: str, record_id: str) -> Naming:
    """How the answer to one request becomes that to another one of the same words."""
    if request.dialect != "responses":
        return _AS_IT_IS
    return Naming(made_for.removeprefix(_ID_PREFIX).encode(), record_id.removeprefix(_ID_PREFIX).encode())


def stream_pieces(body: bytes, caller: CallerCodec | None) -> Iterator[bytes]:
    """A kept stream in pieces of moderate size, each of whole frames; without a codec it is OpenAI's."""
    return pieces_of(body, _EVENTS if caller is None else caller.stream_type)


def replay_head(
    record: RequestRecord,
    caller: CallerCodec | None,
    *,
    stream: bool,
    own_ms: float | None,
    age_s: int | None = None,
) -> bytes:
    """The lines of the head, by a record that says who gave the answer.

    `own_ms` is what Keyrelay itself took; None leaves out what answers say of themselves.
    """
    if stream:
        rest = STREAM_HEAD if caller is None else stream_head(caller.stream_type)
    else:
        rest = WHOLE_HEAD if caller is None else whole_head(caller.whole_type)
        if record.usage is not None and record.usage.estimated:
            rest = ESTIMATED + rest
    if record.left_out:
        rest = left_out(record.left_out) + rest
    if own_ms is None:
        return f"x-request-id: {record.id}\r\n{rest}".encode("ascii")
    named = served_by(record.provider, record.model, record.key) if record.provider else ""
    age = "" if age_s is None else f"age: {age_s}\r\n"
    return (
        f"x-request-id: {record.id}\r\n{named}x-keyrelay-cost-usd: 0.00000000\r\nx-keyrelay-attempts: 0\r\n"
        f"x-keyrelay-overhead-ms: {max(0, own_ms):.3f}\r\nx-keyrelay-cache: {record.cached}\r\n{age}{rest}"
    ).encode("ascii")


class _RenamingSink:
    """The sink of a caller for whom the answer has another id. Each piece holds whole frames, so no id is cut."""

    __slots__ = ("_naming", "_sink")

    def __init__(self, sink: Sink, naming: Naming) -> None:
        self._sink = sink
        self._naming = naming

    @property
    def gone(self) -> bool:
        """Whether the caller has left, or does not read."""
        return self._sink.gone

    async def start(self, head: bytes) -> None:
        """Send the head."""
        await self._sink.start(head)

    def write_now(self, data: bytes) -> bool:
        """Send a piece if that takes no waiting; False when it does, and nothing was sent."""
        return self._sink.write_now(self._naming.apply(data))

    async def write(self, data: bytes) -> None:
        """Send a piece."""
        await self._sink.write(self._naming.apply(data))

    async def end(self, data: bytes) -> None:
        """Send the last piece."""
        await self._sink.end(self._naming.apply(data))

    def __repr__(self) -> str:
        return f"<_RenamingSink before {self._sink!r}>"
