"""The official SDK of OpenAI: chat completions."""

from typing import Any

import openai

from tests.clients.programs import common
from tests.clients.programs.common import Call, Target, expect

TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
    for name, text, schema in common.TOOLS
]
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "report", "schema": common.REPORT, "strict": True}}


def client(target: Target, key: str = "") -> Any:
    return openai.OpenAI(
        base_url=f"{target.origin}/v1", api_key=key or target.key, max_retries=0, timeout=common.TIMEOUT_S
    )


def ask(target: Target, content: Any, *, kind: str = "chat", **options: Any) -> Any:
    messages = content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    with client(target) as sdk:
        return sdk.chat.completions.create(model=target.model(kind), messages=messages, **options)


def chunks(target: Target, content: Any, *, kind: str = "chat", **options: Any) -> list[Any]:
    with client(target) as sdk:
        given = {"model": target.model(kind), "messages": [{"role": "user", "content": content}], "stream": True}
        return list(sdk.chat.completions.create(**given, **options))


def chat(target: Target) -> None:
    answer = ask(target, common.SAY)
    common.said(answer.choices[0].message.content)
    expect(answer.choices[0].finish_reason == "stop", "finish_reason stop", answer.choices[0].finish_reason)
    expect(answer.id and answer.created and answer.object == "chat.completion", "id, created, object", answer)


def stream(target: Target) -> None:
    found = chunks(target, common.SAY)
    common.streamed(chunk.choices[0].delta.content for chunk in found if chunk.choices)
    expect(found[0].choices[0].delta.role == "assistant", "the first piece has the role", found[0])
    expect(found[-1].choices[0].finish_reason == "stop", "the last piece has finish_reason", found[-1])
    expect(len({chunk.id for chunk in found}) == 1, "one id for the whole stream")


def _calls(message: Any) -> list[Call]:
    return [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls or ()]


def _streamed_calls(found: list[Any]) -> list[Call]:
    calls: dict[int, list[str]] = {}
    for chunk in found:
        for delta in (chunk.choices[0].delta.tool_calls or ()) if chunk.choices else ():
            call = calls.setdefault(delta.index, [delta.id, delta.function.name, ""])
            call[2] += delta.function.arguments or ""
    expect(list(calls) == list(range(len(calls))), "calls are numbered from 0", list(calls))
    return [(call[0], call[1], call[2]) for call in calls.values()]


def _called(target: Target, prompt: str, *, both: bool) -> None:
    answer = ask(target, prompt, tools=TOOLS)
    common.called(_calls(answer.choices[0].message), both=both)
    expect(answer.choices[0].finish_reason == "tool_calls", "finish_reason tool_calls", answer.choices[0].finish_reason)
    found = chunks(target, prompt, tools=TOOLS)
    common.called(_streamed_calls(found), both=both)
    expect(found[-1].choices[0].finish_reason == "tool_calls", "finish_reason tool_calls", found[-1])


def tools(target: Target) -> None:
    _called(target, common.CALL_ONE, both=False)


def parallel_tools(target: Target) -> None:
    _called(target, common.CALL_TWO, both=True)


def tool_results(target: Target) -> None:
    question = {"role": "user", "content": common.CALL_TWO}
    message = ask(target, [question], tools=TOOLS).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call_id, "content": common.RESULTS[name]}
        for call_id, name, _ in _calls(message)
    ]
    answer = ask(target, [question, message.model_dump(exclude_none=True), *results], tools=TOOLS)
    common.quoted(answer.choices[0].message.content)


def images(target: Target) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": common.PICTURE_URL}},
    ]
    common.said(ask(target, content, kind="vision").choices[0].message.content, common.PICTURE_TYPE)


def json_schema(target: Target) -> None:
    common.fits(ask(target, "Report.", response_format=FORMAT).choices[0].message.content)
    found = chunks(target, "Report.", response_format=FORMAT)
    common.fits("".join(chunk.choices[0].delta.content or "" for chunk in found if chunk.choices))


def reasoning(target: Target) -> None:
    message = ask(target, common.THINK, kind="reasoning", reasoning_effort="high").choices[0].message
    expect(getattr(message, "reasoning_content", None), "reasoning_content", message)
    common.said(message.content)
    found = chunks(target, common.THINK, kind="reasoning", reasoning_effort="high")
    thought = [getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in found if chunk.choices]
    expect(any(thought), "reasoning_content in the stream", found)


def usage(target: Target) -> None:
    options: Any = {"stream_options": {"include_usage": True}}
    for found in (ask(target, common.SAY).usage, chunks(target, common.SAY, **options)[-1].usage):
        expect(found is not None, "usage")
        common.counted(found.prompt_tokens, found.completion_tokens, found.total_tokens)
        expect(found.prompt_tokens_details is not None, "prompt_tokens_details", found)
        expect(found.prompt_tokens_details.cached_tokens is not None, "cached_tokens", found)


def error(target: Target) -> None:
    messages: Any = [{"role": "user", "content": common.SAY}]
    with common.raises(openai.AuthenticationError, status=401), client(target, common.WRONG_KEY) as sdk:
        sdk.chat.completions.create(model=target.model(), messages=messages)
    with common.raises(openai.NotFoundError, status=404, words="model"), client(target) as sdk:
        sdk.chat.completions.create(model=common.UNKNOWN_MODEL, messages=messages)
    wrong: Any = [{"role": "nobody", "content": common.SAY}]
    with common.raises(openai.BadRequestError, openai.UnprocessableEntityError):
        ask(target, wrong)


def cancel(target: Target) -> None:
    target = target.slow
    with client(target) as sdk:
        messages: Any = [{"role": "user", "content": common.SAY}]
        answer = sdk.chat.completions.create(model=target.model(), messages=messages, stream=True)
        pieces = [next(answer) for _ in range(3)]
        answer.close()
    expect(any(piece.choices[0].delta.content for piece in pieces), "the first pieces", pieces)


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
