"""Heads of requests, checked and built once per (target, credential, headers, method) and then used again.

This is the choke point at which a credential meets a host: nothing else in the transport sees a secret.
"""

import re
from typing import Final

from keyrelay.core.configuration import Credential
from keyrelay.core.errors import HostBindingError
from keyrelay.core.origins import Origin
from keyrelay.ports import UpstreamCall

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET: Final = re.compile(r"/[\x21-\x7e]*")
_VISIBLE: Final = re.compile(r"[\x21-\x7e]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OWN_FIELDS: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that frame the message or belong to the connection: the transport's own business."""

_BODILESS_METHODS: Final = frozenset({"GET", "HEAD"})


class RequestHeads:
    """The heads of one origin, at most `limit` of them."""

    __slots__ = ("_heads", "_limit", "_origin")

    def __init__(self, origin: Origin, limit: int) -> None:
        self._origin = origin
        self._limit = limit
        self._heads: dict[tuple[object, ...], tuple[Credential | None, bytes]] = {}

    def __repr__(self) -> str:
        return f"<RequestHeads {self._origin} heads={len(self._heads)}>"

    def head_of(self, call: UpstreamCall) -> bytes:
        """Everything up to the body.

        Raise HostBindingError when the credential belongs to another origin, and ValueError, which repeats no
        value, when the method, the target or a header cannot be written.
        """
        credential = call.credential
        origin = call.origin
        if credential is not None and credential.origin is not origin and credential.origin != origin:
            raise HostBindingError(f"a credential bound to {credential.origin} was about to leave for {origin}")
        # The entry holds the credential, so its id is not given to another one while the entry lives.
        key = (call.target, id(credential), call.method, call.headers)
        entry = self._heads.get(key)
        if entry is None:
            entry = (credential, _build(call))
            if len(self._heads) >= self._limit:
                self._heads.clear()
            self._heads[key] = entry
        head = entry[1]
        if call.content_type:
            head += f"{_line('content-type', call.content_type, set())}\r\n".encode("latin-1")
        if call.body or call.parts or call.method not in _BODILESS_METHODS:
            return b"%bcontent-length: %d\r\n\r\n" % (head, len(call.body) + sum(map(len, call.parts)))
        return head + b"\r\n"


def _build(call: UpstreamCall) -> bytes:
    """The part of the head that is the same for every body."""
    if not _TOKEN.fullmatch(call.method):
        raise ValueError("the method is not a token")
    if not _TARGET.fullmatch(call.target):
        raise ValueError("the target is not a path of printable ASCII characters; quote it")
    lines = [f"{call.method} {call.target} HTTP/1.1", f"host: {_host(call.origin)}", "accept-encoding: identity"]
    taken = set(_OWN_FIELDS)
    credential = call.credential
    if credential is not None:
        lines.append(_line(credential.header, credential.prefix + credential.secret.reveal(), taken))
        taken.add(credential.header.lower())
    lines.extend(_line(name, value, taken) for name, value in call.headers)
    lines.append("")
    return "\r\n".join(lines).encode("latin-1")


def _host(origin: Origin) -> str:
    """The authority in ASCII."""
    authority = origin.authority if origin.authority.isascii() else origin.authority.encode("idna").decode()
    if not _VISIBLE.fullmatch(authority):
        raise ValueError("the host holds a character that no host has")
    return authority


def _line(name: str, value: str, taken: set[str]) -> str:
    """One header line; raise ValueError without repeating the value."""
    if not _TOKEN.fullmatch(name):
        raise ValueError("a header name is not a token")
    if name.lower() in taken:
        raise ValueError(f"the header {name} is the transport's own or the credential's")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of the header {name} holds a control character or one beyond latin-1")
    return f"{name}: {value}"
