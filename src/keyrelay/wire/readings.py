"""What is read of requests, answers and streams that pass, as far as it has to be understood."""

from enum import StrEnum

import msgspec

from keyrelay.core.usage import Usage

NULL = msgspec.Raw(b"null")

ABSENT = msgspec.Raw()
"""What a member is that was not there."""


class StreamOptions(msgspec.Struct):
    """How a caller wants a stream."""

    include_usage: bool | None = None


class ResponseFormat(msgspec.Struct):
    """Which form a caller wants the answer in."""

    type: str = ""


class Tokens(msgspec.Struct, gc=False):
    """What a provider counted."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class Answer(msgspec.Struct, gc=False):
    """A whole answer, hardly read."""

    choices: list[msgspec.Raw] | None = None
    data: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class AnswerReading(msgspec.Struct, frozen=True, gc=False):
    """What a whole answer says: its usage, or in `problem` why it is no answer at all."""

    usage: Usage | None = None
    problem: str = ""
    is_error: bool = False


class NestedSettings(msgspec.Struct, gc=False):
    """Settings that stand one level down; one of them in either case."""

    temperature: msgspec.Raw = NULL
    seed: msgspec.Raw = NULL
    camel: msgspec.Raw = msgspec.field(name="candidateCount", default=NULL)
    snake: msgspec.Raw = msgspec.field(name="candidate_count", default=NULL)


class ToolType(msgspec.Struct, gc=False):
    """A tool, of which only its type counts."""

    type: str | None = None


class StreamEnd(StrEnum):
    """How a stream stands."""

    OPEN = "open"
    DONE = "done"
    ERROR = "error"  # the provider said so in an event
    MALFORMED = "malformed"


class StreamChoice(msgspec.Struct):
    """A choice in a chunk of a stream."""

    delta: msgspec.Raw = msgspec.Raw()
    text: str | None = None
    finish_reason: str | None = None


class StreamChunk(msgspec.Struct):
    """A chunk of a stream, hardly read."""

    choices: list[StreamChoice] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()


class StreamDelta(msgspec.Struct):
    """What a chunk adds to a choice."""

    content: msgspec.Raw = msgspec.Raw()
    tool_calls: msgspec.Raw = msgspec.Raw()
    function_call: msgspec.Raw = msgspec.Raw()
    reasoning: msgspec.Raw = msgspec.Raw()
    reasoning_content: msgspec.Raw = msgspec.Raw()
    refusal: msgspec.Raw = msgspec.Raw()
    audio: msgspec.Raw = msgspec.Raw()


class OpaqueTokens(msgspec.Struct, gc=False):
    """What a provider counted, of an answer that is none of a chat."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class OpaqueAnswer(msgspec.Struct, gc=False):
    """An answer that is none of a chat, hardly read."""

    type: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    usage: msgspec.Raw = msgspec.Raw()
    data: msgspec.Raw = msgspec.Raw()
    results: msgspec.Raw = msgspec.Raw()
