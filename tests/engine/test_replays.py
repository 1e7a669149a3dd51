import pytest

from keyrelay.core.conversation import Dialect
from keyrelay.core.records import RequestRecord
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.engine.replays import naming_of, replay_head, stream_pieces
from keyrelay.wire.dialects import CallerCodec
from keyrelay.wire.registry import ANTHROPIC, GEMINI_ARRAY, GEMINI_EVENTS, OLLAMA_CHAT, RESPONSES
from tests.engine.rig import ListSink

EVENTS = "content-type: text/event-stream"
LONG = b'{"n":1}\n' * 10_000


def request_of(dialect: Dialect) -> CallRequest:
    return CallRequest(operation="chat", model="m", stream=True, body=b"{}", fields={}, dialect=dialect)


def record_of() -> RequestRecord:
    return RequestRecord("req_2", 1.0, provider="acme", model="m", key="k00", cached="hit")


@pytest.mark.parametrize(
    ("caller", "whole", "stream"),
    [
        (None, "content-type: application/json\r\n", EVENTS),
        (RESPONSES, "content-type: application/json\r\n", EVENTS),
        (ANTHROPIC, "content-type: application/json\r\n", EVENTS),
        (GEMINI_EVENTS, "content-type: application/json\r\n", EVENTS),
        (GEMINI_ARRAY, "content-type: application/json\r\n", "content-type: application/json\r\ncache-control"),
        (OLLAMA_CHAT, "content-type: application/json\r\n", "content-type: application/x-ndjson"),
    ],
)
def test_a_replay_has_the_type_of_its_dialect(caller: CallerCodec | None, whole: str, stream: str) -> None:
    assert replay_head(record_of(), caller, stream=False, own_ms=1.0).decode().endswith(whole)
    assert stream in replay_head(record_of(), caller, stream=True, own_ms=1.0).decode()


def test_what_was_left_out_and_guessed_is_said_again() -> None:
    record = record_of()
    record.left_out, record.usage = ("seed",), Usage(1, 2, estimated=True)
    for own_ms in (None, 1.0):
        head = replay_head(record, None, stream=False, own_ms=own_ms).decode()
        assert "x-keyrelay-left-out: seed\r\n" in head
        assert "x-keyrelay-usage: estimated\r\n" in head
    assert "estimated" not in replay_head(record, None, stream=True, own_ms=1.0).decode()


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini", "ollama"])
async def test_ids_stay_as_they_are_where_nobody_asks_for_them(dialect: Dialect) -> None:
    naming, sink = naming_of(request_of(dialect), "req_aa", "req_bb"), ListSink()
    assert not naming.renames
    assert naming.apply(b'{"id":"msg_aa"}') == b'{"id":"msg_aa"}'
    assert naming.sink(sink) is sink


async def test_an_answer_that_can_be_asked_for_gets_an_id_of_its_own() -> None:
    naming, sink = naming_of(request_of("responses"), "req_aa", "req_bb"), ListSink()
    assert naming.renames
    assert (
        naming.apply(b'{"id":"resp_aa","output":[{"id":"msg_aa0"}]}') == b'{"id":"resp_bb","output":[{"id":"msg_bb0"}]}'
    )
    renamed = naming.sink(sink)
    await renamed.start(b"head")
    assert renamed.write_now(b"resp_aa 1\n")
    await renamed.write(b"resp_aa 2\n")
    await renamed.end(b"resp_aa 3\n")
    assert (sink.head, sink.text, sink.ended) == (b"head", "resp_bb 1\nresp_bb 2\nresp_bb 3\n", True)
    assert renamed.gone is sink.gone
    assert repr(renamed).startswith("<_RenamingSink before <")


async def test_a_caller_who_does_not_keep_up_is_noticed_behind_another_id() -> None:
    renamed = naming_of(request_of("responses"), "req_aa", "req_bb").sink(ListSink(keeps_up=False))
    assert not renamed.write_now(b"resp_aa")


def test_pieces_are_cut_as_the_caller_reads_them() -> None:
    assert [len(piece) % 8 for piece in stream_pieces(LONG, OLLAMA_CHAT)] == [0] * 5
    assert list(stream_pieces(LONG, ANTHROPIC)) == [LONG]
    assert list(stream_pieces(LONG, None)) == [LONG]
