"""Files that providers keep (`/v1/files` of OpenAI's API): whose they are, where they are, and what is said of them.

A file lives with the key that it was sent with, and belongs to the client that sent it. Both stand in the id that the
client is given, so that nobody has to remember them:

    file-kr_ + base64url(mark, provider, NUL, key's label, NUL, the provider's own id)

The mark is an HMAC over the rest and the client's label, under a secret of the installation. An id is therefore of use
to its own client only, and nobody can make one up from a provider's own id.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest, FileCall, Form
from keyrelay.core.usage import Usage
from keyrelay.wire.body import JSON_ERRORS
from keyrelay.wire.multipart import FormField
from keyrelay.wire.openai import NOTHING
from keyrelay.wire.readings import StreamEnd

PREFIX = "file-kr_"
"""What ids that Keyrelay makes begin with: as OpenAI's own do, since some clients look."""

MODEL = "files"
"""Stands where the model does in what is written down of a request: there is none."""

MAX_ID = 1024
MAX_PURPOSE = 64
MAX_NAMED = 10_000
"""Files that one chat may name: more of them would hold up all others."""

_MARK_BYTES = 16
_NUL = b"\0"
_PARTS = 3
_OWN_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.:-]{0,199}")
_BASE64 = re.compile(r"[0-9A-Za-z_-]+")
_PURPOSE = re.compile(r"[0-9A-Za-z_-]+")

_MEMBER = b"file_id"
_BACKSLASH, _ESCAPE = b"\\", b"\\u00"  # one sign is found much faster than four
# A member's name may be written with escapes, which nobody does who means well. All the letters of `file_id` are here.
_ESCAPED = re.compile(rb"\\u00(?:5[fF]|6[4569cC])")
# Possessive, so that they never go back and need no memory for it, of which bodies are long enough to take a lot.
_INNER = rb'(?:[^"\\]++|\\.)*+'
# Inside of a string a quote has a backslash before it, so what matches is a member, whatever a prompt says.
_NAMES = rb'(?<!\\)"(file_ids?|(?=[^"]*\\u00)(?:[^"\\]|\\.){1,60})"\s*:\s*'
_MEMBERS = re.compile(rb'%b(?:"(%b)"|\[((?:[^]"]++|"%b")*+)\])?' % (_NAMES, _INNER, _INNER))
_GIVEN = re.compile(rb'"(%b[0-9A-Za-z_-]++)"' % PREFIX.encode())
_STRINGS = re.compile(rb'"(%b)"' % _INNER)

_encoder = msgspec.json.Encoder()
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)


class FilePlace(msgspec.Struct, frozen=True):
    """Where a file is: the provider, the label of the key there, and the id that it has there."""

    provider: str
    key: str
    id: str

    @property
    def key_id(self) -> str:
        """The key's name, as `core.configuration.Key.id` has it."""
        return f"{self.provider}/{self.key}"


class FileIds:
    """Makes and reads the ids that clients are given. `secret` is the installation's, of 32 bytes or so."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def made(self, place: FilePlace, client: str) -> str:
        """The id under which a client knows a file; the same one every time."""
        where = _NUL.join((place.provider.encode(), place.key.encode(), place.id.encode()))
        return PREFIX + urlsafe_b64encode(self._mark(where, client) + where).rstrip(b"=").decode()

    def read(self, text: str, client: str) -> FilePlace | None:
        """Where a file is, by an id that `made` has given this client; None for any other text."""
        packed = text.removeprefix(PREFIX)
        if packed == text or len(packed) > MAX_ID or not _BASE64.fullmatch(packed):
            return None
        try:
            data = urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        except NotBase64:
            return None
        mark, where = data[:_MARK_BYTES], data[_MARK_BYTES:]
        if not hmac.compare_digest(mark, self._mark(where, client)):
            return None
        parts = where.decode().split("\0")
        place = FilePlace(*parts) if len(parts) == _PARTS else None
        return place if place is not None and self.made(place, client) == text else None

    def _mark(self, where: bytes, client: str) -> bytes:
        whose = _NUL.join((b"file", client.encode(), where))
        return hmac.digest(self._secret, whose, hashlib.sha256)[:_MARK_BYTES]

    def __repr__(self) -> str:
        return "<FileIds>"


def is_own_id(text: str) -> bool:
    """Whether an id may be a provider's own: what can stand in a path, and is no id of Keyrelay's."""
    return _OWN_ID.fullmatch(text) is not None and not text.startswith(PREFIX)


def decode_upload(
    parts: Iterable[FormField], content: memoryview, content_type: str, *, provider: str = ""
) -> CallRequest:
    """Read the form of an upload, whose fields are `parts`; raise CallerError (400) that names the field at fault."""
    found: dict[str, FormField] = {}
    for part in parts:
        if part.name in found and part.name in {"file", "purpose"}:
            message = f"The form has '{part.name}' twice."
            raise CallerError(400, message, param=part.name, code="invalid_form")
        found[part.name] = part
    file, purpose = found.get("file"), found.get("purpose")
    if file is None or file.text is not None:
        raise CallerError(400, "Missing required field 'file': a file.", param="file", code="missing_field")
    if purpose is None or not purpose.text:
        raise CallerError(400, "Missing required field 'purpose': a text.", param="purpose", code="missing_field")
    if len(purpose.text) > MAX_PURPOSE or not _PURPOSE.fullmatch(purpose.text):
        message = "Invalid value for 'purpose': expected a word such as user_data or batch."
        raise CallerError(400, message, param="purpose", code="invalid_value")
    call = FileCall(method="POST", provider=provider, purpose=purpose.text)
    return _request(call, Form(content, content_type, 0, 0))


def file_request(method: str, file_id: str, *, content: bool = False, provider: str = "") -> CallRequest:
    """What is asked of one file, or its content."""
    return _request(FileCall(method=method, file_id=file_id, content=content, provider=provider), None)


def _request(call: FileCall, form: Form | None) -> CallRequest:
    return CallRequest(
        operation="files",
        model=MODEL,
        stream=call.content,
        body=b"",
        fields={},
        needs=("files",),
        wants_usage=True,
        max_output_tokens=0,
        form=form,
        opaque=True,
        file=call,
    )


def may_name_files(body: bytes) -> bool:
    """Whether a body may refer to a file by its id: a search, since it is asked of every request."""
    return _MEMBER in body


def may_hide_files(body: bytes) -> bool:
    """Whether it may do so in a way that hides it."""
    return _BACKSLASH in body and _ESCAPE in body and _ESCAPED.search(body) is not None


def named_sources(messages: bytes) -> tuple[str, ...]:
    """The ids of files to which messages of Anthropic's dialect refer, each once: any source of the type `file`.

    Raise CallerError (400).

    What a tool is called with is JSON there, and a `file_id` in it is the tool's own business.
    """
    try:
        found = list(islice(_sources_in(msgspec.json.decode(messages)), MAX_NAMED + 1))
    except JSON_ERRORS:
        return ()  # whoever has to read it will say so
    if len(found) > MAX_NAMED:
        raise _too_many()
    return tuple(dict.fromkeys(found))


def _sources_in(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        file_id = value.get("file_id")
        if value.get("type") == "file" and isinstance(file_id, str):
            yield file_id
        value = [member for name, member in value.items() if name != "input"]
    if isinstance(value, list):
        for member in value:
            if isinstance(member, dict | list):  # all else is passed over at once: there may be millions
                yield from _sources_in(member)


def _too_many() -> CallerError:
    message = f"The request names more than {MAX_NAMED} files."
    return CallerError(400, message, param="file_id", code="invalid_value")


def named_files(body: bytes, noted: bytes = b"") -> tuple[str, ...]:
    """The ids of files to which a chat of OpenAI's refers, each once: any `file_id`, any of `file_ids`.

    Raise CallerError (400).

    The bytes are searched and not the values: of two members with one name, readers may take one or the other. What
    `noted` refers to (the `metadata`, which callers fill as they like) does not count.
    """
    found = Counter(islice(_ids_in(body), MAX_NAMED + 1))
    if found.total() > MAX_NAMED:
        raise _too_many()
    found.subtract(_ids_in(noted))
    return tuple(name for name, times in found.items() if times > 0)


def _ids_in(body: bytes) -> Iterator[str]:
    for match in _MEMBERS.finditer(body):
        name, one, several = match.groups()
        if b"\\" in name:
            if _string(name) in {"file_id", "file_ids"}:
                raise CallerError(400, "Write 'file_id' without escapes.", param="file_id", code="invalid_value")
        elif name == b"file_id" and one is not None:
            yield _string(one)
        elif name == b"file_ids" and several is not None:
            yield from (_string(each[1]) for each in _STRINGS.finditer(several))


def _string(text: bytes) -> str:
    """A string of JSON by what stands between its quotes. Raise CallerError (400)."""
    try:
        return _text.decode(b'"%b"' % text)
    except JSON_ERRORS:
        raise CallerError(400, "The body is not valid JSON.", code="invalid_json") from None


def with_own_ids(body: bytes, ids: Iterable[tuple[str, str]]) -> bytes:
    """A body with the provider's own id wherever a string of its JSON is one that a client knows (`PREFIX`)."""
    own_ids = {given.encode(): own.encode() for given, own in ids}
    return _GIVEN.sub(lambda found: b'"%b"' % own_ids.get(found[1], found[1]), body)


class FileReading(msgspec.Struct, frozen=True):
    """What a provider says of a file: its own id, and the members of the object, or in `problem` why it is none."""

    id: str = ""
    members: Mapping[str, msgspec.Raw] = {}
    problem: str = ""
    is_error: bool = False

    def told(self, given: str) -> bytes:
        """The object under the id that the client knows."""
        return _encoder.encode({**self.members, "id": given})


def read_file(body: bytes) -> FileReading:
    """Read a 200 that says something of one file."""
    try:
        members = _members.decode(body)
        if not body.isascii():
            body.decode()  # values that are skipped over are not looked into
        own = _text.decode(members.get("id", b'""'))
    except JSON_ERRORS:
        return FileReading(problem="the answer is not the JSON object that was expected")
    if bytes(members.get("error", b"")) not in NOTHING:
        return FileReading(problem="the answer holds an error although its status is 200", is_error=True)
    if not is_own_id(own):
        return FileReading(problem="the answer names no file")
    return FileReading(own, members)


class FileStream:
    """Implements `translated.AnswerStream` for what is in a file: bytes, of which each piece goes on as it came."""

    __slots__ = ("committed", "content_events", "end", "error_data", "finished", "problem", "usage")

    def __init__(self) -> None:
        self.committed = self.finished = False
        self.content_events = 0
        self.end = StreamEnd.OPEN
        self.usage: Usage | None = Usage(0, 0)
        self.error_data = b""
        self.problem = ""

    def feed(self, chunk: bytes) -> bytes:
        """All of it."""
        self.committed = self.finished = True
        self.content_events += 1
        return chunk

    def close(self) -> bytes:
        """Nothing is left over."""
        return b""

    def ended_whole(self, terminator: str) -> bool:
        """Whether a body that has ended cleanly was whole: the transport has counted."""
        del terminator
        return self.committed

    def __repr__(self) -> str:
        return f"<FileStream {self.content_events} pieces>"
