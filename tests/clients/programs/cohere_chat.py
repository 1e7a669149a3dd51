"""The official SDK of Cohere, second version; asked of the simulated Cohere alone, for no caller speaks it."""

from typing import Any

import cohere
from cohere.core.api_error import ApiError

from tests.clients.programs import common
from tests.clients.programs.common import Call, Target, expect

TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
    for name, text, schema in common.TOOLS
]


def client(target: Target, key: str = "") -> cohere.ClientV2:
    return cohere.ClientV2(api_key=key or target.key, base_url=target.origin, timeout=common.TIMEOUT_S, max_retries=0)


def request(target: Target, content: Any, *, kind: str = "chat", **options: Any) -> dict[str, Any]:
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    return {"model": target.model(kind), "messages": messages, **options}


def ask(target: Target, content: Any, **options: Any) -> Any:
    return client(target).chat(**request(target, content, **options))


def events(target: Target, content: Any, **options: Any) -> list[Any]:
    return list(client(target).chat_stream(**request(target, content, **options)))


def text_of(message: Any) -> str:
    return "".join(item.text for item in message.content or () if item.type == "text")


def _deltas(found: list[Any]) -> list[Any]:
    return [event.delta.message.content for event in found if event.type == "content-delta"]


def chat(target: Target) -> None:
    answer = ask(target, common.SAY)
    common.said(text_of(answer.message))
    expect(answer.finish_reason == "COMPLETE", "finish_reason COMPLETE", answer.finish_reason)


def stream(target: Target) -> None:
    found = events(target, common.SAY)
    common.streamed(content.text for content in _deltas(found))
    expect(found[0].type == "message-start" and found[-1].type == "message-end", "start and end", found)


def _calls(message: Any) -> list[Call]:
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]


def _streamed_calls(found: list[Any]) -> list[Call]:
    calls: list[list[str]] = []
    for event in found:
        if event.type == "tool-call-start":
            call = event.delta.message.tool_calls
            calls.append([call.id, call.function.name, call.function.arguments or ""])
        elif event.type == "tool-call-delta":
            calls[-1][2] += event.delta.message.tool_calls.function.arguments
    return [(call[0], call[1], call[2]) for call in calls]


def _called(target: Target, prompt: str, *, both: bool) -> None:
    answer = ask(target, prompt, tools=TOOLS)
    common.called(_calls(answer.message), both=both)
    expect(answer.finish_reason == "TOOL_CALL", "finish_reason TOOL_CALL", answer.finish_reason)
    common.called(_streamed_calls(events(target, prompt, tools=TOOLS)), both=both)


def tools(target: Target) -> None:
    _called(target, common.CALL_ONE, both=False)


def parallel_tools(target: Target) -> None:
    _called(target, common.CALL_TWO, both=True)


def tool_results(target: Target) -> None:
    message = ask(target, common.CALL_TWO, tools=TOOLS).message
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": common.RESULTS[name]}
        for call_id, name, _ in _calls(message)
    ]
    turns = [{"role": "user", "content": common.CALL_TWO}, message, *results]
    common.quoted(text_of(ask(target, turns, tools=TOOLS).message))


def images(target: Target) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": common.PICTURE_URL}},
    ]
    common.said(text_of(ask(target, content, kind="vision").message), common.PICTURE_TYPE)


def json_schema(target: Target) -> None:
    options: Any = {"response_format": {"type": "json_object", "json_schema": common.REPORT}}
    common.fits(text_of(ask(target, "Report.", **options).message))
    common.fits("".join(content.text for content in _deltas(events(target, "Report.", **options))))


def reasoning(target: Target) -> None:
    options: Any = {"kind": "reasoning", "thinking": {"type": "enabled"}}
    message = ask(target, common.THINK, **options).message
    thought = [item.thinking for item in message.content if item.type == "thinking"]
    expect(any(thought), "thinking", message)
    common.said(text_of(message))
    found = _deltas(events(target, common.THINK, **options))
    expect(any(content.thinking for content in found), "thinking in the stream", found)


def usage(target: Target) -> None:
    for found in (ask(target, common.SAY).usage, events(target, common.SAY)[-1].delta.usage):
        common.counted(int(found.tokens.input_tokens), int(found.tokens.output_tokens))


def error(target: Target) -> None:
    with common.raises(ApiError, status=404, words="model"):
        client(target).chat(model=common.UNKNOWN_MODEL, messages=[{"role": "user", "content": common.SAY}])
    with common.raises(ApiError, status=400):
        ask(target, [{"role": "user", "content": None}])


def cancel(target: Target) -> None:
    target = target.slow
    answer: Any = client(target).chat_stream(**request(target, common.SAY))
    kinds = [next(answer).type for _ in range(6)]
    answer.close()
    expect("content-delta" in kinds, "the first pieces", kinds)


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
