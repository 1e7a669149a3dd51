r"""Reading a form with files (`multipart/form-data`) while it arrives, without keeping what is in the files.

A form goes on with the bytes that came, so it must mean the same to whoever reads it next. Whatever two readers might
take differently is refused with 400: text before the first boundary or behind the last, boundaries on lines that end
in a bare `\n`, names with quotes or escapes, a field that decides where the form goes and is there twice.
"""

import re

import msgspec

from keyrelay.core.errors import CallerError

MAX_PARTS = 256
MAX_PART_HEAD_BYTES = 8 * 1024
MAX_TEXT_BYTES = 1024 * 1024
"""Of all fields that are no files together: the longest prompts have a tenth of that."""

FORM_TYPE = "multipart/form-data"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - HTTP's word for a name
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*({_TOKEN})[ \t]*=[ \t]*(?:"([^"\r\n]*)"|({_TOKEN}))')
_PARAMETERS = re.compile(rf"(?:{_PARAMETER.pattern})*[ \t]*;?[ \t]*")
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_HEADER = re.compile(rf"({_TOKEN}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_NAME = re.compile(r"[0-9A-Za-z_.\[\]-]{1,100}")
_BARE = re.compile(_TOKEN)
_LINE_END = b"\r\n"
_HEAD_END = b"\r\n\r\n"
_CLOSING = b"--"
_MARK_BYTES = 2
_PLAIN_CHARSETS = frozenset({"utf-8", "us-ascii"})
_PLAIN_ENCODINGS = frozenset({"7bit", "8bit", "binary"})

# Where the reader is.
_OPENING, _MARK, _HEAD, _TEXT, _FILE, _END = range(6)


class FormField(msgspec.Struct, frozen=True):
    """One part: its name and, unless it is a file, its text, which are the bytes from `start` to `end` of the form."""

    name: str
    text: str | None
    start: int
    end: int


def read_boundary(content_type: str) -> str:
    """The boundary that a `content-type` names. Raise CallerError (400) where it is none of a form."""
    media_type, parameters = _split(content_type)
    if media_type != FORM_TYPE:
        raise _wrong(f"send the request as {FORM_TYPE}, not as {media_type[:80]!a}")
    boundary = parameters.get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _wrong("its content-type names no boundary that a form may have")
    return boundary


def form_type(boundary: str) -> str:
    """The `content-type` of a form with this boundary."""
    quote = "" if _BARE.fullmatch(boundary) else '"'
    return f"{FORM_TYPE}; boundary={quote}{boundary}{quote}"


class FormReader:
    """The reading of one form. Its methods raise CallerError (400) for what is no form, or not only one."""

    __slots__ = (
        "_buffer",
        "_delimiter",
        "_fields",
        "_line",
        "_name",
        "_offset",
        "_searched",
        "_start",
        "_state",
        "_texts",
    )

    def __init__(self, boundary: str) -> None:
        self._delimiter = _CLOSING + boundary.encode("ascii")
        self._line = b"\n" + self._delimiter
        self._buffer = bytearray()
        self._offset = 0  # of the buffer in the form
        self._searched = 0
        self._state = _OPENING
        self._fields: list[FormField] = []
        self._texts = 0
        self._name = ""
        self._start = 0

    def feed(self, piece: bytes) -> None:
        """Read on."""
        self._buffer += piece
        while self._advance():
            pass

    def close(self) -> tuple[FormField, ...]:
        """The fields of the form, which has ended."""
        if self._state != _END or (self._buffer and self._buffer != _LINE_END):
            raise _wrong("it breaks off before its last boundary")
        return tuple(self._fields)

    def _advance(self) -> bool:
        """Read what is complete; False when more has to come."""
        state = self._state
        if state in (_FILE, _TEXT):
            return self._read_content()
        if state == _HEAD:
            return self._read_head()
        if state == _MARK:
            return self._read_mark()
        if state == _OPENING:
            return self._read_opening()
        if not _LINE_END.startswith(self._buffer):
            raise _wrong("something stands behind its last boundary")
        return False

    def _read_opening(self) -> bool:
        if not self._delimiter.startswith(self._buffer[: len(self._delimiter)]):
            raise _wrong("it does not begin with its boundary")
        if len(self._buffer) < len(self._delimiter):
            return False
        self._go_on(len(self._delimiter), _MARK)
        return True

    def _read_mark(self) -> bool:
        """What stands behind a boundary: a line end, or the sign that it is the last."""
        if len(self._buffer) < _MARK_BYTES:
            return False
        mark = self._buffer[:_MARK_BYTES]
        if mark not in (_LINE_END, _CLOSING):
            raise _wrong("a line begins with its boundary and is none")
        self._go_on(_MARK_BYTES, _HEAD if mark == _LINE_END else _END)
        return True

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END, max(0, self._searched - len(_HEAD_END)))
        if max(end, len(self._buffer) if end < 0 else 0) > MAX_PART_HEAD_BYTES:
            raise _wrong(f"the head of a part has more than {MAX_PART_HEAD_BYTES} bytes")
        if end < 0:
            self._searched = len(self._buffer)
            return False
        if len(self._fields) == MAX_PARTS:
            raise _wrong(f"it has more than {MAX_PARTS} parts")
        self._name, is_file = _read_part_head(bytes(self._buffer[:end]))
        # The last line end stays: with it, a boundary that follows at once is seen.
        self._go_on(end + len(_HEAD_END) - 1, _FILE if is_file else _TEXT)
        self._start = self._offset + 1
        return True

    def _read_content(self) -> bool:
        """The content of a part, up to the boundary behind it; of a file only as much is kept as may be half of one."""
        buffer, line = self._buffer, self._line
        at = buffer.find(line, max(0, self._searched - len(line)))
        if at < 0:
            if self._state == _FILE:
                self._drop(max(0, len(buffer) - len(line)))
            else:
                self._check_texts(len(buffer) - len(line))
            self._searched = len(buffer)
            return False
        if at == 0 or buffer[at - 1] != _LINE_END[0]:
            raise _wrong("a boundary stands in it without the line end that belongs before it")
        end = self._offset + at - 1
        text = None if self._state == _FILE else self._read_text(bytes(buffer[1 : at - 1]))
        self._fields.append(FormField(self._name, text, self._start, end))
        self._go_on(at + len(line), _MARK)
        return True

    def _read_text(self, content: bytes) -> str:
        self._check_texts(len(content))
        self._texts += len(content)
        if self._delimiter in content:  # the model may go on without what stands before it here
            raise _wrong(f"'{self._name}' holds its boundary", self._name)
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise _wrong(f"'{self._name}' is not UTF-8", self._name) from None

    def _check_texts(self, count: int) -> None:
        if self._texts + count > MAX_TEXT_BYTES:
            raise _wrong(f"its fields that are no files have more than {MAX_TEXT_BYTES} bytes")

    def _go_on(self, count: int, state: int) -> None:
        self._drop(count)
        self._searched = 0
        self._state = state

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._offset += count

    def __repr__(self) -> str:
        return f"<FormReader {len(self._fields)} parts, {self._offset + len(self._buffer)} bytes>"


def _read_part_head(head: bytes) -> tuple[str, bool]:
    """The name of a part, and whether it is a file."""
    headers: dict[str, str] = {}
    try:
        lines = head.decode().split("\r\n")
    except UnicodeDecodeError:
        raise _wrong("the head of a part is not UTF-8") from None
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None or found[1].lower() in headers:
            raise _wrong("the head of a part has a line that is no header, or one twice")
        headers[found[1].lower()] = found[2]
    kind, parameters = _split(headers.get("content-disposition", ""))
    name = parameters.get("name", "")
    if kind != "form-data" or "name*" in parameters or not _NAME.fullmatch(name):
        raise _wrong("a part has no name that a field may have")
    is_file = "filename" in parameters or "filename*" in parameters
    if headers.get("content-transfer-encoding", "binary").strip().lower() not in _PLAIN_ENCODINGS:
        raise _wrong(f"'{name}' is encoded: send it as it is", name)
    media_type, said = _split(headers.get("content-type", "text/plain"))
    if media_type.startswith("multipart/") or (
        not is_file and said.get("charset", "utf-8").lower() not in _PLAIN_CHARSETS
    ):
        raise _wrong(f"'{name}' is a form of its own, or text that is not UTF-8", name)
    return name, is_file


def _split(value: str) -> tuple[str, dict[str, str]]:
    """What a header's value says, in lower case, and its parameters by their names in lower case.

    A quote in a value can only be written `%22`, as browsers do: some readers know backslashes, and some do not.
    """
    first, sign, rest = value.partition(";")
    if not _PARAMETERS.fullmatch(sign + rest):
        raise _wrong("the parameters of a header cannot be read; a quote in a name is written %22")
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(sign + rest):
        name, text = found[1].lower(), found[3] or found[2] or ""
        if name in parameters or text.endswith("\\"):
            raise _wrong("a header has a parameter twice, or one that ends in a backslash")
        parameters[name] = text
    return first.strip().lower(), parameters


def _wrong(problem: str, param: str | None = None) -> CallerError:
    return CallerError(400, f"The form cannot be read: {problem}.", param=param, code="invalid_form")
