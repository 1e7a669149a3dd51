"""The official SDK of OpenAI: responses, with the state that the server keeps."""

import contextlib
from typing import Any

import openai

from tests.clients.programs import common
from tests.clients.programs.common import Call, Target, expect

TOOLS: Any = [
    {"type": "function", "name": name, "description": text, "parameters": schema, "strict": False}
    for name, text, schema in common.TOOLS
]
FORMAT: Any = {"format": {"type": "json_schema", "name": "report", "schema": common.REPORT, "strict": True}}


def client(target: Target, key: str = "") -> Any:
    return openai.OpenAI(
        base_url=f"{target.origin}/v1", api_key=key or target.key, max_retries=0, timeout=common.TIMEOUT_S
    )


def ask(target: Target, given: Any, *, kind: str = "chat", **options: Any) -> Any:
    with client(target) as sdk:
        return sdk.responses.create(model=target.model(kind), input=given, **options)


def events(target: Target, given: Any, *, kind: str = "chat", **options: Any) -> list[Any]:
    with client(target) as sdk:
        return list(sdk.responses.create(model=target.model(kind), input=given, stream=True, **options))


def chat(target: Target) -> None:
    answer = ask(target, common.SAY, instructions="Be brief.")
    common.said(answer.output_text)
    expect(answer.status == "completed" and answer.object == "response", "a completed response", answer)
    with client(target) as sdk:
        again = sdk.responses.retrieve(answer.id)
        common.said(again.output_text)
        sdk.responses.delete(answer.id)
        with common.raises(openai.NotFoundError, status=404):
            sdk.responses.retrieve(answer.id)


def stream(target: Target) -> None:
    found = events(target, common.SAY)
    common.streamed(event.delta for event in found if event.type == "response.output_text.delta")
    # A provider that signs its answer adds an item of reasoning that holds the signature and no words.
    item = next(event.item for event in found if event.type == "response.output_item.added")
    expect(item.type == "message", "a message first", item)
    kinds = [
        event.type for event in found if not event.type.endswith(".delta") and getattr(event, "output_index", 0) == 0
    ]
    expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    expect(kinds == expected, "the order of events", kinds)
    expect([event.sequence_number for event in found] == list(range(len(found))), "numbers in sequence")
    common.said(found[-1].response.output_text)
    with client(target) as sdk, sdk.responses.stream(model=target.model(), input=common.SAY) as helper:
        common.said(helper.get_final_response().output_text)


def _calls(answer: Any) -> list[Call]:
    return [(item.call_id, item.name, item.arguments) for item in answer.output if item.type == "function_call"]


def _called(target: Target, prompt: str, *, both: bool) -> None:
    common.called(_calls(ask(target, prompt, tools=TOOLS)), both=both)
    found = events(target, prompt, tools=TOOLS)
    common.called(_calls(found[-1].response), both=both)
    done = [event for event in found if event.type == "response.function_call_arguments.done"]
    expect(len(done) == 1 + both, "arguments of each call", done)


def tools(target: Target) -> None:
    _called(target, common.CALL_ONE, both=False)


def parallel_tools(target: Target) -> None:
    _called(target, common.CALL_TWO, both=True)


def tool_results(target: Target) -> None:
    answer = ask(target, common.CALL_TWO, tools=TOOLS)
    results = [
        {"type": "function_call_output", "call_id": call_id, "output": common.RESULTS[name]}
        for call_id, name, _ in _calls(answer)
    ]
    kept = ask(target, results, tools=TOOLS, previous_response_id=answer.id)
    common.quoted(kept.output_text)
    said = [{"role": "user", "content": common.CALL_TWO}, *(item.model_dump() for item in answer.output)]
    whole = ask(target, [*said, *results], tools=TOOLS, store=False)
    common.quoted(whole.output_text)


def images(target: Target) -> None:
    content = [
        {"type": "input_text", "text": "What is this?"},
        {"type": "input_image", "image_url": common.PICTURE_URL, "detail": "auto"},
    ]
    answer = ask(target, [{"role": "user", "content": content}], kind="vision")
    common.said(answer.output_text, common.PICTURE_TYPE)


def json_schema(target: Target) -> None:
    common.fits(ask(target, "Report.", text=FORMAT).output_text)
    common.fits(events(target, "Report.", text=FORMAT)[-1].response.output_text)


def reasoning(target: Target) -> None:
    options: Any = {"kind": "reasoning", "reasoning": {"effort": "high", "summary": "auto"}}
    answer = ask(target, common.THINK, **options)
    found = events(target, common.THINK, **options)
    for response in (answer, found[-1].response):
        thought = [item for item in response.output if item.type == "reasoning"]
        expect(thought and any(item.summary or item.content for item in thought), "a reasoning item", response.output)
        common.said(response.output_text)
    again = ask(target, [*(item.model_dump() for item in answer.output), {"role": "user", "content": common.SAY}])
    common.said(again.output_text)


def usage(target: Target) -> None:
    for found in (ask(target, common.SAY).usage, events(target, common.SAY)[-1].response.usage):
        expect(found is not None, "usage")
        common.counted(found.input_tokens, found.output_tokens, found.total_tokens)
        expect(found.input_tokens_details.cached_tokens is not None, "cached_tokens", found)
        expect(found.output_tokens_details.reasoning_tokens is not None, "reasoning_tokens", found)


def error(target: Target) -> None:
    with common.raises(openai.AuthenticationError, status=401), client(target, common.WRONG_KEY) as sdk:
        sdk.responses.create(model=target.model(), input=common.SAY)
    with common.raises(openai.NotFoundError, status=404, words="model"), client(target) as sdk:
        sdk.responses.create(model=common.UNKNOWN_MODEL, input=common.SAY)
    with common.raises(openai.BadRequestError, status=400):
        ask(target, common.SAY, temperature="warm")


def cancel(target: Target) -> None:
    target = target.slow
    with client(target) as sdk:
        answer = sdk.responses.create(model=target.model(), input=common.SAY, stream=True)
        with contextlib.closing(answer):
            kinds = [next(answer).type for _ in range(8)]
    expect("response.output_text.delta" in kinds, "the first pieces", kinds)


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
