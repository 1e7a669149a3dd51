"""Heads of answers. The parser has already checked the bytes; here they are only looked up.

Most answers are used without most of their headers, so the few fields that frame the body are searched for in the
raw bytes, and the mapping is made when somebody asks for it.
"""

import re
from typing import Final

from keyrelay.upstream.values import Framing

HEAD_END: Final = b"\r\n\r\n"
_STREAMS: Final = (b"text/event-stream", b"application/x-ndjson")
"""Media types of answers that come piece by piece."""
_PLAIN: Final = frozenset({b"", b"identity"})
_FRAMING: Final = re.compile(rb"\r\n(content-length|transfer-encoding|content-encoding|content-type):[ \t]*([^\r]*)")


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
    found = _FRAMING.findall(head.lower())
    fields = dict(found)
    if len(fields) != len(found):
        fields = {name: b", ".join(value for other, value in found if other == name) for name in fields}
    length = fields.get(b"content-length")
    transfer = fields.get(b"transfer-encoding")
    problem = ""
    if transfer and transfer.rstrip() != b"chunked":
        problem = "its transfer encoding is not chunked"
    elif b"content-encoding" in fields and fields[b"content-encoding"].rstrip() not in _PLAIN:
        problem = "its content is encoded although identity was asked for"
    streaming = fields.get(b"content-type", b"").startswith(_STREAMS)
    return Framing(streaming, not (length or transfer), int(length) if length else -1, problem)
