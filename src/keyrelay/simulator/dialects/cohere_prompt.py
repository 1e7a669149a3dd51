"""Reading a request to Cohere, and refusing what the API refuses."""

import re
from collections.abc import Callable
from typing import Any

from keyrelay.simulator.asking import ANY_JSON, Media, Prompt, Tool, WrongRequestError, data_url, json_object, noting
from keyrelay.simulator.dialects.passing_through import ranked_texts
from keyrelay.simulator.http import Request
from keyrelay.simulator.members import Either, Members
from keyrelay.simulator.prompts import check_order, decoded, read_inputs
from keyrelay.simulator.texts import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, count_text

_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_TEXTS = 96
_MOST_STOPS = 5
_PURPOSES = ("search_document", "search_query", "classification", "clustering", "image")
_KINDS = ("float", "int8", "uint8", "binary", "ubinary", "base64")
_UNKNOWN_TO_SCHEMAS = ("additionalProperties", "$schema", "oneOf", "allOf")
_FUNCTION = {"name": str, "description": str, "parameters": dict}
_TABLE: dict[str, Any] = {
    "chat": {
        "model": str, "messages": ["message"], "tools": [{"type": str, "function": _FUNCTION}], "strict_tools": bool,
        "documents": list, "citation_options": dict, "response_format": {"type": str, "json_schema": dict},
        "safety_mode": str, "max_tokens": int, "stop_sequences": [str], "temperature": float, "seed": int,
        "frequency_penalty": float, "presence_penalty": float, "k": int, "p": float, "logprobs": bool,
        "tool_choice": str, "thinking": {"type": str, "token_budget": int}, "priority": int, "stream": bool,
        "reasoning_effort": str,
    },
    "message": {
        "role": str, "content": Either(str, ["part"]), "tool_calls": ["call"], "tool_plan": str, "citations": list,
        "tool_call_id": str,
    },
    "part": {
        "type": str, "text": str, "thinking": str, "image_url": {"url": str, "detail": str},
        "document": {"id": str, "data": object},
    },
    "call": {"id": str, "type": str, "function": {"name": str, "arguments": str}},
    "embeddings": {
        "model": str, "input_type": str, "texts": [str], "images": [str], "inputs": [dict], "embedding_types": [str],
        "output_dimension": int, "max_tokens": int, "truncate": str, "priority": int,
    },
    "rerank": {
        "model": str, "query": str, "documents": list, "top_n": int, "max_tokens_per_doc": int, "priority": int,
    },
}  # fmt: skip
_PARTS = {
    "system": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "document"),
}


def _unknown(path: str, name: str) -> WrongRequestError:
    where = f"{path}.{name}" if path else name
    return WrongRequestError(where, f"unknown field: parameter '{name}' is not a valid field")


_MEMBERS = Members(_TABLE, _unknown)


def read_request(operation: str, request: Request) -> Prompt:
    """Read a request; whatever is wrong with it is said in the prompt."""
    prompt = Prompt()
    with noting(prompt):
        body = prompt.body = decoded(request.body)
        prompt.model = str(body.get("model") or "")
        prompt.stream = operation == "chat" and body.get("stream") is True
        _MEMBERS.check(body, operation)
        if not prompt.model:
            raise WrongRequestError("model", "is required")
        _READERS[operation](prompt, body)
    return prompt


def _read_chat(prompt: Prompt, body: dict[str, Any]) -> None:
    messages = body.get("messages") or []
    if not messages:
        raise WrongRequestError("messages", "must be at least 1 message long")
    for at, message in enumerate(messages):
        _check_message(f"messages[{at}]", message)
    check_order(messages)
    if messages[-1]["role"] not in ("user", "tool"):
        raise WrongRequestError("messages", "the last message must be of role 'user' or 'tool'")
    for name, wrong, problem in _RULES:
        if body.get(name) is not None and wrong(body[name]):
            raise WrongRequestError(name, problem)
    prompt.max_tokens = body.get("max_tokens")
    prompt.stop = tuple(body.get("stop_sequences") or ())
    _read_tools(prompt, body)
    _read_format(prompt, body)
    thinking = body.get("thinking") or {}
    if thinking:
        prompt.thinks = thinking.get("type") != "disabled"
    _read_last_turn(prompt, messages)
    prompt.input_tokens = _count(messages) + count_text(str(body.get("tools") or ""))


def _check_message(path: str, message: dict[str, Any]) -> None:
    role = message.get("role")
    if role not in _PARTS:
        raise WrongRequestError(f"{path}.role", f"invalid role {role!r}")
    content = message.get("content")
    if not content and role != "tool" and not message.get("tool_calls"):
        raise WrongRequestError(f"{path}.content", "must not be empty")
    if message.get("tool_calls") and role != "assistant":
        raise WrongRequestError(f"{path}.tool_calls", "only a message of the assistant has calls")
    if role == "tool" and content is None:
        raise WrongRequestError(f"{path}.content", "is required")
    for at, part in enumerate(content if isinstance(content, list) else ()):
        if part.get("type") not in _PARTS[role]:
            raise WrongRequestError(f"{path}.content[{at}].type", f"{part.get('type')!r} is not valid for role {role}")
        if part["type"] == "image_url":
            data_url(f"{path}.content[{at}].image_url", (part.get("image_url") or {}).get("url") or "")
    for at, call in enumerate(message.get("tool_calls") or ()):
        json_object(f"{path}.tool_calls[{at}].function.arguments", (call.get("function") or {}).get("arguments"))


def _outside(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: not low <= value <= high


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("frequency_penalty", _outside(0, 1), "must be between 0 and 1 inclusive"),
    ("presence_penalty", _outside(0, 1), "must be between 0 and 1 inclusive"),
    ("temperature", lambda value: value < 0, "must be at least 0"),
    ("p", _outside(0.01, 0.99), "must be between 0.01 and 0.99 inclusive"),
    ("k", _outside(0, 500), "must be between 0 and 500 inclusive"),
    ("stop_sequences", lambda value: len(value) > _MOST_STOPS, "must have at most 5 entries"),
    ("tool_choice", lambda value: value not in ("REQUIRED", "NONE"), "must be REQUIRED or NONE"),
    ("safety_mode", lambda value: value not in ("CONTEXTUAL", "STRICT", "OFF"), "must be CONTEXTUAL, STRICT or OFF"),
)
"""A parameter, when its value is refused, and what is said then."""


def _read_tools(prompt: Prompt, body: dict[str, Any]) -> None:
    tools = []
    for at, tool in enumerate(body.get("tools") or ()):
        function = tool.get("function") or {}
        if tool.get("type") != "function" or not _TOOL_NAME.fullmatch(str(function.get("name") or "")):
            raise WrongRequestError(
                f"tools[{at}].function.name",
                "tool names can only contain letters, digits and underscores and must not start with a digit",
            )
        _check_schema(f"tools[{at}].function.parameters", function.get("parameters"))
        tools.append(Tool(function["name"], function.get("parameters")))
    prompt.tools = tuple(tools)
    choice = body.get("tool_choice")
    if choice and not tools:
        raise WrongRequestError("tool_choice", "requires tools")
    prompt.calling = "required" if choice == "REQUIRED" else "none" if choice == "NONE" else "auto"


def _check_schema(path: str, schema: Any) -> None:
    if isinstance(schema, list):
        for at, item in enumerate(schema):
            _check_schema(f"{path}[{at}]", item)
    if not isinstance(schema, dict):
        return
    refused = [name for name in _UNKNOWN_TO_SCHEMAS if name in schema]
    if refused:
        raise WrongRequestError(path, f"unsupported schema keyword '{refused[0]}'")
    for name, member in schema.items():
        inner = list(member.values()) if name == "properties" and isinstance(member, dict) else member
        if name not in ("default", "enum", "const", "examples"):
            _check_schema(f"{path}.{name}", inner)


def _read_format(prompt: Prompt, body: dict[str, Any]) -> None:
    wanted = body.get("response_format") or {}
    kind, schema = wanted.get("type", "text"), wanted.get("json_schema")
    if kind not in ("text", "json_object"):
        raise WrongRequestError("response_format.type", "must be text or json_object")
    if kind == "text":
        return
    if body.get("tools") or body.get("documents"):
        raise WrongRequestError("response_format", "is not supported with tools or documents")
    if schema is not None and (schema.get("type") != "object" or not schema.get("required")):
        raise WrongRequestError(
            "response_format.json_schema", "the top level must be an object with at least one required field"
        )
    prompt.schema = schema or ANY_JSON


def _read_last_turn(prompt: Prompt, messages: list[dict[str, Any]]) -> None:
    start = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1) + 1
    if start:
        prompt.cached_tokens = _count(messages[: start - 1])
    said = messages[start:]
    prompt.text = "\n".join(_text(m.get("content")) for m in said if m["role"] == "user")
    prompt.results = tuple(_text(m.get("content")) for m in said if m["role"] == "tool")
    prompt.media = tuple(_pictures(said))


def _pictures(messages: list[dict[str, Any]]) -> list[Media]:
    parts = [p for m in messages if isinstance(m.get("content"), list) for p in m["content"]]
    return [data_url("image_url", part["image_url"]["url"]) for part in parts if part["type"] == "image_url"]


def _text(content: Any) -> str:
    """The words of a content, those of documents among them."""
    if not isinstance(content, list):
        return str(content or "")
    return "".join(_document(p["document"]) if p["type"] == "document" else p.get("text") or "" for p in content)


def _document(document: dict[str, Any]) -> str:
    data = document.get("data")
    if isinstance(data, dict) and len(data) == 1:
        return str(next(iter(data.values())))
    return str(data)


def _count(messages: list[dict[str, Any]]) -> int:
    return sum(
        TOKENS_PER_MESSAGE + count_text(_text(message.get("content"))) + TOKENS_PER_IMAGE * len(_pictures([message]))
        for message in messages
    )


def _read_embeddings(prompt: Prompt, body: dict[str, Any]) -> None:
    if body.get("input_type") not in _PURPOSES:
        raise WrongRequestError("input_type", f"must be one of {', '.join(_PURPOSES)}")
    texts = body.get("texts") or [_text(one.get("content")) for one in body.get("inputs") or ()] or body.get("images")
    if not texts:
        raise WrongRequestError("texts", "one of texts, images and inputs is required")
    if len(texts) > _MOST_TEXTS:
        raise WrongRequestError("texts", f"must have at most {_MOST_TEXTS} entries, has {len(texts)}")
    unknown = [kind for kind in body.get("embedding_types") or () if kind not in _KINDS]
    if unknown:
        raise WrongRequestError("embedding_types", f"invalid embedding type {unknown[0]!r}")
    prompt.inputs = tuple(texts)
    prompt.dimensions = body.get("output_dimension")
    read_inputs(prompt)


def _read_ranking(prompt: Prompt, body: dict[str, Any]) -> None:
    prompt.text = ranked_texts(body)
    prompt.input_tokens = count_text(prompt.text)


_READERS: dict[str, Callable[[Prompt, dict[str, Any]], None]] = {
    "chat": _read_chat,
    "embeddings": _read_embeddings,
    "rerank": _read_ranking,
}
