import pytest

from keyrelay.wire.cache_replays import PIECE_BYTES, last_response, pieces_of

EVENTS = "text/event-stream; charset=utf-8"


@pytest.mark.parametrize(
    ("frame", "content_type"),
    [
        (b'data: {"n":1}\n\n', EVENTS),
        (b'data: {"n":1}\r\n\r\n', "text/event-stream"),
        (b'event: x\ndata: {"n":1}\n\n', EVENTS),
        (b'{"n":1}\n', "application/x-ndjson"),
        (b'{"n":1},\n', "application/json"),
    ],
)
def test_a_stream_goes_out_in_pieces_of_whole_frames(frame: bytes, content_type: str) -> None:
    body = frame * (3 * PIECE_BYTES // len(frame) + 1)
    pieces = list(pieces_of(body, content_type))
    assert b"".join(pieces) == body
    assert len(pieces) == 3
    assert all(len(piece) % len(frame) == 0 for piece in pieces)
    assert all(PIECE_BYTES <= len(piece) <= PIECE_BYTES + 2 * len(frame) for piece in pieces[:-1])


@pytest.mark.parametrize("content_type", [EVENTS, "application/json"])
def test_what_has_no_frames_goes_out_at_once(content_type: str) -> None:
    assert list(pieces_of(b"x" * 100_000, content_type)) == [b"x" * 100_000]
    assert list(pieces_of(b"", content_type)) == []


def test_the_response_that_a_stream_ends_with() -> None:
    begun = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
    ended = b'event: response.completed\ndata: {"response":{"id":"resp_1","output":["\\ndata: x"]}}\n\n'
    assert last_response(begun + ended) == b'{"id":"resp_1","output":["\\ndata: x"]}'


@pytest.mark.parametrize("body", [b"", b"x", b"event: error\ndata: {}\n\n", b"event: x\ndata: {\n\n"])
def test_a_stream_that_ends_with_none(body: bytes) -> None:
    assert last_response(body) == b""
