"""Reading a body of OpenAI's dialect as far as a simulated provider cares, and finding what is wrong with it."""

from collections.abc import Callable
from typing import Any

import msgspec

from keyrelay.simulator.asking import (
    ANY_JSON,
    BLOCK_MARKER,
    Media,
    Prompt,
    Tool,
    WrongRequestError,
    data_url,
    inline_media,
    json_object,
)
from keyrelay.simulator.texts import count_messages, count_text, text_of

__all__ = ["BLOCK_MARKER", "Prompt", "embedding_inputs", "read_prompt"]

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_INSTRUCTIONS = ("system", "developer")
_RESULTS = ("tool", "function")


class _Part(msgspec.Struct):
    type: str = ""
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    reasoning_content: str | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: dict[str, Any] | None = None
    custom: dict[str, Any] | None = None


class _AllowedTools(msgspec.Struct):
    tools: list[dict[str, Any]] = []


class _Choice(msgspec.Struct):
    type: str = ""
    function: dict[str, Any] | None = None
    custom: dict[str, Any] | None = None
    allowed_tools: _AllowedTools | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Schema(msgspec.Struct):
    name: str | None = None
    schema: dict[str, Any] | None = None


class _Format(msgspec.Struct):
    type: str = ""
    json_schema: _Schema | None = None
    schema: dict[str, Any] | None = None


class _Common(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    stop: str | list[str] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    seed: int | None = None
    response_format: _Format | None = None


class _Thinking(msgspec.Struct):
    type: str = ""


class _Chat(_Common):
    messages: list[_Message] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | _Choice | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    thinking: _Thinking | None = None
    reasoning: dict[str, Any] | None = None


class _Completion(_Common):
    prompt: str | list[Any] | None = None


class _Embeddings(msgspec.Struct):
    model: str | None = None
    dimensions: int | None = None
    encoding_format: str | None = None


_SHAPES: dict[str, msgspec.json.Decoder[Any]] = {
    "chat": msgspec.json.Decoder(_Chat),
    "completions": msgspec.json.Decoder(_Completion),
    "embeddings": msgspec.json.Decoder(_Embeddings),
}
"""The types of the members that are known, in each operation's body; others pass."""


def read_prompt(operation: str, data: bytes) -> Prompt:
    """Read a request body; whatever is wrong with it is said in the prompt, nothing is raised."""
    prompt = Prompt()
    try:
        _read(prompt, operation, data)
    except WrongRequestError as error:
        prompt.refuse(error)
    return prompt


def _read(prompt: Prompt, operation: str, data: bytes) -> None:
    _read_common(prompt, decoded(data))
    _check_shape(operation, data)
    _READERS[operation](prompt, prompt.body)
    if not prompt.model:
        raise WrongRequestError("model", "you must provide a model parameter")


def decoded(data: bytes) -> dict[str, Any]:
    """The JSON object that a body holds; WrongRequestError for anything else."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        body = None
    if not isinstance(body, dict):
        raise WrongRequestError("body", "We could not parse the JSON body of your request.")
    return body


def _check_shape(operation: str, data: bytes) -> None:
    try:
        _SHAPES[operation].decode(data)
    except msgspec.ValidationError as exc:
        problem, _, path = str(exc).partition(" - at `$")
        raise WrongRequestError(path.strip(".`"), problem) from exc


def _read_common(prompt: Prompt, body: dict[str, Any]) -> None:
    model = body.get("model")
    options = body.get("stream_options")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop")
    dimensions = body.get("dimensions")
    prompt.body = body
    prompt.model = model if isinstance(model, str) else ""
    prompt.stream = body.get("stream") is True
    prompt.include_usage = isinstance(options, dict) and options.get("include_usage") is True
    prompt.max_tokens = limit if isinstance(limit, int) else None
    prompt.stop = (stop,) if isinstance(stop, str) else _strings(stop)
    prompt.dimensions = dimensions if isinstance(dimensions, int) and dimensions > 0 else None
    prompt.encoding = str(body.get("encoding_format") or "float")


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _read_chat(prompt: Prompt, body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise WrongRequestError("messages", "'messages' is a required property and must be a non-empty array")
    for at, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise WrongRequestError(f"messages[{at}]", "each message must be an object with a 'role'")
    check_order(messages)
    prompt.input_tokens = count_messages(messages)
    if body.get("tools"):
        prompt.input_tokens += count_text(msgspec.json.encode(body["tools"]).decode())
    _read_last_turn(prompt, messages)
    _read_tools(prompt, body)
    prompt.schema = _wanted_schema(body.get("response_format"))
    prompt.thinks = _wanted_thinking(body)
    prompt.shows_thoughts = _shown(body)


def _read_last_turn(prompt: Prompt, messages: list[dict[str, Any]]) -> None:
    """What was said since the last answer; what came before it is what a provider has in its cache."""
    start = max((at for at, m in enumerate(messages) if m["role"] == "assistant"), default=-1) + 1
    if start:
        prompt.cached_tokens = count_messages(messages[: start - 1])
    said = [m for m in messages[start:] if m["role"] not in _INSTRUCTIONS]
    prompt.text = "\n".join(filter(None, (text_of(m.get("content")) for m in said if m["role"] == "user")))
    prompt.results = tuple(text_of(m.get("content")) for m in said if m["role"] in _RESULTS)
    prompt.media = tuple(
        media
        for at, message in enumerate(messages)
        if isinstance(message.get("content"), list)
        for media in _media_of(f"messages[{at}].content", message["content"])
        if at >= start
    )


def _media_of(field: str, parts: list[Any]) -> list[Media]:
    found = []
    for at, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in _PARTS:
            raise WrongRequestError(f"{field}[{at}].type", f"unsupported content part type {kind!r}")
        read = _PARTS[kind]
        if read is not None:
            found.append(read(f"{field}[{at}].{kind}", part.get(kind)))
    return found


def _image(field: str, given: Any) -> Media:
    url = given.get("url") if isinstance(given, dict) else given
    return data_url(field, str(url or ""))


def _audio(field: str, given: Any) -> Media:
    if not isinstance(given, dict) or given.get("format") not in ("wav", "mp3"):
        raise WrongRequestError(field, "must have 'data' and a 'format' of wav or mp3")
    return inline_media(field, f"audio/{given['format']}", given.get("data"))


def _file(field: str, given: Any) -> Media:
    if isinstance(given, dict) and given.get("file_id"):
        return Media(url=f"file {given['file_id']}")
    return data_url(field, str(given.get("file_data") or "") if isinstance(given, dict) else "")


_PARTS: dict[str | None, Callable[[str, Any], Media] | None] = {
    "text": None,
    "refusal": None,
    "thinking": None,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
}


def check_order(messages: list[dict[str, Any]]) -> None:
    """Refuse a result without its call, a call without its result, and arguments that are no JSON object."""
    open_calls: list[str] = []
    for at, message in enumerate(messages):
        if message["role"] == "tool":
            _close_call(f"messages[{at}]", message, open_calls)
            continue
        if open_calls:
            raise WrongRequestError(
                f"messages[{at}].role",
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                f"'tool_call_id'. The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
            )
        if message["role"] == "assistant":
            open_calls = [_call_id(f"messages[{at}].tool_calls[{n}]", c) for n, c in enumerate(calls_of(message))]
    if open_calls:
        raise WrongRequestError("messages", f"no response messages for the calls {', '.join(open_calls)}")


def _close_call(field: str, message: dict[str, Any], open_calls: list[str]) -> None:
    call_id = message.get("tool_call_id")
    if call_id not in open_calls:
        raise WrongRequestError(
            field, "messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
        )
    open_calls.remove(str(call_id))


def calls_of(message: dict[str, Any]) -> list[Any]:
    """The calls of tools that a message of the model's holds."""
    calls = message.get("tool_calls") if message.get("role") == "assistant" else None
    return calls if isinstance(calls, list) else []


def _call_id(field: str, call: Any) -> str:
    function = call.get("function") or call.get("custom") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(call.get("id"), str) or not function.get("name"):
        raise WrongRequestError(field, "a call has an 'id' and a 'function' with a 'name'")
    if "custom" not in call:
        json_object(f"{field}.function.arguments", function.get("arguments"))
    return str(call["id"])


def _read_tools(prompt: Prompt, body: dict[str, Any]) -> None:
    listed = body.get("tools")
    prompt.tools = tuple(_tool(f"tools[{at}]", tool) for at, tool in enumerate(listed or ()))
    prompt.parallel = body.get("parallel_tool_calls") is not False
    choice = body.get("tool_choice")
    if choice is not None and not prompt.tools and choice not in ("none", "auto"):
        raise WrongRequestError("tool_choice", "'tool_choice' is only allowed when 'tools' are specified.")
    if isinstance(choice, dict):
        prompt.calling = "required"
        prompt.callable_names = _chosen_names(choice)
    elif choice in ("required", "any"):
        prompt.calling = "required"
    elif choice == "none":
        prompt.calling = "none"
    elif choice not in (None, "auto"):
        raise WrongRequestError("tool_choice", f"Invalid value: {choice!r}")
    unknown = set(prompt.callable_names) - {tool.name for tool in prompt.tools}
    if unknown:
        raise WrongRequestError("tool_choice", f"Tool choice '{min(unknown)}' not found in 'tools' parameter.")


def _tool(field: str, tool: Any) -> Tool:
    kind = tool.get("type", "function") if isinstance(tool, dict) else ""
    given = tool.get(kind) if isinstance(tool, dict) else None
    if kind not in ("function", "custom") or not isinstance(given, dict) or not given.get("name"):
        raise WrongRequestError(field, "a tool is {type: 'function', function: {name, description, parameters}}")
    if not isinstance(given.get("parameters") or {}, dict):
        raise WrongRequestError(f"{field}.function.parameters", "must be a JSON schema object")
    return Tool(str(given["name"]), given.get("parameters"), custom=kind == "custom")


def _chosen_names(choice: dict[str, Any]) -> tuple[str, ...]:
    allowed = choice.get("allowed_tools")
    if isinstance(allowed, dict):
        return tuple(name for tool in allowed.get("tools", ()) for name in _chosen_names(tool))
    named = choice.get("function") or choice.get("custom") or {}
    return (str(named["name"]),) if named.get("name") else ()


def _wanted_schema(response_format: Any) -> Any:
    """The JSON schema that the answer has to satisfy, None for free text."""
    if not isinstance(response_format, dict):
        return None
    if response_format.get("type") == "json_object":
        return response_format.get("schema", ANY_JSON)
    if response_format.get("type") == "json_schema":
        wanted = response_format.get("json_schema")
        if not isinstance(wanted, dict) or not wanted.get("name"):
            raise WrongRequestError("response_format.json_schema.name", "Missing required parameter.")
        return wanted.get("schema", ANY_JSON)
    return None


def _wanted_thinking(body: dict[str, Any]) -> bool | None:
    """Whether a caller asked for thoughts, in the words of any provider of this dialect."""
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and "type" in thinking:
        return bool(thinking["type"] != "disabled")
    effort = body.get("reasoning_effort")
    reasoning = body.get("reasoning")
    if isinstance(reasoning, dict):
        effort = reasoning.get("effort", "none" if reasoning.get("enabled") is False else effort)
    if body.get("prompt_mode") == "reasoning":
        return True
    return None if effort is None else effort != "none"


def _shown(body: dict[str, Any]) -> bool:
    reasoning = body.get("reasoning")
    excluded = isinstance(reasoning, dict) and reasoning.get("exclude") is True
    return not excluded and body.get("include_reasoning") is not False and body.get("reasoning_format") != "hidden"


def _read_completion(prompt: Prompt, body: dict[str, Any]) -> None:
    text = body.get("prompt")
    if isinstance(text, list):
        text = "".join(part for part in text if isinstance(part, str))
    if not isinstance(text, str):
        raise WrongRequestError("prompt", "'prompt' is a required property")
    prompt.text = text
    prompt.input_tokens = max(count_text(text), 1)
    prompt.schema = _wanted_schema(body.get("response_format"))


def _read_embeddings(prompt: Prompt, body: dict[str, Any]) -> None:
    prompt.inputs = tuple(embedding_inputs(body))
    if not prompt.inputs:
        raise WrongRequestError("input", "'input' is a required property and must not be empty")
    prompt.stream = False
    read_inputs(prompt)


def read_inputs(prompt: Prompt) -> None:
    """The text and the tokens of the inputs of an embeddings request."""
    prompt.text = " ".join(item for item in prompt.inputs if isinstance(item, str))
    prompt.input_tokens = sum(max(count_text(i), 1) if isinstance(i, str) else len(i) for i in prompt.inputs)


def embedding_inputs(body: dict[str, Any]) -> list[str | list[int]]:
    """The inputs of an embeddings request, one for each vector: strings or lists of token numbers."""
    given = body.get("input")
    if isinstance(given, str):
        return [given] if given else []
    if not isinstance(given, list):
        return []
    if given and all(isinstance(item, int) for item in given):
        return [given]
    return [item for item in given if isinstance(item, (str, list))]


_READERS: dict[str, Callable[[Prompt, dict[str, Any]], None]] = {
    "chat": _read_chat,
    "completions": _read_completion,
    "embeddings": _read_embeddings,
}
