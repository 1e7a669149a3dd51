import asyncio
import socket
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from keyrelay.core.configuration import Credential
from keyrelay.core.errors import HostBindingError
from keyrelay.core.origins import Origin
from keyrelay.core.secrets import Secret
from keyrelay.ports import Fault, Upstream, UpstreamAnswer
from keyrelay.upstream.settings import TransportSettings
from keyrelay.upstream.transport import HttpTransport
from keyrelay.upstream.values import TransportCounters
from tests.upstream.hostile import (
    SECRET,
    Peer,
    answer_of,
    answering,
    call,
    chunk,
    events,
    fault_of,
    http,
    once,
    read_all,
    serving,
    silent_after,
    soon,
)


async def test_is_the_port(transport: HttpTransport) -> None:
    port: Upstream = transport
    async with serving(answering(http(b"ok"))) as server:
        answer: UpstreamAnswer | Fault = await port.send(call(server.origin))
        assert not isinstance(answer, Fault)


async def test_what_the_server_sees(transport: HttpTransport) -> None:
    async with serving(answering(http(b"ok"))) as server:
        headers = (("content-type", "application/json"), ("x-title", "Grüße"))
        await transport.send(call(server.origin, target="/v1/chat?x=1", body=b"{1}", headers=headers))
        assert server.heads == [
            (
                f"POST /v1/chat?x=1 HTTP/1.1\r\nhost: 127.0.0.1:{server.port}\r\naccept-encoding: identity\r\n"
                f"authorization: Bearer {SECRET}\r\ncontent-type: application/json\r\nx-title: Grüße\r\n"
                "content-length: 3\r\n\r\n"
            ).encode("latin-1")
        ]
        assert server.bodies == [b"{1}"]


async def test_connections_are_reused_last_in_first_out(transport: HttpTransport) -> None:
    async with serving(answering(http(b"ok"))) as server:
        for _ in range(5):
            await asyncio.gather(*(transport.send(call(server.origin)) for _ in range(3)))
        assert server.connections == 3
        for _ in range(5):
            await transport.send(call(server.origin))
        assert transport.counters() == TransportCounters(open=3, idle=3, in_flight=0, opened_total=3, reused_total=17)
        assert repr(transport) == "<HttpTransport ready origins=1 open=3 idle=3 in_flight=0>"


class TestReusedConnections:
    async def test_closed_while_idle(self, transport: HttpTransport) -> None:
        async with serving(once(http(b"ok"))) as server:
            for _ in range(3):
                assert answer_of(await transport.send(call(server.origin))).body == b"ok"
                await soon(lambda: transport.counters().open == 0)
            assert server.connections == 3

    @pytest.mark.parametrize("reset", [True, False])
    async def test_lost_before_the_answer_is_retried_once(self, transport: HttpTransport, reset: bool) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            if peer.server.connections == 2:
                await peer.send(http(b"second"))
                return
            await peer.send(http(b"first"))
            await peer.request()
            if reset:
                peer.reset()

        async with serving(script) as server:
            assert answer_of(await transport.send(call(server.origin))).body == b"first"
            assert answer_of(await transport.send(call(server.origin))).body == b"second"
            assert (server.connections, len(server.bodies)) == (2, 3)

    async def test_the_retry_itself_is_not_retried(self, transport: HttpTransport) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            if peer.server.connections == 1:
                await peer.send(http(b"first"))
                await peer.request()
            peer.reset()

        async with serving(script) as server:
            assert answer_of(await transport.send(call(server.origin))).body == b"first"
            assert fault_of(await transport.send(call(server.origin))).reached
            assert (server.connections, len(server.bodies)) == (2, 3)

    @pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
    async def test_lost_after_a_byte_of_the_answer_is_not_retried(self, transport: HttpTransport, begun: bytes) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(http(b"first"))
            await peer.request()
            await peer.send(begun)

        async with serving(script) as server:
            assert answer_of(await transport.send(call(server.origin))).body == b"first"
            assert fault_of(await transport.send(call(server.origin))).kind == "network"
            assert server.connections == 1

    async def test_a_fresh_connection_is_not_retried(self, transport: HttpTransport) -> None:
        async with serving(once(b"")) as server:
            assert fault_of(await transport.send(call(server.origin))).kind == "network"
            assert server.connections == 1


class TestDeadlines:
    @pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 OK\r\nconte", http(b"abc")[:-1]])
    @pytest.mark.parametrize("which", ["first_byte_s", "total_s"])
    async def test_silence(self, transport: HttpTransport, begun: bytes, which: str) -> None:
        loop = asyncio.get_running_loop()
        async with serving(silent_after(begun)) as server:
            started = loop.time()
            first_byte_s, total_s = (0.1, 9.0) if which == "first_byte_s" else (9.0, 0.1)
            fault = fault_of(await transport.send(call(server.origin, first_byte_s=first_byte_s, total_s=total_s)))
            assert 0.09 <= loop.time() - started < 0.4
            assert (fault.kind, fault.reached) == ("timeout", True)
            await soon(lambda: server.closed_by_client == 1)

    async def test_drip(self, transport: HttpTransport) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            for byte in http(b"x" * 1000):
                await peer.send(bytes([byte]), gap_s=0.02)

        async with serving(script) as server:
            started = asyncio.get_running_loop().time()
            fault = fault_of(await transport.send(call(server.origin, first_byte_s=0.3)))
            assert fault.kind == "timeout"
            assert asyncio.get_running_loop().time() - started < 0.6

    async def test_the_reader_of_a_stream_moves_its_deadline(self, transport: HttpTransport) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(events(end=False), gap_s=0.05)
            await peer.send(*(chunk(b"data: 1\n\n") for _ in range(6)), gap_s=0.05)
            await peer.until_closed()

        loop = asyncio.get_running_loop()
        async with serving(script) as server:
            answer = answer_of(await transport.send(call(server.origin, first_byte_s=0.2)))
            seen = 0
            while await answer.read():
                seen += 1
                answer.deadline_at = loop.time() + 0.15
            assert seen == 6
            assert answer.fault is not None
            assert answer.fault.kind == "timeout"
            await soon(lambda: server.closed_by_client == 1)

    async def test_a_stream_that_nobody_waits_for_ends_only_at_its_total_deadline(
        self, transport: HttpTransport
    ) -> None:
        async with serving(silent_after(events(b"data: 1\n\n", end=False))) as server:
            answer = answer_of(await transport.send(call(server.origin, first_byte_s=0.05, total_s=0.25)))
            await asyncio.sleep(0.15)
            assert answer.fault is None
            await soon(lambda: answer.fault is not None)
            assert await answer.read() == b"data: 1\n\n"
            assert await answer.read() == b""

    async def test_before_it_is_sent(self, transport: HttpTransport) -> None:
        async with serving(answering(http(b"ok"))) as server:
            fault = fault_of(await transport.send(call(server.origin, total_s=-1.0)))
            assert (fault.kind, fault.reached) == ("timeout", False)
            assert server.heads == []


class TestLettingGo:
    async def test_cancelled_before_the_answer(self, transport: HttpTransport) -> None:
        async with serving(silent_after(b"")) as server:
            task = asyncio.create_task(transport.send(call(server.origin)))
            await soon(lambda: len(server.heads) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert transport.counters().open == 0
            await soon(lambda: server.closed_by_client == 1)

    async def test_closed_in_the_middle_of_a_stream(self, transport: HttpTransport) -> None:
        async with serving(silent_after(events(b"data: 1\n\n", end=False))) as server:
            answer = answer_of(await transport.send(call(server.origin)))
            answer.close()
            answer.close()
            await soon(lambda: server.closed_by_client == 1)
            assert transport.counters().open == 0
            assert answer.fault is not None

    async def test_a_reader_that_is_cancelled_can_read_on(self, transport: HttpTransport) -> None:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(events(end=False), gap_s=0.1)
            await peer.send(chunk(b"data: 1\n\n"), b"0\r\n\r\n")

        async with serving(script) as server:
            answer = answer_of(await transport.send(call(server.origin)))
            task = asyncio.create_task(answer.read())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await read_all(answer) == b"data: 1\n\n"

    async def test_closing_after_the_end_keeps_the_connection(self, transport: HttpTransport) -> None:
        async with serving(answering(http(b"ok"))) as server:
            answer_of(await transport.send(call(server.origin))).close()
            assert transport.counters().idle == 1

    async def test_closing_the_transport_ends_everything(self) -> None:
        transport = HttpTransport()
        async with serving(answering(http(b"ok"), b"")) as server:
            await transport.send(call(server.origin))
            running = asyncio.create_task(transport.send(call(server.origin)))
            await soon(lambda: len(server.heads) == 2)
            await transport.aclose()
            assert fault_of(await running).kind == "network"
            assert repr(transport) == "<HttpTransport closed origins=1 open=0 idle=0 in_flight=0>"
            for origin in (server.origin, Origin("http", "never-seen.example", 80)):
                fault = fault_of(await transport.send(call(origin)))
                assert (fault.kind, fault.reached) == ("network", False)
            await transport.aclose()

    async def test_closing_while_dialling(self) -> None:
        transport = HttpTransport()
        async with serving(answering(http(b"ok"))) as server:
            task = asyncio.create_task(transport.send(call(server.origin)))
            await asyncio.sleep(0)
            await transport.aclose()
            assert not fault_of(await task).reached
            assert (transport.counters().open, server.heads) == (0, [])


class TestKeys:
    async def test_a_key_never_leaves_for_another_origin(self, transport: HttpTransport) -> None:
        async with serving(answering(http(b"ok"))) as server:
            for other in (
                Origin("http", "127.0.0.1", server.port + 1),
                Origin("https", "127.0.0.1", server.port),
                Origin("http", "localhost", server.port),
            ):
                credential = Credential(other, "authorization", "Bearer ", Secret(SECRET))
                with pytest.raises(HostBindingError) as caught:
                    await transport.send(call(server.origin, credential=credential))
                assert SECRET not in str(caught.value)
            assert server.connections == 0

    async def test_nor_on_a_second_call_with_a_head_built_before(self, transport: HttpTransport) -> None:
        async with serving(answering(http(b"ok"))) as server, serving(answering(http(b"ok"))) as other:
            credential = Credential(server.origin, "authorization", "Bearer ", Secret(SECRET))
            await transport.send(call(server.origin, credential=credential))
            await transport.send(call(other.origin))
            with pytest.raises(HostBindingError):
                await transport.send(call(other.origin, credential=credential))
            assert len(other.heads) == 1

    async def test_what_cannot_be_written_is_refused_before_connecting(self, transport: HttpTransport) -> None:
        async with serving(answering(http(b"ok"))) as server:
            with pytest.raises(ValueError, match="target"):
                await transport.send(call(server.origin, target="/a\r\nx: y"))
            assert server.connections == 0


class TestLimits:
    async def test_waiting_for_a_connection(self) -> None:
        transport = HttpTransport(TransportSettings(max_connections_per_origin=2, max_waiting_per_origin=6))
        async with serving(answering(http(b"ok"))) as server:
            results = await asyncio.gather(*(transport.send(call(server.origin)) for _ in range(10)))
            faults = [fault_of(result) for result in results if isinstance(result, Fault)]
            assert len(faults) == 2
            assert all(not fault.reached and "max_connections_per_origin" in fault.message for fault in faults)
            assert server.connections == 2
            assert transport.counters().reused_total == 6
        await transport.aclose()

    async def test_waiting_has_a_deadline(self) -> None:
        transport = HttpTransport(TransportSettings(max_connections_per_origin=1))
        async with serving(silent_after(b"")) as server:
            first = asyncio.create_task(transport.send(call(server.origin)))
            await soon(lambda: len(server.heads) == 1)
            fault = fault_of(await transport.send(call(server.origin, first_byte_s=0.2)))
            assert (fault.kind, fault.reached) == ("timeout", False)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
        await transport.aclose()

    async def test_a_connection_that_is_lost_makes_room(self) -> None:
        transport = HttpTransport(TransportSettings(max_connections_per_origin=1))
        async with serving(once(http(b"ok", "connection: close"))) as server:
            results = await asyncio.gather(*(transport.send(call(server.origin)) for _ in range(5)))
            assert [answer_of(result).body for result in results] == [b"ok"] * 5
            assert server.connections == 5
        await transport.aclose()

    async def test_failing_to_connect_makes_room(self) -> None:
        transport = HttpTransport(TransportSettings(max_connections_per_origin=1))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            origin = Origin("http", "127.0.0.1", free.getsockname()[1])
            results = await asyncio.gather(*(transport.send(call(origin)) for _ in range(4)))
        assert ["refused" in fault_of(result).message for result in results] == [True] * 4
        await transport.aclose()

    async def test_cancelled_while_waiting(self) -> None:
        transport = HttpTransport(TransportSettings(max_connections_per_origin=1))
        async with serving(answering(http(b"ok"))) as server:
            tasks = [asyncio.create_task(transport.send(call(server.origin))) for _ in range(4)]
            await asyncio.sleep(0)
            tasks[1].cancel()
            tasks[2].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [isinstance(result, asyncio.CancelledError) for result in results] == [False, True, True, False]
            assert transport.counters().idle == 1
        await transport.aclose()

    async def test_idle_connections_are_closed_and_the_sweeper_stops(self) -> None:
        transport = HttpTransport(TransportSettings(idle_timeout_s=0.2))
        async with serving(silent_after(http(b"ok"))) as server:
            await transport.send(call(server.origin))
            assert repr(transport.sweeper) == "<Sweeper ticking>"
            await asyncio.sleep(0.1)
            assert repr(transport.sweeper) == "<Sweeper dormant>"
            await soon(lambda: server.closed_by_client == 1)
            assert repr(transport.sweeper) == "<Sweeper stopped>"
            assert transport.counters().open == 0
        await transport.aclose()

    async def test_unused_origins_are_forgotten(self) -> None:
        transport = HttpTransport(TransportSettings(max_idle_origins=2))
        for number in range(4):
            async with serving(once(http(b"ok", "connection: close"))) as server:
                await transport.send(call(server.origin))
            assert transport.counters().opened_total == number + 1
        assert repr(transport).startswith("<HttpTransport ready origins=2 ")
        await transport.aclose()


def _sockets() -> int:
    links = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the listing itself
            links.append(str(entry.readlink()))
    return sum(link.startswith("socket:") for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_nothing_leaks(scheme: str) -> None:
    before = _sockets()
    tasks = len(asyncio.all_tasks())
    for script in (once(b""), silent_after(b""), answering(http(b"ok")), silent_after(events(b"x", end=False))):
        transport = HttpTransport(TransportSettings(connect_timeout_s=0.2))
        async with serving(script) as server:
            origin = Origin(scheme, "127.0.0.1", server.port)  # with https every handshake hangs or fails
            sends = [asyncio.create_task(transport.send(call(origin, first_byte_s=0.1))) for _ in range(20)]
            for number, task in enumerate(sends[:10]):
                await asyncio.sleep(0.001 * (number % 3))
                task.cancel()
            await asyncio.gather(*sends, return_exceptions=True)
            await transport.aclose()
    await soon(lambda: _sockets() == before and len(asyncio.all_tasks()) == tasks)


class TestBodiesInParts:
    PARTS = (b"a" * 300_000, b"", b"whisper-1", b"b" * 700_000)

    @pytest.mark.parametrize("body", [b"", b"{1}", b"c" * 300_000])
    async def test_they_arrive_as_one(self, transport: HttpTransport, body: bytes) -> None:
        async with serving(answering(http(b"ok"))) as server:
            for _ in range(2):
                asked = call(server.origin, body=body)
                asked = msgspec.structs.replace(asked, parts=tuple(map(memoryview, self.PARTS)))
                assert answer_of(await transport.send(asked)).body == b"ok"
            assert server.bodies == [body + b"".join(self.PARTS)] * 2
            assert server.connections == 1

    async def test_a_refusal_in_the_middle_ends_the_sending(self, transport: HttpTransport) -> None:
        async def script(peer: Peer) -> None:
            await peer.head()
            await peer.send(http(b"no", status="429 Too Many Requests"))
            await peer.until_closed()

        async with serving(script) as server:
            asked = msgspec.structs.replace(call(server.origin), parts=(memoryview(bytes(50_000_000)),))
            assert answer_of(await transport.send(asked)).status == 429
            await soon(lambda: transport.counters().open == 0)
