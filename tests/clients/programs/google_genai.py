"""The official SDK of Google: generateContent of the Gemini API."""

from typing import Any

from google import genai
from google.genai import errors, types

from tests.clients.programs import common
from tests.clients.programs.common import Call, Target, expect

TOOLS: Any = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name=name, description=text, parameters_json_schema=schema)
            for name, text, schema in common.TOOLS
        ]
    )
]
NO_AUTOMATIC_CALLS = types.AutomaticFunctionCallingConfig(disable=True)


def client(target: Target, key: str = "") -> genai.Client:
    options = types.HttpOptions(base_url=target.origin, timeout=int(common.TIMEOUT_S * 1000))
    return genai.Client(api_key=key or target.key, http_options=options)


def _config(options: dict[str, Any]) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(automatic_function_calling=NO_AUTOMATIC_CALLS, **options)


def ask(target: Target, contents: Any, *, kind: str = "chat", **options: Any) -> types.GenerateContentResponse:
    with client(target) as sdk:
        return sdk.models.generate_content(model=target.model(kind), contents=contents, config=_config(options))


def chunks(target: Target, contents: Any, *, kind: str = "chat", **options: Any) -> list[Any]:
    with client(target) as sdk:
        return list(
            sdk.models.generate_content_stream(model=target.model(kind), contents=contents, config=_config(options))
        )


def chat(target: Target) -> None:
    answer = ask(target, common.SAY, system_instruction="Be brief.")
    common.said(answer.text)
    candidate = (answer.candidates or [])[0]
    expect(candidate.finish_reason == types.FinishReason.STOP, "finishReason STOP", candidate)
    with client(target) as sdk:
        counted = sdk.models.count_tokens(model=target.model(), contents=common.SAY)
        names = {model.name for model in sdk.models.list()}
    expect((counted.total_tokens or 0) > 0, "countTokens", counted)
    expect(f"models/{target.model()}" in names, "the model is listed", sorted(filter(None, names))[:20])


def stream(target: Target) -> None:
    found = chunks(target, common.SAY)
    common.streamed(chunk.text for chunk in found)
    expect(found[-1].candidates[0].finish_reason == types.FinishReason.STOP, "finishReason STOP", found[-1])


def _parts(found: list[Any]) -> list[types.Part]:
    contents = [chunk.candidates[0].content for chunk in found if chunk.candidates]
    return [part for content in contents if content for part in content.parts or ()]


def _calls(parts: list[types.Part]) -> list[Call]:
    # Gemini's calls have no id unless the server gives one: their places tell them apart.
    calls = [part.function_call for part in parts if part.function_call]
    return [(call.id or str(at), call.name or "", call.args) for at, call in enumerate(calls, 1)]


def _called(target: Target, prompt: str, *, both: bool) -> None:
    common.called(_calls(_parts([ask(target, prompt, tools=TOOLS)])), both=both)
    common.called(_calls(_parts(chunks(target, prompt, tools=TOOLS))), both=both)


def tools(target: Target) -> None:
    _called(target, common.CALL_ONE, both=False)


def parallel_tools(target: Target) -> None:
    _called(target, common.CALL_TWO, both=True)


def tool_results(target: Target) -> None:
    for found in ([ask(target, common.CALL_TWO, tools=TOOLS)], chunks(target, common.CALL_TWO, tools=TOOLS)):
        parts = _parts(found)
        results = [
            types.Part(
                function_response=types.FunctionResponse(
                    id=part.function_call.id,
                    name=part.function_call.name,
                    response={"output": common.RESULTS[part.function_call.name or ""]},
                )
            )
            for part in parts
            if part.function_call
        ]
        turns = [
            types.Content(role="user", parts=[types.Part(text=common.CALL_TWO)]),
            types.Content(role="model", parts=parts),
            types.Content(role="user", parts=results),
        ]
        common.quoted(ask(target, turns, tools=TOOLS).text)


def images(target: Target) -> None:
    image = types.Part.from_bytes(data=common.picture(), mime_type=common.PICTURE_TYPE)
    common.said(ask(target, [image, "What is this?"], kind="vision").text, common.PICTURE_TYPE)


def json_schema(target: Target) -> None:
    options: Any = {"response_mime_type": "application/json", "response_json_schema": common.REPORT}
    common.fits(ask(target, "Report.", **options).text)
    common.fits("".join(chunk.text or "" for chunk in chunks(target, "Report.", **options)))
    typed = types.Schema(
        type=types.Type.OBJECT,
        properties={
            "harbour": types.Schema(type=types.Type.STRING),
            "metres": types.Schema(type=types.Type.NUMBER),
            "open": types.Schema(type=types.Type.BOOLEAN),
        },
        required=["harbour", "metres", "open"],
    )
    common.fits(ask(target, "Report.", response_mime_type="application/json", response_schema=typed).text)


def reasoning(target: Target) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
    answer = ask(target, common.THINK, kind="reasoning", thinking_config=thinking)
    for found in ([answer], chunks(target, common.THINK, kind="reasoning", thinking_config=thinking)):
        thought = [part.text for part in _parts(found) if part.thought]
        expect(any(thought), "a thought", found)
        common.said("".join(part.text or "" for part in _parts(found) if not part.thought))
    turns = [
        types.Content(role="user", parts=[types.Part(text=common.THINK)]),
        types.Content(role="model", parts=_parts([answer])),
        types.Content(role="user", parts=[types.Part(text=common.SAY)]),
    ]
    common.said(ask(target, turns, kind="reasoning", thinking_config=thinking).text)


def usage(target: Target) -> None:
    for answer in (ask(target, common.SAY), chunks(target, common.SAY)[-1]):
        found = answer.usage_metadata
        expect(found is not None, "usageMetadata", answer)
        common.counted(found.prompt_token_count, found.candidates_token_count)
        expect((found.total_token_count or 0) >= found.prompt_token_count + found.candidates_token_count, "total")


def error(target: Target) -> None:
    with common.raises(errors.ClientError, words="key"), client(target, common.WRONG_KEY) as sdk:
        sdk.models.generate_content(model=target.model(), contents=common.SAY)
    with common.raises(errors.ClientError, status=404, words="NOT_FOUND"), client(target) as sdk:
        sdk.models.generate_content(model=common.UNKNOWN_MODEL, contents=common.SAY)
    with common.raises(errors.ClientError, status=400, words="INVALID_ARGUMENT"):
        ask(target, [types.Content(role="nobody", parts=[types.Part(text=common.SAY)])])


def cancel(target: Target) -> None:
    target = target.slow
    with client(target) as sdk:
        answer = sdk.models.generate_content_stream(model=target.model(), contents=common.SAY)
        pieces = [next(answer).text for _ in range(3)]
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
