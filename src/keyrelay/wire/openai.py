"""The OpenAI dialect: chat completions, completions, embeddings.

A request is read just far enough to route it, and goes out with its own bytes: only the model, `stream_options`
and what the provider's quirks name are changed. An answer is read just far enough to account for it.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Capability, Operation, ProviderRow, QuirksRow
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.wire.body import JSON_ERRORS, field, read_members
from keyrelay.wire.readings import ABSENT, Answer, AnswerReading, ResponseFormat, StreamOptions, Tokens

MAX_MODEL_NAME: Final = 256
NOTHING: Final = frozenset({b"", b"null", b'""', b"[]", b"{}"})
"""Members that are there without saying anything."""

_PICTURE: Final = b'"image_url"'  # in words the marks are escaped, so this is a member or a type
_TRUE: Final = b"true"
_NULL: Final = b"null"
_USAGE_ASKED: Final = msgspec.Raw(b'{"include_usage":true}')
_REQUIRED: Final[dict[Operation, tuple[str, str]]] = {
    "chat": ("messages", "a list of messages"),
    "completions": ("prompt", "a string or a list"),
    "embeddings": ("input", "a string or a list"),
}
_WHOLE_NUMBER_LIMIT: Final = 2**53
_NAMES_TO_SCHEMAS: Final = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_DATA_IN_SCHEMAS: Final = frozenset({"const", "default", "enum", "examples", "required"})

_MESSAGES: Final = re.compile(rb"\[\s*\{")
_text: Final = msgspec.json.Decoder(str)
_encoder: Final = msgspec.json.Encoder()


_answer: Final = msgspec.json.Decoder(Answer)
_tokens: Final = msgspec.json.Decoder(Tokens)
_UNSAID: Final = Tokens()


def decode_request(operation: Operation, body: bytes, *, max_depth: int) -> CallRequest:
    """Read a caller's body; raise CallerError (400) that names the field at fault."""
    fields = read_members(body, max_depth=max_depth)
    required, shape = _REQUIRED[operation]
    content = bytes(fields.get(required, _NULL))
    if content == _NULL:
        raise CallerError(400, f"Missing required field '{required}': {shape}.", param=required, code="missing_field")
    _check_shape(operation, required, content)
    stream = operation != "embeddings" and bool(boolean(fields, "stream"))
    return CallRequest(
        operation=operation,
        model=model_name(fields),
        stream=stream,
        body=body,
        fields=fields,
        needs=_needs(operation, fields, content),
        wants_usage=stream and asks_for_usage(fields),
        max_output_tokens=_output_bound(fields),
    )


def _check_shape(operation: Operation, name: str, content: bytes) -> None:
    first = content[:1]
    if first != b"[" and (operation == "chat" or first != b'"'):
        shape = _REQUIRED[operation][1]
        raise CallerError(400, f"Invalid type for '{name}': expected {shape}.", param=name, code="invalid_type")
    if operation == "chat" and not _MESSAGES.match(content):
        message = f"Invalid value for '{name}': expected at least one message object."
        raise CallerError(400, message, param=name, code="invalid_value")


def model_name(fields: dict[str, msgspec.Raw]) -> str:
    """The model that a body names. Raise CallerError (400)."""
    raw = bytes(fields.get("model", _NULL))
    if raw == _NULL:
        raise CallerError(
            400, "Missing required field 'model'. Name a model, a route or 'auto'.", param="model", code="missing_field"
        )
    return _name_in(raw)


def is_model_name(name: str) -> bool:
    """Whether a model may be called so."""
    return 0 < len(name) <= MAX_MODEL_NAME and name.isprintable()


@lru_cache(maxsize=4096)
def _name_in(text: bytes) -> str:
    """A model's name in JSON; the same few come again and again."""
    try:
        name = _text.decode(text)
    except msgspec.DecodeError:
        raise CallerError(
            400, "Invalid type for 'model': expected a string.", param="model", code="invalid_type"
        ) from None
    if not is_model_name(name):
        message = f"Invalid value for 'model': expected 1 to {MAX_MODEL_NAME} printable characters."
        raise CallerError(400, message, param="model", code="invalid_value")
    return name


def boolean(fields: dict[str, msgspec.Raw], name: str) -> bool | None:
    """A member that is true or false; None when it is absent or null. Raise CallerError (400)."""
    raw = fields.get(name)
    if raw is None:
        return None
    return True if bytes(raw) == _TRUE else field(fields, name, bool)


def asks_for_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Whether a caller asks for the stream's usage. Raise CallerError (400)."""
    options = field(fields, "stream_options", StreamOptions) if "stream_options" in fields else None
    return options is not None and bool(options.include_usage)


def _needs(operation: Operation, fields: dict[str, msgspec.Raw], content: bytes) -> tuple[Capability, ...]:
    needs: tuple[Capability, ...] = (operation,)
    if "tools" in fields and bytes(fields["tools"]) not in NOTHING:
        needs += ("tools",)
    if operation == "chat" and _PICTURE in content:
        needs += ("vision",)
    if "response_format" in fields:
        wanted = field(fields, "response_format", ResponseFormat)
        if wanted is not None and wanted.type == "json_schema":
            needs += ("json_schema",)
    return needs


def _output_bound(fields: dict[str, msgspec.Raw]) -> int | None:
    bound = None
    if "max_completion_tokens" in fields:
        bound = _positive(fields, "max_completion_tokens")
    if bound is None and "max_tokens" in fields:
        bound = _positive(fields, "max_tokens")
    return bound


def _positive(fields: dict[str, msgspec.Raw], name: str) -> int | None:
    number = field(fields, name, int)
    if number is not None and number < 0:
        message = f"Invalid value for '{name}': expected a positive number."
        raise CallerError(400, message, param=name, code="invalid_value")
    return number


def asks_usage(request: CallRequest, row: ProviderRow) -> bool:
    """Whether Keyrelay asks for the stream's usage on its own account."""
    return request.stream and not request.wants_usage and row.stream.usage == "include_usage"


def encode_request(request: CallRequest, quirks: QuirksRow, model: str, *, ask_usage: bool) -> bytes:
    """The body for a provider: the caller's bytes wherever nothing has to change."""
    name = prefixed(model, quirks.model_prefix)
    fields = request.fields
    changed = fields if quirks == _NO_QUIRKS else apply_quirks(request.operation, fields, quirks)
    if name == request.model and not ask_usage and (changed is fields or changed == fields):
        return request.body
    changed = {**changed, "model": msgspec.Raw(_encoder.encode(name))}
    if ask_usage:
        changed["stream_options"] = _asking_usage(changed)
    return _encoder.encode(changed)


def left_out_by(quirks: QuirksRow, fields: Mapping[str, msgspec.Raw]) -> tuple[str, ...]:
    """Names of members that a provider's rules take away, as far as they said anything."""
    clamped = (name for name, allowed in quirks.clamp.items() if not _allows(fields.get(name), allowed))
    return tuple(
        name
        for name in dict.fromkeys((*quirks.drop, *clamped))
        if name != "stream_options" and bytes(fields.get(name, _NULL)) not in NOTHING
    )


def _allows(raw: msgspec.Raw | None, allowed: tuple[str, ...]) -> bool:
    return raw is None or bytes(raw).strip(b'"').decode() in allowed


def _asking_usage(fields: dict[str, msgspec.Raw]) -> msgspec.Raw:
    """The caller's `stream_options`, with usage."""
    if "stream_options" not in fields:
        return _USAGE_ASKED
    options = field(fields, "stream_options", dict[str, msgspec.Raw]) or {}
    return msgspec.Raw(_encoder.encode({**options, "include_usage": True}))


_NO_QUIRKS: Final = QuirksRow()


def prefixed(model: str, prefix: str) -> str:
    """A model's name with what its provider wants before it."""
    return model if not prefix or model.startswith(prefix) else prefix + model


def apply_quirks(operation: Operation, fields: Mapping[str, msgspec.Raw], quirks: QuirksRow) -> dict[str, msgspec.Raw]:
    """The members as the provider takes them: renamed, dropped, clamped, defaulted, tool schemas stripped.

    A member that is there under its new name stays when the old one is there too. Defaults and tools belong to
    answers in words, so embeddings go without.
    """
    changed = {}
    for name, value in fields.items():
        new_name = quirks.rename.get(name, name)
        if new_name == name or new_name not in fields:
            changed[new_name] = value
    for name in quirks.drop:
        changed.pop(name, None)
    for name, allowed in quirks.clamp.items():
        if not _allows(changed.get(name), allowed):
            del changed[name]
    if operation == "embeddings":
        return changed
    for name, default in quirks.defaults.items():
        if bytes(changed.get(name, _NULL)) == _NULL:
            changed[name] = msgspec.Raw(_encoder.encode(default))
    if quirks.strip_tool_schema and "tools" in changed:
        changed["tools"] = _strip_tools(changed["tools"], frozenset(quirks.strip_tool_schema))
    return changed


def _strip_tools(raw: msgspec.Raw, keywords: frozenset[str]) -> msgspec.Raw:
    """Tools whose parameters do not use some keywords; what cannot be read as tools is the provider's to refuse."""
    try:
        tools = msgspec.json.decode(raw, type=list[dict[str, Any]])
    except msgspec.DecodeError:
        return raw
    for tool in tools:
        function = tool.get("function")
        if isinstance(function, dict) and "parameters" in function:
            function["parameters"] = without_keywords(function["parameters"], keywords)
    return msgspec.Raw(_encoder.encode(tools))


def without_keywords(schema: object, keywords: frozenset[str]) -> object:
    """A JSON schema without some keywords: a property that has the name of one is none."""
    if isinstance(schema, list):
        return [without_keywords(item, keywords) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _member(name, value, keywords) for name, value in schema.items() if name not in keywords}


def _member(name: str, value: object, keywords: frozenset[str]) -> object:
    if name in _DATA_IN_SCHEMAS:
        return value
    if name in _NAMES_TO_SCHEMAS and isinstance(value, dict):
        return {name: without_keywords(schema, keywords) for name, schema in value.items()}
    return without_keywords(value, keywords)


def read_answer(operation: Operation, body: bytes) -> AnswerReading:
    """Read a 200's body. An `error` member, an empty one, or one without choices is a failure, not a success."""
    try:
        answer = _answer.decode(body)
        if not body.isascii():
            body.decode()  # values that are skipped over are not looked into
    except JSON_ERRORS:
        return AnswerReading(problem="the answer is not the JSON object that was expected")
    if answer.error is not ABSENT and bytes(answer.error) not in NOTHING:
        return AnswerReading(problem="the answer holds an error although its status is 200", is_error=True)
    results = answer.data if operation == "embeddings" else answer.choices
    if not results:
        return AnswerReading(problem="the answer is empty")
    return AnswerReading(usage=read_usage(answer.usage))


def read_usage(raw: msgspec.Raw) -> Usage | None:
    """Usage as reported; None when absent or absurd (negative, text, beyond 2**53), which counts as not reported."""
    text = bytes(raw)
    if text in NOTHING:
        return None
    try:
        tokens = _tokens.decode(text)
    except JSON_ERRORS:
        return None
    used_in, used_out = tokens.prompt_tokens, tokens.completion_tokens
    if used_in is None or used_out is None:
        if tokens == _UNSAID:
            return None
        used_in = used_in or 0
        used_out = (tokens.total_tokens or used_in) - used_in if used_out is None else used_out
    if 0 <= used_in < _WHOLE_NUMBER_LIMIT and 0 <= used_out < _WHOLE_NUMBER_LIMIT:
        return Usage(used_in, used_out)
    return None
