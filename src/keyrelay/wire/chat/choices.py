"""Whole answers of providers of OpenAI's dialect."""

import msgspec

from keyrelay.core.conversation import Answer, AnswerPart, Finish, Image, Refusal, Text, Thinking, ToolCall, Unheld
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.chat.beyond import heard, picture, read_pictures, unheld, unheld_content, unheld_findings
from keyrelay.wire.chat.counts import read_tokens
from keyrelay.wire.chat.shapes import AnswerBody, AnswerChoice, CallShape, ChatMessage, ContentPart, FunctionCall
from keyrelay.wire.chat.thoughts import read_thoughts, thought_text
from keyrelay.wire.chat.turns import argument_text
from keyrelay.wire.dialects import Unreadable
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import tool_id

BROKEN = "error"
"""OpenRouter and Mistral end with it what an error cut off."""

_FINISHES: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "insufficient_system_resource": "error",  # DeepSeek ran out of room in the middle
}
_WORDS = frozenset({"text", "output_text", "thinking", "refusal"})
_HOLDS_ERROR = Unreadable(problem="the answer holds an error although its status is 200", is_error=True)

Content = Text | Thinking | Refusal | Image | Unheld
_Found = AnswerPart | Unheld
_answer = msgspec.json.Decoder(AnswerBody)


def read_answer(body: bytes) -> Answer | Unreadable:
    """The first choice of a `chat.completion`. Never raises."""
    try:
        answer = _answer.decode(body)
        if bytes(answer.error) not in NOTHING:
            return _HOLDS_ERROR
        if not answer.choices:
            return Unreadable(problem="the answer is empty")
        choice = answer.choices[0]
        if choice.finish_reason == BROKEN or bytes(choice.error) not in NOTHING:
            return _HOLDS_ERROR
        answer_id = "" if answer.id is None else str(answer.id)
        message = choice.message or ChatMessage()
        found = (*_parts(message, answer_id), *unheld(message), *unheld_findings(answer))
    except JSON_ERRORS:
        return Unreadable(problem="the answer is not the JSON object that was expected")
    parts = tuple(part for part in found if not isinstance(part, Unheld))
    finish, stop_sequence = _finish(choice, parts)
    return Answer(
        parts=parts,
        finish=finish,
        tokens=read_tokens(answer.usage),
        stop_sequence=stop_sequence,
        id=answer_id,
        model=answer.model or "",
        left_out=tuple(dict.fromkeys(part.name for part in found if isinstance(part, Unheld))),
    )


def _finish(choice: AnswerChoice, parts: tuple[AnswerPart, ...]) -> tuple[Finish, str]:
    return read_finish(choice.finish_reason, choice.stop_reason, calls=any(isinstance(p, ToolCall) for p in parts))


def read_finish(reason: str | None, stop_reason: str | int | None, *, calls: bool) -> tuple[Finish, str]:
    """Why an answer ended, and the stop sequence that it met where the server says it (vLLM in `stop_reason`).

    Some providers say `stop`, or nothing, after calls.
    """
    finish = _FINISHES.get(reason or "", "stop")
    if finish != "stop":
        return finish, ""
    if calls:
        return "tool_calls", ""
    return ("stop_sequence", stop_reason) if isinstance(stop_reason, str) and stop_reason else ("stop", "")


def _parts(message: ChatMessage, answer_id: str) -> tuple[_Found, ...]:
    parts: list[_Found] = [*read_thoughts(message), *content_parts(message), *heard(message.audio)]
    parts += read_pictures(message)
    if message.refusal:
        parts.append(Refusal(text=message.refusal))
    parts += [_call(call, position, answer_id) for position, call in enumerate(message.tool_calls or ())]
    function = message.function_call
    if function is not None and not message.tool_calls and function.name:
        made = tool_id(answer_id, 0, function.name)
        parts.append(ToolCall(id=made, name=function.name, arguments=argument_text(function)))
    return tuple(parts)


def content_parts(message: ChatMessage) -> list[Content]:
    """The words in the content of an answer or a delta; some put thoughts, pictures and sources beside them."""
    content = message.content
    if not content:
        return []
    if isinstance(content, str):
        return [Text(text=content)]
    return [part for shape in content if (part := _content_part(shape)) is not None]


def _content_part(shape: ContentPart) -> Content | None:
    text = thought_text(shape)
    if text:
        return Thinking(text=text)
    if shape.refusal:
        return Refusal(text=shape.refusal)
    if shape.text:
        return Text(text=shape.text)
    if shape.type in _WORDS:
        return None
    return picture(shape.image_url) or unheld_content(shape)


def _call(call: CallShape, position: int, answer_id: str) -> ToolCall:
    signature = call.signature
    signed_by = "gemini" if signature else ""
    custom = call.custom
    if custom is not None:
        name, arguments = custom.name or "", custom.input or ""
    else:
        function = call.function or FunctionCall()
        name, arguments = function.name or "", argument_text(function)
    return ToolCall(
        id=call.id or tool_id(answer_id, position, name),
        name=name,
        arguments=arguments,
        custom=custom is not None,
        signature=signature,
        signed_by=signed_by,
    )
