"""Two hosts behind a load balancer, over one Redis and one PostgreSQL: whichever is asked knows what the other does."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from keyrelay.bootstrap.secret_keeping import secrets_of_store
from keyrelay.configuration import load_configuration
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.simulator import Scenario, Simulator
from keyrelay.storage.database import open_database
from keyrelay.storage.versions import make_tables
from tests.api.served import KEYS, MODEL, OPERATOR_SECRET
from tests.api.test_events import listening
from tests.e2e.harness import Caller, Embedded, Reply, chat, embedded, environment, simulated
from tests.e2e.test_texts import keeper_of
from tests.notify.servers import hooks
from tests.servers.fault_proxy import FaultProxy
from tests.servers.fixtures import *  # noqa: F403 - pytest finds fixtures by their names in the module
from tests.servers.postgres_server import PostgresServer
from tests.servers.redis_server import RedisServer

pytestmark = pytest.mark.asyncio(loop_scope="module")

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
INTERVAL_S = 0.2


class Hosts:
    """Both gateways, what they share, and the provider that they ask."""

    def __init__(
        self, gateways: tuple[Embedded, Embedded], proxy: FaultProxy, environ: dict[str, str], simulator: Simulator
    ) -> None:
        self.one, self.two = gateways
        self.proxy = proxy
        self.environ = environ
        self.simulator = simulator

    async def get(self, gateway: Embedded, path: str, method: str = "GET") -> Reply:
        async with Caller(gateway.port, OPERATOR_SECRET) as operator:
            return await operator.get(f"/api/v1/{path}", method)

    async def send(self, gateway: Embedded, path: str, body: object, method: str = "POST") -> Any:
        async with Caller(gateway.port, OPERATOR_SECRET) as operator:
            reply = await operator.post(f"/api/v1/{path}", body, method=method)
        assert reply.status < 300, reply.body
        return reply.json

    async def ready(self) -> None:
        """Wait until both have all that they share."""
        deadline_at = time.monotonic() + 10.0
        for gateway in (self.one, self.two):
            async with Caller(gateway.port) as caller:
                while (ready := (await caller.get("/readyz")).json)["status"] != "ready":
                    assert time.monotonic() < deadline_at, ready
                    await asyncio.sleep(0.05)

    async def comes(self, gateway: Embedded, path: str, within_s: float = 5.0, **fields: object) -> Any:
        """A document, once it has these values."""
        deadline_at = time.monotonic() + within_s
        while True:
            reply = await self.get(gateway, path)
            if reply.status == 200 and all(reply.json[name] == value for name, value in fields.items()):
                return reply.json
            assert time.monotonic() < deadline_at, (reply.status, reply.body)
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hosts(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hosts]:
    database = postgres_server.create_database()
    tables = open_database(database, tmp_path_factory.mktemp("none"))
    await tables.change(make_tables)
    await tables.close()
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisServer())
        simulator = await stack.enter_async_context(simulated(Scenario()))
        proxy = await stack.enter_async_context(FaultProxy(int(redis.url.rpartition(":")[2].partition("/")[0])))
        shared = {
            "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET,
            "KEYRELAY_DATABASE_URL": database,
            "KEYRELAY_REDIS_URL": proxy.url(redis.url),
            "KEYRELAY_MASTER_KEY": MASTER_KEY,
            "KEYRELAY_KEEP_TEXTS": "all",
            "KEYRELAY_ALERT_INTERVAL_S": str(INTERVAL_S),
            "KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true",
        }
        environ = [environment(simulator, KEYS, **shared, KEYRELAY_PORT=port) for port in ("18787", "18788")]
        one = await stack.enter_async_context(embedded(environ[0], tmp_path_factory.mktemp("one")))
        two = await stack.enter_async_context(embedded(environ[1], tmp_path_factory.mktemp("two")))
        yield Hosts((one, two), proxy, environ[0], simulator)
    postgres_server.drop_database(database)


async def test_a_request_at_one_host_is_explained_by_the_other(hosts: Hosts) -> None:
    reply = await hosts.one.ask(chat(MODEL))
    request_id = reply.headers["x-request-id"]
    explained = (await hosts.get(hosts.two, f"requests/{request_id}")).json
    (stage,) = explained["stages"]
    assert [each["outcome"] for each in stage["candidates"]].count("answered") == 1
    assert explained == (await hosts.get(hosts.one, f"requests/{request_id}")).json


async def test_a_key_that_was_tested_at_one_host_is_known_to_be_so_at_the_other(hosts: Hosts) -> None:
    await hosts.send(hosts.one, "keys/groq/work/test", {})
    tested, seen = [(await hosts.get(each, "keys/groq/work")).json for each in (hosts.one, hosts.two)]
    assert tested["last_test"]["outcome"] == "valid"
    assert seen["last_test"] == tested["last_test"]


async def test_who_listens_at_one_host_hears_of_both_and_may_come_back_to_the_other(hosts: Hosts) -> None:
    async with listening(hosts.two, "?topics=requests") as stream:
        await asyncio.sleep(1.2)  # the wish is told every second
        asked = [await hosts.one.ask(chat(MODEL)), await hosts.two.ask(chat(MODEL))]
        heard = [await stream.event() for _ in asked]
        assert {event["data"]["request_id"] for event in heard} == {each.headers["x-request-id"] for each in asked}
    missed = await hosts.two.ask(chat(MODEL))
    await asyncio.sleep(0.5)  # a browser comes back after two seconds
    async with listening(hosts.one, "?topics=requests", last_event_id=max(event["id"] for event in heard)) as stream:
        again = await stream.event()
        assert (again["event"], again["data"]["request_id"]) == ("requests", missed.headers["x-request-id"])


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The base URL of a provider that says nothing."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@contextlib.asynccontextmanager
async def endless_task(hosts: Hosts) -> AsyncIterator[str]:
    """A task at the first host that does not end by itself."""
    async with silent() as url:
        await hosts.send(hosts.one, "providers/silent", {"base_url": url, "models": ["none"]}, "PUT")
        await hosts.send(
            hosts.one, "keys", {"provider": "silent", "label": "x", "secret": "sk-test-silent-1", "validate": False}
        )
        task = await hosts.send(hosts.one, "keys/test", {"provider": "silent"})
        try:
            yield task["id"]
        finally:
            await hosts.get(hosts.one, "keys/silent/x", "DELETE")
            await hosts.get(hosts.one, "providers/silent", "DELETE")


@pytest.mark.parametrize("reachable", [True, False])
async def test_a_task_of_one_host_is_found_listed_and_cancelled_at_the_other(hosts: Hosts, *, reachable: bool) -> None:
    async with endless_task(hosts) as task_id:
        if not reachable:
            await hosts.proxy.set("refuse")
            hosts.proxy.cut()
        try:
            task = await hosts.comes(hosts.two, f"tasks/{task_id}", state="running")
            listed = (await hosts.get(hosts.two, "tasks")).json["items"]
            assert [each["id"] for each in listed if each["state"] == "running"] == [task_id]
            assert (task["kind"], task["started_by"], task["message"]) == ("test keys", "operator", "")
            assert (await hosts.get(hosts.two, f"tasks/{task_id}", "DELETE")).status == 200
            over = await hosts.comes(hosts.two, f"tasks/{task_id}", state="cancelled")
            assert over["message"] == "It was cancelled after 0 of 1."
        finally:
            await hosts.proxy.set("pass")


async def test_a_client_that_is_revoked_at_one_host_is_refused_at_the_other_within_a_second(hosts: Hosts) -> None:
    secret = (await hosts.send(hosts.one, "clients", {"label": "app"}))["secret"]
    async with Caller(hosts.one.port, secret) as here, Caller(hosts.two.port, secret) as there:
        made_at = time.monotonic()
        while (await there.get("/v1/models")).status != 200:
            assert time.monotonic() - made_at < 1.0
            await asyncio.sleep(0.02)
        await hosts.send(hosts.one, "clients/app/revoke", {})
        revoked_at = time.monotonic()
        assert (await here.get("/v1/models")).status == 401
        while (await there.get("/v1/models")).status != 401:
            assert time.monotonic() - revoked_at < 1.0
            await asyncio.sleep(0.02)


async def test_texts_of_each_host_are_read_by_both_also_after_a_new_term(hosts: Hosts, tmp_path: Path) -> None:
    async def kept(gateway: Embedded) -> str:
        reply = await gateway.ask(chat(MODEL, text=f"canary {gateway.port}"))
        await keeper_of(gateway).flush()
        return reply.headers["x-request-id"]

    async def read(*ids: str) -> None:
        for gateway in (hosts.one, hosts.two):
            for request_id in ids:
                text = await hosts.get(gateway, f"requests/{request_id}/text")
                assert "canary" in text.json["request"]["text"], text.body

    before = [await kept(gateway) for gateway in (hosts.one, hosts.two)]
    await read(*before)
    settings = load_configuration(hosts.environ, directory=tmp_path, overrides={}).settings
    async with secrets_of_store(settings) as secrets:
        done = await secrets.rotate_term(lambda *_: None)
        changed_at = time.monotonic()
        while True:
            after = [await kept(gateway) for gateway in (hosts.one, hosts.two)]
            terms = {term.number: term.values for term in (await secrets.standing()).terms}
            if terms[done.term] >= 2 * (len(before) + len(after)):
                break
            assert time.monotonic() - changed_at < 5.0, "both seal under the new term"
            await asyncio.sleep(0.1)
    await read(*before, *after)


async def test_an_alert_that_both_hosts_see_is_told_once(hosts: Hosts) -> None:
    async with hooks() as server:
        await hosts.send(hosts.two, "alerts/channels", {"name": "ops", "kind": "webhook", "url": server.url})
        await hosts.send(hosts.one, "alerts/rules/key_invalid", {"for_s": 0, "clear_for_s": 0, "gather_s": 0}, "PATCH")
        await asyncio.sleep(0.4)
        failure = Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message="wrong")
        pools = [each.application.data._gateway.pool for each in (hosts.one, hosts.two)]
        for pool in pools:
            pool.health.cell("key:groq/work").rest(float("inf"), failure)
        deadline_at = time.monotonic() + 5.0
        while not server.taken:
            assert time.monotonic() < deadline_at
            await asyncio.sleep(0.02)
        await asyncio.sleep(4 * INTERVAL_S)
        assert [taken.json["type"] for taken in server.taken] == ["alert.firing"]
        for pool in pools:
            pool.health.wake(provider_id="groq", account="work", label="work")
        await hosts.get(hosts.one, "alerts/channels/ops", "DELETE")


async def test_without_redis_listeners_are_told_what_is_missing_and_readiness_says_so(hosts: Hosts) -> None:
    await hosts.ready()
    async with listening(hosts.two, "?topics=requests") as stream:
        await asyncio.sleep(1.2)
        await hosts.proxy.set("refuse")
        hosts.proxy.cut()
        told = await stream.event()
        assert (told["event"], told["data"]["joined"]) == ("hosts", False)
        reply = await hosts.two.ask(chat(MODEL))
        event = await stream.event()
        assert event["data"]["request_id"] == reply.headers["x-request-id"]
        async with Caller(hosts.two.port) as caller:
            ready = await caller.get("/readyz")
        assert (ready.status, ready.json["status"]) == (200, "degraded")
        began_at = time.monotonic()
        assert (await hosts.get(hosts.one, f"requests/req_{0:032x}")).status == 404
        assert time.monotonic() - began_at < 0.2
        await hosts.proxy.set("pass")
        back = await stream.event()
        lost = await stream.event()
        assert (back["event"], back["data"]["joined"], lost["data"]) == ("hosts", True, {"count": None})
