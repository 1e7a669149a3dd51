"""Alerts from the outside: what fires, what is told, and where, with a real receiver."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyrelay.core.failures import Failure, FailureKind, FailureScope
from tests.api.served import CLIENTS, KEYS, MODEL, OPERATOR_SECRET, look
from tests.e2e.harness import Caller, Embedded, Reply, chat, embedded, environment, simulated, until
from tests.notify.servers import hooks, post

PATH = "/api/v1/alerts"
INTERVAL_S = 0.1
PASSWORD = "s3cr3t-m4il-p4ssword"


class Desk:
    """Where somebody looks after alerts."""

    def __init__(self, gateway: Embedded, caller: Caller) -> None:
        self.gateway = gateway
        self.caller = caller

    async def get(self, path: str = "") -> Any:
        reply = await self.caller.get(PATH + path)
        assert reply.status == 200, reply.body
        return reply.json

    async def ask(self, path: str, body: object = None, method: str = "POST") -> Reply:
        if body is None:
            return await self.caller.get(PATH + path, method)
        return await self.caller.post(PATH + path, body, method=method)

    async def send(self, path: str, body: object = None, method: str = "POST", status: int = 200) -> Any:
        reply = await self.ask(path, body, method)
        assert reply.status == status, reply.body
        return reply.json if reply.body else None

    async def add(self, **body: Any) -> Any:
        return await self.send("/channels", body, status=201)

    async def at_once(self, *rules: str, clear_for_s: float = 0) -> None:
        for rule in rules:
            change = {"for_s": 0, "clear_for_s": clear_for_s, "gather_s": 0}
            await self.send(f"/rules/{rule}", change, "PATCH")

    def spoil(self, label: str = "work") -> None:
        """Have a key that is there be one that its provider does not accept."""
        pool = self.gateway.application.data._gateway.pool
        failure = Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message="the key sk-test-canary1 is wrong")
        pool.health.cell(f"key:groq/{label}").rest(float("inf"), failure)

    def mend(self, label: str = "work") -> None:
        self.gateway.application.data._gateway.pool.health.wake(provider_id="groq", account=label, label=label)

    async def fires(self, rule: str) -> dict[str, Any]:
        """The alert of a rule, once it fires."""
        for _ in range(200):
            for alert in (await self.get())["firing"]:
                if alert["rule"] == rule:
                    return dict(alert)
            await asyncio.sleep(0.02)
        raise AssertionError(f"{rule} does not fire")


@contextlib.asynccontextmanager
async def desk(directory: Path, **more: str) -> AsyncIterator[Desk]:
    fixed = {
        "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET,
        "CLIENT_API_KEYS_MAP": CLIENTS,
        "KEYRELAY_ALERT_INTERVAL_S": str(INTERVAL_S),
        "KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true",
    }
    async with simulated() as simulator:
        environ = environment(simulator, KEYS, **fixed | more)
        async with embedded(environ, directory) as gateway, Caller(gateway.port, OPERATOR_SECRET) as caller:
            yield Desk(gateway, caller)


async def test_an_alert_is_told_once_and_once_more_when_it_is_over(tmp_path: Path) -> None:
    async with hooks() as server, desk(tmp_path) as at:
        made = await at.add(name="ops", kind="webhook", url=server.url)
        assert made["key"].startswith("whsec_")
        assert made["channel"]["target"] == f"http://127.0.0.1:{server.port}"
        await at.at_once("key_invalid")
        at.spoil()
        alert = await at.fires("key_invalid")
        assert (alert["subject"], alert["severity"]) == ("groq/work", "warning")
        assert "canary1" not in alert["detail"]
        await until(lambda: server.taken, "a message")
        at.mend()
        await until(lambda: len(server.taken) == 2, "that it is over")
        assert [taken.json["type"] for taken in server.taken] == ["alert.firing", "alert.resolved"]
        await asyncio.sleep(4 * INTERVAL_S)
        assert len(server.taken) == 2
        page = await at.get("?limit=1")
        assert page["firing"] == []
        assert [(item["kind"], item["deliveries"][0]["state"]) for item in page["items"]] == [("resolved", "sent")]
        assert [item["kind"] for item in (await at.get(f"?before={page['next']}"))["items"]] == ["firing"]


async def test_a_restart_tells_nothing_twice_and_what_was_not_told(tmp_path: Path) -> None:
    async with hooks(503, 503, 503, 503) as server:
        async with desk(tmp_path) as at:
            await at.add(name="ops", kind="slack", url=server.url)
            await at.at_once("key_invalid", clear_for_s=3600)
            at.spoil()
            await at.fires("key_invalid")
            await until(lambda: server.taken, "a first try")
        server.statuses.clear()
        tries = len(server.taken)
        async with desk(tmp_path) as at:
            at.spoil()
            await until(lambda: len(server.taken) > tries, "the next try, by the next process")
            await asyncio.sleep(4 * INTERVAL_S)
            assert len(server.taken) == tries + 1
            items = (await at.get())["items"]
            assert [(item["kind"], item["deliveries"][0]["state"]) for item in items] == [("firing", "sent")]
        async with desk(tmp_path) as at:
            at.spoil()
            await at.fires("key_invalid")
            await asyncio.sleep(4 * INTERVAL_S)
            assert len(server.taken) == tries + 1


async def test_a_provider_that_is_down_and_keys_of_which_none_serves_are_told_of(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.at_once("provider_down", "nothing_serves", "key_credit")
        health = at.gateway.application.data._gateway.pool.health
        for _ in range(20):
            health.circuit("provider:groq").failed(time.time(), "it answered 500", lambda: 0.5)
        assert (await at.fires("provider_down"))["subject"] == "groq"
        nothing = await at.fires("nothing_serves")
        assert (nothing["severity"], nothing["detail"]) == (
            "critical",
            "none of 2 keys can serve a request just now.",
        )
        metrics = (await look(at.gateway, "/metrics", OPERATOR_SECRET)).body.decode()
        assert "\nkeyrelay_alerts_firing 2.0\n" in metrics


async def test_a_client_that_has_used_up_its_budget_is_told_of(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.at_once("client_budget")
        made = await at.caller.post("/api/v1/clients", {"label": "app", "limits": ["4 requests per day@UTC"]})
        assert made.status == 201, made.body
        async with Caller(at.gateway.port, made.json["secret"]) as app:
            for _ in range(4):
                assert (await app.post("/v1/chat/completions", chat(f"groq/{MODEL}"))).status == 200
        alert = await at.fires("client_budget")
        assert (alert["subject"], alert["value"], alert["severity"]) == ("app 4 requests per day@UTC", 1.0, "warning")
        assert alert["detail"].startswith("4 requests of 4 requests are used, more come back at ")


@pytest.mark.parametrize("kind", ["frozen", "refusing"])
async def test_requests_do_not_feel_a_channel_that_is_bad(tmp_path: Path, kind: str) -> None:
    async with hooks(*[0 if kind == "frozen" else 500] * 50) as server, desk(tmp_path) as at:
        for number in range(5):
            await at.add(name=f"ops{number}", kind="slack", url=server.url)
        await at.at_once("key_invalid")
        at.spoil()
        await until(lambda: server.connections >= 5, "all channels tried")
        for _ in range(10):
            reply = await asyncio.wait_for(at.gateway.ask(chat(f"groq/{MODEL}")), 2.0)
            assert reply.status == 200
        assert (await asyncio.wait_for(at.get(), 2.0))["firing"]


async def test_an_alert_can_be_silenced_and_acknowledged(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.at_once("key_invalid")
        at.spoil()
        alert = await at.fires("key_invalid")
        acknowledged = await at.send(f"/{alert['id']}/acknowledge")
        assert acknowledged["acknowledged_by"] == "operator"
        silenced = await at.send(f"/{alert['id']}/silence", {"for_s": 3600})
        assert silenced["silenced_until"] > silenced["since"]
        assert silenced["acknowledged_by"] == "operator"
        assert (await at.send(f"/{alert['id']}/silence", {"for_s": 0}))["silenced_until"] is None
        at.mend()
        missing = await at.ask("/al_0000000000000000/acknowledge")
        assert (missing.status, missing.json["error"]["code"]) == (404, "alert_not_found")
        wrong = await at.ask(f"/{alert['id']}/silence", {"for_s": -1})
        assert (wrong.status, wrong.json["error"]["param"]) == (400, "for_s")


async def test_rules_and_quiet_hours_can_be_changed_and_put_back(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        rules = await at.get("/rules")
        assert len(rules["items"]) == 15
        assert rules["quiet_hours"] is None
        changed = await at.send("/rules/quota", {"thresholds": [0.5, 0.8, 0.99], "enabled": False}, "PATCH")
        assert [step["threshold"] for step in changed["steps"]] == [0.5, 0.8, 0.99]
        assert changed["changed"] == ["enabled", "thresholds"]
        back = await at.send("/rules/quota", {"thresholds": None, "enabled": None}, "PATCH")
        assert back == next(item for item in rules["items"] if item["name"] == "quota")
        hours = {"start": "22:00", "end": "07:00", "zone": "Europe/Berlin"}
        assert await at.send("/quiet-hours", hours, "PUT") == hours
        assert (await at.get("/rules"))["quiet_hours"] == hours
        assert (await at.ask("/quiet-hours", method="DELETE")).status == 204
        assert (await at.get("/rules"))["quiet_hours"] is None
        for path, body, method, param in (
            ("/rules/quota", {"thresholds": [0.5]}, "PATCH", "thresholds"),
            ("/rules/quota", {"per_hour": 0}, "PATCH", "per_hour"),
            ("/quiet-hours", {**hours, "zone": "Mars/Base"}, "PUT", "zone"),
            ("/quiet-hours", {**hours, "start": "25:00"}, "PUT", "start"),
        ):
            wrong = await at.ask(path, body, method)
            assert (wrong.status, wrong.json["error"]["param"]) == (400, param)


MAIL = {"kind": "email", "host": "127.0.0.1", "sender": "a@b.example", "recipients": ["c@d.example"]}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"kind": "webhook"}, "url"),
        ({"kind": "slack", "url": "ftp://s3cr3t.example"}, "url"),
        ({"kind": "webhook", "url": "https://box.example/", "key": "short"}, "key"),
        ({"kind": "pigeon"}, "kind"),
        ({**MAIL, "host": ""}, "host"),
        ({**MAIL, "port": 0}, "port"),
        ({**MAIL, "sender": "nobody"}, "sender"),
        ({**MAIL, "recipients": []}, "recipients"),
        ({**MAIL, "recipients": ["a@b.example\r\nBcc: x@y.example"]}, "recipients"),
        ({**MAIL, "password": PASSWORD}, "user"),
        ({**MAIL, "user": "u", "password": PASSWORD, "security": "none"}, "security"),
        ({"kind": "apprise", "name": "no way"}, "name"),
    ],
)
async def test_a_channel_that_will_not_do_is_refused(shared_desk: Desk, body: dict[str, Any], param: str) -> None:
    reply = await shared_desk.ask("/channels", {"name": "ops", **body})
    assert (reply.status, reply.json["error"]["param"]) == (400, param)
    assert b"s3cr3t" not in reply.body
    assert (await shared_desk.get("/channels"))["items"] == []


@pytest.fixture
async def shared_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as at:
        yield at


async def test_each_trial_of_a_webhook_has_an_id_of_its_own(tmp_path: Path) -> None:
    async with hooks(200, 200) as server, desk(tmp_path) as at:
        await at.add(name="mine", kind="webhook", url=server.url)
        for _ in range(2):
            assert (await at.send("/channels/mine/test"))["delivered"]
        first, second = (call.json["data"]["id"] for call in server.taken)
        assert first != second
        assert len(first) == len("msg_") + 32


async def test_channels_are_tried_changed_and_removed(tmp_path: Path) -> None:
    async with hooks(200, 404) as server, post() as mails, desk(tmp_path) as at:
        await at.add(name="chat", kind="slack", url=server.url)
        await at.add(name="mail", **MAIL, port=mails.port, security="none")
        assert await at.send("/channels/chat/test") == {"delivered": True, "problem": ""}
        assert "Test of the channel chat" in server.taken[0].json["text"]
        refused = await at.send("/channels/chat/test")
        assert refused == {"delivered": False, "problem": f"http://127.0.0.1:{server.port} answered 404"}
        assert await at.send("/channels/mail/test") == {"delivered": True, "problem": ""}
        assert mails.mails[0]["subject"] == "[Keyrelay] Test of the channel mail"
        changed = await at.send("/channels/chat", {"least": "critical", "rules": ["store"]}, "PATCH")
        assert (changed["least"], changed["rules"], changed["kind"]) == ("critical", ["store"], "slack")
        assert [item["name"] for item in (await at.get("/channels"))["items"]] == ["chat", "mail"]
        taken = await at.ask("/channels", {"name": "chat", "kind": "apprise"})
        assert (taken.status, taken.json["error"]["code"]) == (409, "name_taken")
        assert await at.send("/channels/chat", method="DELETE") == {"removed": "chat"}
        for method, path in (("DELETE", "/channels/chat"), ("POST", "/channels/chat/test")):
            gone = await at.ask(path, method=method)
            assert (gone.status, gone.json["error"]["code"]) == (404, "channel_not_found")


async def test_a_password_does_not_go_to_another_server(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        await at.add(name="mail", **MAIL, user="relay", password=PASSWORD)
        for change in ({"host": "other.example"}, {"port": 25}, {"security": "tls"}, {"user": "other"}):
            refused = await at.ask("/channels/mail", change, "PATCH")
            assert (refused.status, refused.json["error"]["param"]) == (400, "password")
        moved = await at.send("/channels/mail", {"host": "other.example", "password": "another-one"}, "PATCH")
        assert (moved["host"], moved["password_set"]) == ("other.example", True)


async def test_who_only_looks_changes_nothing_and_clients_see_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path) as at:
        for path in (PATH, f"{PATH}/rules", f"{PATH}/channels"):
            assert (await look(at.gateway, path)).status == 403
            assert (await look(at.gateway, path, "nobody")).status == 401


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_secrets_of_channels_are_nowhere_to_be_read(tmp_path: Path) -> None:
    canaries = ("T0SECRETPATH", "s3cr3t-in-query", PASSWORD, "whsec_Y2FuYXJ5LWNhbmFyeS1jYW5hcnk=", "sk-test-canary1")
    async with hooks(404) as server, desk(tmp_path, KEYRELAY_LOG_LEVEL="debug") as at:
        await at.add(name="ops", kind="webhook", url=server.url, key=canaries[3])
        await at.add(name="mail", **MAIL, port=1, user="relay", password=PASSWORD)
        await at.at_once("key_invalid")
        at.spoil()
        await at.fires("key_invalid")
        await until(lambda: server.taken, "a message")
        await at.send("/channels/mail/test")
        seen = [json.dumps(await at.get(path)) for path in ("", "/rules", "/channels")]
        seen.append((await look(at.gateway, "/api/v1/audit", OPERATOR_SECRET)).body.decode())
        seen += [taken.body.decode() for taken in server.taken]
        seen.append(at.gateway.log())
    kept = everything_in(tmp_path)
    for canary in canaries:
        assert not any(canary in text for text in seen), canary
        assert canary.encode() not in kept, canary
