"""What a request asks for, whatever dialect it came in: the one thing that the simulated models read."""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import msgspec

from keyrelay.simulator.errors.reasons import Reason

BLOCK_MARKER = "[[blocked]]"
"""A prompt that contains this is refused as every provider refuses forbidden content."""

ANY_JSON = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "confidence": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["answer", "confidence"],
}
"""The schema of an answer that may be any JSON."""


class WrongRequestError(Exception):
    """A request that its provider refuses: the field at fault and what is wrong with it.

    `reason` replaces the provider's usual words for a malformed request.
    """

    def __init__(self, field: str, problem: str, reason: Reason | None = None) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.reason = reason


class Tool(msgspec.Struct, frozen=True):
    """A tool that may be called. `schema` is that of its arguments; a `custom` one takes free text."""

    name: str
    schema: Any = None
    custom: bool = False


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """A picture, a sound or a document: its type and size, or where it is to be found."""

    media_type: str = ""
    size_bytes: int = 0
    url: str = ""

    def __str__(self) -> str:
        return self.url or f"{self.media_type} of {self.size_bytes} bytes"


class Prompt(msgspec.Struct, kw_only=True):
    """What a request asks for.

    `text` is what the user says since the last answer, `results` what tools said since then, `media` what was sent
    along. `thinks` is None where the caller leaves it to the model; `shows_thoughts` whether it wants to read them.
    Of `input_tokens`, `cached_tokens` were in the provider's cache and `written_tokens` were put there. `inputs` are
    those of an embeddings request. `wrong` names the field at fault and says why, when there is one, and
    `wrong_reason` replaces the provider's usual words for it.
    """

    model: str = ""
    stream: bool = False
    include_usage: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    text: str = ""
    results: tuple[str, ...] = ()
    media: tuple[Media, ...] = ()
    tools: tuple[Tool, ...] = ()
    calling: Literal["auto", "none", "required"] = "auto"
    callable_names: tuple[str, ...] = ()
    parallel: bool = True
    schema: Any = None
    thinks: bool | None = None
    shows_thoughts: bool = True
    input_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    inputs: tuple[str | list[int], ...] = ()
    dimensions: int | None = None
    encoding: str = "float"
    body: dict[str, Any] = {}
    wrong: tuple[str, str] | None = None
    wrong_reason: Reason | None = None

    @property
    def blocked(self) -> bool:
        """Whether a content policy would stop it."""
        return BLOCK_MARKER in self.text

    def refuse(self, error: WrongRequestError) -> None:
        """Note what is wrong with it."""
        self.wrong = (error.field, error.problem)
        self.wrong_reason = error.reason


@contextmanager
def noting(prompt: Prompt) -> Iterator[None]:
    """Note in the prompt what is found wrong within, and go on after it."""
    try:
        yield
    except WrongRequestError as error:
        prompt.refuse(error)


def inline_media(field: str, media_type: str, data: Any, *, types: tuple[str, ...] = ()) -> Media:
    """What base64 of a type holds; WrongRequestError for what is no base64 or of another type than `types`."""
    if types and media_type not in types:
        raise WrongRequestError(field, f"unsupported media type {media_type!r}, must be one of {', '.join(types)}")
    try:
        size_bytes = len(b64decode(data, validate=True))
    except (NotBase64, ValueError, TypeError):
        raise WrongRequestError(field, "invalid base64 data") from None
    if not size_bytes:
        raise WrongRequestError(field, "the data is empty")
    return Media(media_type=media_type, size_bytes=size_bytes)


def data_url(field: str, url: str) -> Media:
    """What a `data:` URL holds, or where another one points."""
    if not url.startswith("data:"):
        if not url.startswith(("http://", "https://")):
            raise WrongRequestError(field, f"invalid URL {url[:40]!r}")
        return Media(url=url)
    head, comma, data = url.removeprefix("data:").partition(",")
    if not comma or not head.endswith(";base64"):
        raise WrongRequestError(field, "a data URL has to hold base64")
    return inline_media(field, head.removesuffix(";base64"), data)


def json_object(field: str, text: Any) -> dict[str, Any]:
    """The JSON object that a text holds; WrongRequestError for any other text."""
    try:
        value = msgspec.json.decode(text or "{}") if isinstance(text, str) else None
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, dict):
        raise WrongRequestError(field, "must be the text of a JSON object")
    return value
