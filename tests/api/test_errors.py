"""What fails, put together, over real sockets; and that every action names a route that there is."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from keyrelay.core.error_groups import _ACTIONS, Affected, action_on
from keyrelay.core.failures import FailureKind
from keyrelay.simulator import ProviderPlan, Scenario
from tests.api.kept import kept, some_records
from tests.api.served import CLIENTS, OPERATOR_SECRET, OTHER_SECRET, look, served
from tests.e2e.harness import CLIENT_SECRET, Embedded, chat, embedded, environment, simulated

PATH = "/api/v1/errors"
RECORDS = some_records(150)


async def errors_of(gateway: Embedded, query: str = "", secret: str = OPERATOR_SECRET) -> Any:
    reply = await look(gateway, f"{PATH}?{query}", secret)
    assert reply.status == 200, reply.body
    return reply.json


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue("postgres_url") if request.param == "postgresql" else ""
    return url


async def test_everybody_sees_what_is_theirs(tmp_path: Path, database_url: str) -> None:
    failed = [(each, call) for each in RECORDS for call in each.attempts if call.failure is not None]
    async with kept(tmp_path, RECORDS, database_url=database_url) as gateway:
        everything = await errors_of(gateway)
        own = await errors_of(gateway, secret=CLIENT_SECRET)
        chosen = await errors_of(gateway, "provider=groq&key=work")
        none = await errors_of(gateway, "category=auth")
        refused = await look(gateway, f"{PATH}?client=other")
    (group,) = everything["groups"]
    assert (group["kind"], group["message"], group["statuses"]) == ("rate", "Too many", [429])
    assert (group["count"], everything["failures"]) == (len(failed), len(failed))
    recovered = sum(not each.category for each, _ in failed)
    assert (group["recovered"], group["share_recovered"]) == (recovered, round(recovered / len(failed), 4))
    assert sorted(group["clients"]["names"]) == sorted({each.client for each, _ in failed})
    assert own["failures"] == sum(each.client == "tests" for each, _ in failed)
    assert own["groups"][0]["clients"] == {"names": ["tests"], "total": 1}
    assert chosen["failures"] == sum((call.provider, call.key) == ("groq", "work") for _, call in failed)
    assert (none["groups"], none["groups_total"], none["complete_since"]) == ([], 0, None)
    assert refused.status == 403


async def test_a_bad_key_is_seen_with_what_mends_it(tmp_path: Path) -> None:
    plans = {"groq": ProviderPlan(keys={"sim-groq-a": "invalid"})}
    keys = {"groq": ["bad=sim-groq-a"], "gemini": ["good=sim-gemini-a"]}
    secrets = {"KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET, "CLIENT_API_KEYS_MAP": CLIENTS}
    async with (
        simulated(Scenario(providers=plans)) as simulator,
        embedded(environment(simulator, keys, **secrets), tmp_path) as gateway,
    ):
        for _ in range(3):
            assert (await gateway.ask(chat())).status == 200
        assert (await gateway.ask(chat("no-such-model"))).status == 404
        found: dict[str, Any] = {}
        for _ in range(50):
            found = {group["kind"]: group for group in (await errors_of(gateway, "from=1h"))["groups"]}
            if len(found) == 2:
                break
            await asyncio.sleep(0.1)
        others = await errors_of(gateway, "from=1h", OTHER_SECRET)
    bad, missing = found["auth"], found["model_not_found"]
    assert (bad["count"], bad["recovered"], bad["keys"]["names"]) == (1, 1, ["groq/bad"])
    assert (bad["action"]["method"], bad["action"]["path"]) == ("POST", "/api/v1/keys/groq/bad/rotate")
    assert "sim-groq-a" not in bad["example"]
    assert (missing["message"], missing["models"]["names"]) == ("Refused before any call.", ["no-such-model"])
    assert missing["action"]["path"] == "/api/v1/requests?category=model_not_found"
    assert others["groups"] == []


async def test_every_action_is_a_route(tmp_path: Path) -> None:
    one = Affected(names=("groq",), total=1)
    key, several = Affected(names=("groq/work",), total=1), Affected(names=("a", "b"), total=2)
    async with served(tmp_path) as gateway:
        control = gateway.application.control
        assert isinstance(control, FastAPI)
        routes = {
            (method, re.sub(r"\{\w+\}", "*", route.path))
            for route in control.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
    for kind in (*FailureKind, "shutdown"):
        for affected in ((one, key), (several, several)):
            action = action_on(kind, *affected)
            path = action.path.partition("?")[0].replace("/groq", "/*").replace("/work", "/*")
            assert (action.method, path) in routes, kind
    assert set(_ACTIONS) <= set(FailureKind)


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    async with served(tmp_path) as gateway:
        assert (await look(gateway, f"{PATH}?from=tomorrow", OPERATOR_SECRET)).error["param"] == "from"
        assert (await look(gateway, f"{PATH}?limit=0", OPERATOR_SECRET)).status == 400
        assert (await look(gateway, PATH, "nobody")).status == 401
