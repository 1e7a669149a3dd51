import pytest
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from keyrelay.api import in_process
from keyrelay.api.in_process import ask
from keyrelay.core.errors import StoreError
from keyrelay.core.secrets import Secret

SECRET = Secret("7d865e959b2466918c9863afca942d0f")


async def mirror(scope: Scope, receive: Receive, send: Send) -> None:
    headers = dict(scope["headers"])
    words = (scope["method"], scope["path"], scope["query_string"].decode(), headers[b"accept"].decode())
    text = " ".join((*words, headers[b"authorization"].decode()))
    await PlainTextResponse(text, 203)(scope, receive, send)


async def pieces(scope: Scope, receive: Receive, send: Send) -> None:
    await StreamingResponse(iter([b"a" * 600, b"b" * 600]))(scope, receive, send)


async def test_a_target_becomes_a_request() -> None:
    status, body = await ask(mirror, "/a%2Fb?from=1h&to=now", "text/csv", SECRET)
    assert (status, body.decode()) == (203, f"GET /a/b from=1h&to=now text/csv Bearer {SECRET.reveal()}")


async def test_pieces_are_put_together_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await ask(pieces, "/", "*/*", SECRET) == (200, b"a" * 600 + b"b" * 600)
    monkeypatch.setattr(in_process, "MOST_ANSWER_BYTES", 1_000)
    with pytest.raises(StoreError, match="more than 1000 bytes"):
        await ask(pieces, "/", "*/*", SECRET)
