"""Conversations, and a client of this dialect that writes them down.

The subset on which both agree: everything that the dialect can say and the canonical form can hold. Turns of the
assistant and results of tools are one message each, as the reader joins them; a cache mark is one of two; a turn has
something in it.
"""

import json
from typing import Any

from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Audio,
    Conversation,
    Document,
    Format,
    Image,
    Message,
    Part,
    Reasoning,
    Refusal,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.wire.responses.envelopes import seal
from tests.wire.responses.strategies import ARGUMENTS, IDS, TEXTS, THOUGHTS, WORDS

_CACHE = st.sampled_from(["", "5m", "1h"])
_DATA = st.sampled_from(["AAAA", "iVBORw0KGgo=", ""])
_IMAGES = st.builds(
    Image, media_type=st.just("image/png"), data=_DATA, detail=st.sampled_from(["", "low"]), cache=_CACHE
) | st.builds(Image, url=st.just("https://example.com/a.png"), cache=_CACHE)
_DOCUMENTS = (
    st.builds(Document, media_type=st.just("application/pdf"), data=_DATA, name=TEXTS)
    | st.builds(Document, url=st.just("https://example.com/a.pdf"), name=TEXTS)
    | st.builds(Document, file_id=WORDS, name=TEXTS)
)
_MARKED = st.builds(Text, TEXTS, cache=_CACHE)
_HEARD: st.SearchStrategy[Part] = _MARKED | _IMAGES | _DOCUMENTS | st.builds(Audio, st.just("audio/wav"), _DATA)
_CALLS = st.builds(ToolCall, IDS, WORDS, ARGUMENTS) | st.builds(ToolCall, IDS, WORDS, TEXTS, custom=st.just(True))
_SAID: st.SearchStrategy[Part] = st.builds(Text, TEXTS) | st.builds(Refusal, TEXTS) | THOUGHTS | _CALLS
_RESULTS: st.SearchStrategy[Part] = st.builds(
    ToolResult,
    call_id=IDS,
    parts=st.lists(_MARKED | _IMAGES | _DOCUMENTS, max_size=3).map(tuple),
    name=TEXTS,
    custom=st.booleans(),
)


def _message(role: Any, parts: st.SearchStrategy[Part], most: int = 3) -> st.SearchStrategy[Message]:
    return st.builds(Message, role=st.just(role), parts=st.lists(parts, min_size=1, max_size=most).map(tuple))


_HEADS = st.lists(_message("system", _MARKED), max_size=2)
_ROUNDS = st.lists(
    st.tuples(_message("user", _HEARD), _message("assistant", _SAID, 5), _message("user", _RESULTS)), max_size=3
)
_SCHEMAS = st.sampled_from(["", '{"type":"object"}', '{"type":"object","properties":{"a":{"type":"string"}}}'])
_NAMES = st.text("abcdef_", min_size=1, max_size=8)
_TOOLS = st.lists(
    st.builds(Tool, name=_NAMES, description=TEXTS, schema=_SCHEMAS, strict=st.none() | st.booleans())
    | st.builds(Tool, name=_NAMES, custom=st.just(True), grammar=st.sampled_from(["", '{"type":"text"}'])),
    max_size=3,
    unique_by=lambda tool: tool.name,
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Any conversation of the subset."""
    rounds = draw(_ROUNDS)
    messages = [*draw(_HEADS), *(message for turn in rounds for message in turn), draw(_message("user", _HEARD))]
    tools = tuple(draw(_TOOLS))
    choices: st.SearchStrategy[ToolChoice | None] = st.none() | st.builds(
        ToolChoice,
        mode=st.sampled_from(["auto", "none", "required"]),
        parallel=st.none() | st.booleans(),
    )
    if tools:
        choices |= st.sampled_from([ToolChoice(mode=mode, names=(tools[0].name,)) for mode in ("auto", "required")])
    efforts = st.sampled_from([None, "none", "minimal", "low", "medium", "high", "xhigh", "max"])
    reasoning = draw(st.none() | st.builds(Reasoning, effort=efforts, shown=st.sampled_from([None, True])))
    return Conversation(
        messages=tuple(messages),
        tools=tools,
        tool_choice=draw(choices) if tools else None,
        format=draw(
            st.none() | st.builds(Format, schema=_SCHEMAS.filter(bool), name=TEXTS, strict=st.none() | st.booleans())
        ),
        reasoning=None if reasoning == Reasoning() else reasoning,
        sampling=draw(st.builds(Sampling, temperature=st.none() | st.floats(0, 2), top_p=st.none() | st.floats(0, 1))),
        max_output_tokens=draw(st.none() | st.integers(0, 10_000)),
        stream=draw(st.booleans()),
        user=draw(TEXTS),
        tier=draw(TEXTS),
        cache_key=draw(TEXTS),
    )


def written(conversation: Conversation) -> bytes:
    """The body that a client would send."""
    reasoning = conversation.reasoning or Reasoning()
    body: dict[str, Any] = {
        "model": "m",
        "input": [item for message in conversation.messages for item in _items(message)],
        "tools": [_tool(tool) for tool in conversation.tools],
        "reasoning": {"effort": reasoning.effort, "summary": "auto" if reasoning.shown else None},
        "temperature": conversation.sampling.temperature,
        "top_p": conversation.sampling.top_p,
        "max_output_tokens": conversation.max_output_tokens,
        "stream": conversation.stream,
        "user": conversation.user,
        "service_tier": conversation.tier,
        "prompt_cache_key": conversation.cache_key,
    }
    if conversation.tool_choice is not None:
        body["tool_choice"] = _choice(conversation.tool_choice)
        body["parallel_tool_calls"] = conversation.tool_choice.parallel
    if conversation.format is not None:
        form = conversation.format
        schema = json.loads(form.schema)
        body["text"] = {"format": {"type": "json_schema", "name": form.name, "schema": schema, "strict": form.strict}}
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def _choice(choice: ToolChoice) -> object:
    if not choice.names:
        return choice.mode
    tools = [{"type": "function", "name": name} for name in choice.names]
    return {"type": "allowed_tools", "mode": choice.mode, "tools": tools}


def _tool(tool: Tool) -> dict[str, Any]:
    if tool.custom:
        return {"type": "custom", "name": tool.name, "format": json.loads(tool.grammar or "null")}
    schema = json.loads(tool.schema or "null")
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": schema,
        "strict": tool.strict,
    }


def _items(message: Message) -> list[dict[str, Any]]:
    if message.role == "assistant" or isinstance(message.parts[0], ToolResult):
        return [_item(part) for part in message.parts]
    return [{"type": "message", "role": message.role, "content": [_content(part) for part in message.parts]}]


def _item(part: Part) -> dict[str, Any]:
    match part:
        case Thinking():
            summary = [{"type": "summary_text", "text": part.text}] if part.text else []
            sealed = seal(part.signature, part.redacted, part.signed_by)
            return {"type": "reasoning", "summary": summary, "encrypted_content": sealed}
        case ToolCall(custom=True):
            return {"type": "custom_tool_call", "call_id": part.id, "name": part.name, "input": part.arguments}
        case ToolCall():
            return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        case ToolResult():
            kind = "custom_tool_call_output" if part.custom else "function_call_output"
            output = [_content(inner) for inner in part.parts]
            return {"type": kind, "call_id": part.call_id, "name": part.name, "output": output}
        case _:
            return {"role": "assistant", "content": [_content(part)]}


def _content(part: Part) -> dict[str, Any]:
    cache = getattr(part, "cache", "")
    mark = {"prompt_cache_breakpoint": {"mode": "explicit", "ttl": {"5m": None, "1h": "12h"}[cache]}} if cache else {}
    match part:
        case Text():
            return {"type": "input_text", "text": part.text, **mark}
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case Image():
            url = part.url or f"data:{part.media_type};base64,{part.data}"
            return {"type": "input_image", "image_url": url, "detail": part.detail or None, **mark}
        case Audio():
            sound = {"data": part.data, "format": part.media_type.removeprefix("audio/")}
            return {"type": "input_audio", "input_audio": sound}
        case Document(url="", file_id=""):
            data = f"data:{part.media_type};base64,{part.data}"
            return {"type": "input_file", "file_data": data, "filename": part.name}
        case Document():
            held = {"file_url": part.url} if part.url else {"file_id": part.file_id}
            return {"type": "input_file", "filename": part.name, **held}
    raise AssertionError(part)
