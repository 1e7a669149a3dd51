"""What several dialects need: reading bodies into structs, data URLs, JSON as text, ids of calls, turns, efforts.

Custom tools (free text in, instead of JSON) are OpenAI's alone. For other targets they are lowered to functions with
one string, `input`; what comes back is raised again by the caller's dialect, which knows what was asked for.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from keyrelay.core.conversation import (
    AnswerPart,
    CallBegun,
    CallPiece,
    Conversation,
    Counted,
    Document,
    Effort,
    Event,
    Media,
    Message,
    Part,
    Reasoning,
    Text,
    Tool,
    ToolCall,
    ToolResult,
)
from keyrelay.core.errors import CallerError
from keyrelay.wire.body import JSON_ERRORS

_T = TypeVar("_T")

NO_ARGUMENTS = msgspec.Raw(b"{}")
CUSTOM_SCHEMA = '{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}'
"""The schema of the function that a custom tool is lowered to."""

_POINTED = re.compile(r"(?s)(?P<problem>.*) - at `\$\.?(?P<path>.*)`")
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_CHARACTERS_PER_TOKEN = 4
_EFFORT_BUDGETS: tuple[tuple[Effort, int], ...] = (
    ("none", 0),
    ("minimal", 512),
    ("low", 1024),
    ("medium", 8192),
    ("high", 24576),
    ("xhigh", 32768),
    ("max", 65536),
)


class _CustomArguments(msgspec.Struct):
    input: str


_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_custom_arguments = msgspec.json.Decoder(_CustomArguments)


def decode_caller(decoder: msgspec.json.Decoder[_T], body: bytes | msgspec.Raw, within: str = "") -> _T:
    """A caller's JSON as the decoder's type; raise CallerError (400) whose `param` points to what is wrong.

    `within` is where in the request the JSON stands (`messages[2].content`), empty for its whole body.
    """
    try:
        return decoder.decode(body)
    except JSON_ERRORS as error:
        raise _fault(str(error), within) from None


def _fault(text: str, within: str) -> CallerError:
    pointed = _POINTED.fullmatch(text)
    problem, path = (pointed["problem"], pointed["path"]) if pointed else (text, "")
    missing = _MISSING.fullmatch(problem)
    steps = [step for step in (within, path, missing["name"] if missing else "") if step]
    param = ".".join(steps).replace(".[", "[")
    if missing:
        return CallerError(400, f"Missing required field '{param}'.", param=param, code="missing_field")
    place = f"'{param}'" if param else "the body"
    return CallerError(400, f"Invalid value for {place}: {problem}.", param=param or None, code="invalid_type")


def split_data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 data of a `data:` URL; None for any other, and for one without a comma.

    A URL whose data is no base64 is turned into it. Without a media type it is `text/plain`.
    """
    if url[:5].lower() != "data:":
        return None
    head, comma, data = url[5:].partition(",")
    if not comma:
        return None
    media_type, *parameters = head.split(";")
    if not any(parameter.strip().lower() == "base64" for parameter in parameters):
        data = base64.b64encode(unquote_to_bytes(data)).decode()
    return media_type.strip().lower() or "text/plain", data


def data_url(media_type: str, data: str) -> str:
    """The `data:` URL of base64 data."""
    return f"data:{media_type};base64,{data}"


def data_text(data: str) -> str | None:
    """The words that base64 data holds, None when it holds no UTF-8."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def json_object(text: str) -> msgspec.Raw | None:
    """Arguments for a dialect that takes them as an object: `{}` for no text, None when it is no JSON object."""
    if not text or text.isspace():
        return NO_ARGUMENTS
    try:
        data = text.encode()
        _object.decode(data)
    except JSON_ERRORS:
        return None
    return msgspec.Raw(data)


def raw_text(raw: msgspec.Raw) -> str:
    """JSON that nobody here has to understand as text; empty when it is absent or null."""
    data = bytes(raw)
    return "" if data in {b"", b"null"} else data.decode()


def encoded_text(value: object) -> str:
    """A value as JSON text."""
    return msgspec.json.encode(value).decode()


def tool_id(*known: str | int) -> str:
    """An id for a call in a dialect that has none, made of what is known of it: `call_` and 24 hex digits."""
    return "call_" + _digest(known)[:24]


def fitting_id(call_id: str, allowed: re.Pattern[str], length: int, prefix: str = "") -> str:
    """The id where it fits the pattern as a whole, else one of `length` hex digits after a prefix made of it.

    The same id always becomes the same one, so that a call and its result still belong together.
    """
    return call_id if allowed.fullmatch(call_id) else prefix + _digest((call_id,))[:length]


def _digest(known: Iterable[str | int]) -> str:
    text = "\0".join(map(str, known)).encode(errors="surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def document_words(document: Document) -> str | None:
    """The words of a text document below its name, None when it is no text."""
    if not document.data or not document.media_type.startswith("text/"):
        return None
    text = data_text(document.data)
    return text if text is None or not document.name else f"{document.name}\n\n{text}"


def call_names(messages: Iterable[Message]) -> dict[str, str]:
    """The tool's name of each call by the call's id, for dialects whose results are told apart by name."""
    return {part.id: part.name for message in messages for part in message.parts if isinstance(part, ToolCall)}


def split_system(messages: Sequence[Message]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """The texts of the system messages at the beginning, and all messages after them."""
    count = next((index for index, message in enumerate(messages) if message.role != "system"), len(messages))
    texts = [part for message in messages[:count] for part in message.parts if isinstance(part, Text)]
    return tuple(texts), tuple(messages[count:])


def merged(messages: Iterable[Message]) -> tuple[Message, ...]:
    """The messages, neighbours of one role as one message."""
    turns: list[tuple[Message, list[Part]]] = []
    for message in messages:
        if turns and turns[-1][0].role == message.role:
            turns[-1][1].extend(message.parts)
        else:
            turns.append((message, list(message.parts)))
    return tuple(
        first if len(first.parts) == len(parts) else Message(role=first.role, parts=tuple(parts))
        for first, parts in turns
    )


def characters_of(part: AnswerPart) -> int:
    """How many characters of a part of an answer are words or arguments."""
    if isinstance(part, ToolCall):
        return len(part.name) + len(part.arguments)
    return 0 if isinstance(part, Media) else len(part.text)


def estimated_tokens(characters: int) -> int:
    """About how many tokens so many characters of an answer are, where the provider does not say."""
    return -(-characters // _CHARACTERS_PER_TOKEN)


def effort_of(reasoning: Reasoning) -> Effort | None:
    """How much to think as an effort: what was said, or the least one whose budget reaches the one said."""
    if reasoning.effort is not None or reasoning.budget_tokens is None or reasoning.budget_tokens < 0:
        return reasoning.effort
    budget = reasoning.budget_tokens
    return next((effort for effort, most in _EFFORT_BUDGETS if budget <= most), "max")


def budget_of(reasoning: Reasoning) -> int | None:
    """How much to think as tokens: what was said, or what the effort stands for (low 1,024, high 24,576)."""
    if reasoning.budget_tokens is not None or reasoning.effort is None:
        return reasoning.budget_tokens
    return dict(_EFFORT_BUDGETS)[reasoning.effort]


def lowered_tool(tool: Tool) -> Tool:
    """A custom tool as a function with one string, any other as it is."""
    if not tool.custom:
        return tool
    return Tool(name=tool.name, description=tool.description, schema=CUSTOM_SCHEMA, cache=tool.cache)


def lowered_arguments(call: ToolCall) -> str:
    """The arguments of a call as the text of a JSON object: those of a custom tool become its `input`."""
    return encoded_text({"input": call.arguments}) if call.custom else call.arguments


def raised_arguments(arguments: str) -> str:
    """The free text in the arguments of a lowered custom tool; the arguments themselves when they are not such."""
    try:
        return _custom_arguments.decode(arguments).input
    except JSON_ERRORS:
        return arguments


def custom_names(tools: Iterable[Tool]) -> frozenset[str]:
    """The names of the custom tools."""
    return frozenset(tool.name for tool in tools if tool.custom)


def raised_call(call: ToolCall, customs: frozenset[str]) -> ToolCall:
    """A call of a lowered custom tool as the custom call that the caller expects, any other as it is."""
    if call.custom or call.name not in customs:
        return call
    return msgspec.structs.replace(call, custom=True, arguments=raised_arguments(call.arguments))


def with_custom_calls(conversation: Conversation) -> Conversation:
    """The conversation with calls of custom tools as such, where a client keeps them as calls of functions."""
    customs = custom_names(conversation.tools)
    if not customs:
        return conversation
    raised: set[str] = set()
    messages = [
        Message(role=message.role, parts=tuple(_as_custom(part, customs, raised) for part in message.parts))
        for message in conversation.messages
    ]
    return msgspec.structs.replace(conversation, messages=tuple(messages))


def _as_custom(part: Part, customs: frozenset[str], raised: set[str]) -> Part:
    if isinstance(part, ToolCall) and part.name in customs:
        raised.add(part.id)
        return raised_call(part, customs)
    if isinstance(part, ToolResult) and part.call_id in raised:
        return msgspec.structs.replace(part, custom=True)
    return part


class RaisedCalls:
    """The same for the events of a stream: the arguments of such a call are held until the call is complete."""

    __slots__ = ("_customs", "_held")

    def __init__(self, customs: frozenset[str]) -> None:
        self._customs = customs
        self._held: list[str] | None = None

    def passed(self, event: Event) -> tuple[Event, ...]:
        """What takes the event's place."""
        if self._held is not None:
            if isinstance(event, CallPiece):
                self._held.append(event.arguments)
                return ()
            if not isinstance(event, Counted):
                text = raised_arguments("".join(self._held))
                self._held = None
                return ((CallPiece(arguments=text),) if text else ()) + self.passed(event)
        if isinstance(event, CallBegun) and not event.custom and event.name in self._customs:
            self._held = []
            return (msgspec.structs.replace(event, custom=True),)
        return (event,)

    def __repr__(self) -> str:
        held = "nothing" if self._held is None else f"{len(self._held)} pieces"
        return f"<RaisedCalls {held} held>"
