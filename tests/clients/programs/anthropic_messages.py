"""The official SDK of Anthropic: messages."""

from typing import Any

import anthropic

from tests.clients.programs import common
from tests.clients.programs.common import Call, Target, expect

TOOLS: Any = [
    {"name": name, "description": text, "input_schema": schema, "cache_control": {"type": "ephemeral"}}
    for name, text, schema in common.TOOLS
]
FORMAT: Any = {"format": {"type": "json_schema", "schema": common.REPORT}}
THINKING: Any = {"type": "enabled", "budget_tokens": 2048}


def client(target: Target, key: str = "") -> anthropic.Anthropic:
    return anthropic.Anthropic(
        base_url=target.origin, api_key=key or target.key, max_retries=0, timeout=common.TIMEOUT_S
    )


def request(target: Target, content: Any, *, kind: str = "chat", **options: Any) -> dict[str, Any]:
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    return {"model": target.model(kind), "max_tokens": common.MOST_TOKENS, "messages": messages, **options}


def ask(target: Target, content: Any, **options: Any) -> Any:
    with client(target) as sdk:
        return sdk.messages.create(**request(target, content, **options))


def final(target: Target, content: Any, **options: Any) -> Any:
    """The message that the SDK puts together from a stream."""
    with client(target) as sdk, sdk.messages.stream(**request(target, content, **options)) as stream:
        return stream.get_final_message()


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def chat(target: Target) -> None:
    answer = ask(target, common.SAY, system="Be brief.")
    common.said(text_of(answer))
    expect(answer.stop_reason == "end_turn", "stop_reason end_turn", answer.stop_reason)
    expect(answer.type == "message" and answer.id, "a message with an id", answer)
    with client(target) as sdk:
        counted = sdk.messages.count_tokens(model=target.model(), messages=[{"role": "user", "content": common.SAY}])
    expect(counted.input_tokens > 0, "count_tokens", counted)


def stream(target: Target) -> None:
    with client(target) as sdk:
        events = list(sdk.messages.create(**request(target, common.SAY), stream=True))
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    common.streamed(delta.text for delta in deltas if delta.type == "text_delta")
    expect(events[0].type == "message_start" and events[-1].type == "message_stop", "start and stop", events)
    starts = [event.index for event in events if event.type == "content_block_start"]
    stops = [event.index for event in events if event.type == "content_block_stop"]
    expect(starts == stops == list(range(len(starts))), "blocks in order", (starts, stops))
    common.said(text_of(final(target, common.SAY)))


def _calls(message: Any) -> list[Call]:
    return [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]


def _called(target: Target, prompt: str, *, both: bool) -> None:
    for message in (ask(target, prompt, tools=TOOLS), final(target, prompt, tools=TOOLS)):
        common.called(_calls(message), both=both)
        expect(message.stop_reason == "tool_use", "stop_reason tool_use", message.stop_reason)


def tools(target: Target) -> None:
    _called(target, common.CALL_ONE, both=False)


def parallel_tools(target: Target) -> None:
    _called(target, common.CALL_TWO, both=True)


def tool_results(target: Target) -> None:
    message = ask(target, common.CALL_TWO, tools=TOOLS)
    results = [
        {"type": "tool_result", "tool_use_id": call_id, "content": common.RESULTS[name]}
        for call_id, name, _ in _calls(message)
    ]
    turns = [
        {"role": "user", "content": common.CALL_TWO},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    common.quoted(text_of(ask(target, turns, tools=TOOLS)))


def images(target: Target) -> None:
    source = {"type": "base64", "media_type": common.PICTURE_TYPE, "data": common.PICTURE}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
    common.said(text_of(ask(target, content, kind="vision")), common.PICTURE_TYPE)


def json_schema(target: Target) -> None:
    common.fits(text_of(ask(target, "Report.", output_config=FORMAT)))
    common.fits(text_of(final(target, "Report.", output_config=FORMAT)))


def reasoning(target: Target) -> None:
    options: Any = {"kind": "reasoning", "thinking": THINKING}
    message = ask(target, common.THINK, **options)
    for found in (message, final(target, common.THINK, **options)):
        thought = [block for block in found.content if block.type == "thinking"]
        expect(thought and thought[0].thinking, "a thinking block", found.content)
        common.said(text_of(found))
    turns = [
        {"role": "user", "content": common.THINK},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": common.SAY},
    ]
    common.said(text_of(ask(target, turns, **options)))


def usage(target: Target) -> None:
    for found in (ask(target, common.SAY).usage, final(target, common.SAY).usage):
        common.counted(found.input_tokens, found.output_tokens)
        expect(found.cache_read_input_tokens is not None, "cache_read_input_tokens", found)
        expect(found.cache_creation_input_tokens is not None, "cache_creation_input_tokens", found)
    with client(target) as sdk:
        first = next(iter(sdk.messages.create(**request(target, common.SAY), stream=True)))
    expect(first.message.usage.input_tokens > 0, "usage in message_start", first)


def error(target: Target) -> None:
    with common.raises(anthropic.AuthenticationError, status=401), client(target, common.WRONG_KEY) as sdk:
        sdk.messages.create(**request(target, common.SAY))
    with common.raises(anthropic.NotFoundError, status=404, words="not_found_error"), client(target) as sdk:
        sdk.messages.create(**{**request(target, common.SAY), "model": common.UNKNOWN_MODEL})
    with common.raises(anthropic.BadRequestError, status=400, words="invalid_request_error"):
        ask(target, common.SAY, stop_sequences="stop")


def cancel(target: Target) -> None:
    target = target.slow
    with client(target) as sdk, sdk.messages.stream(**request(target, common.SAY)) as answer:
        pieces = [next(answer.text_stream) for _ in range(3)]
    expect(all(pieces), "the first pieces", pieces)


FEATURES = {
    "chat": chat,
    "stream": stream,
    "tools": tools,
    "parallel tools": parallel_tools,
    "tool results": tool_results,
    "images": images,
    "JSON schema": json_schema,
    "reasoning": reasoning,
    "usage": usage,
    "error": error,
    "cancel": cancel,
}

if __name__ == "__main__":
    common.run(FEATURES)
