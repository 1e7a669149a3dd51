"""Exact counts of prompt tokens by tiktoken, for those who install it and bring its vocabularies.

tiktoken fetches a vocabulary from the network when its cache does not hold it, and replaces one that is damaged. A
gateway must not, so a vocabulary is only loaded when its file is in the cache already, whole: tiktoken keeps it in
`TIKTOKEN_CACHE_DIR` (or `DATA_GYM_CACHE_DIR`, or `data-gym-cache` among the temporary files) under the SHA-1 of its
address. Everything is loaded at the start; a request never waits for a file.

Text is counted as OpenAI's chat format has it: each text, 3 tokens for each message and 3 for the answer's beginning;
tools as their JSON, which is near to what is made of them. Embedded media are not text and are left out.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec

MAX_COUNTED_BYTES = 16_384
"""Longer requests are estimated: counting is done in the event loop, at 0.04 to 0.2 ms for each kilobyte."""

_HOST = "https://openaipublic.blob.core.windows.net/encodings"
_MESSAGE_TOKENS = 3
_ANSWER_TOKENS = 3
_PROMPTS = ("messages", "system", "instructions", "input", "prompt")
_TOOLS = ("tools", "functions", "response_format")
_NOT_TEXT = frozenset({"type", "id", "tool_call_id", "detail", "format"})
_EMBEDDED = re.compile(r"data:[^,]{0,100},|[A-Za-z0-9+/_-]{256}")


class Encoding(Protocol):
    """What is used of tiktoken's encodings."""

    def encode_ordinary(self, text: str) -> list[int]:
        """The tokens of a text in which nothing is special."""
        ...


class Vocabulary(msgspec.Struct, frozen=True):
    """A vocabulary of tiktoken's: its name there, its file's address and SHA-256, and models that tiktoken lacks."""

    name: str
    url: str
    sha256: str
    models: tuple[str, ...] = ()

    @property
    def file_name(self) -> str:
        """What its file is called in tiktoken's cache."""
        return hashlib.sha1(self.url.encode(), usedforsecurity=False).hexdigest()


_O200K = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
VOCABULARIES = (
    Vocabulary("o200k_base", f"{_HOST}/o200k_base.tiktoken", _O200K),
    Vocabulary("o200k_harmony", f"{_HOST}/o200k_base.tiktoken", _O200K),
    Vocabulary(
        "cl100k_base",
        f"{_HOST}/cl100k_base.tiktoken",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
)
"""Those of the models that providers still serve."""


class Tokenisers:
    """The vocabularies that are at hand; `notes` are sentences about those that are not."""

    __slots__ = ("_encodings", "_names", "notes")

    def __init__(
        self, encodings: Mapping[str, Encoding], names: Mapping[str, str], notes: tuple[str, ...] = ()
    ) -> None:
        self._encodings = encodings
        self._names = names
        self.notes = notes

    def vocabulary_of(self, model: str) -> str:
        """The name of the vocabulary that a model is counted by; empty when it is unknown or not at hand."""
        name = self._names.get(model) or _known_to_tiktoken(model) if self._encodings else ""
        return name if name in self._encodings else ""

    def count(self, vocabulary: str, body: bytes) -> int | None:
        """Tokens of the text of a request; None when it is too long, or not a request."""
        encoding = self._encodings.get(vocabulary)
        if encoding is None or len(body) > MAX_COUNTED_BYTES:
            return None
        try:
            request = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if not isinstance(request, dict):
            return None
        encode = encoding.encode_ordinary
        messages = request.get("messages")
        framing = _MESSAGE_TOKENS * len(messages) + _ANSWER_TOKENS if isinstance(messages, list) else 0
        return framing + sum(len(encode(text)) for text in _texts_of(request))

    def __repr__(self) -> str:
        return f"<Tokenisers {', '.join(self._encodings) or 'none'}>"


def open_tokenisers(models: Iterable[str], vocabularies: Iterable[Vocabulary] = VOCABULARIES) -> Tokenisers:
    """Load what is needed for these models and can be had without the network."""
    by_name = {vocabulary.name: vocabulary for vocabulary in vocabularies}
    names = {model: vocabulary.name for vocabulary in by_name.values() for model in vocabulary.models}
    try:
        import tiktoken  # noqa: PLC0415 - an optional extra, loaded when it is asked for
    except ImportError:
        return Tokenisers({}, names, ("tiktoken is not installed, so that prompts are estimated.",))
    encodings: dict[str, Encoding] = {}
    notes: list[str] = []
    for name in sorted({names.get(model) or _known_to_tiktoken(model) for model in models} & by_name.keys()):
        problem = _problem_with(by_name[name])
        if problem:
            notes.append(f"Prompts of {name} are estimated: {problem}.")
        else:
            encodings[name] = tiktoken.get_encoding(name)
    return Tokenisers(encodings, names, tuple(notes))


def _known_to_tiktoken(model: str) -> str:
    """The vocabulary that tiktoken names for a model, whoever serves it; empty when it knows none."""
    from tiktoken.model import encoding_name_for_model  # noqa: PLC0415 - see above

    bare = model.rpartition("/")[2]
    for name in (model, bare, bare.partition(":")[0]):
        try:
            return encoding_name_for_model(name)
        except KeyError:
            continue
    return ""


def _problem_with(vocabulary: Vocabulary) -> str:
    """Why tiktoken would go to the network for a vocabulary; empty when it would not."""
    directory = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if directory == "":
        return "tiktoken's cache is switched off"
    path = Path(directory or Path(tempfile.gettempdir()) / "data-gym-cache") / vocabulary.file_name
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"{path} cannot be read ({error.strerror})"
    if hashlib.sha256(content).hexdigest() != vocabulary.sha256:
        return f"{path} is not the file that tiktoken wants"
    return ""


def _texts_of(request: Mapping[str, Any]) -> Iterator[str]:
    for field in _PROMPTS:
        yield from _texts_in(request.get(field))
    for field in _TOOLS:
        if request.get(field):
            yield msgspec.json.encode(request[field]).decode()


def _texts_in(value: object) -> Iterator[str]:
    """Every text that a model reads, embedded media left out."""
    if isinstance(value, str):
        if not _EMBEDDED.match(value):
            yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _texts_in(entry)
    elif isinstance(value, dict):
        for name, entry in value.items():
            if name not in _NOT_TEXT:
                yield from _texts_in(entry)
