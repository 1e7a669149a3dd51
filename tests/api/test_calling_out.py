"""No route has the gateway connect to where what is administered may not lead, however that is written.

Every route, and whatever is done in the background, stands in one of two tables: of what calls out, each with a way to
make it do so, and of what does not, each with the reason (`ways_out`). Each way is tried with each notation of a denied
address, with names that lead to one, at once or later, and with a server that redirects there.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fastapi.routing import APIRoute

from keyrelay.api.doors import _GEMINI, DOORS
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.routing.probing import ProbeRules
from tests.api.outside import CANARY, CANARY_6, PUBLIC, Listeners, Outside
from tests.api.served import OPERATOR_SECRET
from tests.api.test_access import control_of
from tests.api.ways_out import (
    CALLING_CHORES,
    CHORES,
    CONTROL,
    DATA,
    NAMED,
    QUIET,
    REMEMBERING,
    WAYS,
    Desk,
    tried,
)
from tests.e2e.harness import CLIENT, CLIENT_SECRET, embedded, until
from tests.upstream.hostile import http
from tests.upstream.test_guarded import NOTATIONS

pytestmark = pytest.mark.asyncio(loop_scope="module")

ELSEWHERE = (
    "169.254.169.254",
    "2852039166",
    "10.0.0.5",
    "192.0.0.192",
    "[::1]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:7f00:1::]",
    "[fe80::1%25lo]",
    "127.0.0.1.",
    "localhost.",
    "%31%32%37.0.0.1",
)
"""More that is denied. The last three lead to this machine on some systems: here they do."""

PUBLIC_NAME, MIXED, TURNING = (
    "public.example",
    ("mixed-4.example", "mixed-6.example", "mixed-10.example"),
    "turns.example",
)
DENIED = (*NOTATIONS, *ELSEWHERE, *MIXED)
SAID = (
    b'{"id":"file-abc","object":"file","bytes":1,"created_at":1,"filename":"a","purpose":"user_data","model":"m",'
    b'"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hello."}}]}'
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    environ = {
        "CLIENT_API_KEYS_MAP": f"{CLIENT_SECRET}:{CLIENT}",
        "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET,
        "KEYRELAY_LOG_FORMAT": "json",
        "KEYRELAY_PORT": "0",
        "KEYRELAY_ALLOWED_NETWORKS": PUBLIC,
        "KEYRELAY_RETRY_ATTEMPTS": "1",
        "KEYRELAY_CACHE_GENERATE": "off",
        "KEYRELAY_ALERT_INTERVAL_S": "3600",
    }
    async with Listeners().listening() as listeners, embedded(environ, tmp_path_factory.mktemp("data")) as gateway:
        outside = Outside(frozenset({gateway.port}))
        outside.say(PUBLIC_NAME, [PUBLIC])
        for name in ELSEWHERE[-3:]:
            outside.say(name, [CANARY])
        for name, other in zip(MIXED, (CANARY, CANARY_6, "10.0.0.5"), strict=True):
            outside.say(name, [PUBLIC, other])
        listeners.answer = http(SAID, "content-type: application/json", "connection: close")
        with outside.watched():
            made = Desk(gateway, outside, listeners)
            yield made
            await made.operator.close()
            await made.client.close()


def canonical(path: str) -> str:
    """The first path of a door that has several."""
    if path in DOORS:
        return next(each for each, door in DOORS.items() if door is DOORS[path])
    return path


async def test_every_route_stands_in_one_of_the_tables(desk: Desk) -> None:
    quiet = [route for routes in QUIET.values() for route in routes]
    calling_out = {name.partition(" (")[0] for name in (*CONTROL, *DATA)}
    known = {route: route for route in (*quiet, *calling_out)}
    assert len(known) == len(quiet) + len(calling_out), "a route stands in two tables"
    there = {
        f"{method} {route.path_format}"
        for route in control_of(desk.gateway).routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    doors = {(method, canonical(path)) for method, path in desk.gateway.application.data.routes}
    there |= {f"{method} {path}" for method, path in doors if (method, path) != ("POST", "/files")}
    assert there - known.keys() == set(), "say whether it calls out"
    assert known.keys() - there == set(), "there is no such route any more"
    assert set(_GEMINI) == NAMED.keys()


async def test_whatever_is_done_in_the_background_stands_in_a_table(desk: Desk) -> None:
    chores = {chore.name for chore in desk.composition.keeping._housekeeping._chores}
    assert chores - CHORES.keys() == CALLING_CHORES


async def test_each_way_does_call_out(desk: Desk) -> None:
    await desk.point_at(PUBLIC_NAME)
    silent = []
    for name, way in WAYS.items():
        reply = await tried(desk, way)
        if set(desk.outside.dialled) != {(PUBLIC, desk.listeners.port)}:
            silent.append(f"{name}: {reply.status} {reply.body[:200]!r} {desk.outside!r}")
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("host", DENIED)
async def test_no_way_leads_to_a_denied_address(desk: Desk, host: str) -> None:
    await desk.point_at(host)
    wrong = []
    for name, way in WAYS.items():
        reply = await tried(desk, way)
        refused = reply.status in {400, 422} or name.startswith("POST /api/v1/import")
        if desk.outside.dialled or not (desk.outside.asked or refused) or reply.status == 500:
            wrong.append(f"{name}: {reply.status} {reply.body[:200]!r} {desk.outside!r}")
    assert not wrong, "\n".join(wrong)
    assert desk.listeners.canary == 0


async def test_a_name_that_turns_later_leads_nowhere(desk: Desk) -> None:
    await desk.point_at(TURNING)
    wrong = []
    for name, way in WAYS.items():
        desk.outside.say(TURNING, [PUBLIC], [CANARY])
        await tried(desk, way)
        before = set(desk.outside.dialled)
        if name in REMEMBERING:
            await desk.point_at(TURNING)
        reply = await tried(desk, way)
        if before != {(PUBLIC, desk.listeners.port)} or desk.outside.dialled or not desk.outside.asked:
            wrong.append(f"{name}: {reply.status} {reply.body[:200]!r} {before} {desk.outside!r}")
    assert not wrong, "\n".join(wrong)
    assert desk.listeners.canary == 0


async def test_a_file_is_not_fetched_from_where_a_name_has_turned_to(desk: Desk) -> None:
    await desk.point_at(TURNING)
    desk.outside.say(TURNING, [PUBLIC], [CANARY])
    made = await tried(desk, DATA["POST /v1/files"])
    assert desk.outside.dialled == [(PUBLIC, desk.listeners.port)]
    for method, ending in (("GET", ""), ("HEAD", ""), ("GET", "/content"), ("DELETE", "")):
        desk.wake()
        desk.outside.clear()
        reply = await desk.client.get(f"/v1/files/{made.json['id']}{ending}", method)
        assert (reply.status, desk.outside.asked, desk.outside.dialled) == (503, [TURNING], [])
    assert desk.listeners.canary == 0


@pytest.mark.parametrize("status", ["302 Found", "307 Again"])
async def test_no_redirect_is_followed(desk: Desk, status: str) -> None:
    await desk.point_at(PUBLIC_NAME)
    usual, port = desk.listeners.answer, desk.listeners.port
    desk.listeners.answer = http(b"", f"location: http://{CANARY}:{port}/", "connection: close", status=status)
    try:
        for name, way in WAYS.items():
            await tried(desk, way)
            assert set(desk.outside.dialled) == {(PUBLIC, port)}, name
    finally:
        desk.listeners.answer = usual
    assert desk.listeners.canary == 0


async def probed(desk: Desk, keys: int) -> None:
    """Have the monitor ask about so many keys by itself."""
    monitor = desk.composition.watch.monitor
    rules, monitor.rules = monitor.rules, ProbeRules(every_s=1e-9, per_day=1)
    desk.outside.clear()
    try:
        for _ in range(keys):
            await monitor.look()
            await asyncio.gather(*monitor._busy.values())
    finally:
        monitor.rules = rules


async def alerted(desk: Desk, channels: int) -> None:
    """Have an alert told on so many channels, by nobody's asking."""
    composition = desk.composition
    failure = Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message="refused")
    composition.pool.health.cell("key:openai/a").rest(float("inf"), failure)
    desk.outside.clear()
    await composition.alerting.alerts.round()
    await until(lambda: len(desk.outside.asked) >= channels, "each channel is tried")
    desk.wake()
    await composition.alerting.alerts.round()  # it is over: so that it can begin anew


async def test_what_is_done_in_the_background_does_call_out(desk: Desk) -> None:
    await desk.point_at(PUBLIC_NAME)
    there = (PUBLIC, desk.listeners.port)
    await probed(desk, 2)
    assert desk.outside.dialled == [there] * 2
    await alerted(desk, 2)
    await until(lambda: len(desk.outside.dialled) >= 2, "each channel is told")
    assert set(desk.outside.dialled) == {there}


async def test_nothing_in_the_background_leads_to_a_denied_address(desk: Desk) -> None:
    hosts = [*DENIED, TURNING]
    desk.outside.say(TURNING, [CANARY])
    await desk.point_at(TURNING)
    await desk.crowd(hosts)
    await probed(desk, len(hosts) + 2)
    assert len(desk.outside.asked) >= len(hosts)
    assert desk.outside.dialled == []
    await alerted(desk, 2 * (len(hosts) + 1))
    assert desk.outside.dialled == []
    assert desk.listeners.canary == 0


async def test_what_does_not_call_out_does_not(desk: Desk) -> None:
    await desk.point_at(PUBLIC_NAME)
    real = {"{provider}": "openai", "{label}": "a", "{name}": "slack", "{id}": "nothing", "{task_id}": "nothing"}
    for route in sorted((each for routes in QUIET.values() for each in routes), key=lambda each: each.startswith("D")):
        method, path = route.split(" ")
        for name, text in real.items():
            path = path.replace(name, text)
        desk.outside.clear()
        reply = await desk.ask(method, path, None if method in {"GET", "HEAD", "DELETE"} else {})
        assert (desk.outside.asked, desk.outside.dialled) == ([], []), route
        assert reply.status != 500, route
