"""HTTP proxies: which calls go through one, and the CONNECT that opens a tunnel."""

import asyncio
import base64
import ipaddress
import re
import socket
from urllib.parse import unquote, urlsplit

from keyrelay.core.origins import Origin
from keyrelay.core.secrets import Secret
from keyrelay.upstream.answer_heads import HEAD_END
from keyrelay.upstream.faults import TunnelError

_MAX_TUNNEL_HEAD_BYTES = 16 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r\n)")
_PROXY_AUTHENTICATION_REQUIRED = b"407"


class Proxy:
    """A proxy for all hosts but loopback and those that a `no_proxy` pattern names."""

    __slots__ = ("_authorization", "_direct", "host", "port")

    def __init__(self, url: str, no_proxy: tuple[str, ...]) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("proxy_url is not http://[user:password@]host:port") from None
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("proxy_url is not http://[user:password@]host:port")
        self.host = parts.hostname
        self.port = port or 80
        self._authorization = Secret("")
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._authorization = Secret("Basic " + base64.b64encode(pair.encode()).decode())
        self._direct = tuple(pattern.strip().lower() for pattern in no_proxy if pattern.strip())

    def __repr__(self) -> str:
        return f"<Proxy {self.host}:{self.port}{' with credentials' if self._authorization else ''}>"

    def serves(self, host: str) -> bool:
        """Whether calls to a host go through the proxy."""
        host = host.rstrip(".")
        return not (is_loopback(host) or any(_matches(host, pattern) for pattern in self._direct))

    async def open_tunnel(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, origin: Origin) -> None:
        """Ask for a tunnel to the origin on a connected socket; raise TunnelError when there will be none."""
        await loop.sock_sendall(sock, self._request(origin))
        head = b""
        while HEAD_END not in head:
            data = await loop.sock_recv(sock, 4096)
            head += data
            if not data or len(head) > _MAX_TUNNEL_HEAD_BYTES:
                raise TunnelError(f"the proxy {self.host}:{self.port} gave no usable answer to CONNECT")
        self._check(head, origin)

    def _request(self, origin: Origin) -> bytes:
        host = f"[{origin.host}]" if ":" in origin.host else origin.host.encode("idna").decode()
        lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"host: {host}:{origin.port}"]
        if self._authorization:
            lines.append(f"proxy-authorization: {self._authorization.reveal()}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")

    def _check(self, head: bytes, origin: Origin) -> None:
        """Raise TunnelError unless the proxy agreed and sent nothing on the other side's behalf."""
        name = f"the proxy {self.host}:{self.port}"
        line = _STATUS_LINE.match(head)
        if line is None or not head.endswith(HEAD_END):
            raise TunnelError(f"{name} gave no usable answer to CONNECT")
        if line[1] == _PROXY_AUTHENTICATION_REQUIRED:
            raise TunnelError(f"{name} does not accept the credentials: check user and password in proxy_url")
        if not line[1].startswith(b"2"):
            raise TunnelError(f"{name} refused a tunnel to {origin.authority} with status {line[1].decode()}")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or its address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _matches(host: str, pattern: str) -> bool:
    """Whether a host falls under `*`, a network, an address, or a domain (with or without a leading dot or `*.`)."""
    if pattern == "*":
        return True
    address = _address(host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(pattern.strip("[]"), strict=False)
        except ValueError:
            return False
    domain = pattern.removeprefix("*").lstrip(".")
    return host == domain or host.endswith("." + domain)
