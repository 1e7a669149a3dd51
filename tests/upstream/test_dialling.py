import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keyrelay.core.errors import ConfigurationError
from keyrelay.core.origins import Origin
from keyrelay.ports import Fault
from keyrelay.upstream.dialling import Dialler, connect, verifying_context
from keyrelay.upstream.exchange import Exchange
from keyrelay.upstream.resolving import Address
from keyrelay.upstream.settings import TransportSettings
from keyrelay.upstream.transport import HttpTransport
from tests.upstream.certificates import Authority
from tests.upstream.hostile import (
    Peer,
    answer_of,
    answering,
    call,
    chunk,
    events,
    fault_of,
    http,
    read_all,
    serving,
    silent_after,
    soon,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@asynccontextmanager
async def trusting(authority: Authority, **settings: float) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(TransportSettings(ca_file=authority.ca_file, **settings))  # type: ignore[arg-type]
    try:
        yield transport
    finally:
        await transport.aclose()


class TestTls:
    async def test_whole_answers_and_streams(self, authority: Authority) -> None:
        context = authority.context("IP:127.0.0.1")
        script = answering(http(b"ok"), events(b"data: 1\n\n"), http(b"x" * 300_000))
        async with trusting(authority) as transport, serving(script, tls=context) as server:
            assert answer_of(await transport.send(call(server.origin))).body == b"ok"
            assert await read_all(answer_of(await transport.send(call(server.origin)))) == b"data: 1\n\n"
            large = answer_of(await transport.send(call(server.origin, body=b"y" * 1_000_000)))
            assert len(large.body) == 300_000
            assert server.connections == 1

    async def test_a_slow_reader_stops_the_server(self, authority: Authority) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(events(end=False), *(chunk(b"x" * 65535) for _ in range(64)), b"0\r\n\r\n")

        context = authority.context("IP:127.0.0.1")
        async with trusting(authority) as transport, serving(script, tls=context) as server:
            answer = answer_of(await transport.send(call(server.origin)))
            await asyncio.sleep(0.1)
            assert answer.size < 1 << 20
            assert len(await read_all(answer)) == 64 * 65535

    async def test_letting_go_is_seen_by_the_server(self, authority: Authority) -> None:
        context = authority.context("IP:127.0.0.1")
        script = silent_after(events(b"data: 1\n\n", end=False))
        async with trusting(authority) as transport, serving(script, tls=context) as server:
            answer_of(await transport.send(call(server.origin))).close()
            await soon(lambda: server.closed_by_client == 1)

    async def test_a_reset_in_the_middle(self, authority: Authority) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(http(b"abc")[:-1])
            peer.reset()

        context = authority.context("IP:127.0.0.1")
        async with trusting(authority) as transport, serving(script, tls=context) as server:
            fault = fault_of(await transport.send(call(server.origin)))
            assert (fault.kind, fault.reached) == ("network", True)

    @pytest.mark.parametrize(
        ("names", "days", "words"),
        [("DNS:other.example", "30", "not valid for"), ("IP:127.0.0.1", "-1", "expired")],
    )
    async def test_a_certificate_that_is_not_right(
        self, authority: Authority, names: str, days: str, words: str
    ) -> None:
        context = authority.context(names, days=days)
        async with trusting(authority) as transport, serving(answering(http(b"ok")), tls=context) as server:
            await _refused(transport, server.origin, words)
            assert server.heads == []

    async def test_an_unknown_authority(self, authority: Authority, transport: HttpTransport) -> None:
        context = authority.context("IP:127.0.0.1")
        async with serving(answering(http(b"ok")), tls=context) as server:
            await _refused(transport, server.origin, "SSL_CERT_FILE")
            assert server.heads == []

    async def test_the_environment_names_an_authority(
        self, authority: Authority, transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", authority.ca_file)
        async with serving(answering(http(b"ok")), tls=authority.context("IP:127.0.0.1")) as server:
            assert answer_of(await transport.send(call(server.origin))).body == b"ok"

    async def test_an_alert(self, authority: Authority) -> None:
        async def script(peer: Peer) -> None:
            await peer.reader.read(1)
            await peer.send(b"\x15\x03\x03\x00\x02\x02\x28")  # fatal, handshake failure
            await peer.until_closed()

        async with trusting(authority) as transport, serving(script) as server:
            await _refused(transport, Origin("https", "127.0.0.1", server.port), "handshake failure")

    async def test_a_server_that_does_not_speak_tls(self, authority: Authority) -> None:
        async def script(peer: Peer) -> None:
            await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        async with trusting(authority) as transport, serving(script) as server:
            await _refused(transport, Origin("https", "127.0.0.1", server.port), "127.0.0.1")

    async def test_a_handshake_that_never_ends(self, authority: Authority) -> None:
        async with trusting(authority, connect_timeout_s=0.2) as transport, serving(silent_after(b"")) as server:
            started = asyncio.get_running_loop().time()
            fault = fault_of(await transport.send(call(Origin("https", "127.0.0.1", server.port))))
            assert asyncio.get_running_loop().time() - started < 0.5
            assert (fault.kind, fault.reached) == ("timeout", False)
            assert "0.2 s" in fault.message

    async def test_an_unreadable_ca_file_is_a_mistake_of_the_configuration(self, tmp_path: Path) -> None:
        for path in (tmp_path / "absent.pem", tmp_path / "empty.pem"):
            (tmp_path / "empty.pem").write_text("nothing")
            transport = HttpTransport(TransportSettings(ca_file=str(path)))
            with pytest.raises(ConfigurationError, match=path.name):
                await transport.send(call(Origin("https", "127.0.0.1", 1)))
            await transport.aclose()

    def test_without_any_store_certifi_stands_in_unless_the_operator_named_one(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        paths = ssl.get_default_verify_paths()._replace(capath=str(tmp_path))
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        monkeypatch.setattr(ssl, "create_default_context", lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        assert len(verifying_context("").get_ca_certs()) > 50
        monkeypatch.setenv("SSL_CERT_FILE", "/absent")
        assert verifying_context("").get_ca_certs() == []

    def test_verification_is_always_on(self, authority: Authority) -> None:
        for ca_file in ("", authority.ca_file):
            context = verifying_context(ca_file)
            assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


async def _refused(transport: HttpTransport, origin: Origin, words: str) -> None:
    fault = fault_of(await transport.send(call(origin)))
    assert (fault.kind, fault.reached) == ("network", False)
    assert words in fault.message
    assert f"127.0.0.1:{origin.port}" in fault.message
    assert transport.counters().open == 0


class TestReaching:
    async def test_refused(self, transport: HttpTransport) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            await _refused(transport, Origin("http", "127.0.0.1", free.getsockname()[1]), "refused")

    @pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70 + ".example", ".."])
    async def test_names_that_lead_nowhere(self, transport: HttpTransport, host: str) -> None:
        fault = fault_of(await transport.send(call(Origin("http", host, 80))))
        assert not fault.reached
        assert host in fault.message

    async def test_the_first_address_that_answers_wins(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            async with serving(answering(http(b"ok"))) as server:
                there = _address(server.port)
                for addresses in ([_address(dead.getsockname()[1]), there], [there, there]):
                    sock = await connect(loop, addresses, delay_s=0.0)
                    assert sock.getpeername() == ("127.0.0.1", server.port)
                    sock.close()
                await asyncio.sleep(0.01)
            for addresses in ([_address(dead.getsockname()[1])] * 2, []):
                with pytest.raises(OSError, match=r"refused|no address|Connect call failed"):
                    await connect(loop, addresses, delay_s=0.01)

    async def test_a_silent_address_does_not_hold_up_the_next(self) -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as full:  # a listener whose backlog is full answers no further SYN
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            async with serving(answering(http(b"ok"))) as server:
                fillers = [await connect(loop, [_address(full.getsockname()[1])], delay_s=0.1)]
                started = loop.time()
                addresses = [_address(full.getsockname()[1]), _address(server.port)]
                sock = await connect(loop, addresses, delay_s=0.1)
                assert loop.time() - started < 0.5
                assert sock.getpeername()[1] == server.port
                for opened in (sock, *fillers):
                    opened.close()
                await asyncio.sleep(0.01)


def _address(port: int) -> Address:
    return (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))


class _Tunnels:
    """A CONNECT proxy as a script: what it answers, and what it was asked."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        self.answer = answer
        self.asked: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        head = await peer.head()
        self.asked.append(head)
        await peer.send(self.answer)
        if not self.answer.startswith(b"HTTP/1.1 200") or not self.answer.endswith(b"\r\n\r\n"):
            return
        port = int(head.split(b" ")[1].rpartition(b":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_pump(peer.reader, writer), _pump(reader, peer.writer))
        finally:
            writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


class TestProxy:
    """The name `provider.example` resolves nowhere: only the proxy can lead there."""

    async def _through(
        self, tunnels: _Tunnels, authority: Authority, *, scheme: str, user: str = "", port: int = 9
    ) -> Exchange | Fault:
        async with serving(tunnels) as proxy:
            url = f"http://{user}127.0.0.1:{proxy.port}"
            transport = HttpTransport(TransportSettings(proxy_url=url, ca_file=authority.ca_file))
            try:
                return await transport.send(call(Origin(scheme, "provider.example", port)))
            finally:
                await transport.aclose()

    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize("user", ["", "joe:p%40ss@"])
    async def test_tunnel(self, authority: Authority, scheme: str, user: str) -> None:
        tls = authority.context("DNS:provider.example") if scheme == "https" else None
        tunnels = _Tunnels()
        async with serving(answering(http(b"ok")), tls=tls) as server:
            answer = answer_of(await self._through(tunnels, authority, scheme=scheme, user=user, port=server.port))
            assert answer.body == b"ok"
            authority_line = f"provider.example:{server.port}"
            expected = f"CONNECT {authority_line} HTTP/1.1\r\nhost: {authority_line}\r\n"
            if user:
                expected += "proxy-authorization: Basic am9lOnBAc3M=\r\n"
            assert tunnels.asked == [(expected + "\r\n").encode()]
            assert b"proxy" not in server.heads[0]

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "credentials"),
            (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "status 502"),
            (b"", "no usable answer"),
            (b"HTTP/1.1 200 OK\r\n\r\nearly bytes", "no usable answer"),
            (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "no usable answer"),
            (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20000, "no usable answer"),
        ],
    )
    async def test_no_tunnel(self, authority: Authority, answer: bytes, words: str) -> None:
        fault = fault_of(await self._through(_Tunnels(answer), authority, scheme="https", user="joe:hush@"))
        assert (fault.kind, fault.reached) == ("network", False)
        assert words in fault.message
        assert "hush" not in fault.message
        assert "joe" not in fault.message

    async def test_a_wrong_certificate_behind_the_proxy(self, authority: Authority) -> None:
        async with serving(answering(http(b"ok")), tls=authority.context("IP:127.0.0.1")) as server:
            fault = fault_of(await self._through(_Tunnels(), authority, scheme="https", port=server.port))
            assert "could not be verified" in fault.message

    async def test_loopback_never_goes_through_the_proxy(self) -> None:
        async with serving(_Tunnels()) as proxy, serving(answering(http(b"direct"))) as server:
            transport = HttpTransport(TransportSettings(proxy_url=f"http://127.0.0.1:{proxy.port}"))
            assert answer_of(await transport.send(call(server.origin))).body == b"direct"
            assert proxy.connections == 0
            await transport.aclose()

    def test_reprs_hold_no_password(self) -> None:
        settings = TransportSettings(proxy_url="http://joe:hush@proxy.example:3128")
        assert repr(Dialler(settings)) == "<Dialler proxy=<Proxy proxy.example:3128 with credentials>>"
        assert "hush" not in repr(settings)
        assert "hush" not in repr(HttpTransport(settings))
