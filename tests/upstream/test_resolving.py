import socket
from collections.abc import Sequence
from ipaddress import ip_network

import pytest

from keyrelay.core.addresses import PUBLIC_ONLY, AddressPolicy
from keyrelay.core.errors import AddressDeniedError
from keyrelay.upstream.resolving import Address, Resolve, interleave, resolve_allowed, system_resolve

ONE_NETWORK = AddressPolicy(networks=(ip_network("10.1.0.0/16"),))


def v4(address: str, port: int = 443) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))


def v6(address: str, port: int = 443) -> Address:
    return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))


def answering(*addresses: Address) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return addresses

    return resolve


async def test_allowed_addresses_come_back_as_they_were_found() -> None:
    found = [v4("1.1.1.1"), v6("2606:4700::1111"), v4("8.8.8.8")]
    assert await resolve_allowed("a.example", 443, PUBLIC_ONLY, resolve=answering(*found)) == found
    found = [v4("1.1.1.1"), v4("10.1.2.3")]
    assert await resolve_allowed("a.example", 443, ONE_NETWORK, resolve=answering(*found)) == found


@pytest.mark.parametrize(
    "found",
    [
        [v4("10.2.0.1")],
        [v4("1.1.1.1"), v4("10.2.0.1")],
        [v4("10.2.0.1"), v4("1.1.1.1")],
        [v4("10.1.0.1"), v4("10.2.0.1"), v6("2606:4700::1111")],
        [v6("2606:4700::1111"), v6("::ffff:10.2.0.1")],
    ],
)
async def test_one_denied_address_denies_the_name(found: list[Address]) -> None:
    with pytest.raises(AddressDeniedError) as caught:
        await resolve_allowed("a.example", 443, ONE_NETWORK, resolve=answering(*found))
    assert str(caught.value) == (
        "no connection to a.example: 10.2.0.1 is a private address, which only the operator can allow "
        "(KEYRELAY_ALLOWED_NETWORKS=10.2.0.1 or KEYRELAY_ALLOW_PRIVATE_ADDRESSES=true)"
    )


async def test_an_address_that_python_was_built_without_is_denied() -> None:
    unknown: Address = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (10, b"\0\0"))
    with pytest.raises(AddressDeniedError, match=r"^no connection to a\.example: .* unknown kind$"):
        await resolve_allowed("a.example", 443, PUBLIC_ONLY, resolve=answering(unknown))


async def test_a_name_without_addresses_has_none() -> None:
    assert await resolve_allowed("a.example", 443, PUBLIC_ONLY, resolve=answering()) == []


async def test_the_system_s_own_failure_to_find_a_name_stays_what_it_is() -> None:
    with pytest.raises(socket.gaierror):
        await resolve_allowed("nowhere.invalid", 443, PUBLIC_ONLY)
    assert {address[4][:2] for address in await system_resolve("127.1", 80)} == {("127.0.0.1", 80)}


def test_families_take_turns() -> None:
    one, two, six = v4("127.0.0.1", 1), v4("127.0.0.1", 2), v6("::1", 1)
    assert interleave([one, two, six]) == [one, six, two]
    assert interleave([]) == []
