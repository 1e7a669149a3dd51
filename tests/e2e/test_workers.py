"""Several workers on one port: the real command, its real processes, kills and signals."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyrelay.simulator import KeyPlan, Latency, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import (
    CLIENT_SECRET,
    Caller,
    Process,
    Reply,
    chat_bytes,
    environment,
    process,
    read_head,
    read_reply,
    simulated,
    until,
)
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds workers in /proc")

CHAT = "/v1/chat/completions"
MODEL = "mistral-small-2603"
OPERATOR = "7d865e959b2466918c9863afca942d0f"
OTHER_SECRET = "e4da3b7fbbce2345d7772b0674a318d5"
QUICK = ProviderPlan(limits=(), latency=Latency(first_token_ms=(1, 5), tokens_per_s=2000), answer_tokens=(5, 20))
ENDLESS = ProviderPlan(limits=(), latency=Latency(first_token_ms=(10, 10), tokens_per_s=20), answer_tokens=(5000, 5000))
DEAD_KEY = ProviderPlan(limits=(), keys={"sim-mistral-a": KeyPlan(state="invalid")})
WITHIN_S = 1.5
"""A second, and a little for a machine on which others work too."""
SLOW = ProviderPlan(limits=(), latency=Latency(first_token_ms=(10, 10), tokens_per_s=40), answer_tokens=(40, 40))


@contextlib.asynccontextmanager
async def up(
    directory: Path, plan: ProviderPlan = QUICK, *, clients: str = "", **more: str
) -> AsyncIterator[tuple[Process, Simulator]]:
    """A gateway with two workers, whose keys and clients stand in `.env`."""
    async with RedisServer() as redis, simulated(Scenario(providers={"mistral": plan})) as simulator:
        usual = {"MISTRAL_TIER": "paid", "KEYRELAY_WORKERS": "2", "KEYRELAY_REDIS_URL": redis.url}
        environ = environment(simulator, {"mistral": []}, KEYRELAY_DATA_DIR=str(directory / "data"), **usual | more)
        del environ["CLIENT_API_KEYS_MAP"]
        configure(directory, clients=clients)
        async with process(environ, directory) as gateway:
            yield gateway, simulator


def configure(directory: Path, keys: str = "a=sim-mistral-a", clients: str = "", **more: str) -> None:
    """Write `.env`."""
    clients = clients or f"{CLIENT_SECRET}:tests,{OTHER_SECRET}:other"
    values = {"MISTRAL_API_KEYS": keys, "CLIENT_API_KEYS_MAP": clients, **more}
    (directory / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))


def workers_of(gateway: Process) -> list[int]:
    """The processes that the supervisor has started."""
    pid = gateway.process.pid
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def messages(gateway: Process) -> list[str]:
    return [line["message"] for line in gateway.lines("message")]


async def count_of(gateway: Process, metric: str) -> float:
    """A metric's sum over its labels, from a connection of its own."""
    async with Caller(gateway.port) as caller:
        page = (await caller.get("/metrics")).body.decode()
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if re.match(rf"{metric}(\{{|\s)", line))


async def restart(gateway: Process) -> None:
    """Have the workers replaced, and wait until they are."""
    replaced = "all workers have been replaced"
    before = messages(gateway).count(replaced)
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: messages(gateway).count(replaced) > before, "a rolling restart", 30)


class Load:
    """Callers that ask on and on, each on its own connection; every answer must be a good one."""

    def __init__(self, gateway: Process, connections: int, *, stream_every: int = 3) -> None:
        self.good = 0
        self.bad: list[str] = []
        self._stopping = False
        self._gateway = gateway
        self._stream_every = stream_every
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(connections)]

    async def _work(self, number: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with Caller(self._gateway.port) as caller:
            while not self._stopping and not task.cancelling():  # which closing a connection may have swallowed
                stream = (self.good + number) % self._stream_every == 0
                try:
                    reply = await caller.post(CHAT, chat_bytes(MODEL, stream=stream))
                except (OSError, asyncio.IncompleteReadError) as error:
                    self.bad.append(repr(error))
                    await caller.close()
                    continue
                if reply.is_good():
                    self.good += 1
                else:
                    self.bad.append(f"{reply.status} {reply.body!r}")

    async def stop(self) -> None:
        self._stopping = True
        await asyncio.gather(*self._tasks)


async def test_a_rolling_restart_is_noticed_by_nobody_and_no_count_is_lost(tmp_path: Path) -> None:
    async with up(tmp_path) as (gateway, simulator):
        before = set(workers_of(gateway))
        assert len(before) == 2
        load = Load(gateway, 12)
        await asyncio.sleep(0.3)
        counts = [await count_of(gateway, "keyrelay_requests_total")]
        await restart(gateway)
        counts.append(await count_of(gateway, "keyrelay_requests_total"))
        after = set(workers_of(gateway))
        await load.stop()
        assert load.bad == []
        assert (len(after), before & after) == (2, set())
        assert counts == sorted(counts)
        assert await count_of(gateway, "keyrelay_requests_total") == load.good == simulator.judge.total
        assert await count_of(gateway, "keyrelay_workers") == await count_of(gateway, "keyrelay_workers_answering") == 2
        assert len(re.findall(r"^keyrelay \S+ at http", gateway.log(), re.MULTILINE)) == 1
        assert await gateway.stop() == 0
        assert len(gateway.lines()) == load.good


async def test_a_killed_worker_costs_what_is_in_its_hands_and_is_replaced(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # which accepts nobody
        keeping = {**KEEPING, "SILENT_BASE_URL": f"http://127.0.0.1:{silent.getsockname()[1]}/v1"}
        gateway, _ = await stack.enter_async_context(up(tmp_path, QUICK, **keeping))
        callers = [await stack.enter_async_context(Caller(gateway.port)) for _ in range(8)]
        replies = [await caller.post(CHAT, chat_bytes(MODEL)) for caller in callers]
        assert all(reply.is_good() for reply in replies)
        before = set(workers_of(gateway))
        counted = await count_of(gateway, "keyrelay_requests_total")
        await texts_are_read_by_both(gateway, replies)
        tasks = await tasks_of_both(gateway)
        os.kill(min(before), signal.SIGKILL)
        again = await asyncio.gather(*(ask_once(caller) for caller in callers))
        lost = again.count(None)
        assert 0 < lost < 8, "connections were spread over both"
        assert all(reply.is_good() for reply in again if reply)
        replies = [await gateway.ask(chat_bytes(MODEL)) for _ in range(20)]
        assert all(reply.is_good() for reply in replies), "the other one serves meanwhile"
        await until(lambda: len(set(workers_of(gateway)) - before) == 1, "another takes its place")
        (told,) = [text for text in messages(gateway) if "another takes its place" in text]
        assert f"(process {min(before)}) was ended by SIGKILL" in told
        await all_answering(gateway)
        assert counted == 8
        assert await count_of(gateway, "keyrelay_requests_total") == 8 + (8 - lost) + 20
        states = await states_of(gateway, tasks)
        assert set(states) == {("running", ""), ("failed", "It ended with its worker, after 0 of 1.")}


KEEPING = {
    "KEYRELAY_KEEP_TEXTS": "all",
    "KEYRELAY_OPERATOR_SECRET": OPERATOR,
    "SILENT_API_KEYS": "x=sk-test-silent-1",
    "SILENT_MODELS": "none",
}
"""For what follows: texts are kept, and there is a provider whose keys can be tested for ever."""


async def tasks_of_both(gateway: Process) -> list[str]:
    """Begin tasks at both workers, each of which knows them all; their ids, once the store knows them."""
    async with contextlib.AsyncExitStack() as stack:
        people = [await stack.enter_async_context(Caller(gateway.port, OPERATOR)) for _ in range(4)]
        begun = [(await person.post("/api/v1/keys/test", {"provider": "silent"})).json["id"] for person in people]
        for person in people:
            listed = (await person.get("/api/v1/tasks")).json["items"]
            assert {task["id"] for task in listed if task["state"] == "running"} == set(begun)
            assert {(await person.get(f"/api/v1/tasks/{name}")).json["state"] for name in begun} == {"running"}
    await until(lambda: _made_older(gateway, 0) == len(begun), "they are written down")
    return begun


async def states_of(gateway: Process, tasks: list[str]) -> list[tuple[str, str]]:
    """How tasks stand after those of a dead worker have not been heard of for a while."""
    await until(lambda: _made_older(gateway, 20), "nothing is heard of them")
    async with Caller(gateway.port, OPERATOR) as person:
        documents = [(await person.get(f"/api/v1/tasks/{name}")).json for name in tasks]
    return [(document["state"], document["message"]) for document in documents]


async def texts_are_read_by_both(gateway: Process, replies: list[Reply]) -> None:
    """Who asks on several connections asks both workers; texts are written twice a second."""
    await asyncio.sleep(1.0)
    async with contextlib.AsyncExitStack() as stack:
        for person in [await stack.enter_async_context(Caller(gateway.port, OPERATOR)) for _ in range(4)]:
            texts = [await person.get(f"/api/v1/requests/{reply.headers['x-request-id']}/text") for reply in replies]
            assert {text.status for text in texts} == {200}


def _made_older(gateway: Process, by_s: int) -> int:
    """How many tasks the store knows, which are made older."""
    database = next(gateway.output.parent.rglob("keyrelay.db"))
    with contextlib.closing(sqlite3.connect(database, timeout=5.0)) as store, store:
        changed = store.execute("UPDATE states SET updated_s = updated_s - ? WHERE name LIKE 'task:%'", (by_s,))
        return changed.rowcount


async def ask_once(caller: Caller) -> Reply | None:
    """The answer on the connection that is there; None when that is gone."""
    _, writer = await caller.streams()
    writer.write(request_bytes())
    reader, _ = await caller.streams()
    try:
        return await read_reply(reader, 0.0)
    except (OSError, asyncio.IncompleteReadError):
        return None


def request_bytes(*, stream: bool = False) -> bytes:
    body = chat_bytes(MODEL, stream=stream)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


async def all_answering(gateway: Process) -> None:
    """Wait until both workers serve."""
    deadline_at = time.monotonic() + 10
    while await count_of(gateway, "keyrelay_workers_answering") != 2:
        assert time.monotonic() < deadline_at
        await asyncio.sleep(0.05)


async def test_a_frozen_worker_is_left_out_and_lets_no_sum_go_back(tmp_path: Path) -> None:
    async with up(tmp_path) as (gateway, _):
        load = Load(gateway, 4)
        await asyncio.sleep(0.3)
        await load.stop()
        assert await count_of(gateway, "keyrelay_requests_total") == load.good
        frozen = workers_of(gateway)[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            page = ""
            for _ in range(20):  # a connection that the frozen one has is not answered
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1.5), Caller(gateway.port) as caller:
                        page = (await caller.get("/metrics")).body.decode()
                        break
            assert "keyrelay_workers 2.0" in page
            assert "keyrelay_workers_answering 1.0" in page
            sums = re.findall(r"^keyrelay_requests_total\{.*\} ([0-9.]+)$", page, re.MULTILINE)
            assert sum(map(float, sums)) == load.good
        finally:
            os.kill(frozen, signal.SIGCONT)


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_changed_file_reaches_every_worker_within_a_second(tmp_path: Path, workers: str) -> None:
    async with up(tmp_path, KEYRELAY_WORKERS=workers) as (gateway, _):
        known = [Caller(gateway.port) for _ in range(4)]
        other = [Caller(gateway.port, OTHER_SECRET) for _ in range(4)]
        assert await served_by(known) == await served_by(other) == {"a"}
        changed_at = time.monotonic()
        configure(tmp_path, "b=sim-mistral-b", f"{CLIENT_SECRET}:tests")
        while await served_by(other) != {"401"} or await served_by(known) != {"b"}:
            assert time.monotonic() - changed_at < WITHIN_S
        configured(tmp_path, KEYRELAY_POLICY="best")
        await until(lambda: any("refused" in text for text in messages(gateway)), "it is refused")
        assert await served_by(known) == {"b"}
        assert await served_by(other) == {"401"}
        configured(tmp_path, KEYRELAY_MAX_BODY_BYTES="1024", KEYRELAY_CONNECT_TIMEOUT_S="4")
        changed_at = time.monotonic()
        while await served_by(known, "x" * 2000) != {"413"}:
            assert time.monotonic() - changed_at < WITHIN_S
        taken, refused, partly = [text for text in messages(gateway) if "onfiguration" in text]
        assert taken.startswith("configuration changed: clients.other, providers.mistral.keys.a, ")
        assert refused.startswith("the change is refused, all stays as it is: configuration: 1 problem")
        assert "KEYRELAY_POLICY" in refused
        assert partly.endswith("in force after a restart: settings.connect_timeout_s")
        await asyncio.gather(*(caller.close() for caller in (*known, *other)))


def configured(directory: Path, **more: str) -> None:
    """Change a setting, and nothing else."""
    configure(directory, "b=sim-mistral-b", f"{CLIENT_SECRET}:tests", **more)


async def served_by(callers: list[Caller], padding: str = "") -> set[str]:
    """The key that answered each of them, or the status of what was no answer."""
    body = chat_bytes(MODEL, text=f"Hi.{padding}")
    replies = await asyncio.gather(*(caller.post(CHAT, body) for caller in callers))
    return {reply.headers.get("x-keyrelay-key") or str(reply.status) for reply in replies}


async def test_a_dead_key_is_replaced_without_a_restart(tmp_path: Path) -> None:
    async with up(tmp_path, DEAD_KEY) as (gateway, _):
        callers = [Caller(gateway.port) for _ in range(4)]
        assert await served_by(callers) == {"503"}
        changed_at = time.monotonic()
        configure(tmp_path, "a=sim-mistral-b")  # the same label
        while await served_by(callers) != {"a"}:
            assert time.monotonic() - changed_at < WITHIN_S
        await asyncio.gather(*(caller.close() for caller in callers))


class TestStopping:
    async def test_all_workers_drain(self, tmp_path: Path) -> None:
        async with up(tmp_path, SLOW) as (gateway, simulator):
            streams = [await open_stream(gateway) for _ in range(4)]
            gateway.process.send_signal(signal.SIGTERM)
            for reader, writer in streams:
                rest = await asyncio.wait_for(reader.read(), 10)
                assert b"data: [DONE]" in rest
                assert b'"error"' not in rest
                writer.close()
            assert await gateway.ended() == 0
            assert [line["status"] for line in gateway.lines()] == [200] * 4
            assert simulator.judge.total == 4

    async def test_a_signal_for_the_whole_group_is_one_and_the_second_does_not_wait(self, tmp_path: Path) -> None:
        async with up(tmp_path, ENDLESS) as (gateway, _):
            streams = [await open_stream(gateway) for _ in range(4)]
            group = [gateway.process.pid, *workers_of(gateway)]
            for pid in group:
                os.kill(pid, signal.SIGINT)
            await asyncio.sleep(0.5)
            assert gateway.process.returncode is None
            assert len(workers_of(gateway)) == 2, "both wait for their streams"
            began_at = time.monotonic()
            gateway.process.send_signal(signal.SIGINT)
            assert await gateway.ended() == 0
            assert time.monotonic() - began_at < 5
            assert not any(map(is_alive, group))
            for _, writer in streams:
                writer.close()

    async def test_workers_do_not_outlive_their_supervisor(self, tmp_path: Path) -> None:
        async with up(tmp_path) as (gateway, _):
            assert (await gateway.ask(chat_bytes(MODEL))).is_good()
            workers = workers_of(gateway)
            gateway.process.kill()
            await until(lambda: not any(map(is_alive, workers)), "they have ended", 10)
            with pytest.raises(ConnectionRefusedError):
                await gateway.ask(chat_bytes(MODEL))


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice its end does not."""
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def open_stream(gateway: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A stream under way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request_bytes(stream=True))
    status, _ = await read_head(reader)
    assert status == 200
    return reader, writer


class TestStarting:
    async def test_without_redis_it_is_refused(self, tmp_path: Path) -> None:
        environ = {"MISTRAL_API_KEY": "sim-mistral-a", "KEYRELAY_WORKERS": "3"}
        async with process(environ, tmp_path, ready=False) as gateway:
            assert await gateway.ended() == 2
            said = gateway.log()
        assert "3 workers need Redis" in said
        assert "KEYRELAY_REDIS_URL=redis://127.0.0.1:6379/0" in said
        assert "Traceback" not in said

    async def test_the_first_secret_is_shown_once_and_known_to_all(self, tmp_path: Path) -> None:
        async with up(tmp_path, clients=" ") as (gateway, _):
            (secret,) = re.findall(r"client secret, shown only now: (\S+)", gateway.log())
            callers = [Caller(gateway.port, secret) for _ in range(4)]
            assert await served_by(callers) == {"a"}
            await asyncio.gather(*(caller.close() for caller in callers))
            command_lines = [command_line(pid) for pid in workers_of(gateway)]
            assert len(command_lines) == 2
            assert not [line for line in command_lines if secret in line or "sim-mistral" in line]


async def test_whichever_worker_is_asked_explains_what_the_other_did(tmp_path: Path) -> None:
    async with up(tmp_path) as (gateway, _):
        served = []
        for _ in range(8):
            async with Caller(gateway.port) as caller:
                served.append((await caller.post(CHAT, chat_bytes(MODEL))).headers["x-request-id"])
        for request_id in served:
            for _ in range(2):
                async with Caller(gateway.port) as caller:
                    explained = (await caller.get(f"/api/v1/requests/{request_id}")).json
                assert "no longer known" not in explained["summary"], "the worker that served it was asked"
            async with Caller(gateway.port, OTHER_SECRET) as caller:
                assert (await caller.get(f"/api/v1/requests/{request_id}")).status == 404
