"""A head that comes again is not parsed again, and nobody can tell: not the application, not the caller.

Pieces of bytes are given to two connections alike, one of which remembers heads and one of which parses them all.
"""

import asyncio
import json
from itertools import pairwise
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from keyrelay.api.answering import DIRECT
from keyrelay.api.app import Application, Place
from keyrelay.api.known_heads import KnownHead
from keyrelay.api.server import GatewayProtocol
from keyrelay.outbox import Outbox
from tests.api.served import OPERATOR_SECRET, OTHER_SECRET, served
from tests.e2e.harness import Caller, until

PATH = "/v1/chat/completions"
FIELDS = ("host: here", "Authorization: Bearer sk-test-1", "content-type: application/json")


class Telling(Application):
    """Answers with what it was asked; whose heads were known stands in `known`."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.exact = {(b"POST", PATH.encode()): Place("POST", PATH, self._tell)}
        self.known: list[KnownHead | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/hasty":  # answers before it has seen the body
            scope["extensions"][DIRECT].write_whole(404, b"", b"no")
        else:
            await self._tell(scope, receive, send)

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = scope["extensions"][DIRECT]
        self.known.append(direct.known)
        body = direct.take_body()
        if body is None:
            body, more = b"", True
            while more:
                message = await receive()
                assert message["type"] == "http.request", message
                body, more = body + message["body"], message["more_body"]
        for _ in range(5 if body == b"slow" else 0):
            await asyncio.sleep(0)
        fields = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        told = json.dumps([scope["method"], scope["path"], fields, body.decode("latin-1")]).encode()
        direct.write_whole(200, b"content-type: application/json\r\n", told)


class Forgetful(GatewayProtocol):
    """The same without a memory."""

    def _learned(self, place: Place) -> None:
        del place


class Wire(asyncio.Transport):
    """The other end of a connection: keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        del name
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def head(*fields: str, length: object = None, line: str = f"POST {PATH} HTTP/1.1", first: bool = False) -> bytes:
    """A head; the length stands in the middle of it, as it does with the SDKs, or `first`."""
    measure = () if length is None else (f"Content-Length: {length}",)
    both = (*measure, *fields) if first else (*fields[:1], *measure, *fields[1:])
    return "\r\n".join((line, *both, "", "")).encode()


def asked(body: bytes, *fields: str, **options: Any) -> bytes:
    return head(*(fields or FIELDS), length=len(body), **options) + body


async def answers(protocol_type: type[GatewayProtocol], pieces: list[bytes], *, calmly: bool) -> tuple[bytes, Telling]:
    """What one connection answers to these pieces; `calmly` lets each piece be dealt with before the next one."""
    application = Telling()
    options: dict[str, Any] = {"lifespan": "off", "log_config": None, "access_log": False, "proxy_headers": False}
    config = uvicorn.Config(application, http=protocol_type, ws="none", **options)
    config.load()
    state = ServerState()
    protocol = protocol_type(config, state, {}, _loop=asyncio.get_running_loop())
    wire = Wire()
    protocol.connection_made(wire)
    for piece in pieces:
        if wire.closed:
            break
        protocol.data_received(piece)
        for _ in range(6 if calmly else 0):
            await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    await asyncio.sleep(0)
    return wire.written, application


async def both_ways(pieces: list[bytes], *, calmly: bool = True) -> Telling:
    """The application of the connection that remembers, once both have answered the same."""
    remembered, application = await answers(GatewayProtocol, pieces, calmly=calmly)
    parsed, other = await answers(Forgetful, pieces, calmly=calmly)
    assert remembered == parsed
    assert len(application.known) == len(other.known)
    return application


async def test_the_third_request_with_the_same_head_is_not_parsed() -> None:
    application = await both_ways([asked(b"{}"), asked(b"{}"), asked(b'{"a": 1}'), asked(b"")])
    first, second, *others = application.known
    assert first is None
    assert second is not None
    assert others == [second, second]
    assert repr(second) == f"<KnownHead of POST {PATH} 0 bytes>"


async def test_a_body_that_comes_later_is_counted() -> None:
    known, body = asked(b"{}"), b"x" * 1000
    for cut in (0, 1, 999):
        pieces = [known, known, head(*FIELDS, length=1000) + body[:cut], body[cut:], known]
        assert len((await both_ways(pieces)).known) == 4


async def test_what_follows_a_known_request_in_the_same_piece_waits_for_its_turn() -> None:
    known = asked(b"{}")
    application = await both_ways([known, known, known + known + known + asked(b"", line="GET /livez HTTP/1.1")])
    assert len(application.known) == 6


async def test_the_rest_of_a_body_and_the_next_head_may_come_together() -> None:
    known = asked(b"0123456789")
    assert len((await both_ways([known, known, known[:-4], known[-4:] + known, known])).known) == 5


@pytest.mark.parametrize("calmly", [True, False])
async def test_a_known_head_waits_for_the_answer_before_it(calmly: bool) -> None:
    known, slow = asked(b"{}"), asked(b"slow")
    assert len((await both_ways([known, known, slow, known, slow + known, known], calmly=calmly)).known) == 7


async def test_what_looks_like_a_known_request_may_be_part_of_another_one() -> None:
    known = asked(b"{}")
    inside_a_body = [head(*FIELDS, length=len(known), line="POST /hasty HTTP/1.1"), known, known]
    inside_a_head = [b"POST /elsewhere HTTP/1.1\r\nx-more: ", known, known]
    assert len((await both_ways([known, known, *inside_a_body])).known) == 3
    assert len((await both_ways([known, known, *inside_a_head])).known) == 4


async def test_a_head_in_two_pieces_is_not_taken_for_a_head_where_it_was_cut() -> None:
    known = asked(b"{}")
    half = known.index(b"host")
    application = await both_ways([known, known[:half], known[half:], known[half:]])
    assert len(application.known) == 2


NOT_REMEMBERED = {
    "another path": asked(b"{}", line="POST /v1/embeddings HTTP/1.1"),
    "no length": head(*FIELDS, line=f"POST {PATH} HTTP/1.1"),
    "chunked": head(*FIELDS, "transfer-encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
    "HTTP/1.0": asked(b"{}", line=f"POST {PATH} HTTP/1.0"),
    "the last one": asked(b"{}", *FIELDS, "connection: close"),
    "wants to be told to go on": asked(b"{}", *FIELDS, "expect: 100-continue"),
    "a length on a line with spaces": head(*FIELDS, "content-length: 2 ") + b"{}",
    "a long length": head(*FIELDS, length="0000000002") + b"{}",
}


@pytest.mark.parametrize("other", NOT_REMEMBERED.values(), ids=NOT_REMEMBERED)
async def test_only_heads_that_leave_no_question_are_remembered(other: bytes) -> None:
    application = await both_ways([other, other, other])
    assert application.known
    assert not any(application.known)


WRONG = {
    "no number": head(*FIELDS, length="1x") + b"{",
    "a sign": head(*FIELDS, length="+2") + b"{}",
    "two numbers": head(*FIELDS, length="2, 2") + b"{}",
    "more than anybody sends": head(*FIELDS, length="99999999999999999999") + b"{}",
    "two lengths": head(*FIELDS, "content-length: 3", length=2) + b"{} ",
    "a length and chunks": head(*FIELDS, "transfer-encoding: chunked", length=2) + b"2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
async def test_a_head_that_is_wrong_is_refused_behind_a_known_one_too(wrong: bytes) -> None:
    application = await both_ways([asked(b"{}"), asked(b"{}"), wrong])
    assert len(application.known) == 2


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Requests alike and not so alike, cut anywhere."""
    heads = st.sampled_from(
        (
            asked,
            lambda body: asked(body, first=True),
            lambda body: asked(body, *FIELDS, "x-more: \xe9"),
            lambda body: asked(body, "host: here"),
            lambda body: head(*FIELDS, length=f"0{len(body)}") + body,
            lambda body: asked(body, line="POST /elsewhere HTTP/1.1"),
            lambda body: (
                head(*FIELDS, "transfer-encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) + 1, body + b".")
            ),
            lambda body: asked(body, line="POST /hasty HTTP/1.1"),
            lambda body: b"\r\n" + asked(body),
            lambda body: asked(body)[:-1],
        )
    )
    bodies = st.sampled_from((b"", b"{}", b"slow", b"POST / HTTP/1.1\r\n\r\n", asked(b"{}"), b"y" * 300))
    data = b"".join(draw(heads)(draw(bodies)) for _ in range(draw(st.integers(1, 6))))
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    edges = (0, *cuts, len(data))
    return [data[start:end] for start, end in pairwise(edges) if start < end]


@given(pieces=conversations(), calmly=st.booleans())
async def test_no_sequence_of_bytes_tells_the_difference(pieces: list[bytes], calmly: bool) -> None:
    await both_ways(pieces, calmly=calmly)


async def test_who_is_revoked_is_refused_on_the_connection_that_knows_its_head(tmp_path: Any) -> None:
    body = {"model": "openai/gpt-oss-20b", "messages": [{"role": "user", "content": "Hello"}]}
    async with served(tmp_path) as gateway, Caller(gateway.port, OPERATOR_SECRET) as operator:
        made = await operator.post("/api/v1/clients", {"label": "passing"})
        assert made.status == 201, made
        async with Caller(gateway.port, made.json["secret"]) as caller, Caller(gateway.port, OTHER_SECRET) as other:
            for _ in range(4):
                assert (await caller.post(PATH, body)).status == 200
                assert (await other.post(PATH, body)).status == 200
            assert (await operator.post("/api/v1/clients/passing/revoke", {})).status == 200
            reply = await caller.post(PATH, body)
            assert reply.status == 401
            assert (await other.post(PATH, body)).status == 200
        await until(lambda: any(line["client"] == "other" for line in gateway.lines()), "a line")
