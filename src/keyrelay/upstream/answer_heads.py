"""Heads of answers. The parser has already checked the bytes; here they are only looked up.

Most answers are used without most of their headers, so the few fields that frame the body are searched for in the
raw bytes, and the mapping is made when somebody asks for it.
"""

import msgspec

HEAD_END = b"\r\n\r\n"
_EVENT_STREAM = b"text/event-stream"
_PLAIN = frozenset({b"", b"identity"})


class Framing(msgspec.Struct, frozen=True):
    """What the head says about the body. `length` is -1 without a content-length; `problem` is empty when usable."""

    streaming: bool
    until_close: bool
    length: int
    problem: str = ""


def parse_fields(head: bytes) -> dict[str, str]:
    """Lower-case names to values; the values of a repeated name are joined with a comma."""
    fields: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def read_framing(head: bytes) -> Framing:
    """Read how the body of an answer is framed."""
    folded = head.lower() + b"\r\n"
    length = _field(folded, b"\r\ncontent-length:")
    transfer = _field(folded, b"\r\ntransfer-encoding:")
    problem = ""
    if transfer and transfer != b"chunked":
        problem = "its transfer encoding is not chunked"
    elif _field(folded, b"\r\ncontent-encoding:") not in _PLAIN:
        problem = "its content is encoded although identity was asked for"
    streaming = _field(folded, b"\r\ncontent-type:").startswith(_EVENT_STREAM)
    return Framing(streaming, not (length or transfer), int(length) if length else -1, problem)


def _field(folded: bytes, name: bytes) -> bytes:
    """Value of a field, empty when absent; repeated values are joined with a comma."""
    start = folded.find(name)
    if start < 0:
        return b""
    end = folded.find(b"\r\n", start + len(name))
    value = folded[start + len(name) : end].strip()
    if folded.find(name, end) < 0:
        return value
    return value + b", " + _field(folded[end:], name)
