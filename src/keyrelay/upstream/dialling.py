"""Opening connections: names, addresses, proxies and TLS, under one deadline.

TLS is always verified; there is no setting against it. A name is resolved once per connection, and the socket goes to
an address of that one answer: whoever runs the name's DNS cannot have one address checked and another one connected
to. This is the slow path: tasks and timers are fine here.
"""

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import certifi

from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.origins import Origin
from keyrelay.ports import Fault
from keyrelay.upstream.connection import Connection
from keyrelay.upstream.faults import CONNECT_ERRORS, connect_fault
from keyrelay.upstream.proxies import Proxy
from keyrelay.upstream.resolving import Address, Resolve, interleave, resolve_allowed, system_resolve
from keyrelay.upstream.settings import TransportSettings

PROXIED_LOOKUP_S = 1.0
"""How long a name is looked up that a proxy is going to resolve: where there is a proxy there may be no DNS."""


class Dialler:
    """Opens connections; raises ValueError at once when `proxy_url` is not usable. `resolve` looks names up."""

    __slots__ = ("_context", "_proxy", "_resolve", "_settings")

    def __init__(self, settings: TransportSettings, resolve: Resolve = system_resolve) -> None:
        self._settings = settings
        self._resolve = resolve
        self._proxy = Proxy(settings.proxy_url, settings.no_proxy) if settings.proxy_url else None
        self._context: ssl.SSLContext | None = None

    def __repr__(self) -> str:
        return f"<Dialler proxy={self._proxy!r}>"

    async def dial(self, origin: Origin, make: Callable[[], Connection], *, deadline_at: float) -> Connection | Fault:
        """Open a connection, or say why there is none. Raise ConfigurationError when `ca_file` cannot be read."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = min(now + self._settings.connect_timeout_s, deadline_at)
        context = self._tls() if origin.scheme == "https" else None
        try:
            async with asyncio.timeout_at(until):
                return await self._open(loop, origin, make, context=context)
        except CONNECT_ERRORS as error:
            return connect_fault(error, origin, max(until - now, 0.0))

    async def _open(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        make: Callable[[], Connection],
        *,
        context: ssl.SSLContext | None,
    ) -> Connection:
        proxy = self._proxy if self._proxy is not None and self._proxy.serves(origin.host) else None
        addresses = await (self._addresses(origin) if proxy is None else self._addresses_of(proxy, origin))
        sock = await connect(loop, addresses, delay_s=self._settings.address_delay_s)
        try:
            if proxy is not None:
                await proxy.open_tunnel(loop, sock, origin)
            server_hostname = origin.host.rstrip(".") if context is not None else None
            _, connection = await loop.create_connection(make, sock=sock, ssl=context, server_hostname=server_hostname)
        except BaseException:
            sock.close()
            raise
        return connection

    async def _addresses(self, origin: Origin) -> list[Address]:
        """Where an origin may be connected to. Raise AddressDeniedError for a guarded one that leads elsewhere."""
        if origin.guarded:
            return await resolve_allowed(origin.host, origin.port, self._settings.addresses, resolve=self._resolve)
        return list(await self._resolve(origin.host, origin.port))

    async def _addresses_of(self, proxy: Proxy, origin: Origin) -> list[Address]:
        """Where the proxy is, which the operator has named.

        It is the proxy that resolves a guarded origin's name; what the name leads to from here is refused all the same.
        """
        if origin.guarded:
            host, policy = origin.host.rstrip("."), self._settings.addresses
            with contextlib.suppress(OSError):  # no DNS here, or no such name in it, or not in time
                async with asyncio.timeout(PROXIED_LOOKUP_S):
                    await resolve_allowed(host, origin.port, policy, resolve=self._resolve)
        return list(await self._resolve(proxy.host, proxy.port))

    def _tls(self) -> ssl.SSLContext:
        """The context of all TLS connections, made when first needed (reading the system's store takes a while)."""
        if self._context is None:
            self._context = verifying_context(self._settings.ca_file)
        return self._context


def verifying_context(ca_file: str) -> ssl.SSLContext:
    """A context that trusts the system's store and `ca_file`; raise ConfigurationError when that cannot be read."""
    context = ssl.create_default_context()
    if _store_is_empty(context):
        context.load_verify_locations(certifi.where())
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise ConfigurationError(
                "ca_file", f"{ca_file} holds no certificates that can be read.", "Name a PEM file."
            ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _store_is_empty(context: ssl.SSLContext) -> bool:
    """Whether the machine has no store at all; one that the operator named is never widened."""
    paths = ssl.get_default_verify_paths()
    if paths.openssl_cafile_env in os.environ or paths.openssl_capath_env in os.environ:
        return False
    # A directory of certificates is read on demand, so the context does not count it.
    in_directory = paths.capath is not None and any(Path(paths.capath).iterdir())
    return not in_directory and not context.cert_store_stats()["x509_ca"]


async def connect_allowed(
    host: str, port: int, policy: AddressPolicy, *, timeout_s: float, resolve: Resolve = system_resolve
) -> socket.socket:
    """A socket, connected and not blocking, to a host that somebody named by API; TLS is the caller's business.

    Raise AddressDeniedError when it leads where it may not, OSError when it cannot be reached in time.
    """
    settings = TransportSettings()
    async with asyncio.timeout(timeout_s):
        addresses = await resolve_allowed(host, port, policy, resolve=resolve)
        return await connect(asyncio.get_running_loop(), addresses, delay_s=settings.address_delay_s)


async def connect(loop: asyncio.AbstractEventLoop, addresses: Sequence[Address], *, delay_s: float) -> socket.socket:
    """Connect to the first address that answers, starting the next one every `delay_s` (RFC 8305)."""
    addresses = interleave(addresses)
    if len(addresses) == 1:
        return await _connect_one(loop, addresses[0])
    running: set[asyncio.Task[socket.socket]] = set()
    first_error: BaseException | None = None
    try:
        while addresses or running:
            if addresses:
                running.add(loop.create_task(_connect_one(loop, addresses.pop(0))))
            timeout = delay_s if addresses else None
            done, _ = await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                running.discard(task)
                error = task.exception()
                if error is None:
                    return task.result()
                first_error = first_error or error
    finally:
        for task in running:
            task.cancel()
            task.add_done_callback(_close_unused)
    raise first_error or OSError("no address")


async def _connect_one(loop: asyncio.AbstractEventLoop, address: Address) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await loop.sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_unused(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()
