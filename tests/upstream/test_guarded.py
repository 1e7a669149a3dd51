"""Guarded origins, against real listeners: one that may be reached, and a canary that may not.

On 127.0.0.2 listens what stands for a public server: the operator has allowed that one address. The canary listens on
127.0.0.1, at the same port.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from keyrelay.core.addresses import PUBLIC_ONLY, AddressPolicy
from keyrelay.core.errors import AddressDeniedError
from keyrelay.core.origins import Origin, parse_base_url
from keyrelay.ports import Fault
from keyrelay.upstream import dialling
from keyrelay.upstream.dialling import connect_allowed
from keyrelay.upstream.exchange import Exchange
from keyrelay.upstream.resolving import Address, system_resolve
from keyrelay.upstream.settings import TransportSettings
from keyrelay.upstream.transport import HttpTransport
from tests.upstream.certificates import Authority
from tests.upstream.hostile import Server, answer_of, answering, call, fault_of, http, once, serving

PUBLIC, CANARY = "127.0.0.2", "127.0.0.1"
POLICY = AddressPolicy(networks=(ip_network(PUBLIC),))
NAME = "provider.example"


class Names:
    """A resolver that answers for one name with the next answer each time, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = answers
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        if host != NAME:
            return await system_resolve(host, port)
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]


class Silence:
    """A resolver that gives no answer for one name."""

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        if host == NAME:
            await asyncio.sleep(60)
        return await system_resolve(host, port)


@asynccontextmanager
async def sending(resolve: Names | Silence | None = None, **settings: object) -> AsyncIterator[HttpTransport]:
    made = TransportSettings(**{"addresses": POLICY, **settings})  # type: ignore[arg-type]
    transport = HttpTransport(made, resolve=resolve or system_resolve)
    try:
        yield transport
    finally:
        await transport.aclose()


@asynccontextmanager
async def public_at(port: int) -> AsyncIterator[list[bytes]]:
    """What stands for a public server: answers one request per connection, and tells their heads."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(2)
        writer.write(http(b"public"))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(serve, PUBLIC, port)
    try:
        yield heads
    finally:
        listener.close()
        await listener.wait_closed()


def guarded(port: int, host: str = NAME, scheme: str = "http") -> Origin:
    return Origin(scheme, host, port, guarded=True)


def denied(result: Exchange | Fault, *words: str) -> None:
    fault = fault_of(result)
    assert (fault.kind, fault.reached) == ("address", False), fault
    assert all(word in fault.message for word in (*words, "KEYRELAY_ALLOWED_NETWORKS")), fault


NOTATIONS = (
    "127.0.0.1",
    "2130706433",
    "0x7f000001",
    "0X7F.1",
    "0177.0.0.1",
    "017700000001",
    "127.1",
    "0x7f.0x0.0.01",
    "0.0.0.0",
    "0",
    "localhost",
    "LocalHost",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "@127.0.0.1",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
    "\u200b127.0.0.1",
)
"""Texts that all lead to the loopback interface on a common system."""


class TestNotations:
    @pytest.mark.parametrize("host", NOTATIONS)
    async def test_no_notation_of_a_denied_address_gets_through(self, host: str) -> None:
        async with serving(answering(http(b"ok"))) as canary, sending(addresses=PUBLIC_ONLY) as transport:
            origin, _ = parse_base_url(f"http://{host}:{canary.port}/v1", guarded=True)
            denied(await transport.send(call(origin)), origin.host)
            assert canary.connections == 0

    @pytest.mark.parametrize("host", [*NOTATIONS[:8], *NOTATIONS[10:]])
    async def test_the_same_are_reached_where_private_addresses_are_allowed(self, host: str) -> None:
        policy = AddressPolicy(private=True)
        async with serving(answering(http(b"ok"))) as canary, sending(addresses=policy) as transport:
            origin, _ = parse_base_url(f"http://{host}:{canary.port}/v1", guarded=True)
            assert answer_of(await transport.send(call(origin))).body == b"ok"

    @pytest.mark.parametrize("host", NOTATIONS)
    async def test_the_same_are_reached_when_the_operator_names_them(self, host: str) -> None:
        async with serving(answering(http(b"ok"))) as canary, sending(addresses=PUBLIC_ONLY) as transport:
            origin, _ = parse_base_url(f"http://{host}:{canary.port}/v1")
            assert answer_of(await transport.send(call(origin))).body == b"ok"

    @pytest.mark.parametrize(
        "host",
        [
            "169.254.169.254",
            "2852039166",
            "[fd00:ec2::254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fec0::1]",
            "[::]",
            "100.64.0.1",
            "192.0.0.192",
            "255.255.255.255",
        ],
    )
    async def test_where_nothing_listens_nothing_is_tried_either(self, host: str) -> None:
        async with sending(connect_timeout_s=5) as transport:
            origin, _ = parse_base_url(f"http://{host}/latest/meta-data", guarded=True)
            started_at = asyncio.get_running_loop().time()
            denied(await transport.send(call(origin)))
            assert asyncio.get_running_loop().time() - started_at < 0.5
            assert transport.counters().opened_total == 0

    @pytest.mark.parametrize("host", ["127.0.0.1.", "localhost.", "0x7f000001.", "%31%32%37.0.0.1", "127.0.0.1%00"])
    async def test_what_leads_nowhere_leads_nowhere(self, host: str) -> None:
        """Whether a trailing dot is taken differs by system: it is denied or not found."""
        async with serving(answering(http(b"ok"))) as canary, sending(addresses=PUBLIC_ONLY) as transport:
            origin, _ = parse_base_url(f"http://{host}:{canary.port}/v1", guarded=True)
            assert not fault_of(await transport.send(call(origin))).reached
            assert canary.connections == 0


class TestRebinding:
    async def test_each_connection_is_checked_and_goes_where_the_check_went(self) -> None:
        names = Names([PUBLIC], [PUBLIC], [CANARY])
        async with (
            serving(answering(http(b"canary"))) as canary,
            public_at(canary.port) as heads,
            sending(names) as transport,
        ):
            for count in (1, 2):
                answer = answer_of(await transport.send(call(guarded(canary.port))))
                assert (answer.body, names.asked) == (b"public", count)
            denied(await transport.send(call(guarded(canary.port))), NAME, CANARY)
            assert (names.asked, canary.connections) == (3, 0)
            assert all(f"host: {NAME}:{canary.port}\r\n".encode() in head for head in heads)

    async def test_a_name_that_changes_with_every_question_never_gets_past(self) -> None:
        names = Names(*([PUBLIC], [CANARY]) * 10)
        async with (
            serving(answering(http(b"canary"))) as canary,
            public_at(canary.port),
            sending(names) as transport,
        ):
            for number in range(20):
                result = await transport.send(call(guarded(canary.port)))
                if number % 2:
                    denied(result, CANARY)
                else:
                    assert answer_of(result).body == b"public"
            assert (names.asked, canary.connections) == (20, 0)

    @pytest.mark.parametrize("answer", [[PUBLIC, CANARY], [CANARY, PUBLIC], [PUBLIC, PUBLIC, CANARY]])
    async def test_a_name_with_one_denied_address_gets_no_connection_at_all(self, answer: list[str]) -> None:
        async with (
            serving(answering(http(b"canary"))) as canary,
            public_at(canary.port) as heads,
            sending(Names(answer)) as transport,
        ):
            denied(await transport.send(call(guarded(canary.port))), CANARY)
            assert (canary.connections, heads) == (0, [])

    async def test_certificate_and_host_are_those_of_the_name(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        authority = Authority(tmp_path_factory.mktemp("ca"))
        policy = AddressPolicy(private=True)
        for names, good in (("DNS:provider.example", True), ("IP:127.0.0.1", False)):
            tls = authority.context(names)
            async with (
                serving(answering(http(b"ok")), tls=tls) as server,
                sending(Names([CANARY]), addresses=policy, ca_file=authority.ca_file) as transport,
            ):
                result = await transport.send(call(guarded(server.port, scheme="https")))
                if good:
                    assert answer_of(result).body == b"ok"
                    assert f"host: {NAME}:{server.port}\r\n".encode() in server.heads[0]
                else:
                    assert "could not be verified" in fault_of(result).message
                    assert server.heads == []


async def test_a_connection_of_the_operator_s_own_is_not_used_for_a_guarded_origin() -> None:
    async with serving(answering(http(b"ok"))) as canary, sending() as transport:
        own = Origin("http", CANARY, canary.port)
        assert answer_of(await transport.send(call(own))).body == b"ok"
        assert transport.counters().idle == 1
        denied(await transport.send(call(guarded(canary.port, CANARY))))
        assert (canary.connections, len(canary.heads)) == (1, 1)
        assert answer_of(await transport.send(call(own))).body == b"ok"
        assert canary.connections == 1


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Again", "308 Moved"])
async def test_a_redirect_is_an_answer_and_not_followed(status: str) -> None:
    async with (
        serving(answering(http(b"canary"))) as canary,
        sending(addresses=AddressPolicy(private=True)) as transport,
    ):
        for location in (f"http://{CANARY}:{canary.port}/", f"//{CANARY}:{canary.port}/"):
            async with serving(once(http(b"", f"location: {location}", status=status))) as server:
                answer = answer_of(await transport.send(call(guarded(server.port, CANARY))))
                assert (answer.status, answer.headers["location"]) == (int(status[:3]), location)
        assert canary.connections == 0


class TestProxy:
    """A guarded origin behind the operator's proxy, which itself is on this machine."""

    async def _asked(self, server: Server, resolve: Names | Silence | None, origin: Origin) -> Exchange | Fault:
        settings = {"proxy_url": f"http://{CANARY}:{server.port}", "addresses": PUBLIC_ONLY}
        async with sending(resolve, **settings) as transport:
            return await transport.send(call(origin))

    @pytest.mark.parametrize("host", ["10.0.0.5", "10.0.0.5.", "167772165", "[fd00:ec2::254]", "2130706433", "0"])
    async def test_an_address_is_checked_before_the_proxy_hears_of_it(self, host: str) -> None:
        async with serving(once(http(b"", status="502 Bad Gateway"))) as proxy:
            origin, _ = parse_base_url(f"http://{host}", guarded=True)
            denied(await self._asked(proxy, None, origin))
            assert proxy.connections == 0

    async def test_so_is_a_name_that_can_be_looked_up_here(self) -> None:
        async with serving(once(http(b"", status="502 Bad Gateway"))) as proxy:
            denied(await self._asked(proxy, Names(["10.0.0.5"]), guarded(443)), NAME, "10.0.0.5")
            assert proxy.connections == 0

    @pytest.mark.parametrize("known", [["1.1.1.1"], []])
    async def test_every_other_name_is_the_proxy_s_to_judge(self, known: list[str]) -> None:
        async with serving(once(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
            fault = fault_of(await self._asked(proxy, Names(known), guarded(443)))
            assert (fault.kind, "refused a tunnel" in fault.message) == ("network", True)
            assert proxy.heads[0].startswith(b"CONNECT provider.example:443 HTTP/1.1\r\n")

    @pytest.mark.parametrize("resolve", [None, Silence()], ids=["unknown", "no answer"])
    async def test_so_is_one_that_nobody_here_knows(
        self, resolve: Silence | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dialling, "PROXIED_LOOKUP_S", 0.05)
        host = NAME if resolve else "nowhere.invalid"
        async with serving(once(b"HTTP/1.1 403 Forbidden\r\n\r\n")) as proxy:
            fault = fault_of(await self._asked(proxy, resolve, guarded(443, host)))
            assert "refused a tunnel" in fault.message
            assert proxy.heads[0].startswith(f"CONNECT {host}:443 ".encode())


class TestConnecting:
    """For those who speak another protocol than HTTP."""

    async def test_a_socket_to_an_allowed_address(self) -> None:
        async with serving(answering(http(b"ok"))) as canary, public_at(canary.port):
            sock = await connect_allowed(NAME, canary.port, POLICY, timeout_s=5, resolve=Names([PUBLIC]))
            assert sock.getpeername() == (PUBLIC, canary.port)
            sock.close()
            assert canary.connections == 0

    async def test_none_to_a_denied_one(self) -> None:
        async with serving(answering(http(b"ok"))) as canary:
            for host in ("localhost", "127.1", CANARY):
                with pytest.raises(AddressDeniedError, match="KEYRELAY_ALLOW_PRIVATE_ADDRESSES"):
                    await connect_allowed(host, canary.port, POLICY, timeout_s=5)
            assert canary.connections == 0

    async def test_no_answer_in_time(self) -> None:
        with pytest.raises(TimeoutError):
            await connect_allowed(NAME, 25, POLICY, timeout_s=0.05, resolve=Silence())
