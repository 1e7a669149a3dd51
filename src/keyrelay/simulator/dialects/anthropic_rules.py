"""What Anthropic takes of a request's members and parameters."""

from collections.abc import Callable
from typing import Any

from keyrelay.simulator.asking import WrongRequestError
from keyrelay.simulator.members import Either, Members

_LEAST_BUDGET = 1024
_NEWEST = "2026-10-21"
_MARK = {"type": str, "ttl": str}
_SOURCE = {"type": str, "media_type": str, "data": str, "url": str, "file_id": str, "content": object}
_TEXT = {"type": str, "text": str, "cache_control": _MARK, "citations": object}
_TOOL = {
    "type": str, "name": str, "description": str, "input_schema": dict, "cache_control": _MARK, "strict": bool,
    "defer_loading": bool, "allowed_callers": list, "input_examples": list, "eager_input_streaming": bool,
}  # fmt: skip
_BODY = {
    "model": str,
    "max_tokens": int,
    "messages": [{"role": str, "content": Either(str, [dict])}],
    "system": Either(str, [_TEXT]),
    "stop_sequences": [str],
    "stream": bool,
    "temperature": float,
    "top_p": float,
    "top_k": int,
    "tools": [Either(dict)],
    "tool_choice": {"type": str, "name": str, "disable_parallel_tool_use": bool},
    "thinking": {"type": str, "budget_tokens": int, "display": str},
    "output_config": {"effort": str, "format": {"type": str, "schema": dict}},
    "metadata": {"user_id": str},
    "service_tier": str,
    "cache_control": _MARK,
    "container": object,
    "diagnostics": object,
    "inference_geo": str,
    "speed": str,
    "user_profile_id": str,
    "workspace_id": str,
}
_BETA = {
    **_BODY,
    "betas": list,
    "context_management": object,
    "mcp_servers": list,
    "compaction": object,
    "fallbacks": object,
    "billing_policy": object,
    "thread": object,
    "output_format": object,
}
_BLOCKS = {
    "text": _TEXT,
    "image": {"type": str, "source": _SOURCE, "cache_control": _MARK, "transformations": object},
    "document": {
        "type": str, "source": _SOURCE, "cache_control": _MARK, "title": str, "context": str, "citations": object,
    },
    "thinking": {"type": str, "thinking": str, "signature": str},
    "redacted_thinking": {"type": str, "data": str},
    "tool_use": {
        "type": str, "id": str, "name": str, "input": object, "cache_control": _MARK, "caller": object,
        "toolset_name": str,
    },
    "tool_result": {
        "type": str, "tool_use_id": str, "content": Either(str, [dict]), "is_error": bool, "cache_control": _MARK,
        "toolset_name": str,
    },
}  # fmt: skip


def _unknown(path: str, name: str) -> WrongRequestError:
    return WrongRequestError(f"{path}.{name}" if path else name, "Extra inputs are not permitted")


_PLAIN_MEMBERS = Members({"body": _BODY, "tool": _TOOL, **_BLOCKS}, _unknown, indexes=".{}")
_BETA_MEMBERS = Members({"body": _BETA}, _unknown, indexes=".{}")


def check_members(body: dict[str, Any], *, beta: bool) -> None:
    """Raise WrongRequestError for a member that the API does not know; `beta` opens the members of its betas."""
    (_BETA_MEMBERS if beta else _PLAIN_MEMBERS).check(body, "body")
    for at, tool in enumerate(body.get("tools") or ()):
        if isinstance(tool, dict) and tool.get("type") in (None, "custom"):
            _PLAIN_MEMBERS.check(tool, "tool", f"tools.{at}.custom")
    for at, message in enumerate(body.get("messages") or ()):
        content = message.get("content")
        for n, block in enumerate(content if isinstance(content, list) else ()):
            if str(block.get("type")) in _BLOCKS:
                _PLAIN_MEMBERS.check(block, block["type"], f"messages.{at}.content.{n}.{block['type']}")


def check_parameters(body: dict[str, Any], version: str, *, counting: bool) -> None:
    """Raise WrongRequestError for a value that the API does not take."""
    if not counting and body.get("max_tokens") is None:
        raise WrongRequestError("max_tokens", "Field required")
    if version == _NEWEST:
        for name in ("temperature", "top_p", "top_k"):
            if body.get(name) is not None:
                raise WrongRequestError(name, f"`{name}` is not supported in this version of the API")
    for name, wrong, problem in _RULES:
        if body.get(name) is not None and wrong(body[name]):
            raise WrongRequestError(name, problem)
    _check_thinking(body)


def _check_thinking(body: dict[str, Any]) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind, budget = thinking.get("type"), thinking.get("budget_tokens")
    if kind not in ("adaptive", "enabled", "disabled", "between_tools"):
        raise WrongRequestError("thinking.type", f"Input tag '{kind}' does not match any of the expected tags")
    if kind == "enabled":
        if budget is None:
            raise WrongRequestError("thinking.enabled.budget_tokens", "Field required")
        if budget < _LEAST_BUDGET:
            raise WrongRequestError("thinking.enabled.budget_tokens", "Input should be greater than or equal to 1024")
        if budget >= body.get("max_tokens", budget + 1):
            raise WrongRequestError("max_tokens", "`max_tokens` must be greater than `thinking.budget_tokens`")
    if kind != "disabled" and body.get("temperature") not in (None, 1):
        raise WrongRequestError("temperature", "may only be set to 1 when thinking is enabled")
    if kind != "disabled" and body.get("top_k") is not None:
        raise WrongRequestError("top_k", "must be unset when thinking is enabled")


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("max_tokens", lambda value: value < 0, "Input should be greater than or equal to 0"),
    ("temperature", lambda value: not 0 <= value <= 1, "range: 0..1"),
    ("top_p", lambda value: not 0 <= value <= 1, "range: 0..1"),
    ("top_k", lambda value: value < 0, "Input should be greater than or equal to 0"),
    (
        "stop_sequences",
        lambda value: any(not stop.strip() for stop in value),
        "each stop sequence must contain non-whitespace",
    ),
    ("service_tier", lambda value: value not in ("auto", "standard_only"), "Input should be 'auto' or 'standard_only'"),
    (
        "tool_choice",
        lambda value: value.get("type") not in ("auto", "any", "tool", "none"),
        "Input tag does not match any of the expected tags: 'auto', 'any', 'tool', 'none'",
    ),
    (
        "output_config",
        lambda value: value.get("effort") not in (None, "low", "medium", "high", "xhigh", "max"),
        "effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
    ),
    (
        "output_config",
        lambda value: (value.get("format") or {}).get("type", "json_schema") != "json_schema",
        "format: Input tag does not match 'json_schema'",
    ),
)
"""A member, when its value is refused, and what is said then."""
