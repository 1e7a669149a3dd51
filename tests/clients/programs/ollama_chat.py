"""The official SDK of Ollama: chat, and generate where it is asked for a picture."""

from typing import Any

import ollama

from tests.clients.programs import common
from tests.clients.programs.common import Call, Target, expect

TOOLS: Any = [
    {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
    for name, text, schema in common.TOOLS
]


def client(target: Target, key: str = "") -> ollama.Client:
    headers = {"Authorization": f"Bearer {key or target.key}"}
    return ollama.Client(host=target.origin, headers=headers, timeout=common.TIMEOUT_S)


def ask(target: Target, content: Any, *, kind: str = "chat", **options: Any) -> Any:
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    return client(target).chat(model=target.model(kind), messages=messages, **options)


def chunks(target: Target, content: str, *, kind: str = "chat", **options: Any) -> list[Any]:
    messages = [{"role": "user", "content": content}]
    return list(client(target).chat(model=target.model(kind), messages=messages, stream=True, **options))


def chat(target: Target) -> None:
    answer = ask(target, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": common.SAY}])
    common.said(answer.message.content)
    expect(answer.done and answer.done_reason == "stop", "done, with its reason", answer)
    sdk = client(target)
    common.said(sdk.generate(model=target.model(), prompt=common.SAY).response)
    names = {model.model for model in sdk.list().models}
    expect(target.model() in {name.removesuffix(":latest") for name in names if name}, "the model is listed", names)
    shown = sdk.show(target.model())
    expect(shown.modelinfo and "completion" in (shown.capabilities or ()), "what show tells", shown)


def stream(target: Target) -> None:
    found = chunks(target, common.SAY)
    common.streamed(chunk.message.content for chunk in found)
    expect(found[-1].done and found[-1].done_reason == "stop", "done, with its reason", found[-1])
    pieces = client(target).generate(model=target.model(), prompt=common.SAY, stream=True)
    common.streamed(piece.response for piece in pieces)


def _calls(messages: list[Any]) -> list[Call]:
    # Ollama's calls have no ids: their places tell them apart.
    calls = [call for message in messages for call in message.tool_calls or ()]
    return [(str(at), call.function.name, call.function.arguments) for at, call in enumerate(calls, 1)]


def _called(target: Target, prompt: str, *, both: bool) -> None:
    common.called(_calls([ask(target, prompt, tools=TOOLS).message]), both=both)
    common.called(_calls([chunk.message for chunk in chunks(target, prompt, tools=TOOLS)]), both=both)


def tools(target: Target) -> None:
    _called(target, common.CALL_ONE, both=False)


def parallel_tools(target: Target) -> None:
    _called(target, common.CALL_TWO, both=True)


def tool_results(target: Target) -> None:
    message = ask(target, common.CALL_TWO, tools=TOOLS).message
    results = [{"role": "tool", "tool_name": name, "content": common.RESULTS[name]} for _, name, _ in _calls([message])]
    turns = [{"role": "user", "content": common.CALL_TWO}, message, *results]
    common.quoted(ask(target, turns, tools=TOOLS).message.content)


def images(target: Target) -> None:
    content = [{"role": "user", "content": "What is this?", "images": [common.picture()]}]
    common.said(ask(target, content, kind="vision").message.content, common.PICTURE_TYPE)
    told = client(target).generate(model=target.model("vision"), prompt="What is this?", images=[common.picture()])
    common.said(told.response, common.PICTURE_TYPE)


def json_schema(target: Target) -> None:
    common.fits(ask(target, "Report.", format=common.REPORT).message.content)
    common.fits("".join(chunk.message.content or "" for chunk in chunks(target, "Report.", format=common.REPORT)))


def reasoning(target: Target) -> None:
    message = ask(target, common.THINK, kind="reasoning", think=True).message
    expect(message.thinking, "thinking", message)
    common.said(message.content)
    found = chunks(target, common.THINK, kind="reasoning", think=True)
    expect(any(chunk.message.thinking for chunk in found), "thinking in the stream", found)
    turns = [{"role": "user", "content": common.THINK}, message, {"role": "user", "content": common.SAY}]
    common.said(ask(target, turns, kind="reasoning", think=True).message.content)


def usage(target: Target) -> None:
    for found in (ask(target, common.SAY), chunks(target, common.SAY)[-1]):
        common.counted(found.prompt_eval_count, found.eval_count)
        expect(found.total_duration is not None, "total_duration", found)


def error(target: Target) -> None:
    with common.raises(ollama.ResponseError, status=401):
        client(target, common.WRONG_KEY).chat(model=target.model(), messages=[{"role": "user", "content": "x"}])
    with common.raises(ollama.ResponseError, status=404, words="model"):
        client(target).chat(model=common.UNKNOWN_MODEL, messages=[{"role": "user", "content": common.SAY}])
    with common.raises(ollama.ResponseError, status=400):
        ask(target, [{"role": "nobody", "content": common.SAY}])


def cancel(target: Target) -> None:
    target = target.slow
    messages = [{"role": "user", "content": common.SAY}]
    answer: Any = client(target).chat(model=target.model(), messages=messages, stream=True)
    pieces = [next(answer).message.content for _ in range(3)]
    answer.close()
    expect(any(pieces), "the first pieces", pieces)


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
