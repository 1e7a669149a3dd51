"""What is administered leads to public addresses alone, unless the operator says otherwise."""

from pathlib import Path

import pytest

from keyrelay.administration.service import Author
from keyrelay.core.administered import Administered, Entry, KeyEntry, ProviderEntry, SettingEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret
from tests.e2e.harness import CLIENT, CLIENT_SECRET, Caller, Embedded, Reply, chat, embedded
from tests.upstream.hostile import Server, answering, http, serving
from tests.upstream.test_guarded import NOTATIONS

ALICE = Author("user:alice")
SAID = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",'
    b'"message":{"role":"assistant","content":"Hello."}}],"usage":{"prompt_tokens":1,"completion_tokens":1,'
    b'"total_tokens":2}}'
)
ANSWER = http(SAID, "content-type: application/json")


def environ(*providers: str, **more: str) -> dict[str, str]:
    keys = {f"{name.upper()}_API_KEYS": f"sk-test-{name}-1,sk-test-{name}-2" for name in providers}
    fixed = {"CLIENT_API_KEYS_MAP": f"{CLIENT_SECRET}:{CLIENT}", "KEYRELAY_LOG_FORMAT": "json", "KEYRELAY_PORT": "0"}
    return fixed | keys | more


def leading_to(name: str, host: str, server: Server) -> ProviderEntry:
    return ProviderEntry(id=name, base_url=f"http://{host}:{server.port}/v1", models=("m",))


async def administer(gateway: Embedded, *entries: Entry) -> None:
    """Put the entries there; a provider gets two keys of its own, entered for its address."""

    def edit(state: Administered) -> Administered:
        for entry in entries:
            state = state.put(entry)
            for label in ("a", "b") if isinstance(entry, ProviderEntry) else ():
                state = state.put(KeyEntry(provider=entry.id, label=label), Secret(f"sk-test-{entry.id}-{label}"))
        return state

    await gateway.application.administration.change(edit, ALICE, "try")


async def test_no_notation_of_this_machine_reaches_it_over_a_stored_base_url(tmp_path: Path) -> None:
    names = {f"canary{number}": host for number, host in enumerate(NOTATIONS)}
    async with (
        serving(answering(ANSWER)) as canary,
        embedded(environ(), tmp_path) as gateway,
        Caller(gateway.port) as caller,
    ):
        await administer(gateway, *(leading_to(name, host, canary) for name, host in names.items()))
        for name in names:
            refused(await caller.post("/v1/chat/completions", chat(f"{name}/m")), name)
        assert canary.connections == 0


def refused(reply: Reply, name: str) -> None:
    """Nobody could serve, and it is said why, once: both keys lead to the same place."""
    assert reply.status == 503, reply.body
    assert reply.error["code"] == "no_candidate_available"
    text = reply.body.decode()
    assert "address: no connection to" in text, name
    assert "127.0.0.1 is a loopback address" in text or "0.0.0.0 is an unspecified address" in text, text
    assert "KEYRELAY_ALLOWED_NETWORKS=" in text


@pytest.mark.parametrize(
    "more",
    [{"KEYRELAY_ALLOW_PRIVATE_ADDRESSES": "true"}, {"KEYRELAY_ALLOWED_NETWORKS": "192.168.7.0/24, 127.0.0.0/8"}],
    ids=["private", "network"],
)
async def test_the_operator_may_allow_it(tmp_path: Path, more: dict[str, str]) -> None:
    async with serving(answering(ANSWER)) as server, embedded(environ(**more), tmp_path) as gateway:
        await administer(gateway, leading_to("box", "localhost", server))
        assert (await gateway.ask(chat("box/m"))).text == "Hello."
        assert b"Bearer sk-test-box-" in server.heads[0]


async def test_what_the_environment_names_needs_no_leave(tmp_path: Path) -> None:
    async with serving(answering(ANSWER)) as server:
        there = f"http://localhost:{server.port}/v1"
        async with embedded(environ("box", BOX_BASE_URL=there, BOX_MODELS="m"), tmp_path) as gateway:
            assert (await gateway.ask(chat("box/m"))).text == "Hello."
            await administer(gateway, ProviderEntry(id="box", priority=7, base_url="http://127.0.0.1:1/v1"))
            assert (await gateway.ask(chat("box/m"))).text == "Hello."


async def test_a_refused_provider_is_passed_over_and_not_tried_again_for_a_while(tmp_path: Path) -> None:
    async with serving(answering(ANSWER)) as canary, serving(answering(ANSWER)) as other:
        there = f"http://127.0.0.1:{other.port}/v1"
        settings = environ("other", OTHER_BASE_URL=there, OTHER_MODELS="m", OTHER_PRIORITY="900")
        async with embedded(settings, tmp_path) as gateway:
            entry = ProviderEntry(id="inside", base_url=f"http://127.0.0.1:{canary.port}", models=("m",), priority=1)
            await administer(gateway, entry)
            replies = [await gateway.ask(chat("m")) for _ in range(5)]
            assert [reply.text for reply in replies] == ["Hello."] * 5
            assert [reply.headers["x-keyrelay-attempts"] for reply in replies] == ["2", "1", "1", "1", "1"]
            assert (canary.connections, len(other.heads)) == (0, 5)
            attempt = (await gateway.line_of(replies[0].headers["x-request-id"]))["attempts"][0]
            assert (attempt["provider"], attempt["failure"]["kind"]) == ("inside", "address")


async def test_a_redirect_is_not_followed(tmp_path: Path) -> None:
    async with serving(answering(ANSWER)) as canary:
        moved = http(b"", f"location: http://127.0.0.1:{canary.port}/v1/chat/completions", status="307 Moved")
        async with serving(answering(moved)) as server:
            more = {"KEYRELAY_ALLOWED_NETWORKS": "127.0.0.1"}
            async with embedded(environ(**more), tmp_path) as gateway:
                await administer(gateway, leading_to("box", "127.0.0.1", server))
                assert (await gateway.ask(chat("box/m"))).status == 502
        assert canary.connections == 0


@pytest.mark.parametrize(("name", "text"), [("allow_private_addresses", "true"), ("allowed_networks", "127.0.0.0/8")])
async def test_nobody_gives_themselves_leave(tmp_path: Path, name: str, text: str) -> None:
    async with embedded(environ("box"), tmp_path) as gateway:
        with pytest.raises(CallerError, match="can only be set in the environment") as caught:
            await administer(gateway, SettingEntry(name=name, text=text))
        assert caught.value.status == 422
        assert not gateway.application.administration.state.all(SettingEntry)
