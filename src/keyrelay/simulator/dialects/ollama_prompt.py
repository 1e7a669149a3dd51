"""Reading a request to Ollama's own routes: unknown members pass, members of a wrong type do not."""

from collections.abc import Callable
from typing import Any

from keyrelay.simulator.asking import ANY_JSON, Media, Prompt, Tool, WrongRequestError, inline_media, noting
from keyrelay.simulator.http import Request
from keyrelay.simulator.members import Either, KnownMembers
from keyrelay.simulator.prompts import decoded, read_inputs
from keyrelay.simulator.texts import TOKENS_PER_IMAGE, TOKENS_PER_MESSAGE, count_text

_LEVELS = ("low", "medium", "high", "max")
_ROLES = ("system", "user", "assistant", "tool")
_KINDS = (("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))
_OPTIONS = {
    "temperature": float, "top_p": float, "top_k": int, "min_p": float, "num_predict": int, "stop": [str], "seed": int,
    "num_ctx": int, "presence_penalty": float, "frequency_penalty": float, "repeat_penalty": float,
}  # fmt: skip
_CALL = {"id": str, "function": {"name": str, "arguments": dict, "index": int}}
_MESSAGE = {
    "role": str, "content": str, "thinking": str, "images": [str], "tool_calls": [_CALL], "tool_name": str,
    "tool_call_id": str,
}  # fmt: skip
_COMMON: dict[str, Any] = {
    "model": str, "stream": bool, "format": Either(str, dict), "options": _OPTIONS, "think": Either(bool, str),
    "logprobs": bool, "top_logprobs": int,
}  # fmt: skip
_TABLE: dict[str, Any] = {
    "chat": {**_COMMON, "messages": [_MESSAGE],
             "tools": [{"type": str, "function": {"name": str, "description": str, "parameters": dict}}]},
    "completions": {**_COMMON, "prompt": str, "suffix": str, "system": str, "images": [str], "raw": bool},
    "embeddings": {"model": str, "input": Either(str, [str]), "prompt": str, "truncate": bool, "dimensions": int},
    "show": {"model": str, "name": str},
}  # fmt: skip


_MEMBERS = KnownMembers(_TABLE)


def read_request(operation: str, request: Request) -> Prompt:
    """Read a request; whatever is wrong with it is said in the prompt."""
    prompt = Prompt()
    with noting(prompt):
        body = prompt.body = decoded(request.body)
        prompt.model = str(body.get("model") or (body.get("name") if operation == "show" else "") or "")
        prompt.stream = operation in ("chat", "completions") and body.get("stream") is not False
        try:
            _MEMBERS.check(body, operation)
        except WrongRequestError as error:
            problem = f"json: cannot unmarshal into Go struct field {error.field}: {error.problem}"
            raise WrongRequestError(error.field, problem) from None
        if not prompt.model:
            raise WrongRequestError("model", "model is required")
        _READERS[operation](prompt, body)
    return prompt


def _read_options(prompt: Prompt, body: dict[str, Any]) -> None:
    options = body.get("options") or {}
    most = options.get("num_predict")
    prompt.max_tokens = most if most is not None and most >= 0 else None
    prompt.stop = tuple(options.get("stop") or ())
    think = body.get("think")
    if isinstance(think, str) and think not in _LEVELS:
        raise WrongRequestError(
            "think", f'invalid think value: "{think}" (must be "high", "medium", "low", true, or false)'
        )
    prompt.thinks = None if think is None else bool(think)
    wanted = body.get("format")
    if isinstance(wanted, dict):
        prompt.schema = wanted
    elif wanted == "json":
        prompt.schema = ANY_JSON
    elif wanted:
        raise WrongRequestError("format", f'invalid format: "{wanted}"; expected "json" or a valid JSON Schema object')


def _read_chat(prompt: Prompt, body: dict[str, Any]) -> None:
    _read_options(prompt, body)
    messages = body.get("messages") or []
    for at, message in enumerate(messages):
        if message.get("role") not in _ROLES:
            raise WrongRequestError(f"messages[{at}].role", f'invalid role "{message.get("role")}"')
        for call in message.get("tool_calls") or ():
            if not (call.get("function") or {}).get("name"):
                raise WrongRequestError(f"messages[{at}].tool_calls", "a call has a function with a name")
    tools = [tool.get("function") or {} for tool in body.get("tools") or ()]
    prompt.tools = tuple(Tool(str(tool.get("name")), tool.get("parameters")) for tool in tools)
    start = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=-1) + 1
    if start:
        prompt.cached_tokens = _count(messages[: start - 1])
    said = messages[start:]
    prompt.text = "\n".join(m.get("content") or "" for m in said if m["role"] == "user")
    prompt.results = tuple(m.get("content") or "" for m in said if m["role"] == "tool")
    pictures = [_pictures(f"messages[{at}].images", message) for at, message in enumerate(messages)]
    prompt.media = tuple(media for found in pictures[start:] for media in found)
    prompt.input_tokens = _count(messages) + count_text(str(body.get("tools") or ""))


def _pictures(path: str, holder: dict[str, Any]) -> list[Media]:
    """Pictures, whose type shows in their first bytes."""
    found = []
    for at, data in enumerate(holder.get("images") or ()):
        known = (kind for start, kind in _KINDS if data.startswith(start))
        media_type = next(known, "image/unknown")
        try:
            found.append(inline_media(f"{path}[{at}]", media_type, data))
        except WrongRequestError:
            raise WrongRequestError(f"{path}[{at}]", "illegal base64 data at input byte 0") from None
    return found


def _count(messages: list[dict[str, Any]]) -> int:
    return sum(
        TOKENS_PER_MESSAGE + count_text(m.get("content") or "") + TOKENS_PER_IMAGE * len(m.get("images") or ())
        for m in messages
    )


def _read_generate(prompt: Prompt, body: dict[str, Any]) -> None:
    _read_options(prompt, body)
    prompt.text = body.get("prompt") or ""
    prompt.media = tuple(_pictures("images", body))
    prompt.input_tokens = max(count_text(prompt.text + (body.get("system") or "")), 1)


def _read_embeddings(prompt: Prompt, body: dict[str, Any]) -> None:
    given = body.get("prompt") if "prompt" in body else body.get("input")
    prompt.inputs = (given,) if isinstance(given, str) else tuple(given or ())
    if not prompt.inputs:
        raise WrongRequestError("input", "input is required")
    dimensions = body.get("dimensions")
    prompt.dimensions = dimensions if dimensions and dimensions > 0 else None
    read_inputs(prompt)


def _read_nothing(_: Prompt, __: dict[str, Any]) -> None:
    """Its model is all that is asked for."""


_READERS: dict[str, Callable[[Prompt, dict[str, Any]], None]] = {
    "chat": _read_chat,
    "completions": _read_generate,
    "embeddings": _read_embeddings,
    "show": _read_nothing,
}
