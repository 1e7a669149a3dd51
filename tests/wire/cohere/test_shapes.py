import msgspec
import pytest

from keyrelay.wire.cohere.shapes import Call, Called, ChatBody, Content, Delta, Item, Message, ResponseFormat


def test_what_is_not_said_is_not_written() -> None:
    body = ChatBody(model="m", messages=[Message(role="user", content="Hi")], stream=False)
    assert msgspec.json.encode(body) == b'{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":false}'


def test_calls_and_formats_say_their_type() -> None:
    call = Call(id="c", function=Called(name="f", arguments="{}"))
    assert msgspec.json.encode(call) == b'{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}'
    assert msgspec.json.encode(ResponseFormat(type="json_object")) == b'{"type":"json_object"}'
    assert msgspec.json.encode(Item(type="text", text="")) == b'{"type":"text","text":""}'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("[]", []),
        ('{"type":"text","text":"Hi"}', Content(type="text", text="Hi")),
        ('"Hi"', "Hi"),
        ("null", None),
    ],
)
def test_a_message_may_begin_with_lists(content: str, expected: object) -> None:
    delta = f'{{"role":"assistant","content":{content},"tool_plan":"","tool_calls":[],"citations":[]}}'
    assert msgspec.json.decode(delta, type=Delta) == Delta(content=expected, tool_plan="", tool_calls=[])  # type: ignore[arg-type]  # what the table says
