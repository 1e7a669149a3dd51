"""Origins: what a credential is bound to."""

from urllib.parse import urlsplit

import msgspec

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HIGHEST_PORT = 65_535


class Origin(msgspec.Struct, frozen=True, cache_hash=True):
    """Scheme, host and port of a server, host in lower case.

    A `guarded` one was named by somebody who only has the API: it is connected to at allowed addresses alone (see
    `core.addresses`), and never over a connection that was opened for another one.
    """

    scheme: str
    host: str
    port: int
    guarded: bool = False

    @property
    def authority(self) -> str:
        """Value of the Host header: IPv6 in brackets, the port only when it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def parse_base_url(url: str, *, guarded: bool = False) -> tuple[Origin, str]:
    """Split a base URL into its origin, `guarded` or not, and its path without a trailing slash.

    Raise ValueError, without repeating the URL (it may hold a secret), when it is not plain http or https,
    or carries user, query or fragment.
    """
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        msg = "the host of a base URL is a name or an address"
        raise ValueError(msg) from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        msg = "a base URL starts with http:// or https:// and a host"
        raise ValueError(msg)
    if parts.username or parts.password or parts.query or parts.fragment:
        msg = "a base URL has no user, password, query or fragment"
        raise ValueError(msg)
    if any(character <= " " or character == "\x7f" for character in url.strip()):
        msg = "a base URL has no spaces or control characters"
        raise ValueError(msg)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        msg = f"the port of a base URL lies between 1 and {_HIGHEST_PORT}"
        raise ValueError(msg)
    origin = Origin(parts.scheme, parts.hostname.lower(), port or _DEFAULT_PORTS[parts.scheme], guarded)
    return origin, parts.path.rstrip("/")
