"""Whole answers as callers of OpenAI's dialect expect them: every detail of usage is there, with zeros if need be.

`stop_sequence` is `stop` here. A broken answer is `length`: the dialect has no word for it, strict clients know no
other words, and this one says that the answer is not whole.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from keyrelay.core.conversation import (
    Answer,
    Audio,
    CallBegun,
    Conversation,
    Finish,
    Image,
    Refusal,
    Text,
    Thinking,
    Tokens,
    ToolCall,
)
from keyrelay.core.requests import CallRequest
from keyrelay.wire.chat.thoughts import joined_thoughts, write_details
from keyrelay.wire.dialects import AnswerFacts
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.parts import characters_of, custom_names, data_url, estimated_tokens, raised_call

FINISH: dict[Finish, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "error": "length",
}

_Call = TypeVar("_Call", ToolCall, CallBegun)
_encoder = msgspec.json.Encoder()
_ABSENT = msgspec.Raw(b"null")


def encode_chat(answer: Answer, facts: AnswerFacts) -> bytes:
    """A `chat.completion`."""
    legacy = speaks_of_functions(facts.request)
    finish = FINISH[answer.finish]
    choice = {
        "index": 0,
        "message": _message(answer, facts, legacy=legacy),
        "logprobs": None,
        "finish_reason": "function_call" if legacy and finish == "tool_calls" else finish,
    }
    return _encoder.encode(
        {
            "id": chat_id(facts),
            "object": "chat.completion",
            "created": int(facts.created_s),
            "model": facts.model,
            "choices": [choice],
            "usage": usage(answer.tokens, facts, _written(answer)),
        }
    )


def encode_completion(answer: Answer, facts: AnswerFacts) -> bytes:
    """A `text_completion`; it has no place for thoughts and calls."""
    finish = FINISH[answer.finish]
    text = "".join(part.text for part in answer.parts if isinstance(part, Text | Refusal))
    choice = {
        "index": 0,
        "text": text,
        "logprobs": None,
        "finish_reason": "stop" if finish == "tool_calls" else finish,
    }
    return _encoder.encode(
        {
            "id": completion_id(facts),
            "object": "text_completion",
            "created": int(facts.created_s),
            "model": facts.model,
            "choices": [choice],
            "usage": usage(answer.tokens, facts, _written(answer)),
        }
    )


def chat_id(facts: AnswerFacts) -> str:
    """The id of a chat completion."""
    return "chatcmpl-" + facts.id


def completion_id(facts: AnswerFacts) -> str:
    """The id of a legacy completion."""
    return "cmpl-" + facts.id


def speaks_of_functions(request: CallRequest) -> bool:
    """Whether the caller expects `function_call`, as it was before there were tools."""
    fields = request.fields
    return bytes(fields.get("functions", _ABSENT)) not in NOTHING and bytes(fields.get("tools", _ABSENT)) in NOTHING


def hides_thoughts(conversation: Conversation) -> bool:
    """Whether the caller said that it does not want to see thoughts."""
    return conversation.reasoning is not None and conversation.reasoning.shown is False


def _message(answer: Answer, facts: AnswerFacts, *, legacy: bool) -> dict[str, object]:
    parts = answer.parts
    texts = [part.text for part in parts if isinstance(part, Text)]
    refusals = [part.text for part in parts if isinstance(part, Refusal)]
    message: dict[str, object] = {
        "role": "assistant",
        "content": "".join(texts) if texts else None,
        "refusal": "".join(refusals) if refusals else None,
        "annotations": [],
    }
    thoughts = [part for part in parts if isinstance(part, Thinking)]
    if thoughts and not hides_thoughts(facts.conversation):
        text = joined_thoughts(thoughts)
        if text:
            message["reasoning_content"] = text
        if any(thought.signature or thought.redacted for thought in thoughts):
            message["reasoning_details"] = write_details(thoughts)
    images = [part for part in parts if isinstance(part, Image)]
    if images:
        message["images"] = write_images(images, 0)
    for part in parts:
        if isinstance(part, Audio):
            message["audio"] = write_audio(part, facts)
    customs = custom_names(facts.conversation.tools)
    calls = [raised_call(part, customs) for part in parts if isinstance(part, ToolCall)]
    if calls and legacy:
        message["function_call"] = {"name": calls[0].name, "arguments": calls[0].arguments}
    elif calls:
        message["tool_calls"] = [write_call(as_sent(call, facts.request), call.arguments) for call in calls]
    return message


def write_images(images: Iterable[Image], first: int) -> list[dict[str, object]]:
    """Pictures as OpenRouter has them; `first` is how many came before."""
    urls = [data_url(image.media_type, image.data) if image.data else image.url for image in images]
    return [
        {"type": "image_url", "image_url": {"url": url}, "index": index} for index, url in enumerate(urls, start=first)
    ]


def write_audio(sound: Audio, facts: AnswerFacts) -> dict[str, object]:
    """Sound; nobody keeps it under its id, which has expired when it comes. Its words are a text of their own."""
    return {"id": f"audio_{facts.id}", "data": sound.data, "transcript": "", "expires_at": int(facts.created_s)}


def as_sent(call: _Call, request: CallRequest) -> _Call:
    """A call as its caller takes it.

    Cursor declares custom tools, but looks for a function in every call, whose arguments then are the free text.
    """
    return msgspec.structs.replace(call, custom=False) if call.custom and request.reshaped else call


def write_call(call: ToolCall, arguments: str) -> dict[str, object]:
    """A call, with Gemini's signature if it has one."""
    written: dict[str, object]
    if call.custom:
        written = {"id": call.id, "type": "custom", "custom": {"name": call.name, "input": arguments}}
    else:
        written = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}
    if call.signature and call.signed_by == "gemini":
        written["extra_content"] = {"google": {"thought_signature": call.signature}}
    return written


def _written(answer: Answer) -> int:
    """How many characters an answer has."""
    return sum(map(characters_of, answer.parts))


def usage(tokens: Tokens | None, facts: AnswerFacts, written: int) -> dict[str, object]:
    """Usage with all its details: as the provider counted, else estimated from `written` characters."""
    counted = tokens or Tokens(input=facts.input_tokens, output=estimated_tokens(written))
    return {
        "prompt_tokens": counted.input,
        "completion_tokens": counted.output,
        "total_tokens": counted.input + counted.output,
        "prompt_tokens_details": {
            "cached_tokens": counted.cached,
            "cache_write_tokens": counted.cache_written,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": counted.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
