"""Reading a request to Anthropic's Messages, and refusing what the API refuses.

Consecutive turns of one role are merged before their order is looked at, as the API does it.
"""

import re
from collections.abc import Callable
from typing import Any

from keyrelay.simulator.asking import Media, Prompt, Tool, WrongRequestError, inline_media, noting
from keyrelay.simulator.dialects.anthropic_rules import check_members, check_parameters
from keyrelay.simulator.http import Request
from keyrelay.simulator.prompts import decoded
from keyrelay.simulator.signatures import is_genuine
from keyrelay.simulator.texts import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, count_text, text_of

_VERSIONS = ("2023-06-01", "2026-10-21")
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_NO_PREFILL = re.compile(r"claude-[a-z]+-([5-9]|\d\d)")
_THOUGHTS = ("thinking", "redacted_thinking")

Block = dict[str, Any]
Turn = tuple[str, list[tuple[str, Block]]]
"""A role and its blocks, each with its path."""


def read_messages(operation: str, request: Request) -> Prompt:
    """Read a request; whatever is wrong with it is said in the prompt."""
    prompt = Prompt()
    with noting(prompt):
        body = prompt.body = decoded(request.body)
        prompt.model = str(body.get("model") or "")
        prompt.stream = operation == "chat" and body.get("stream") is True
        version = request.headers.get("anthropic-version", "")
        if not version:
            raise WrongRequestError("anthropic-version", "header is required")
        if version not in _VERSIONS:
            raise WrongRequestError("anthropic-version", f'"{version}" is not a valid version')
        check_members(body, beta=bool(request.headers.get("anthropic-beta")))
        check_parameters(body, version, counting=operation == "count_tokens")
        _read_body(prompt, body, version)
    return prompt


def _read_body(prompt: Prompt, body: dict[str, Any], version: str) -> None:
    if not prompt.model:
        raise WrongRequestError("model", "Field required")
    prompt.max_tokens = body.get("max_tokens")
    prompt.stop = tuple(body.get("stop_sequences") or ())
    turns = _turns(body)
    _check_blocks(turns, version)
    _check_calls(turns)
    _read_tools(prompt, body)
    _read_thinking(prompt, body, turns)
    wanted = (body.get("output_config") or {}).get("format")
    prompt.schema = wanted.get("schema") if wanted else None
    _read_last_turn(prompt, turns)
    _count(prompt, body)


def check_prefill(prompt: Prompt, model: str) -> None:
    """Refuse a conversation that ends with the model's own words where a model goes on from none."""
    ends = prompt.body["messages"][-1]["role"] == "assistant"
    if ends and (prompt.thinks or _NO_PREFILL.match(model)):
        raise WrongRequestError(
            "messages",
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        )


def _turns(body: dict[str, Any]) -> list[Turn]:
    if not body.get("messages"):
        raise WrongRequestError("messages", "at least one message is required")
    turns: list[Turn] = []
    last = len(body["messages"]) - 1
    for at, message in enumerate(body["messages"]):
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise WrongRequestError(f"messages.{at}.role", "Input should be 'user' or 'assistant'")
        if content is None:
            raise WrongRequestError(f"messages.{at}.content", "Field required")
        if not content and not (at == last and role == "assistant"):
            raise WrongRequestError(
                f"messages.{at}",
                "all messages must have non-empty content except for the optional final assistant message",
            )
        blocks = [{"type": "text", "text": content}] if content and isinstance(content, str) else content or []
        named = [(f"messages.{at}.content.{n}", block) for n, block in enumerate(blocks)]
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(named)
        else:
            turns.append((role, named))
    return turns


def _check_blocks(turns: list[Turn], version: str) -> None:
    for role, blocks in turns:
        for path, block in blocks:
            allowed = _BLOCKS.get(str(block.get("type")))
            if allowed is None or role not in allowed[0]:
                raise WrongRequestError(path, f"Input tag '{block.get('type')}' is not allowed in a turn of {role}")
            allowed[1](path, block)
            if version == _VERSIONS[1] and role == "user" and block.get("type") == "text" and block.get("citations"):
                raise WrongRequestError(f"{path}.citations", "must be empty in the blocks of a user")


def _check_text(path: str, block: Block) -> None:
    if not isinstance(block.get("text"), str):
        raise WrongRequestError(f"{path}.text", "Field required")
    if not block["text"]:
        raise WrongRequestError("messages", "text content blocks must be non-empty")
    if not block["text"].strip():
        raise WrongRequestError("messages", "text content blocks must contain non-whitespace text")


def _media(path: str, block: Block) -> Media:
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    if not isinstance(source, dict) or kind not in ("base64", "url", "text", "file", "content"):
        raise WrongRequestError(f"{path}.source", "Field required")
    if kind == "url":
        return Media(url=str(source.get("url") or ""))
    if kind == "base64":
        types = _PICTURES if block["type"] == "image" else ("application/pdf",)
        return inline_media(f"{path}.source", str(source.get("media_type")), source.get("data"), types=types)
    if kind == "text":
        return Media(media_type="text/plain", size_bytes=len(str(source.get("data", "")).encode()))
    return Media(url=f"file {source.get('file_id', '')}")


def _check_media(path: str, block: Block) -> None:
    _media(path, block)


def _check_thinking(path: str, block: Block) -> None:
    text, signature = block.get("thinking"), block.get("signature")
    if not isinstance(text, str) or not isinstance(signature, str):
        raise WrongRequestError(f"{path}.thinking.signature", "Field required")
    if not is_genuine("anthropic", text, signature):
        raise WrongRequestError(path, "Invalid `signature` in `thinking` block")


def _check_redacted(path: str, block: Block) -> None:
    if not isinstance(block.get("data"), str):
        raise WrongRequestError(f"{path}.redacted_thinking.data", "Field required")


def _check_call(path: str, block: Block) -> None:
    if not _TOOL_ID.fullmatch(str(block.get("id") or "")):
        raise WrongRequestError(f"{path}.tool_use.id", f"String should match pattern '^{_TOOL_ID.pattern}$'")
    if not _TOOL_NAME.fullmatch(str(block.get("name") or "")):
        raise WrongRequestError(f"{path}.tool_use.name", f"String should match pattern '^{_TOOL_NAME.pattern}$'")
    if not isinstance(block.get("input"), dict):
        raise WrongRequestError(f"{path}.tool_use.input", "Input should be a valid dictionary")


def _check_result(path: str, block: Block) -> None:
    if not isinstance(block.get("tool_use_id"), str):
        raise WrongRequestError(f"{path}.tool_result.tool_use_id", "Field required")
    content = block.get("content")
    for at, part in enumerate(content if isinstance(content, list) else ()):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in ("text", "image", "document", "search_result", "tool_reference"):
            raise WrongRequestError(f"{path}.tool_result.content.{at}", f"Input tag '{kind}' is not allowed here")
        if kind in ("text", "image"):
            (_check_text if kind == "text" else _check_media)(f"{path}.tool_result.content.{at}", part)


def _taken(_: str, __: Block) -> None:
    """What the simulator does not look into."""


_BLOCKS: dict[str, tuple[tuple[str, ...], Callable[[str, Block], None]]] = {
    "text": (("user", "assistant", "system"), _check_text),
    "image": (("user",), _check_media),
    "document": (("user",), _check_media),
    "search_result": (("user",), _taken),
    "thinking": (("assistant",), _check_thinking),
    "redacted_thinking": (("assistant",), _check_redacted),
    "tool_use": (("assistant",), _check_call),
    "tool_result": (("user",), _check_result),
    "server_tool_use": (("assistant",), _taken),
    "web_search_tool_result": (("assistant",), _taken),
}
"""In whose turns a block may stand, and what is checked of it."""


def _check_calls(turns: list[Turn]) -> None:
    """Each call has its result at the beginning of the next turn, and each result its call in the one before."""
    calls: list[str] = []
    for at, (role, blocks) in enumerate(turns):
        results = [block["tool_use_id"] for _, block in blocks if block["type"] == "tool_result"]
        missing = [call for call in calls if call not in results]
        leading = len([b for _, b in blocks[: len(results)] if b["type"] == "tool_result"])
        if calls and (missing or leading < len(results)):
            raise WrongRequestError(
                f"messages.{at - 1}",
                "`tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing or calls)}. Each `tool_use` block must have a corresponding `tool_result` block "
                "in the next message.",
            )
        unexpected = [result for result in results if result not in calls]
        if unexpected:
            raise WrongRequestError(
                f"messages.{at}.content",
                f"unexpected `tool_use_id` found in `tool_result` blocks: {unexpected[0]}. Each `tool_result` block "
                "must have a corresponding `tool_use` block in the previous message.",
            )
        calls = [block["id"] for _, block in blocks if block["type"] == "tool_use"] if role == "assistant" else []
        if len(set(calls)) < len(calls):
            raise WrongRequestError(f"messages.{at}.content", "`tool_use` ids must be unique")
    if calls:
        raise WrongRequestError("messages", f"`tool_use` ids were found without `tool_result` blocks: {calls[0]}")


def _read_tools(prompt: Prompt, body: dict[str, Any]) -> None:
    tools = []
    for at, tool in enumerate(body.get("tools") or ()):
        if tool.get("type") not in (None, "custom"):
            continue  # one that the provider runs by itself
        if not _TOOL_NAME.fullmatch(str(tool.get("name") or "")):
            raise WrongRequestError(f"tools.{at}.custom.name", f"String should match '^{_TOOL_NAME.pattern}$'")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise WrongRequestError(f"tools.{at}.custom.input_schema.type", "Field required: 'object'")
        tools.append(Tool(tool["name"], schema))
    if len({tool.name for tool in tools}) < len(tools):
        raise WrongRequestError("tools", "Tool names must be unique.")
    prompt.tools = tuple(tools)
    _read_choice(prompt, body)


def _read_choice(prompt: Prompt, body: dict[str, Any]) -> None:
    choice = body.get("tool_choice") or {}
    if choice and not body.get("tools") and choice.get("type") != "none":
        raise WrongRequestError("tool_choice", "may only be specified while providing `tools`")
    prompt.parallel = choice.get("disable_parallel_tool_use") is not True
    if choice.get("type") in ("any", "tool"):
        prompt.calling = "required"
    elif choice.get("type") == "none":
        prompt.calling = "none"
    if choice.get("type") == "tool":
        if choice.get("name") not in {tool.name for tool in prompt.tools}:
            raise WrongRequestError("tool_choice", f"Tool '{choice.get('name')}' not found in provided tools")
        prompt.callable_names = (choice["name"],)


def _read_thinking(prompt: Prompt, body: dict[str, Any], turns: list[Turn]) -> None:
    thinking = body.get("thinking")
    if not thinking:
        return
    kind = thinking.get("type")
    prompt.thinks = kind != "disabled"
    prompt.shows_thoughts = thinking.get("display") != "omitted"
    if prompt.thinks and prompt.calling == "required":
        raise WrongRequestError("thinking", "Thinking may not be enabled when tool_choice forces tool use.")
    called = [blocks for role, blocks in turns if role == "assistant"]
    awaits = turns[-1][0] == "user" and any(block["type"] == "tool_result" for _, block in turns[-1][1])
    if kind == "enabled" and awaits and called and called[-1][0][1]["type"] not in _THOUGHTS:
        path, block = called[-1][0]
        raise WrongRequestError(
            f"{path}.type",
            f"Expected `thinking` or `redacted_thinking`, but found `{block['type']}`. When `thinking` is enabled, a "
            "final `assistant` message must start with a thinking block (preceding the last set of `tool_use` and "
            "`tool_result` blocks).",
        )


def _read_last_turn(prompt: Prompt, turns: list[Turn]) -> None:
    start = max((at for at, (role, _) in enumerate(turns) if role == "assistant"), default=-1) + 1
    blocks = [(path, block) for role, named in turns[start:] if role == "user" for path, block in named]
    prompt.text = "\n".join(block["text"] for _, block in blocks if block["type"] == "text")
    results = [block for _, block in blocks if block["type"] == "tool_result"]
    prompt.results = tuple(text_of(block.get("content")) for block in results)
    within = [
        (path, part)
        for path, block in blocks
        for part in ([block] if block["type"] != "tool_result" else block.get("content") or ())
        if isinstance(part, dict)
    ]
    prompt.media = tuple(_media(path, part) for path, part in within if part["type"] in ("image", "document"))


def _count(prompt: Prompt, body: dict[str, Any]) -> None:
    """Tokens of everything; up to the last mark for the cache, an older conversation is read from it."""
    tokens = marked = 0
    tools = [(0, tool, count_text(str(tool))) for tool in body.get("tools") or ()]
    system = body.get("system") or []
    parts = [{"type": "text", "text": system}] if isinstance(system, str) else system
    counted = tools + [(TOKENS_PER_MESSAGE * (not at), part, _tokens(part)) for at, part in enumerate(parts)]
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        counted += [(TOKENS_PER_MESSAGE * (not at), block, _tokens(block)) for at, block in enumerate(blocks)]
    for overhead, part, size in counted:
        tokens += overhead + size
        if part.get("cache_control"):
            marked = tokens
    prompt.input_tokens = tokens
    if any(message["role"] == "assistant" for message in body["messages"]):
        prompt.cached_tokens = marked
    else:
        prompt.written_tokens = marked


def _tokens(block: Block) -> int:
    if block["type"] in ("image", "document"):
        return TOKENS_PER_IMAGE
    if block["type"] == "tool_result":
        content = block.get("content") or ""
        return count_text(content) if isinstance(content, str) else sum(_tokens(part) for part in content)
    if block["type"] == "tool_use":
        return count_text(block["name"]) + count_text(str(block["input"]))
    return count_text(str(block.get("text") or block.get("thinking") or ""))
