"""Reading a caller's body as far as a simulated provider cares, and finding what is wrong with it."""

from typing import Any

import msgspec

from keyrelay.simulator.texts import count_messages, count_text, text_of

BLOCK_MARKER = "[[blocked]]"
"""A prompt that contains this is refused as every provider refuses forbidden content."""


class Prompt(msgspec.Struct, kw_only=True):
    """What a request asks for. `wrong` names the field at fault and says why, when there is one."""

    model: str = ""
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    text: str = ""
    last_role: str = "user"
    input_tokens: int = 0
    body: dict[str, Any] = {}
    wrong: tuple[str, str] | None = None

    @property
    def blocked(self) -> bool:
        """Whether a content policy would stop it."""
        return BLOCK_MARKER in self.text


_NOT_JSON = ("body", "We could not parse the JSON body of your request.")


def read_prompt(operation: str, data: bytes) -> Prompt:
    """Read a request body; whatever is wrong with it is said in the prompt, nothing is raised."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Prompt(wrong=_NOT_JSON)
    if not isinstance(body, dict):
        return Prompt(wrong=_NOT_JSON)
    prompt = _common(body)
    _READERS[operation](prompt, body)
    if not prompt.model:
        prompt.wrong = ("model", "you must provide a model parameter")
    return prompt


def _common(body: dict[str, Any]) -> Prompt:
    model = body.get("model")
    options = body.get("stream_options")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = body.get("stop")
    return Prompt(
        model=model if isinstance(model, str) else "",
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_tokens=limit if isinstance(limit, int) else None,
        stop=(stop,) if isinstance(stop, str) else tuple(s for s in stop or () if isinstance(s, str)),
        body=body,
    )


def _read_chat(prompt: Prompt, body: dict[str, Any]) -> None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        prompt.wrong = ("messages", "'messages' is a required property and must be a non-empty array")
        return
    last = messages[-1]
    if not isinstance(last, dict) or not isinstance(last.get("role"), str):
        prompt.wrong = ("messages", "each message must be an object with a 'role'")
        return
    prompt.text = text_of(last.get("content"))
    prompt.last_role = last["role"]
    prompt.input_tokens = count_messages(messages)
    if body.get("tools"):
        prompt.input_tokens += count_text(msgspec.json.encode(body["tools"]).decode())


def _read_completion(prompt: Prompt, body: dict[str, Any]) -> None:
    text = body.get("prompt")
    if isinstance(text, list):
        text = "".join(part for part in text if isinstance(part, str))
    if not isinstance(text, str):
        prompt.wrong = ("prompt", "'prompt' is a required property")
        return
    prompt.text = text
    prompt.input_tokens = max(count_text(text), 1)


def _read_embeddings(prompt: Prompt, body: dict[str, Any]) -> None:
    inputs = embedding_inputs(body)
    if not inputs:
        prompt.wrong = ("input", "'input' is a required property and must not be empty")
        return
    prompt.stream = False
    prompt.text = " ".join(item for item in inputs if isinstance(item, str))
    prompt.input_tokens = sum(max(count_text(i), 1) if isinstance(i, str) else len(i) for i in inputs)


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


_READERS = {"chat": _read_chat, "completions": _read_completion, "embeddings": _read_embeddings}
