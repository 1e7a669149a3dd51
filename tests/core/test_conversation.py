import msgspec

from keyrelay.core.conversation import Answer, Conversation, Image, Message, Text, Tokens, ToolCall, ToolResult
from keyrelay.core.usage import Usage


def test_the_ledger_counts_what_is_cached_and_what_was_thought_with_the_rest() -> None:
    assert Tokens(input=10, output=5, cached=4, cache_written=2, reasoning=3).usage == Usage(10, 5)


def test_a_conversation_survives_as_bytes() -> None:
    said = Conversation(
        messages=(
            Message(role="user", parts=(Text(text="look"), Image(media_type="image/png", data="AA=="))),
            Message(role="assistant", parts=(ToolCall(id="c1", name="f", arguments="{}", signature="s"),)),
            Message(role="user", parts=(ToolResult(call_id="c1", parts=(Text(text="7"),)),)),
        ),
        stop=("end",),
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(said), type=Conversation) == said


def test_two_answers_of_the_same_parts_are_equal() -> None:
    assert Answer(parts=(Text(text="a"),)) == Answer(parts=(Text(text="a"),))
    assert Answer(parts=(Text(text="a"),)) != Answer(parts=(Text(text="a"),), finish="length")
