"""Reading a request to Gemini, and refusing what the API refuses: unknown members first of all.

Names are taken in camelCase and, as of any protocol buffer in JSON, in snake_case.
"""

import re
from typing import Any

import msgspec

from keyrelay.simulator.asking import ANY_JSON, Media, Prompt, Tool, WrongRequestError, inline_media, noting
from keyrelay.simulator.dialects.gemini_rules import check_members, check_parameters
from keyrelay.simulator.dialects.openai_rules import is_signed, unsigned
from keyrelay.simulator.http import Request
from keyrelay.simulator.prompts import decoded, read_inputs
from keyrelay.simulator.texts import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, count_text

_MODEL = re.compile(r"/models/([^/:]+):")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult",
         "toolCall", "toolResponse")  # fmt: skip

Part = dict[str, Any]


def read_contents(operation: str, request: Request) -> Prompt:
    """Read a request; whatever is wrong with it is said in the prompt."""
    found = _MODEL.search(request.path)
    prompt = Prompt(model=found[1] if found else "", stream=":stream" in request.path)
    with noting(prompt):
        if "x-goog-api-key" in request.headers and "authorization" in request.headers:
            raise WrongRequestError(
                "", "Multiple authentication credentials received. Please pass only one form of credential."
            )
        body = prompt.body = check_members(operation, request.path, decoded(request.body))
        if operation == "embeddings":
            _read_embeddings(prompt, body)
        else:
            _read_body(prompt, body.get("generateContentRequest") or body)
    return prompt


def _read_body(prompt: Prompt, body: dict[str, Any]) -> None:
    contents = body.get("contents") or []
    if not contents:
        raise WrongRequestError("contents", "* GenerateContentRequest.contents: contents is not specified\n")
    _check_contents(contents)
    _check_calls(contents)
    config = body.get("generationConfig") or {}
    check_parameters(body, config)
    prompt.max_tokens = config.get("maxOutputTokens")
    prompt.stop = tuple(config.get("stopSequences") or ())
    if config.get("responseMimeType") == "application/json":
        prompt.schema = config.get("responseJsonSchema") or config.get("responseSchema") or ANY_JSON
    _read_tools(prompt, body)
    _read_thinking(prompt, config.get("thinkingConfig") or {})
    _read_last_turn(prompt, contents)
    system = body.get("systemInstruction")
    prompt.input_tokens = _count([*([system] if system else []), *contents]) + count_text(str(body.get("tools") or ""))


def _check_contents(contents: list[dict[str, Any]]) -> None:
    for at, content in enumerate(contents):
        if content.get("role") not in (None, "user", "model", "function"):
            raise WrongRequestError(f"contents[{at}].role", "Please use a valid role: user, model.")
        if not content.get("parts"):
            raise WrongRequestError(
                f"contents[{at}].parts",
                f"* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty.\n",
            )
        for n, part in enumerate(content["parts"]):
            _check_part(f"contents[{at}].parts[{n}]", part, content.get("role") or "user")


def _check_part(path: str, part: Part, role: str) -> None:
    data = [name for name in _DATA if part.get(name) is not None]
    if len(data) != 1 and not (not data and part.get("thoughtSignature")):
        raise WrongRequestError(
            f"{path}.data", f"{path}.data: required oneof field 'data' must have one initialized field"
        )
    if "functionCall" in data and (role != "model" or not part["functionCall"].get("name")):
        raise WrongRequestError(path, "a function call has a name and stands in a turn of role model")
    if "functionResponse" in data:
        response = part["functionResponse"]
        if role == "model" or not response.get("name"):
            raise WrongRequestError(f"{path}.function_response.name", "Name cannot be empty.")
        if not isinstance(response.get("response"), dict):
            raise WrongRequestError(f"{path}.function_response.response", "the response has to be an object")
    if "inlineData" in data:
        _media(path, part)


def _media(path: str, part: Part) -> Media:
    if part.get("fileData"):
        return Media(url=str(part["fileData"].get("fileUri") or ""))
    blob = part["inlineData"]
    if not blob.get("mimeType"):
        raise WrongRequestError(f"{path}.inline_data.mime_type", "Unable to determine the mime type")
    return inline_media(f"{path}.inline_data.data", blob["mimeType"], blob.get("data"))


def _calls(content: dict[str, Any] | None, member: str) -> list[dict[str, Any]]:
    return [part[member] for part in (content or {}).get("parts") or () if part.get(member)]


def _check_calls(contents: list[dict[str, Any]]) -> None:
    """A turn of calls comes after the user or after responses, and the next one answers each call, by its name."""
    before: list[str] = []
    previous: dict[str, Any] | None = None
    for at, content in enumerate(contents):
        calls = _calls(content, "functionCall")
        names = [response["name"] for response in _calls(content, "functionResponse")]
        if calls and (previous is None or previous.get("role") == "model"):
            raise WrongRequestError(
                f"contents[{at}]",
                "Please ensure that function call turn comes immediately after a user turn or after a function "
                "response turn.",
            )
        if before and len(names) != len(before):
            raise WrongRequestError(
                f"contents[{at}]",
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
            )
        if names and sorted(names) != sorted(before):
            raise WrongRequestError(
                f"contents[{at}]",
                "Please ensure that function response turn comes immediately after a function call turn, with the "
                f"names of its calls: {', '.join(names)}",
            )
        before, previous = [call["name"] for call in calls], content
    if before:
        raise WrongRequestError("contents", "a function call turn has to be followed by its responses")


def check_signatures(body: dict[str, Any]) -> None:
    """Refuse a first call, of a turn of the model's since the user last spoke, that has no signature or a wrong one.

    Source: Google's guide to thought signatures, read 2026-11-21; older turns are not looked at.
    """
    contents = body.get("contents") or []
    start = max((at for at, content in enumerate(contents) if _speaks(content)), default=0)
    for at, content in enumerate(contents[start:], start):
        first = next((part for part in content["parts"] if part.get("functionCall")), None)
        if first is not None and not is_signed(first.get("thoughtSignature")):
            raise unsigned(first["functionCall"]["name"], at)


def _speaks(content: dict[str, Any]) -> bool:
    return (content.get("role") or "user") == "user" and not _calls(content, "functionResponse")


def _read_tools(prompt: Prompt, body: dict[str, Any]) -> None:
    tools = []
    for at, tool in enumerate(body.get("tools") or ()):
        for n, function in enumerate(tool.get("functionDeclarations") or ()):
            path = f"tools[{at}].function_declarations[{n}]"
            if not _NAME.fullmatch(str(function.get("name") or "")):
                raise WrongRequestError(
                    f"{path}.name", "Invalid function name. Must start with a letter or an underscore."
                )
            if function.get("parameters") and function.get("parametersJsonSchema"):
                raise WrongRequestError(path, "only one of parameters and parameters_json_schema may be set")
            tools.append(Tool(function["name"], function.get("parametersJsonSchema") or function.get("parameters")))
    if len({tool.name for tool in tools}) < len(tools):
        raise WrongRequestError("tools", "Duplicate function declaration found")
    prompt.tools = tuple(tools)
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode, names = str(calling.get("mode") or "AUTO"), calling.get("allowedFunctionNames") or ()
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise WrongRequestError("tool_config.function_calling_config.mode", f'"{mode}"')
    if names and mode not in ("ANY", "VALIDATED"):
        raise WrongRequestError(
            "tool_config.function_calling_config.allowed_function_names", "should be set only when the mode is ANY"
        )
    unknown = set(names) - {tool.name for tool in tools}
    if unknown:
        raise WrongRequestError("tool_config", f"allowed_function_names has unknown names: {', '.join(unknown)}")
    prompt.callable_names = tuple(names)
    prompt.calling = {"ANY": "required", "NONE": "none"}.get(mode, "auto")  # type: ignore[assignment]  # of a table


def _read_thinking(prompt: Prompt, thinking: dict[str, Any]) -> None:
    if thinking.get("thinkingBudget") is not None and thinking.get("thinkingLevel") is not None:
        raise WrongRequestError("generation_config", "You can only set only one of thinking budget and thinking level.")
    if thinking.get("thinkingBudget") == 0:
        prompt.thinks = False
    elif thinking.get("thinkingBudget") or thinking.get("thinkingLevel") or thinking.get("includeThoughts"):
        prompt.thinks = True
    prompt.shows_thoughts = thinking.get("includeThoughts") is True


def _read_last_turn(prompt: Prompt, contents: list[dict[str, Any]]) -> None:
    start = max((at for at, content in enumerate(contents) if content.get("role") == "model"), default=-1) + 1
    if start:
        prompt.cached_tokens = _count(contents[: start - 1])
    parts = [(f"contents[{start}]", part) for content in contents[start:] for part in content["parts"]]
    prompt.text = "\n".join(part["text"] for _, part in parts if part.get("text"))
    responses = [part["functionResponse"]["response"] for _, part in parts if part.get("functionResponse")]
    prompt.results = tuple(_said(response) for response in responses)
    prompt.media = tuple(_media(path, part) for path, part in parts if part.get("inlineData") or part.get("fileData"))


def _said(response: dict[str, Any]) -> str:
    """What a response says: the text of its one member, or all of it as it is."""
    if len(response) == 1:
        (value,) = response.values()
        if isinstance(value, str):
            return value
    return msgspec.json.encode(response).decode()


def _count(contents: list[dict[str, Any]]) -> int:
    return sum(TOKENS_PER_MESSAGE + sum(map(_tokens, content.get("parts") or ())) for content in contents)


def _tokens(part: Part) -> int:
    if part.get("inlineData") or part.get("fileData"):
        return TOKENS_PER_IMAGE
    if part.get("functionResponse"):
        return count_text(_said(part["functionResponse"]["response"]))
    call = part.get("functionCall")
    return count_text(f"{call['name']}{call.get('args')}") if call else count_text(part.get("text") or "")


def _read_embeddings(prompt: Prompt, body: dict[str, Any]) -> None:
    requests = body.get("requests") if "requests" in body else [body]
    if not requests:
        raise WrongRequestError("requests", "* BatchEmbedContentsRequest.requests: requests is not specified")
    texts = []
    for at, one in enumerate(requests):
        parts = (one.get("content") or {}).get("parts") or ()
        if not parts:
            raise WrongRequestError(f"requests[{at}].content", "content is empty")
        if "requests" in body and str(one.get("model", "")).removeprefix("models/") != prompt.model:
            raise WrongRequestError(f"requests[{at}].model", "must match the model of the batch")
        texts.append("".join(part.get("text") or "" for part in parts))
    prompt.inputs = tuple(texts)
    prompt.dimensions = requests[0].get("outputDimensionality")
    read_inputs(prompt)
