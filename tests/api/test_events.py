"""Server-sent events over real sockets: who hears what, slow listeners, and who may not listen any more."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keyrelay.api import events as module
from keyrelay.api.observer import Watchers
from keyrelay.engine.events import MAX_LISTENERS, MAX_QUEUED, Events, Topic
from tests.api.served import MODEL, OPERATOR_SECRET, OTHER_SECRET, look, served
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, chat, read_head, until

PATH = "/api/v1/events"


def events_of(gateway: Embedded) -> Events:
    watchers = gateway.application.data._gateway._observer
    assert isinstance(watchers, Watchers)
    assert watchers.events is not None
    return watchers.events


class Stream:
    """A listener that reads the wire."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._text = b""

    async def event(self) -> dict[str, Any]:
        """The next event; comments and `retry` are passed over."""
        async with asyncio.timeout(10.0):
            while True:
                while b"\n\n" not in self._text:
                    size = int(await self._reader.readuntil(b"\r\n"), 16)
                    assert size, "the stream has ended"
                    self._text += (await self._reader.readexactly(size + 2))[:-2]
                block, _, self._text = self._text.partition(b"\n\n")
                fields = dict(line.split(b": ", 1) for line in block.split(b"\n"))
                if b"data" in fields:
                    return {
                        "id": fields.get(b"id", b"").decode(),
                        "event": fields[b"event"].decode(),
                        "data": msgspec.json.decode(fields[b"data"]),
                    }

    async def ended(self) -> bool:
        async with asyncio.timeout(10.0):
            return not int(await self._reader.readuntil(b"\r\n"), 16)


@contextlib.asynccontextmanager
async def listening(
    gateway: Embedded, query: str = "", secret: str = OPERATOR_SECRET, **headers: str
) -> AsyncIterator[Stream]:
    async with Caller(gateway.port, secret) as caller:
        reader, writer = await caller.streams()
        lines = [f"GET {PATH}{query} HTTP/1.1", "host: gateway", f"authorization: Bearer {secret}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        status, fields = await read_head(reader)
        assert (status, fields["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert "content-length" not in fields
        yield Stream(reader)


@contextlib.asynccontextmanager
async def silent(gateway: Embedded) -> AsyncIterator[socket.socket]:
    """A listener to alerts that reads nothing unless the test does."""
    with socket.socket() as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(end, ("127.0.0.1", gateway.port))
        head = f"GET {PATH}?topics=alerts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {OPERATOR_SECRET}\r\n\r\n"
        await loop.sock_sendall(end, head.encode())
        yield end


async def test_people_hear_of_everybody_and_a_client_of_itself(tmp_path: Path) -> None:
    async with (
        served(tmp_path) as gateway,
        listening(gateway, "?topics=requests") as everything,
        listening(gateway, "", CLIENT_SECRET) as own,
    ):
        for secret in (OTHER_SECRET, CLIENT_SECRET):
            async with Caller(gateway.port, secret) as caller:
                assert (await caller.post("/v1/chat/completions", chat(MODEL))).status == 200
        heard = [await everything.event() for _ in range(2)]
        mine = await own.event()
    assert [each["data"]["client"] for each in heard] == ["other", "tests"]
    assert all(each["event"] == "requests" and each["data"]["status"] == 200 for each in heard)
    assert (mine["data"]["client"], mine["id"]) == ("tests", heard[1]["id"])


async def test_a_provider_that_fails_is_heard_of(tmp_path: Path) -> None:
    async with (
        served(tmp_path, KEYRELAY_CIRCUIT_FAILURES="2") as gateway,
        listening(gateway, "?topics=attempts,health,keys") as stream,
    ):
        await asyncio.sleep(1.2)  # so that what is now has been taken note of
        health = gateway.application.health
        for _ in range(2):
            health._pool.health.circuit("provider:groq").failed(health._epoch_s(), "service: it is down", lambda: 0.5)
        heard = [await stream.event() for _ in range(3)]
    assert {(each["event"], each["data"].get("key") or each["data"]["provider"]) for each in heard} == {
        ("keys", "groq/home"),
        ("keys", "groq/work"),
        ("health", "groq"),
    }
    (of_provider,) = (each["data"] for each in heard if each["event"] == "health")
    assert (of_provider["about"], of_provider["state"], of_provider["was"]) == ("circuit", "open", "closed")


async def test_quotas_and_changes_of_the_configuration_are_heard_of(tmp_path: Path) -> None:
    async with (
        served(tmp_path, GROQ_RPD="4") as gateway,
        listening(gateway, "?topics=quota,configuration") as stream,
        Caller(gateway.port, OPERATOR_SECRET) as operator,
    ):
        for _ in range(6):
            assert (await gateway.ask(chat(MODEL))).status == 200
        quota = await stream.event()
        made = await operator.post("/api/v1/routes/fast", {"targets": [f"groq/{MODEL}"]}, method="PUT")
        assert made.status in {200, 201}, made.body
        changed = await stream.event()
        while changed["event"] == "quota":
            changed = await stream.event()
    assert (quota["event"], quota["data"]["provider"], quota["data"]["threshold"]) == ("quota", "groq", 0.75)
    assert changed["event"] == "configuration"
    assert "route" in changed["data"]["message"]


async def test_who_comes_back_goes_on_where_it_was(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        events = events_of(gateway)
        async with listening(gateway, "?topics=alerts") as stream:
            for number in range(3):
                events.publish(Topic.ALERTS, b"%d" % number)
            first = await stream.event()
        async with listening(gateway, "?topics=alerts", last_event_id=first["id"]) as again:
            assert [(await again.event())["data"] for _ in range(2)] == [1, 2]
        async with listening(gateway, "?topics=alerts", last_event_id="0" * 22) as stranger:
            assert (await stranger.event())["data"] == {"count": None}
        await until(lambda: not events.listened(), "nobody listens any more")


async def test_a_slow_listener_loses_events_and_is_told_how_many(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        events, large = events_of(gateway), msgspec.json.encode("x" * 20_000)
        async with silent(gateway) as slow:
            await until(lambda: events.wants(Topic.ALERTS), "it listens")
            for _ in range(20):  # more than all buffers on the way take
                for _ in range(MAX_QUEUED // 5):
                    events.publish(Topic.ALERTS, large)
                await asyncio.sleep(0.005)
            answer = await look(gateway, "/livez")
            assert (answer.status, answer.seconds < 1.0) == (200, True)
            received = b""
            async with asyncio.timeout(10.0):
                while b"event: lost\ndata: " not in received or received.endswith(b"data: "):
                    received = received[-100:] + await asyncio.get_running_loop().sock_recv(slow, 1 << 20)
        lost = msgspec.json.decode(received.split(b"event: lost\ndata: ")[1].split(b"\n")[0])
        assert 0 < lost["count"] < 20 * MAX_QUEUED // 5
        await until(lambda: not events.listened(), "it has gone")


async def test_one_who_reads_nothing_is_let_go_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WRITE_S", 0.2)
    async with served(tmp_path) as gateway:
        events = events_of(gateway)
        async with silent(gateway):
            await until(lambda: events.wants(Topic.ALERTS), "it listens")
            for _ in range(20):
                for _ in range(100):
                    events.publish(Topic.ALERTS, msgspec.json.encode("x" * 20_000))
                await asyncio.sleep(0.01)
            await until(lambda: not events.listened(), "it is let go of")


async def test_a_revoked_token_ends_its_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.ASK_AGAIN_S + module.WRITE_S < 60.0
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.2)
    async with served(tmp_path) as gateway, Caller(gateway.port, OPERATOR_SECRET) as operator:
        made = await operator.post("/api/v1/tokens", {"name": "screen", "role": "viewer"})
        assert made.status == 201, made.body
        async with listening(gateway, secret=made.json["secret"]) as stream:
            await asyncio.sleep(0.3)
            assert (await operator.get("/api/v1/tokens/screen", "DELETE")).status in {200, 204}
            last = await stream.event()
            assert (last["event"], last["data"]["code"]) == ("end", "invalid_token")
            assert await stream.ended()


async def test_streams_end_when_the_process_is_about_to(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway, listening(gateway) as stream:
        gateway.application.health.draining = True
        last = await stream.event()
        assert (last["event"], last["data"]["code"]) == ("end", "closed")
        assert await stream.ended()


async def test_silence_is_broken_by_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module.HEARTBEAT_S == 15.0
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.05)
    async with served(tmp_path) as gateway, Caller(gateway.port, CLIENT_SECRET) as caller:
        reader, writer = await caller.streams()
        writer.write(f"GET {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT_SECRET}\r\n\r\n".encode())
        await read_head(reader)
        async with asyncio.timeout(5.0):
            assert await reader.readuntil(b": still here\n\n")


@pytest.mark.parametrize(
    ("query", "secret", "status", "code"),
    [
        ("?topics=health", CLIENT_SECRET, 403, "operator_only"),
        ("?topics=requests,weather", OPERATOR_SECRET, 400, "invalid_parameter"),
        ("", "nobody", 401, "invalid_api_key"),
    ],
)
async def test_what_is_refused(tmp_path: Path, query: str, secret: str, status: int, code: str) -> None:
    async with served(tmp_path) as gateway:
        reply = await look(gateway, f"{PATH}{query}", secret)
        assert (reply.status, reply.error["code"]) == (status, code)
        if secret == OPERATOR_SECRET:
            events = events_of(gateway)
            listeners = [events.subscribe([Topic.ALERTS]) for _ in range(MAX_LISTENERS)]
            full = await look(gateway, PATH, secret)
            assert (full.status, full.error["code"], full.headers["retry-after"]) == (503, "too_many_listeners", "30")
            for each in listeners:
                each.close()
