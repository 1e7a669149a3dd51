"""From a host to the addresses that it may be connected to.

Whoever connects takes the addresses given here and resolves nothing a second time.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest

from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.errors import AddressDeniedError

Address = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""One entry of `getaddrinfo`: family, kind, protocol, canonical name, socket address."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Looks up host and port. Raise OSError, or ValueError for what cannot be a host."""


async def system_resolve(host: str, port: int) -> Sequence[Address]:
    """What the operating system says: its hosts file, DNS, and every notation of an address that it takes."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


async def resolve_allowed(
    host: str, port: int, policy: AddressPolicy, *, resolve: Resolve = system_resolve
) -> list[Address]:
    """The addresses of a host, to be connected to as they are.

    Raise AddressDeniedError when the policy denies one of them: a name that leads to a public address and to a private
    one is not to be trusted with either. Raise what `resolve` raises.
    """
    addresses = list(await resolve(host, port))
    for _, _, _, _, where in addresses:
        _refuse(host, where[0], policy)
    return addresses


def _refuse(host: str, text: str | int, policy: AddressPolicy) -> None:
    """Raise AddressDeniedError unless an address is allowed."""
    try:
        denial = policy.denial(ipaddress.ip_address(str(text)))
    except ValueError:
        raise AddressDeniedError(f"no connection to {host}: it leads to an address of an unknown kind") from None
    if denial is not None:
        raise AddressDeniedError(f"no connection to {host}: {denial}")


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Alternate the address families, beginning with that of the first address, each kept in its order."""
    if not addresses:
        return []
    family = addresses[0][0]
    first = [address for address in addresses if address[0] == family]
    others = [address for address in addresses if address[0] != family]
    return [address for pair in zip_longest(first, others) for address in pair if address is not None]
