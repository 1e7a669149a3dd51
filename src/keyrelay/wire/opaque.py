"""What of OpenAI's dialect goes through without being understood: pictures, speech, transcripts, moderation, ranking.

A request is read for its model, its stream flag and the member that it cannot do without; only the model's name ever
changes. An answer goes back as it came, under its own type: it is read for usage, and for being an answer at all.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.core.providers import Operation
from keyrelay.core.requests import CallRequest, Form
from keyrelay.core.usage import Usage
from keyrelay.wire.body import JSON_ERRORS, field, read_members
from keyrelay.wire.multipart import FormField
from keyrelay.wire.openai import NOTHING, boolean, model_name, prefixed, read_usage
from keyrelay.wire.readings import AnswerReading, OpaqueAnswer, OpaqueTokens, StreamEnd
from keyrelay.wire.sse import EventSplitter, event_data
from keyrelay.wire.stream import FramedStream

DEFAULT_MODELS: Final[Mapping[Operation, str]] = MappingProxyType({"moderations": "omni-moderation-latest"})
"""Models that OpenAI's API takes where a request names none."""

UNKNOWN_TYPE: Final = "application/octet-stream"

_NULL: Final = b"null"
_STRING, _LIST = b'"', b"["
_REQUIRED: Final[Mapping[Operation, tuple[tuple[str, bytes, str], ...]]] = MappingProxyType(
    {
        "images": (("prompt", _STRING, "a string"),),
        "speech": (("input", _STRING, "a string"),),
        "moderations": (("input", _STRING + _LIST, "a string or a list"),),
        "rerank": (("query", _STRING, "a string"), ("documents", _LIST, "a list")),
    }
)
"""Members of a JSON body, what they may begin with, and that in words."""

_FILES: Final[Mapping[Operation, tuple[str, ...]]] = MappingProxyType(
    {
        "image_edits": ("image", "image[]"),
        "image_variations": ("image",),
        "transcriptions": ("file",),
        "translations": ("file",),
    }
)
"""Names under which a form's file may stand."""

_URLS: Final[Mapping[Operation, str]] = MappingProxyType({"transcriptions": "url", "translations": "url"})
"""Fields that stand in for a file, at Groq for one."""

_IN_JSON: Final[frozenset[Operation]] = frozenset(
    {"images", "image_edits", "image_variations", "moderations", "rerank"}
)
"""Operations whose whole answers are JSON objects, with these members."""
_RESULTS: Final = ("data", "results")

_ROUTING: Final = ("model", "stream")
"""Fields of a form that decide where it goes and how the answer comes: they are there once, and are no files."""
_SWITCH: Final = MappingProxyType({"true": True, "false": False})
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]{1,200}")
_PAGES: Final = ("text/html", "application/xhtml")
_encoder: Final = msgspec.json.Encoder()


_tokens: Final = msgspec.json.Decoder(OpaqueTokens)
_opaque: Final = msgspec.json.Decoder(OpaqueAnswer)


def decode_opaque(operation: Operation, body: bytes, *, max_depth: int) -> CallRequest:
    """Read a caller's JSON body; raise CallerError (400) that names the field at fault."""
    fields = read_members(body, max_depth=max_depth)
    for name, first_signs, shape in _REQUIRED[operation]:
        content = bytes(fields.get(name, _NULL))
        if content == _NULL:
            raise CallerError(400, f"Missing required field '{name}': {shape}.", param=name, code="missing_field")
        if content[0] not in first_signs:
            message = f"Invalid type for '{name}': expected {shape}."
            raise CallerError(400, message, param=name, code="invalid_type")
    stream = bool(boolean(fields, "stream")) if operation == "images" else _speaks_events(operation, fields)
    default = DEFAULT_MODELS.get(operation)
    model = default if default is not None and bytes(fields.get("model", _NULL)) == _NULL else model_name(fields)
    return CallRequest(
        operation=operation,
        model=model,
        stream=stream,
        body=body,
        fields=fields,
        needs=(operation,),
        opaque=True,
        wants_usage=True,
        max_output_tokens=0,
    )


def _speaks_events(operation: Operation, fields: dict[str, msgspec.Raw]) -> bool:
    return operation == "speech" and field(fields, "stream_format", str) == "sse"


def decode_form(
    operation: Operation, parts: Iterable[FormField], content: memoryview, content_type: str
) -> CallRequest:
    """Read a caller's form, whose fields are `parts`; raise CallerError (400) that names the field at fault."""
    texts: dict[str, list[str]] = {}
    files: set[str] = set()
    places: dict[str, FormField] = {}
    for part in parts:
        if part.text is None:
            files.add(part.name)
        else:
            texts.setdefault(part.name, []).append(part.text)
        if part.name in _ROUTING and (part.text is None or part.name in places):
            message = f"The form has '{part.name}' twice or as a file: it has to be one field with a text."
            raise CallerError(400, message, param=part.name, code="invalid_form")
        places[part.name] = part
    names = _FILES[operation]
    if files.isdisjoint(names) and _URLS.get(operation) not in texts:
        raise CallerError(400, f"Missing required field '{names[0]}': a file.", param=names[0], code="missing_field")
    fields = {
        name: msgspec.Raw(_encoder.encode(values[0] if len(values) == 1 else values)) for name, values in texts.items()
    }
    model = model_name(fields)
    place = places["model"]
    return CallRequest(
        operation=operation,
        model=model,
        stream=_switch(texts),
        body=_encoder.encode(fields),
        fields=fields,
        needs=(operation,),
        opaque=True,
        wants_usage=True,
        max_output_tokens=0,
        form=Form(content, content_type, place.start, place.end),
    )


def _switch(texts: Mapping[str, list[str]]) -> bool:
    text = texts.get("stream", ["false"])[0].strip().lower()
    if text not in _SWITCH:
        message = "Invalid value for 'stream': expected true or false."
        raise CallerError(400, message, param="stream", code="invalid_value")
    return _SWITCH[text]


def encode_opaque(request: CallRequest, prefix: str, model: str) -> tuple[bytes, tuple[memoryview, ...]]:
    """The body for a provider, and what follows it: the caller's bytes but for the model's name."""
    name = prefixed(model, prefix)
    form = request.form
    if form is None:
        if name == request.model and "model" in request.fields:
            return request.body, ()
        return _encoder.encode({**request.fields, "model": msgspec.Raw(_encoder.encode(name))}), ()
    if name == request.model:
        return b"", (form.content,)
    named = memoryview(name.encode())
    return b"", (form.content[: form.model_start], named, form.content[form.model_end :])


def answer_type(value: str) -> str:
    """The type under which an answer goes on: the provider's own, if it may stand in a head."""
    return value if _PRINTABLE.fullmatch(value) else UNKNOWN_TYPE


def read_opaque(operation: Operation, content_type: str, body: bytes) -> AnswerReading:
    """Read a 200's body. Nothing, a page, an `error` member, or a result that is not there is a failure."""
    media_type = content_type.partition(";")[0].strip().lower()
    in_json = operation in _IN_JSON or media_type == "application/json"
    if not body:
        return AnswerReading(problem="the answer is empty")
    if media_type.startswith(_PAGES):
        return AnswerReading(problem="the answer is a page for people")
    if in_json or body[:1] == b"{":
        return _read_json(operation, body, in_json=in_json)
    return AnswerReading()


def _read_json(operation: Operation, body: bytes, *, in_json: bool) -> AnswerReading:
    """Read what is JSON or, unless `in_json`, only looks like it."""
    try:
        answer = _opaque.decode(body)
        if not body.isascii():
            body.decode()  # values that are skipped over are not looked into
    except JSON_ERRORS:
        return AnswerReading(problem="the answer is not the JSON object that was expected" if in_json else "")
    if bytes(answer.error) not in NOTHING:
        return AnswerReading(problem="the answer holds an error although its status is 200", is_error=True)
    if operation in _IN_JSON and all(bytes(getattr(answer, name)) in NOTHING for name in _RESULTS):
        return AnswerReading(problem="the answer is empty")
    return AnswerReading(usage=read_opaque_usage(answer.usage))


def read_opaque_usage(raw: msgspec.Raw) -> Usage | None:
    """Usage in either of OpenAI's forms; None when it is told in neither, or in seconds."""
    if bytes(raw) in NOTHING:
        return None
    try:
        tokens = _tokens.decode(raw)
    except JSON_ERRORS:
        return None
    if tokens.input_tokens is None:
        return read_usage(raw)
    return read_usage(
        msgspec.Raw(
            _encoder.encode({"prompt_tokens": tokens.input_tokens, "completion_tokens": tokens.output_tokens or 0})
        )
    )


class OpaqueStream(FramedStream):
    """Implements `translated.AnswerStream` for events that are not understood: each goes on as it came.

    The first event that is no error commits. `[DONE]` ends a stream; one that ends cleanly without it is whole too.
    """

    __slots__ = ()

    def __init__(self, *, max_event_bytes: int) -> None:
        super().__init__(EventSplitter(max_event_bytes))

    def ended_whole(self, terminator: str) -> bool:
        """Whether a cleanly ended body was a whole answer: these streams have no mark of their own."""
        del terminator
        return self.committed and self.end in {StreamEnd.OPEN, StreamEnd.DONE}

    def _pass_on(self, events: list[bytes]) -> bytes:
        return b"".join([event for event in events if self.end is StreamEnd.OPEN and self._read(event)])

    def _read(self, event: bytes) -> bool:
        """Take note of one event; whether it goes on to the caller."""
        data = event_data(event)
        if data is None:
            return self.committed  # comments keep a caller's connection alive only once it has one
        if data == b"[DONE]":
            self.end = StreamEnd.DONE
            return self.committed
        try:
            said = _opaque.decode(data)
        except JSON_ERRORS:
            said = OpaqueAnswer()
        if bytes(said.error) not in NOTHING or bytes(said.type) == b'"error"':
            self._stop(StreamEnd.ERROR, "the stream holds an error", data)
            return False
        self.usage = read_opaque_usage(said.usage) or self.usage
        self.committed = self.finished = True
        self.content_events += 1
        return True

    def __repr__(self) -> str:
        return f"<OpaqueStream {self.end} {self.content_events} events>"
