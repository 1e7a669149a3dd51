"""What of a gateway calls out, each with a way to have it do so; and what does not, each with the reason."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from keyrelay.administration.key_edits import NEXT
from keyrelay.administration.service import KEYRELAY
from keyrelay.core.administered import Administered, AlertEntry, KeyEntry, ProviderEntry
from keyrelay.core.alerts import Channel, ChannelSecret, RuleChange, Severity
from keyrelay.core.secrets import Secret
from tests.api.outside import Listeners, Outside
from tests.api.served import OPERATOR_SECRET
from tests.e2e.harness import Caller, Embedded, Reply, chat
from tests.e2e.test_passing_through import form

FORM, FORM_TYPE = form(
    ("file", "a.wav", b"RIFF"), ("image", "a.png", b"PNG"), ("model", None, b"openai/m"), ("prompt", None, b"a")
)
UPLOAD, _ = form(("purpose", None, b"user_data"), ("file", "a.pdf", b"%PDF"))
SECRET = "sk-test-calling-out-"


class Desk:
    """Where somebody administers a gateway, and calls it, to have it connect to some host."""

    def __init__(self, gateway: Embedded, outside: Outside, listeners: Listeners) -> None:
        self.gateway = gateway
        self.outside = outside
        self.listeners = listeners
        self.operator = Caller(gateway.port, OPERATOR_SECRET)
        self.client = Caller(gateway.port)
        self.host = ""
        self.number = 0

    @property
    def authority(self) -> str:
        return f"{self.host}:{self.listeners.port}"

    @property
    def base_url(self) -> str:
        return f"http://{self.authority}/v1"

    @property
    def composition(self) -> Any:
        """All parts of the gateway."""
        return self.gateway.application._hooks.start.__self__  # type: ignore[attr-defined]

    def fresh(self) -> str:
        """A secret that is known nowhere."""
        self.number += 1
        return f"{SECRET}{self.number:08d}"

    async def point_at(self, host: str) -> None:
        """Have everything that is administered lead to a host, past what the routes would say of it."""
        self.host = host

        def edit(state: Administered) -> Administered:
            for kind, name in state.entries:
                if kind in {"key", "provider", "alert", "route"}:
                    state = state.without(kind, name)
            for provider, base_url in (("openai", self.base_url), ("cohere", f"http://{self.authority}")):
                state = state.put(ProviderEntry(id=provider, base_url=base_url, models=("m",)))
                state = state.put(KeyEntry(provider=provider, label="a"), Secret(f"{SECRET}{provider}"))
            state = state.put(
                KeyEntry(provider="openai", label=f"a{NEXT}", account="a", enabled=False, replaces="a"),
                Secret(f"{SECRET}next"),
            )
            at_once = RuleChange(for_s=0, clear_for_s=0, gather_s=0)
            state = state.put(AlertEntry(id="rule:key_invalid", rule=at_once))
            state = hooked(state, f"http://{self.authority}/hook")
            bare = host.strip("[]")
            post = Channel(kind="email", host=bare, port=self.listeners.port, security="none", sender="a@b.example")
            # What fails for another reason is tried again later: not beside what other tests look at.
            post = msgspec.structs.replace(post, recipients=("c@d.example",), least=Severity.CRITICAL)
            return state.put(AlertEntry(id="channel:email", channel=post), secret_of(ChannelSecret()))

        await self.gateway.application.administration.change(edit, KEYRELAY, "test")

    async def crowd(self, hosts: Sequence[str]) -> None:
        """Have a provider with a key and two channels lead to each of these too."""

        def edit(state: Administered) -> Administered:
            for number, host in enumerate(hosts):
                there = f"http://{host}:{self.listeners.port}"
                state = state.put(ProviderEntry(id=f"p{number}", base_url=there, models=("m",)))
                state = state.put(KeyEntry(provider=f"p{number}", label="a"), Secret(f"{SECRET}p{number}"))
                state = hooked(state, f"{there}/hook", str(number))
            return state

        await self.gateway.application.administration.change(edit, KEYRELAY, "test")

    def wake(self) -> None:
        """Forget that calls were refused, so that the next one is tried."""
        for provider in ("openai", "cohere"):
            self.composition.pool.health.wake(provider_id=provider, account="a", label="a")

    async def ask(self, method: str, path: str, body: object = None) -> Reply:
        """Ask the control plane."""
        if body is None:
            return await self.operator.get(path, method)
        return await self.operator.post(path, body, method=method)

    async def call(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask the data plane."""
        return await self.client.post(path, body, headers=headers)


def hooked(state: Administered, url: str, number: str = "") -> Administered:
    """With a webhook and a chat at this address."""
    for kind in ("webhook", "slack"):
        channel = Channel(kind=kind, target="there")
        state = state.put(
            AlertEntry(id=f"channel:{kind}{number}", channel=channel), secret_of(ChannelSecret(url=url, key="k" * 16))
        )
    return state


def secret_of(secret: ChannelSecret) -> Secret:
    return Secret(msgspec.json.encode(secret).decode())


Way = Callable[[Desk], Awaitable[Reply]]


def asking(method: str, path: str, body: object = None) -> Way:
    """A way by one question to the control plane."""
    return lambda desk: desk.ask(method, path, body)


def calling(path: str, body: object, headers: Mapping[str, str] | None = None) -> Way:
    """A way by one call of the data plane."""
    return lambda desk: desk.call(path, body, headers)


def with_key(path: str, name: str = "secret", *, many: bool = False) -> Way:
    """A way by a key that is nowhere yet."""

    def way(desk: Desk) -> Awaitable[Reply]:
        body = {"provider": "openai", name: desk.fresh()}
        return desk.ask("POST", path, {"keys": [body]} if many else body)

    return way


async def preview(desk: Desk) -> Reply:
    return await desk.ask("POST", "/api/v1/providers/preview", {"base_url": desk.base_url})


async def try_many(desk: Desk) -> Reply:
    reply = await desk.ask("POST", "/api/v1/keys/test", {"provider": "openai"})
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name().startswith("task_")))
    return reply


async def put_provider(desk: Desk) -> Reply:
    """Names an address, to which a key is sent then."""
    reply = await desk.ask("PUT", "/api/v1/providers/mine", {"base_url": desk.base_url})
    return reply if reply.status >= 400 else await desk.ask("POST", "/api/v1/keys", key_of(desk, "mine"))


async def patch_provider(desk: Desk) -> Reply:
    reply = await desk.ask("PATCH", "/api/v1/providers/openai", {"base_url": desk.base_url})
    return reply if reply.status >= 400 else await desk.ask("POST", "/api/v1/keys", key_of(desk, "openai"))


def key_of(desk: Desk, provider: str) -> dict[str, str]:
    return {"provider": provider, "secret": desk.fresh()}


async def import_env(desk: Desk) -> Reply:
    name = f"box{desk.number}"
    text = f"{name.upper()}_BASE_URL={desk.base_url}\n{name.upper()}_API_KEY={desk.fresh()}\n"
    return await imported(desk, {"kind": "env", "name": ".env", "text": text}, name)


async def import_litellm(desk: Desk) -> Reply:
    name = f"lite{desk.number}"
    lines = ("model_list:", f"- model_name: {name}", "  litellm_params:", f"    model: openai/{name}")
    more = (f"    api_base: {desk.base_url!r}", f"    api_key: {desk.fresh()}", "")
    return await imported(desk, {"kind": "litellm", "name": "config.yaml", "text": "\n".join((*lines, *more))}, "")


async def imported(desk: Desk, file: dict[str, str], provider: str) -> Reply:
    reply = await desk.ask("POST", "/api/v1/import", {"files": [file]})
    found = {line["id"] for line in reply.json["lines"] if (line["kind"], line["outcome"]) == ("provider", "new")}
    for name in found:
        reply = await desk.ask("POST", f"/api/v1/providers/{name}/test", {})
    return reply


async def add_channel(desk: Desk) -> Reply:
    name = f"c{desk.fresh()}"
    reply = await desk.ask("POST", f"{CHANNELS}", {"name": name, "kind": "slack", "url": f"http://{desk.authority}/"})
    return reply if reply.status >= 400 else await desk.ask("POST", f"{CHANNELS}/{name}/test")


async def patch_channel(desk: Desk) -> Reply:
    reply = await desk.ask("PATCH", f"{CHANNELS}/slack", {"url": f"http://{desk.authority}/hook"})
    return reply if reply.status >= 400 else await desk.ask("POST", f"{CHANNELS}/slack/test")


def try_channel(kind: str) -> Way:
    return asking("POST", f"{CHANNELS}/{kind}/test")


CHANNELS = "/api/v1/alerts/channels"
TURN = {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}
CONTENT = {"content": {"parts": [{"text": "a"}]}}
SAY = [{"role": "user", "content": "a"}]
M = "openai/m"

CONTROL: dict[str, Way] = {
    "POST /api/v1/providers/preview": preview,
    "POST /api/v1/providers/{provider}/test": asking("POST", "/api/v1/providers/openai/test", {"key": "a"}),
    "POST /api/v1/providers/{provider}/discover": asking("POST", "/api/v1/providers/openai/discover", {"key": "a"}),
    "PUT /api/v1/providers/{provider}": put_provider,
    "PATCH /api/v1/providers/{provider}": patch_provider,
    "POST /api/v1/keys": with_key("/api/v1/keys"),
    "POST /api/v1/keys/bulk": with_key("/api/v1/keys/bulk", many=True),
    "POST /api/v1/keys/test": try_many,
    "POST /api/v1/keys/{provider}/{label}/test": asking("POST", "/api/v1/keys/openai/a/test", {}),
    "POST /api/v1/keys/{provider}/{label}/rotate": asking("POST", "/api/v1/keys/openai/a/rotate", {"step": "test"}),
    "POST /api/v1/api-keys/add": with_key("/api/v1/api-keys/add", "api_key"),
    "POST /api/v1/api-keys/validate": with_key("/api/v1/api-keys/validate", "api_key"),
    "POST /api/v1/alerts/channels": add_channel,
    "PATCH /api/v1/alerts/channels/{name}": patch_channel,
    "POST /api/v1/alerts/channels/{name}/test": try_channel("webhook"),
    "POST /api/v1/alerts/channels/{name}/test (chat)": try_channel("slack"),
    "POST /api/v1/alerts/channels/{name}/test (e-mail)": try_channel("email"),
    "POST /api/v1/import": import_env,
    "POST /api/v1/import (LiteLLM)": import_litellm,
}

DATA: dict[str, Way] = {
    f"POST {path.partition('?')[0]}": calling(path, body, FORM_TYPE if body in (FORM, UPLOAD) else None)
    for path, body in (
        ("/v1/chat/completions", chat(M)),
        ("/v1/completions", {"model": M, "prompt": "a"}),
        ("/v1/embeddings", {"model": M, "input": "a"}),
        ("/v1/images/generations", {"model": M, "prompt": "a"}),
        ("/v1/images/edits", FORM),
        ("/v1/images/variations", FORM),
        ("/v1/audio/speech", {"model": M, "input": "a", "voice": "a"}),
        ("/v1/audio/transcriptions", FORM),
        ("/v1/audio/translations", FORM),
        ("/v1/moderations", {"model": M, "input": "a"}),
        ("/v1/rerank", {"model": "cohere/m", "query": "a", "documents": ["a"]}),
        ("/v2/rerank", {"model": "cohere/m", "query": "a", "documents": ["a"]}),
        ("/v1/generate", {"model": M, "prompt": "a"}),
        ("/v1/responses", {"model": M, "input": "a"}),
        ("/v1/messages", {"model": M, "max_tokens": 9, "messages": SAY}),
        ("/api/chat", {"model": M, "messages": SAY}),
        ("/api/generate", {"model": M, "prompt": "a"}),
        ("/api/embed", {"model": M, "input": "a"}),
        ("/api/embeddings", {"model": M, "prompt": "a"}),
        ("/v1/files?provider=openai", UPLOAD),
    )
}

NAMED: dict[str, Way] = {
    "generateContent": calling(f"/v1beta/models/{M}:generateContent", TURN),
    "streamGenerateContent": calling(f"/v1beta/models/{M}:streamGenerateContent", TURN),
    "streamGenerateContent?alt=sse": calling(f"/v1beta/models/{M}:streamGenerateContent?alt=sse", TURN),
    "embedContent": calling(f"/v1beta/models/{M}:embedContent", CONTENT),
    "batchEmbedContents": calling(f"/v1beta/models/{M}:batchEmbedContents", {"requests": [CONTENT]}),
}

WAYS = {**CONTROL, **DATA, **NAMED}


QUIET: Mapping[str, tuple[str, ...]] = {
    "it reads what is known here": (
        "GET /",
        "HEAD /",
        "GET /api/v1/alerts",
        "GET /api/v1/alerts/channels",
        "GET /api/v1/alerts/rules",
        "GET /api/v1/api-keys/status",
        "GET /api/v1/audit",
        "GET /api/v1/cache",
        "GET /api/v1/clients",
        "GET /api/v1/clients/{label}",
        "GET /api/v1/credits",
        "GET /api/v1/errors",
        "GET /api/v1/events",
        "GET /api/v1/keys",
        "GET /api/v1/keys/{provider}/{label}",
        "GET /api/v1/local-proof",
        "GET /api/v1/me",
        "GET /api/v1/people",
        "GET /api/v1/providers",
        "GET /api/v1/providers/{provider}",
        "GET /api/v1/quota",
        "GET /api/v1/quota/lifespan",
        "GET /api/v1/requests",
        "GET /api/v1/requests/export",
        "GET /api/v1/requests/{id}",
        "GET /api/v1/requests/{id}/text",
        "GET /api/v1/routes",
        "GET /api/v1/routes/{name}",
        "GET /api/v1/session",
        "GET /api/v1/settings",
        "GET /api/v1/setup",
        "GET /api/v1/tasks",
        "GET /api/v1/tasks/{task_id}",
        "GET /api/v1/tokens",
        "GET /api/v1/usage",
        "GET /api/v1/usage/export",
        "GET /api/v1/vault/public-key",
        "GET /docs",
        "GET /docs/assets/{name}",
        "GET /livez",
        "GET /metrics",
        "GET /redoc",
        "GET /setup",
        "POST /api/v1/explain",
    ),
    "it tells what probes have found; asking is the monitor's": (
        "GET /api/v1/health/providers",
        "GET /api/v1/status",
        "GET /healthz",
        "GET /readyz",
    ),
    "it is about who calls, and names no address": (
        "DELETE /api/v1/clients/{label}",
        "DELETE /api/v1/people/{name}",
        "DELETE /api/v1/session",
        "DELETE /api/v1/tokens/{name}",
        "PATCH /api/v1/clients/{label}",
        "PATCH /api/v1/people/{name}",
        "POST /api/v1/clients",
        "POST /api/v1/clients/{label}/reset",
        "POST /api/v1/clients/{label}/revoke",
        "POST /api/v1/clients/{label}/rotate",
        "POST /api/v1/people",
        "POST /api/v1/session",
        "POST /api/v1/session/password",
        "POST /api/v1/setup",
        "POST /api/v1/tokens",
    ),
    "it changes how what is there is used, not where that leads": (
        "DELETE /api/v1/alerts/channels/{name}",
        "DELETE /api/v1/alerts/quiet-hours",
        "DELETE /api/v1/cache",
        "DELETE /api/v1/keys/{provider}/{label}",
        "DELETE /api/v1/providers/{provider}",
        "DELETE /api/v1/quota/learned",
        "DELETE /api/v1/quota/learned/{id}",
        "DELETE /api/v1/routes/{name}",
        "DELETE /api/v1/tasks/{task_id}",
        "PATCH /api/v1/alerts/rules/{name}",
        "PATCH /api/v1/keys/{provider}/{label}",
        "POST /api/v1/alerts/{id}/acknowledge",
        "POST /api/v1/alerts/{id}/silence",
        "POST /api/v1/credits/reset",
        "POST /api/v1/keys/{provider}/{label}/disable",
        "POST /api/v1/keys/{provider}/{label}/enable",
        "POST /api/v1/keys/{provider}/{label}/wake",
        "POST /api/v1/providers/{provider}/disable",
        "POST /api/v1/providers/{provider}/enable",
        "PUT /api/v1/alerts/quiet-hours",
        "PUT /api/v1/providers/order",
        "PUT /api/v1/routes/{name}",
    ),
    "it copies keys that serve already": ("POST /api/v1/keys/import",),
    "settings that name addresses are the operator's": ("PATCH /api/v1/settings",),
    "it is answered from what is known of models and of own files": (
        *(f"{method} {path}" for method in ("GET", "HEAD") for path in ("/api/ps", "/api/tags", "/api/version")),
        *(f"{method} {path}" for method in ("GET", "HEAD") for path in ("/v1/models", "/models", "/v1beta/models")),
        *(f"{method} {path}" for method in ("GET", "HEAD") for path in ("/v1/files", "/files")),
        "POST /api/show",
        "POST /v1/messages/count_tokens",
    ),
}
"""What does not call out, by the reason."""

CHORES: Mapping[str, str] = {
    "counting what clients have used": "it reads the store",
    "deleting old rows": "it writes to the store",
    "following what is administered": "it reads the store",
    "keeping prompts and answers": "it writes to the store",
    "knowing the secrets of channels": "it tells the log",
    "looking at the times of keys": "it changes what is administered",
    "noting which keys there are": "it writes to the data directory",
    "reading the key ring": "it reads the store",
    "saving what was found out": "it writes to the store",
    "taking over journals": "it reads the data directory",
    "telling of changes": "it tells those who listen",
    "writing down how far tasks are": "it writes to the store",
}
"""What is done in the background without calling out, with the reason."""

REMEMBERING = {"POST /api/v1/keys/{provider}/{label}/rotate", "POST /api/v1/import (LiteLLM)"}
"""Ways that have nothing to do a second time."""

CALLING_CHORES = {"looking after alerts", "looking after keys and providers"}


async def tried(desk: Desk, way: Way) -> Reply:
    """What comes of a way, with no memory of those before."""
    desk.wake()
    desk.outside.clear()
    return await way(desk)
