"""Clients by the API: made, looked at, changed, rotated, revoked, counted anew, and about themselves."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.api.served import MODEL, OPERATOR_SECRET, served
from tests.e2e.harness import CLIENT_SECRET, Caller, Embedded, Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/api/v1/clients"
CHAT = "/v1/chat/completions"
TURN = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}
FAR = "2099-01-31T12:00:00Z"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    directory = tmp_path_factory.mktemp("gateway")
    (directory / "data").mkdir(mode=0o700)
    made = '{"version":1,"clients":[{"label":"of-file","sha256":"%s","created_at":"2026-11-21T12:00:00Z"}]}'
    (directory / "data" / "clients.json").write_text(made % ("ab" * 32))
    async with served(directory, KEYRELAY_DATA_DIR=str(directory / "data")) as running:
        yield running


async def send(
    gateway: Embedded, path: str, body: object = None, method: str = "POST", secret: str = OPERATOR_SECRET
) -> Reply:
    async with Caller(gateway.port, secret) as caller:
        if body is None:
            return await caller.get(path, method)
        return await caller.post(path, body, method=method)


async def make(gateway: Embedded, label: str, **more: object) -> tuple[str, dict[str, Any]]:
    """The secret and the line of a new client."""
    reply = await send(gateway, PATH, {"label": label, **more})
    assert reply.status == 201, reply.body
    return reply.json["secret"], reply.json["client"]


async def asks(gateway: Embedded, secret: str) -> tuple[int, str]:
    """What a request with this secret comes to: status, and code of the error."""
    reply = await send(gateway, CHAT, TURN, secret=secret)
    return reply.status, "" if reply.status == 200 else reply.error["code"]


async def of(gateway: Embedded, path: str) -> dict[str, Any]:
    reply = await send(gateway, path, method="GET")
    assert reply.status == 200, reply.body
    document: dict[str, Any] = reply.json
    return document


async def used(gateway: Embedded, label: str) -> list[int]:
    return [line["used"] for line in (await of(gateway, f"{PATH}/{label}"))["limits"]]


async def test_a_client_is_made_shown_and_let_in_at_once(gateway: Embedded) -> None:
    secret, line = await make(
        gateway,
        "my app",
        limits=["60 requests per minute", "0.50 usd per month", "4 requests concurrent"],
        models=["openai/*"],
        tags=["team-a"],
        priority="agent",
        notes="for the demo",
        expires_at=FAR,
    )
    assert secret.startswith("kr-")
    assert await asks(gateway, secret) == (200, "")
    shown = await of(gateway, f"{PATH}/my%20app")
    assert [each["limit"] for each in shown["limits"]] == [
        "60 requests per 60s",
        "0.5 usd per month@UTC",
        "4 requests concurrent",
    ]
    assert {name: shown[name] for name in ("source", "state", "tail", "models", "tags", "priority", "notes")} == {
        "source": "store",
        "state": "active",
        "tail": secret[-4:],
        "models": ["openai/*"],
        "tags": ["team-a"],
        "priority": "agent",
        "notes": "for the demo",
    }
    assert (shown["expires_at"], shown["set_by"], shown["editable"]) == (FAR, "operator", True)
    requests, money, concurrent = shown["limits"]
    assert (requests["used"], requests["remaining"], requests["budget"]) == (1, 59, False)
    assert (money["unit"], money["amount"], money["budget"], money["used"] > 0) == ("usd_micros", 500_000, True, True)
    assert (concurrent["used"], concurrent["counted_from"], line["created_at"]) == (0, None, shown["created_at"])


async def test_all_are_listed_with_where_they_are_from(gateway: Embedded) -> None:
    await make(gateway, "listed-a", tags=["listed"])
    await make(gateway, "listed-b", tags=["listed"])
    page = await of(gateway, f"{PATH}?limit=1000")
    sources = {line["label"]: (line["source"], line["editable"]) for line in page["items"]}
    assert sources["listed-a"] == ("store", True)
    assert sources["tests"] == ("environment CLIENT_API_KEYS_MAP", False)
    assert sources["of-file"] == ("clients.json", False)
    assert (page["next"], [*sources]) == (None, sorted(sources))
    first = await of(gateway, f"{PATH}?tag=listed&limit=1")
    assert ([line["label"] for line in first["items"]], first["next"]) == (["listed-a"], "listed-a")
    last = await of(gateway, f"{PATH}?tag=listed&limit=1&after=listed-a")
    assert ([line["label"] for line in last["items"]], last["next"]) == (["listed-b"], None)


async def test_no_secret_and_no_digest_is_ever_shown(gateway: Embedded) -> None:
    secret, _ = await make(gateway, "hidden")
    await send(gateway, f"{PATH}/hidden/rotate", {})
    texts = [(await send(gateway, path, method="GET")).body.decode() for path in (PATH, "/api/v1/audit")]
    assert secret not in "".join(texts)
    assert '"digest":"…"' in texts[1]
    assert '"previous":"…"' in texts[1]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"label": "tests"}, 409, "label"),
        ({"label": "of-file"}, 409, "label"),
        ({"label": "a/b"}, 400, "label"),
        ({"label": ""}, 400, "label"),
        ({}, 400, "label"),
        ({"label": "bad", "limits": ["lots"]}, 400, "limits"),
        ({"label": "bad", "limits": ["5 requests per 60s for key"]}, 400, "limits"),
        ({"label": "bad", "limits": ["5 requests per day@Nowhere/Here"]}, 400, "limits"),
        ({"label": "bad", "limits": ["0 requests per day"]}, 400, "limits"),
        ({"label": "bad", "models": [" "]}, 400, "models"),
        ({"label": "bad", "tags": ["x"] * 51}, 400, "tags"),
        ({"label": "bad", "priority": "first"}, 400, "priority"),
        ({"label": "bad", "notes": "x" * 2_001}, 400, "notes"),
        ({"label": "bad", "expires_at": "tomorrow"}, 400, "expires_at"),
        ({"label": "bad", "expires_at": "2020-01-01"}, 400, "expires_at"),
        ({"label": "bad", "secret": "mine"}, 400, "secret"),
    ],
)
async def test_what_cannot_be_is_refused_and_nothing_is_made(
    gateway: Embedded, body: dict[str, Any], status: int, param: str
) -> None:
    reply = await send(gateway, PATH, body)
    assert (reply.status, reply.error["param"]) == (status, param), reply.body
    assert (await send(gateway, f"{PATH}/bad", method="GET")).status == 404


async def test_there_is_one_of_each_label(gateway: Embedded) -> None:
    await make(gateway, "twice")
    reply = await send(gateway, PATH, {"label": "twice"})
    assert (reply.status, reply.error["code"]) == (409, "client_exists")


@pytest.mark.parametrize("what", ["rotate", "revoke", "reset", "", "DELETE"])
@pytest.mark.parametrize(
    ("label", "status", "code", "says"),
    [
        ("nobody", 404, "client_not_found", "There is no client"),
        ("tests", 409, "not_administered", "environment CLIENT_API_KEYS_MAP"),
        ("of-file", 409, "not_administered", "keyrelay clients remove of-file"),
    ],
)
async def test_only_those_of_the_store_are_changed(
    gateway: Embedded, what: str, label: str, status: int, code: str, says: str
) -> None:
    path, method = (
        (f"{PATH}/{label}", what or "PATCH") if what in {"", "DELETE"} else (f"{PATH}/{label}/{what}", "POST")
    )
    reply = await send(gateway, path, None if method == "DELETE" else {}, method)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert says in reply.error["message"]


async def test_a_change_leaves_what_it_does_not_name(gateway: Embedded) -> None:
    secret, _ = await make(gateway, "changed", limits=["5 requests per hour"], models=["openai/*"], expires_at="30d")
    assert await asks(gateway, secret) == (200, "")
    changed = await send(
        gateway, f"{PATH}/changed", {"limits": ["9 requests per hour", "90000 tokens per day"]}, "PATCH"
    )
    assert [(each["amount"], each["used"]) for each in changed.json["limits"]] == [(9, 1), (90_000, 0)]
    assert changed.json["models"] == ["openai/*"]
    expires = dt.datetime.fromisoformat(changed.json["expires_at"])
    assert dt.timedelta(days=29) < expires - dt.datetime.now(dt.UTC) < dt.timedelta(days=31)
    gone = await send(gateway, f"{PATH}/changed", {"expires_at": None, "limits": [], "models": []}, "PATCH")
    assert (gone.json["expires_at"], gone.json["limits"], gone.json["models"]) == (None, [], [])


async def test_a_client_is_switched_off_and_on(gateway: Embedded) -> None:
    secret, _ = await make(gateway, "switched")
    off = await send(gateway, f"{PATH}/switched", {"enabled": False}, "PATCH")
    assert off.json["state"] == "disabled"
    assert await asks(gateway, secret) == (401, "client_disabled")
    assert (await send(gateway, "/api/v1/me", method="GET", secret=secret)).status == 401
    await send(gateway, f"{PATH}/switched", {"enabled": True}, "PATCH")
    assert await asks(gateway, secret) == (200, "")


async def test_while_a_secret_is_rotated_both_hold_and_a_revoked_one_never_again(gateway: Embedded) -> None:
    first, _ = await make(gateway, "rotated")
    reply = await send(gateway, f"{PATH}/rotated/rotate", {"grace_s": 3600})
    second = reply.json["secret"]
    assert reply.json["client"]["previous_until"] is not None
    assert [await asks(gateway, secret) for secret in (first, second)] == [(200, "")] * 2
    third = (await send(gateway, f"{PATH}/rotated/rotate", {"grace_s": 0})).json["secret"]
    codes = [await asks(gateway, secret) for secret in (first, second, third)]
    assert codes == [(401, "invalid_api_key"), (401, "invalid_api_key"), (200, "")]
    assert (await send(gateway, f"{PATH}/rotated/revoke", {})).json["state"] == "revoked"
    assert await asks(gateway, third) == (401, "client_revoked")
    again = await send(gateway, f"{PATH}/rotated/revoke", {})
    assert (again.status, again.json["state"]) == (200, "revoked")
    fourth = (await send(gateway, f"{PATH}/rotated/rotate", {})).json
    assert (fourth["client"]["previous_until"], fourth["client"]["state"]) == (None, "active")
    assert [await asks(gateway, secret) for secret in (third, fourth["secret"])] == [
        (401, "invalid_api_key"),
        (200, ""),
    ]


@pytest.mark.parametrize("grace_s", [-1, 30 * 86_400 + 1, "long", None])
async def test_a_grace_period_has_bounds(gateway: Embedded, grace_s: object) -> None:
    if (await send(gateway, f"{PATH}/graced", method="GET")).status == 404:
        await make(gateway, "graced")
    reply = await send(gateway, f"{PATH}/graced/rotate", {"grace_s": grace_s})
    assert (reply.status, reply.error["param"]) == (400, "grace_s")


async def test_a_count_begins_anew_when_it_is_reset(gateway: Embedded) -> None:
    limits = ["2 requests once", "9 requests per hour", "4 requests concurrent"]
    secret, _ = await make(gateway, "reset", limits=limits)
    assert [(await asks(gateway, secret))[1] for _ in range(3)] == ["", "", "budget_exhausted"]
    assert await used(gateway, "reset") == [2, 2, 0]
    one = await send(gateway, f"{PATH}/reset/reset", {"limit": "2 requests once"})
    assert [line["used"] for line in one.json["limits"]] == [0, 2, 0]
    assert await asks(gateway, secret) == (200, "")
    every = await send(gateway, f"{PATH}/reset/reset", {})
    assert [line["used"] for line in every.json["limits"]] == [0, 0, 0]
    wrong = await send(gateway, f"{PATH}/reset/reset", {"limit": "9 usd per day"})
    assert (wrong.status, wrong.error["code"]) == (404, "limit_not_found")
    assert "9 requests per 1h" in wrong.error["message"]
    lines = (await of(gateway, "/api/v1/audit?limit=2"))["lines"]
    assert [(line["actor"], line["action"], line["entry"]) for line in lines] == [
        ("operator", "reset client", "reset")
    ] * 2


async def test_a_removed_client_is_refused(gateway: Embedded) -> None:
    secret, _ = await make(gateway, "removed")
    assert (await send(gateway, f"{PATH}/removed", method="DELETE")).json == {"removed": "removed"}
    assert await asks(gateway, secret) == (401, "invalid_api_key")
    assert (await send(gateway, f"{PATH}/removed", method="GET")).status == 404


async def test_many_may_be_made_at_once(gateway: Embedded) -> None:
    made = await asyncio.gather(*(make(gateway, f"many-{n}") for n in range(6)))
    assert len({secret for secret, _ in made}) == 6
    assert [await asks(gateway, secret) for secret, _ in made] == [(200, "")] * 6


async def test_a_client_sees_itself_and_nobody_else(gateway: Embedded) -> None:
    secret, _ = await make(gateway, "own", limits=["9 requests per hour"], models=["openai/*"])
    assert await asks(gateway, secret) == (200, "")
    own = await send(gateway, "/api/v1/me", method="GET", secret=secret)
    assert (own.status, own.json["label"], own.json["source"], own.json["models"]) == (
        200,
        "own",
        "store",
        ["openai/*"],
    )
    assert [(line["limit"], line["used"]) for line in own.json["limits"]] == [("9 requests per 1h", 1)]
    assert own.json["usage_today"]["failed"] == own.json["usage_month"]["failed"] == 0
    named = await send(gateway, "/api/v1/me", method="GET", secret=CLIENT_SECRET)
    assert (named.json["label"], named.json["limits"]) == ("tests", [])
    for path in (PATH, f"{PATH}/own"):
        assert (await send(gateway, path, method="GET", secret=secret)).status == 403
    operator = await send(gateway, "/api/v1/me", method="GET")
    assert (operator.status, operator.error["code"]) == (404, "clients_only")


async def test_an_operator_may_switch_and_revoke_and_reset_and_no_more(gateway: Embedded) -> None:
    reply = await send(gateway, "/api/v1/tokens", {"name": "op", "role": "operator", "scopes": ["client"]})
    assert reply.status == 201, reply.body
    token = reply.json["secret"]
    await make(gateway, "ruled", limits=["9 requests per hour"])
    path = f"{PATH}/ruled"
    allowed = [
        await send(gateway, path, method="GET", secret=token),
        await send(gateway, path, {"enabled": False}, "PATCH", token),
        await send(gateway, f"{path}/reset", {}, secret=token),
        await send(gateway, f"{path}/revoke", {}, secret=token),
    ]
    refused = [
        await send(gateway, path, {"notes": "x"}, "PATCH", token),
        await send(gateway, f"{path}/rotate", {}, secret=token),
        await send(gateway, path, method="DELETE", secret=token),
        await send(gateway, PATH, {"label": "made"}, secret=token),
    ]
    assert ([reply.status for reply in allowed], [reply.status for reply in refused]) == ([200] * 4, [403] * 4)
