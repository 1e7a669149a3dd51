import msgspec
import pytest

from keyrelay.wire.anthropic.unsigned import has_unsigned, without_unsigned


def fields_of(messages: object) -> dict[str, msgspec.Raw]:
    return {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(msgspec.json.encode(messages))}


THOUGHT = {"type": "thinking", "thinking": "hm", "signature": ""}
SIGNED = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
SAID = {"type": "text", "text": "a"}
QUESTION = {"role": "user", "content": "b"}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"thinking":"a","signature":""}', True),
        (b'{"thinking": "a", "signature": ""}', True),
        (b'{"thinking":"a","signature":"b"}', False),
        (b'{"text":"\\"signature\\":\\"\\""}', False),
    ],
)
def test_they_are_found_by_their_bytes(body: bytes, found: bool) -> None:
    assert has_unsigned(body) is found


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        (
            [QUESTION, {"role": "assistant", "content": [THOUGHT, SAID]}],
            [QUESTION, {"role": "assistant", "content": [SAID]}],
        ),
        ([QUESTION, {"role": "assistant", "content": [THOUGHT]}, QUESTION], [QUESTION, QUESTION]),
        ([{"role": "assistant", "content": [SIGNED, SAID]}], [{"role": "assistant", "content": [SIGNED, SAID]}]),
        ([{"role": "user", "content": [THOUGHT]}], [{"role": "user", "content": [THOUGHT]}]),
    ],
)
def test_only_they_go(messages: object, left: object) -> None:
    fields = fields_of(messages)
    assert msgspec.json.decode(without_unsigned(fields)["messages"]) == left
    assert fields == fields_of(messages)


@pytest.mark.parametrize("messages", [5, [5], [{"role": "assistant", "content": [5]}], [{"role": "assistant"}]])
def test_what_cannot_be_read_stays(messages: object) -> None:
    fields = fields_of(messages)
    assert without_unsigned(fields) == fields
