"""A caller's request to `generateContent`, read into the canonical form."""

import msgspec

from keyrelay.core.conversation import Conversation, Effort, Format, Reasoning, Sampling, Tool, ToolChoice
from keyrelay.core.requests import CallRequest
from keyrelay.wire.gemini import shapes
from keyrelay.wire.gemini.caller_contents import ContentsReader, refuse
from keyrelay.wire.gemini.common import said
from keyrelay.wire.gemini.names import read
from keyrelay.wire.gemini.schemas import json_schema

_EFFORTS: dict[str, Effort | None] = {
    "": None,
    "THINKING_LEVEL_UNSPECIFIED": None,
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}
_JSON = "application/json"
_PLAIN = frozenset({"", "text/plain", _JSON})
_MODES = frozenset({"", "MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"})


def _raw_members(kind: type[shapes.Shape]) -> tuple[tuple[str, str], ...]:
    """The members of a kind that stay raw, which is what the canonical form cannot hold, with the caller's names."""
    fields = msgspec.structs.fields(kind)
    return tuple((field.name, field.encode_name) for field in fields if field.type is msgspec.Raw)


_NOT_HELD: dict[type[shapes.Shape], tuple[tuple[str, str], ...]] = {
    kind: tuple(pair for pair in _raw_members(kind) if pair[0] not in {"response_schema", "response_json_schema"})
    for kind in (shapes.Body, shapes.GenerationConfig, shapes.ToolConfig, shapes.Tool)
}


def read_conversation(request: CallRequest) -> Conversation:
    """The whole request. Raise CallerError (400) that points to the field at fault."""
    body = read(request.body, shapes.Body)
    contents = _listed(body.contents)
    if not contents:
        raise refuse("contents", "expected at least one turn", "missing_field")
    reader = ContentsReader()
    messages = reader.system(body.system_instruction) + reader.messages(contents)
    config = body.generation_config or shapes.GenerationConfig()
    left_out = [*_not_held(body), *reader.left_out]
    tools = _tools(body.tools or [], left_out)
    return Conversation(
        messages=messages,
        tools=tools,
        tool_choice=_tool_choice(body.tool_config, left_out),
        format=_format(config, left_out),
        reasoning=_reasoning(config.thinking_config),
        sampling=_sampling(config),
        max_output_tokens=config.max_output_tokens,
        stop=tuple(config.stop_sequences or ()),
        answers=max(1, config.candidate_count or 1),
        stream=request.stream,
        tier=_tier(body.service_tier),
        left_out=tuple(left_out + _settings_not_held(config)),
    )


def _listed(contents: list[shapes.Content] | shapes.Content | str | None) -> list[shapes.Content]:
    if isinstance(contents, str):
        return [shapes.Content(parts=[shapes.Part(text=contents)])] if contents else []
    return [contents] if isinstance(contents, shapes.Content) else contents or []


def _not_held(shape: shapes.Shape) -> list[str]:
    return [camel for name, camel in _NOT_HELD[type(shape)] if said(getattr(shape, name))]


def _settings_not_held(config: shapes.GenerationConfig) -> list[str]:
    names = _not_held(config)
    if any(modality.upper() != "TEXT" for modality in config.response_modalities or ()):
        names.append("responseModalities")
    return [f"generationConfig.{name}" for name in names]


def _tools(given: list[shapes.Tool], left_out: list[str]) -> tuple[Tool, ...]:
    tools = []
    for number, tool in enumerate(given):
        left_out += [f"tools[{number}]: {name}" for name in _not_held(tool)]
        for place, function in enumerate(tool.function_declarations or ()):
            tools.append(_tool(function, f"tools[{number}].functionDeclarations[{place}]"))
    return tuple(tools)


def _tool(function: shapes.FunctionDeclaration, at: str) -> Tool:
    if not function.name:
        raise refuse(f"{at}.name", "expected the name of a function", "missing_field")
    if said(function.parameters_json_schema):
        schema = bytes(function.parameters_json_schema).decode()
    else:
        schema = json_schema(bytes(function.parameters)) if said(function.parameters) else ""
    if schema and not schema.lstrip().startswith("{"):
        raise refuse(f"{at}.parameters", "expected a schema", "invalid_type")
    return Tool(name=function.name, description=function.description or "", schema=schema)


def _tool_choice(config: shapes.ToolConfig | None, left_out: list[str]) -> ToolChoice | None:
    if config is None:
        return None
    left_out += [f"toolConfig.{name}" for name in _not_held(config)]
    calling = config.function_calling_config
    if calling is None:
        return None
    at = "toolConfig.functionCallingConfig.mode"
    mode = (calling.mode or "").upper()
    names = tuple(calling.allowed_function_names or ())
    if mode not in _MODES:
        raise refuse(at, "expected AUTO, ANY, NONE or VALIDATED")
    if mode == "ANY":
        return ToolChoice(mode="required", names=names)
    if mode == "NONE":
        return ToolChoice(mode="none")
    if mode == "VALIDATED" and not names:
        left_out.append(f"{at}: VALIDATED")
    return ToolChoice(mode="auto", names=names)


def _format(config: shapes.GenerationConfig, left_out: list[str]) -> Format | None:
    kind = (config.response_mime_type or "").lower()
    if kind not in _PLAIN:
        left_out.append(f"generationConfig.responseMimeType: {kind}")
        return None
    if said(config.response_json_schema):
        return Format(schema=bytes(config.response_json_schema).decode())
    if said(config.response_schema):
        return Format(schema=json_schema(bytes(config.response_schema)))
    return Format() if kind == _JSON else None


def _reasoning(config: shapes.ThinkingConfig | None) -> Reasoning | None:
    if config is None:
        return None
    level = (config.thinking_level or "").upper()
    if level not in _EFFORTS:
        at = "generationConfig.thinkingConfig.thinkingLevel"
        raise refuse(at, "expected MINIMAL, LOW, MEDIUM, HIGH or XHIGH")
    reasoning = Reasoning(effort=_EFFORTS[level], budget_tokens=config.thinking_budget, shown=config.include_thoughts)
    return None if reasoning == Reasoning() else reasoning


def _sampling(config: shapes.GenerationConfig) -> Sampling:
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=None if config.top_k is None else int(config.top_k),
        seed=config.seed,
        presence_penalty=config.presence_penalty,
        frequency_penalty=config.frequency_penalty,
        logprobs=config.response_logprobs,
        top_logprobs=config.logprobs,
    )


def _tier(tier: str | None) -> str:
    name = (tier or "").lower()
    return "" if name == "unspecified" else name
