"""A gateway with a secret in every place where one may be, and somebody who administers it, wrongly too."""

import asyncio
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from keyrelay.simulator import FAULTS, Simulator
from tests.e2e.harness import CLIENT_SECRET, Caller, Reply, environment
from tests.faults.backing import Backing
from tests.faults.spelling import Canary, Seen, coined
from tests.faults.tattlers import Tattler
from tests.notify.servers import post

SKIPPED = frozenset({"tiny_events", "split_everywhere", "huge_body", "endless_line", "gzip_bomb"})
"""Large, and of no other text than the rest."""

LOUD = {
    "KEYRELAY_LOG_LEVEL": "debug",
    "KEYRELAY_FIRST_BYTE_TIMEOUT_S": "0.2",
    "KEYRELAY_ANSWER_TIMEOUT_S": "0.2",
    "KEYRELAY_CONTENT_GAP_TIMEOUT_S": "0.2",
    "KEYRELAY_TOTAL_TIMEOUT_S": "0.5",
    "KEYRELAY_MAX_WAIT_S": "0",
    "KEYRELAY_CIRCUIT_FAILURES": "1000",
    "KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true",
    "KEYRELAY_ALERT_INTERVAL_S": "0.2",
    "GROQ_TIER": "paid",
    "OPENAI_TIER": "paid",
    "GEMINI_TIER": "paid",
}
_REQUEST = re.compile("req_[0-9a-f]{32}")
READ_ONLY = (
    *("config show", "config check", "config path", "config show --json", "models list", "version", "db status"),
    *("providers list --json", "providers show echo --json", "keys list", "keys list --json", "clients list --json"),
    *("people list --json", "tokens list --json", "quota --json", "usage --json", "errors --json", "errors"),
    *("status --json", "alerts --json", "routes list --json", "settings list --json", "secrets status --json"),
    *("doctor", "doctor --json"),
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much to do, and on what: `shared` is two workers on PostgreSQL and Redis, else one and SQLite."""

    shared: bool = False
    texts: bool = False
    faults: tuple[str, ...] = tuple(sorted(set(FAULTS) - SKIPPED))
    commands: tuple[str, ...] = READ_ONLY
    misplaced: bool = True
    misconfigured: bool = True
    seed: int = 1


class Planted:
    """The secrets, who asks the gateway, and all that it answers."""

    def __init__(self, plan: Plan, directory: Path, simulator: Simulator, tattler: Tattler, backing: Backing) -> None:
        self.plan, self.directory, self.simulator = plan, directory, simulator
        self.tattler, self.backing = tattler, backing
        self.seen = Seen()
        self.canaries: dict[str, Canary] = {}
        self.statuses: dict[int, int] = {}
        self.port = 0
        self._random = random.Random(plan.seed)
        self._admin = ""
        self._csrf = ""

    # Planting

    def plant(self, name: str, **how: Any) -> str:
        """A new secret."""
        return self.learn(name, coined(self._random, name, **how).text)

    def learn(self, name: str, text: str | bytes) -> str:
        """A secret that the gateway has made."""
        assert len(text) >= 20, f"{name} is too short to be looked for"
        self.canaries[name] = Canary(name, text)
        return text if isinstance(text, str) else ""

    def environ(self) -> dict[str, str]:
        """The environment of the gateway, with secrets wherever it takes one."""
        keyed = {
            "groq": [f"first={self.plant('key of the environment', marks=True)}"],
            "openai": [self.plant("key that looks like one", before="sk-test-")],
            "gemini": [f"an-account:labelled={self.plant('key with an account')}"],
        }
        file = self.directory / "key.txt"
        file.write_text(self.plant("key in a file", marks=True))
        proxy = f"user:{quote(self.plant('password of the proxy', marks=True), safe='')}@127.0.0.1:{self.tattler.port}"
        more = {
            **LOUD,
            "ECHO_BASE_URL": f"http://127.0.0.1:{self.tattler.port}/v1",
            "ECHO_MODELS": "m",
            "ECHO_API_KEYS": f"told={self.plant('key that is repeated', marks=True)}",
            "MISTRAL_BASE_URL": self.simulator.base_url("mistral"),
            "MISTRAL_API_KEY_FILE": str(file),
            "FAR_BASE_URL": "http://far.test/v1",
            "FAR_MODELS": "m",
            "FAR_API_KEYS": self.plant("key behind the proxy"),
            "KEYRELAY_UPSTREAM_PROXY": f"http://{proxy}",
            "CLIENT_API_KEYS_MAP": f"{self.plant('client of the environment')}:{'env-client'},{CLIENT_SECRET}:tests",
            "KEYRELAY_APPRISE_URLS": f"json://user:{self.plant('apprise')}@127.0.0.1:{self.tattler.port}/x",
            "KEYRELAY_LOG_FORMAT": "text" if self.plan.shared else "json",
            "KEYRELAY_KEEP_TEXTS": "all" if self.plan.texts else "off",
        }
        if self.plan.shared:
            more |= self._shared()
        return environment(self.simulator, keyed, **more)

    def _shared(self) -> dict[str, str]:
        password = self.plant("password of PostgreSQL", marks=True)
        redis_password = self.plant("password of Redis", marks=True)
        self.backing.redis.command("acl", "setuser", "keyrelay", "on", f">{redis_password}", "~*", "+@all")
        master = self._random.randbytes(32)
        self.learn("master key", master)
        return {
            "KEYRELAY_WORKERS": "2",
            "KEYRELAY_DATABASE_URL": self.backing.database_url.replace(
                "keyrelay@", f"keyrelay:{quote(password, safe='')}@"
            ),
            "KEYRELAY_REDIS_URL": self.backing.redis.url.replace(
                "redis://", f"redis://keyrelay:{quote(redis_password, safe='')}@"
            ),
            "KEYRELAY_MASTER_KEY": master.hex(),
        }

    # Asking

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        secret: str = "",
        shows: Iterable[str] = (),
        **headers: str,
    ) -> Reply:
        """One request, by a session unless `secret` says by whom; its answer is to show the canaries of `shows`."""
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        fields = {
            "content-type": "application/json",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if secret:
            fields["authorization"] = f"Bearer {secret}"
        elif self._admin:
            fields |= {"cookie": f"keyrelay_session={self._admin}", "x-csrf-token": self._csrf} | fields
        async with Caller(self.port) as caller:
            reply = await caller.request(method, path, data, {name: text for name, text in fields.items() if text})
        self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
        if (
            self.plan.shared
            and method != "GET"
            and reply.status < 300
            and "/wake" not in path
            and "/v1/chat" not in path
        ):
            await asyncio.sleep(0.4)  # the other worker follows
        self.saw(f"answers {method} {_REQUEST.sub('{id}', path.partition('?')[0])}", reply, frozenset(shows))
        return reply

    def saw(self, place: str, reply: Reply, allowed: frozenset[str] = frozenset()) -> None:
        head = "\n".join(f"{name}: {value}" for name, value in reply.headers.items())
        self.seen.add(place, head.encode("latin-1", "replace") + b"\n\n" + reply.body, allowed)

    async def set_up(self, code: str) -> None:
        """The first administrator, who changes the password at once."""
        password = self.plant("first password", marks=True)
        body = {"code": code, "name": "alice", "password": password}
        reply = await self.ask("POST", "/api/v1/setup", body, shows=("session", "csrf"))
        good(reply)
        self._sign_in(reply)
        body = {"password": password, "new_password": self.plant("password", marks=True)}
        reply = await self.ask("POST", "/api/v1/session/password", body, shows=("session 2", "csrf 2"))
        good(reply)
        self._sign_in(reply, " 2")
        await self.ask("GET", "/api/v1/session", shows=("csrf 2",))
        wrong = {"name": "alice", "password": self.plant("wrong password", marks=True)}
        good(await self.ask("POST", "/api/v1/session", wrong), 401)
        swapped = {"name": self.plant("password in the field of the name", marks=True), "password": "alice"}
        good(await self.ask("POST", "/api/v1/session", swapped), 401)

    def _sign_in(self, reply: Reply, which: str = "") -> None:
        cookie = reply.headers["set-cookie"].partition("=")[2].partition(";")[0]
        self._admin = self.learn(f"session{which}", cookie)
        self._csrf = self.learn(f"csrf{which}", reply.json["csrf"])

    async def administer(self) -> None:
        """Everything that takes a secret takes one, in every way in which it may come."""
        keys = "/api/v1/keys"
        add = {"provider": "groq", "label": "stored", "secret": self.plant("stored key", marks=True)}
        good(await self.ask("POST", keys, add), 201)
        rotation = {"secret": self.plant("rotated key", marks=True), "drain_s": 0.5}
        good(await self.ask("POST", f"{keys}/groq/stored/rotate", rotation))
        refused = {"provider": "echo", "secret": self.plant("refused key", marks=True)}
        for _ in range(3):
            await self.ask("POST", keys, refused)
        pasted = "\n".join(f"GROQ_API_KEY_{n}={self.plant(f'pasted key {n}')}" for n in range(1, 4))
        good(await self.ask("POST", f"{keys}/bulk", {"text": pasted, "dry_run": True}))
        good(await self.ask("POST", f"{keys}/bulk", {"text": pasted}))
        unclear = f"{self.plant('pasted key of nobody')}\nnobody: {self.plant('pasted key with a wrong name')}"
        await self.ask("POST", f"{keys}/bulk", {"text": unclear})
        good(await self.ask("POST", f"{keys}/import", {"all": True}))
        old = {"api_key": self.plant("key of the older interface", marks=True), "name": "older", "provider": "groq"}
        await self.ask("POST", "/api/v1/api-keys/validate", old)
        await self.ask("POST", "/api/v1/api-keys/add", old)
        env = f"GROQ_API_KEYS={self.plant('imported key')}\nUNKNOWN_THING={self.plant('unknown line of a file')}\n"
        file = {"name": ".env", "text": env}
        await self.ask("POST", "/api/v1/import", {"files": [file], "dry_run": True})
        await self.ask("POST", "/api/v1/import", {"files": [file]})
        await self._people()
        await self._channels()

    async def _people(self) -> None:
        person = {"name": "bob", "password": self.plant("password of another"), "role": "viewer"}
        good(await self.ask("POST", "/api/v1/people", person), 201)
        changed = {"password": self.plant("changed password of another")}
        good(await self.ask("PATCH", "/api/v1/people/bob", changed))
        made = await self.ask("POST", "/api/v1/tokens", {"name": "ci", "role": "administrator"}, shows=("token",))
        token = self.learn("token", made.json["secret"])
        await self.ask("GET", "/api/v1/people", secret=token)
        made = await self.ask("POST", "/api/v1/clients", {"label": "app"}, shows=("client of the store",))
        first = self.learn("client of the store", made.json["secret"])
        made = await self.ask("POST", "/api/v1/clients/app/rotate", {}, shows=("rotated client",))
        self.learn("rotated client", made.json["secret"])
        for secret in (first, made.json["secret"]):
            await self.ask("GET", "/api/v1/me", secret=secret)
        made = await self.ask("POST", "/api/v1/clients", {"label": "gone"}, shows=("revoked client",))
        self.learn("revoked client", made.json["secret"])
        await self.ask("POST", "/api/v1/clients/gone/revoke")
        await self.ask("GET", "/api/v1/me", secret=made.json["secret"])

    async def _channels(self) -> None:
        path, query = self.plant("path of a webhook"), self.plant("query of a webhook")
        url = f"http://127.0.0.1:{self.tattler.port}/hooks/{path}?t={query}"
        hook = {"kind": "webhook", "url": url, "key": self.plant("signing key")}
        mail = {
            "kind": "email",
            "host": "127.0.0.1",
            "user": "alerts",
            "sender": "a@b.test",
            "recipients": ["c@d.test"],
        }
        channels: Mapping[str, Mapping[str, object]] = {
            "hook": hook,
            "slack": {"kind": "slack", "url": f"{url}x{self.plant('slack')}"},
            "mail": {**mail, "password": self.plant("password of the mail", marks=True)},
            "others": {"kind": "apprise"},
            "nowhere": {"kind": "webhook", "url": f"gopher://{self.plant('address that will not do')}/"},
        }
        async with post() as server:
            for name, channel in channels.items():
                placed = {**channel, "port": server.port} if name == "mail" else channel
                reply = await self.ask("POST", "/api/v1/alerts/channels", {"name": name, **placed})
                assert reply.status == (400 if name == "nowhere" else 201), reply.body
                for _ in range(1 if name == "mail" else 3):
                    await self.ask("POST", f"/api/v1/alerts/channels/{name}/test")
        made = {"name": "made", "kind": "webhook", "url": url}
        reply = await self.ask("POST", "/api/v1/alerts/channels", made, shows=("signing key that was made",))
        self.learn("signing key that was made", reply.json["key"])


def good(reply: Reply, status: int = 200) -> None:
    """Fail, with what was answered, unless that was to be expected."""
    assert reply.status == status, (reply.status, reply.body)
