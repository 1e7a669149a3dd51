import pytest

from keyrelay.upstream.answer_heads import parse_fields, read_framing
from keyrelay.upstream.values import Framing


def test_fields() -> None:
    head = b"HTTP/1.1 200 OK\r\nA: 1\r\nB:\r\na:\t2 \r\nC: x:y\r\nD: \xe9"
    assert parse_fields(head) == {"a": "1, 2", "b": "", "c": "x:y", "d": "é"}
    assert parse_fields(b"HTTP/1.1 204 No Content") == {}


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ("", Framing(streaming=False, until_close=True, length=-1)),
        ("Content-Length: 12", Framing(streaming=False, until_close=False, length=12)),
        ("Transfer-Encoding: Chunked", Framing(streaming=False, until_close=False, length=-1)),
        ("Content-Type: Text/Event-Stream; charset=utf-8", Framing(streaming=True, until_close=True, length=-1)),
        ("x-content-length: 3", Framing(streaming=False, until_close=True, length=-1)),
        ("x: content-type: text/event-stream", Framing(streaming=False, until_close=True, length=-1)),
    ],
)
def test_framing(fields: str, framing: Framing) -> None:
    head = f"HTTP/1.1 200 OK\r\n{fields}".encode() if fields else b"HTTP/1.1 200 OK"
    assert read_framing(head) == framing


@pytest.mark.parametrize(
    "fields",
    [
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "content-encoding: gzip",
        "content-encoding: identity\r\nx: y\r\ncontent-encoding: gzip",
        "content-encoding: identity, gzip",
    ],
)
def test_encodings_that_were_not_asked_for(fields: str) -> None:
    assert read_framing(f"HTTP/1.1 200 OK\r\n{fields}".encode()).problem
