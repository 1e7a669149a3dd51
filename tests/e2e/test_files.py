"""`/v1/files` over real sockets, with OpenAI's own SDK: a file belongs to one client and lives with one key."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from keyrelay.simulator import Change, ProviderPlan, Scenario, Simulator
from keyrelay.wire.files import PREFIX
from tests.e2e.harness import Caller, Embedded, Gateway, embedded, environment, process, simulated
from tests.upstream.hostile import Peer, chunked, http, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

MIB = 1024 * 1024
ALICE, BOB = "a1946ac92492d2347c6235b4d2611184", "b2946ac92492d2347c6235b4d2611185"
CLIENTS = {"CLIENT_API_KEYS_MAP": f"{ALICE}:alice,{BOB}:bob"}
ONE_CLIENT = {"CLIENT_API_KEYS_MAP": f"{ALICE}:alice"}
PROVIDERS = ("openai", "groq", "mistral", "xai", "anthropic")
MODEL = "openai/gpt-6-luna"
PDF = b"%PDF-1.7 \x00\xff\r\n--no boundary"
FREE = {f"{name.upper()}_TIER": "paid" for name in PROVIDERS}


def keys(*openai_labels: str, **more: list[str]) -> dict[str, list[str]]:
    return {"openai": [f"{label}=sim-openai-{label}" for label in openai_labels], **more}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated(Scenario(providers={name: ProviderPlan(limits=()) for name in PROVIDERS})) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Embedded]:
    everything = keys("first", "second", **{name: [f"one=sim-{name}-one"] for name in PROVIDERS[1:]})
    environ = environment(simulator, everything, **CLIENTS, **FREE)
    async with embedded(environ, tmp_path_factory.mktemp("data")) as running:
        yield running


@asynccontextmanager
async def client_of(gateway: Gateway, secret: str = ALICE) -> AsyncIterator[openai.AsyncOpenAI]:
    client = openai.AsyncOpenAI(base_url=gateway.base_url, api_key=secret, max_retries=0, timeout=20)
    async with client:
        yield client


async def uploaded(client: openai.AsyncOpenAI, provider: str = "openai", purpose: Any = "user_data") -> str:
    query = {"provider": provider}
    return (await client.files.create(file=("a.pdf", PDF), purpose=purpose, extra_query=query)).id


async def sent(client: openai.AsyncOpenAI) -> tuple[str, str]:
    """The label of the key that a file has gone to, and its id."""
    made = await client.files.with_raw_response.create(file=("a.pdf", PDF), purpose="user_data")
    return made.headers["x-keyrelay-key"], made.parse().id


def seen(simulator: Simulator) -> list[tuple[str, str]]:
    """Where calls about files went."""
    return [(call.provider, call.key) for call in simulator.judge.calls if call.operation == "files"]


class TestSdk:
    async def test_a_file_from_its_upload_to_its_end(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            made = await client.files.create(
                file=("Grüße (1).pdf", PDF),
                purpose="user_data",
                expires_after={"anchor": "created_at", "seconds": 3600},
                extra_query={"provider": "openai"},
            )
            assert made.id.startswith(PREFIX)
            assert (made.object, made.bytes, made.purpose) == ("file", len(PDF), "user_data")
            assert made.expires_at == made.created_at + 3600
            assert await client.files.retrieve(made.id) == made
            async with Caller(gateway.port, ALICE) as caller:
                assert (await caller.get(f"/v1/files/{made.id}", "HEAD")).status == 200
                assert (await caller.get("/v1/files", "HEAD")).status == 200
            content = await client.files.content(made.id)
            assert content.content == PDF
            assert content.response.headers["content-type"] == "application/octet-stream"
            assert content.response.headers["content-disposition"] == "attachment"
            assert made in (await client.files.list()).data
            deleted = await client.files.delete(made.id)
            assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "file", True)
            assert made not in (await client.files.list()).data
            for ask in (client.files.retrieve, client.files.content, client.files.delete):
                with pytest.raises(openai.NotFoundError) as caught:
                    await ask(made.id)
                assert caught.value.body is not None
                assert caught.value.message.find(made.id) > 0
                assert caught.value.response.headers["x-should-retry"] == "false"

    async def test_lists_come_in_pages(self, gateway: Embedded) -> None:
        async with client_of(gateway, BOB) as client:
            made = [await uploaded(client, "groq", "batch") for _ in range(3)] + [await uploaded(client)]
            page = await client.files.list(purpose="batch", limit=2)
            assert (len(page.data), page.has_more) == (2, True)
            assert {file.id async for file in client.files.list(limit=1)} == set(made)
            assert {file.id async for file in client.files.list(purpose="batch", order="asc", limit=2)} == set(made[:3])
            for file_id in made:
                await client.files.delete(file_id)
            assert (await client.files.list()).data == []

    async def test_what_is_done_is_written_down(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            made = await client.files.with_raw_response.create(file=("a.pdf", PDF), purpose="vision")
            content = await client.files.with_raw_response.content(made.parse().id)
        for answer, stream in ((made, False), (content, True)):
            assert "x-keyrelay-usage" not in answer.headers
            line = await gateway.line_of(answer.headers["x-request-id"])
            assert (line["client"], line["operation"], line["model"], line["status"]) == (
                "alice",
                "files",
                "files",
                200,
            )
            assert (line["provider"], line["key"]) == (
                answer.headers["x-keyrelay-provider"],
                line["attempts"][0]["key"],
            )
            assert (line["usage"], line["attempts"][0]["requests"], line.get("stream", False)) == ({}, 1, stream)
            assert "input_tokens" not in line["attempts"][0]

    async def test_the_caller_chooses_the_provider(self, gateway: Embedded, simulator: Simulator) -> None:
        async with client_of(gateway) as client:
            for provider in ("groq", "mistral", "xai"):
                made = await client.files.with_raw_response.create(
                    file=("a.jsonl", b"{}"), purpose="batch", extra_query={"provider": provider}
                )
                assert made.headers["x-keyrelay-provider"] == provider
                assert (await client.files.content(made.parse().id)).content == b"{}"
                assert seen(simulator)[-1] == (provider, f"sim-{provider}-one")
            made = await client.files.with_raw_response.create(
                file=("a.jsonl", b"{}"), purpose="batch", extra_headers={"x-keyrelay-prefer": "mistral"}
            )
            assert made.headers["x-keyrelay-provider"] == "mistral"

    async def test_a_purpose_goes_to_a_provider_that_takes_it(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            made = await client.files.with_raw_response.create(file=("a.pdf", PDF), purpose="user_data")
            assert made.headers["x-keyrelay-provider"] == "openai"  # Groq would come first
            with pytest.raises(openai.BadRequestError) as caught:
                await uploaded(client, "groq", "vision")
            assert caught.value.param == "purpose"


class TestOwnership:
    async def test_nobody_else_can_use_an_id(self, gateway: Embedded, simulator: Simulator) -> None:
        async with client_of(gateway) as alice, client_of(gateway, BOB) as bob:
            file_id = await uploaded(alice)
            calls = len(seen(simulator))
            for ask in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with pytest.raises(openai.NotFoundError) as caught:
                    await ask(file_id)
                assert caught.value.code == "unknown_file"
            assert (await bob.files.list()).data == []
            with pytest.raises(openai.NotFoundError):
                await bob.chat.completions.create(model=MODEL, messages=[asking(file_id)])
            assert len(seen(simulator)) == calls
            assert (await alice.files.content(file_id)).content == PDF

    @pytest.mark.parametrize("guess", ["own", "escaped name", "twice"])
    async def test_nobody_else_can_use_the_providers_own_id(
        self, gateway: Embedded, simulator: Simulator, guess: str
    ) -> None:
        """Even who knows it, since it stands in the id that was given out."""
        async with client_of(gateway) as alice, client_of(gateway, BOB) as bob:
            file_id, known = await uploaded(alice), await uploaded(bob)
            own = next(reversed(simulator.provider("openai")._files._files))
            for ask in (bob.files.retrieve, bob.files.content, bob.files.delete):
                with pytest.raises(openai.NotFoundError):
                    await ask(own)
        part = b'{"type": "file", "file": {"file_id": "%b"}}' % own.encode()
        if guess == "escaped name":
            part = part.replace(b"file_id", rb"fil\u0065_id")
        elif guess == "twice":
            part = part.replace(b'{"file_id"', b'{"file_id": "%b", "file_id"' % known.encode())
        body = b'{"model": "%b", "messages": [{"role": "user", "content": [%b]}]}' % (MODEL.encode(), part)
        async with Caller(gateway.port, BOB) as caller:
            reply = await caller.post("/v1/chat/completions", body)
            claude = {"type": "document", "source": {"type": "file", "file_id": own}}
            message = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": [claude]}]}
            other = await caller.post("/v1/messages", message)
        assert (reply.status, other.status) == (400, 400)
        assert file_id not in reply.body.decode()

    async def test_metadata_hides_no_file_of_a_conversation_that_goes_on(
        self, gateway: Embedded, simulator: Simulator
    ) -> None:
        async with client_of(gateway) as alice, client_of(gateway, BOB) as bob:
            await uploaded(alice)
            own = next(reversed(simulator.provider("openai")._files._files))
            begun = await bob.responses.create(model=MODEL, input="Hello")
            parts: Any = [{"role": "user", "content": [{"type": "input_file", "file_id": own}]}]
            for previous in (None, begun.id):
                with pytest.raises(openai.BadRequestError, match="it may be anybody's"):
                    await bob.responses.create(
                        model=MODEL, input=parts, previous_response_id=previous, metadata={"file_id": own}
                    )

    async def test_an_id_outlives_a_restart_but_not_its_key(self, simulator: Simulator, tmp_path: Path) -> None:
        both = environment(simulator, keys("first", "second"), **CLIENTS, OPENAI_TIER="paid")
        async with embedded(both, tmp_path) as gateway, client_of(gateway) as client:
            made = dict([await sent(client) for _ in range(2)])
        async with embedded(both, tmp_path) as gateway, client_of(gateway) as client:
            assert {file.id for file in (await client.files.list()).data} == set(made.values())
            for file_id in made.values():
                assert (await client.files.content(file_id)).content == PDF
        one = environment(simulator, keys("second"), **CLIENTS, OPENAI_TIER="paid")
        async with embedded(one, tmp_path) as gateway, client_of(gateway) as client:
            answer = await client.files.with_raw_response.retrieve(made["second"])
            assert answer.headers["x-keyrelay-key"] == "second"
            with pytest.raises(openai.NotFoundError, match="openai/first, which is not in use any more") as caught:
                await client.files.retrieve(made["first"])
            assert caught.value.code == "file_key_gone"
            with pytest.raises(openai.NotFoundError, match="openai/first"):
                await client.chat.completions.create(model=MODEL, messages=[asking(made["first"])])

    async def test_another_installation_knows_no_id(self, simulator: Simulator, tmp_path: Path) -> None:
        environ = environment(simulator, keys("first"), **ONE_CLIENT)
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
        async with embedded(environ, tmp_path / "one") as gateway, client_of(gateway) as client:
            file_id = await uploaded(client)
        async with embedded(environ, tmp_path / "other") as gateway, client_of(gateway) as client:
            with pytest.raises(openai.NotFoundError):
                await client.files.retrieve(file_id)


class TestForeignIds:
    """Ids that Keyrelay has not made."""

    @pytest.mark.parametrize(
        ("labels", "clients", "works"),
        [(("first",), ONE_CLIENT, True), (("first", "second"), ONE_CLIENT, False), (("first",), CLIENTS, False)],
    )
    async def test_they_work_for_one_client_with_one_key(
        self, simulator: Simulator, tmp_path: Path, labels: tuple[str, ...], clients: dict[str, str], works: bool
    ) -> None:
        alone = environment(simulator, keys("first"), **ONE_CLIENT)
        async with embedded(alone, tmp_path) as gateway, client_of(gateway) as client:
            await uploaded(client)
        own = next(reversed(simulator.provider("openai")._files._files))
        environ = environment(simulator, keys(*labels), **clients)
        async with embedded(environ, tmp_path) as gateway, client_of(gateway) as client:
            if works:
                assert (await client.files.content(own)).content == PDF
                assert (await client.files.retrieve(own)).id == own
                assert await client.chat.completions.create(model=MODEL, messages=[asking(own)])
                assert (await client.files.delete(own)).id == own
            else:
                with pytest.raises(openai.NotFoundError, match="Upload it with POST /v1/files"):
                    await client.files.content(own)
                with pytest.raises(openai.BadRequestError, match="Upload it with POST /v1/files"):
                    await client.chat.completions.create(model=MODEL, messages=[asking(own)])


def asking(*file_ids: str) -> Any:
    parts = [{"type": "file", "file": {"file_id": each}} for each in file_ids]
    return {"role": "user", "content": [{"type": "text", "text": "Sum it up."}, *parts]}


class TestReferences:
    """A chat that names a file goes to the key that has it; the simulator knows nobody else's files."""

    async def test_each_chat_goes_where_its_file_is(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            for _ in range(4):
                made = await client.files.with_raw_response.create(
                    file=("a.pdf", PDF), purpose="user_data", extra_query={"provider": "openai"}
                )
                for stream in (False, True):
                    reply = await gateway_chat(gateway, made.parse().id, stream=stream)
                    assert (reply.status, reply.is_good()) == (200, True)
                    assert reply.headers["x-keyrelay-key"] == made.headers["x-keyrelay-key"]

    async def test_in_other_dialects_too(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            for _ in range(2):
                file_id = await uploaded(client)
                content: Any = [{"role": "user", "content": [{"type": "input_file", "file_id": file_id}]}]
                answer = await client.responses.create(model=MODEL, input=content)
                more = await client.responses.create(model=MODEL, input="And?", previous_response_id=answer.id)
                assert more.status == "completed"
                items = await client.responses.input_items.list(answer.id)
                assert file_id in items.model_dump_json()
                claude = {"type": "document", "source": {"type": "file", "file_id": file_id}}
                message = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": [claude]}]}
                async with Caller(gateway.port, ALICE) as caller:
                    assert (await caller.post("/v1/messages", message)).status == 200

    async def test_other_keys_are_left_out_with_a_reason(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            file_id = await uploaded(client)
            reply = await gateway_chat(gateway, file_id, model="groq/openai/gpt-oss-120b")
            assert (reply.status, reply.error["code"]) == (400, "unsupported_operation")
            assert "a file that the request names is with the key openai/" in reply.error["message"]

    async def test_files_of_different_keys_cannot_be_named_together(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            made = [await uploaded(client), await uploaded(client, "xai")]
            reply = await gateway_chat(gateway, *made)
            assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "files_apart", "file_id")

    async def test_what_the_provider_says_of_a_file_names_the_callers_id(
        self, gateway: Embedded, simulator: Simulator
    ) -> None:
        async with client_of(gateway) as client:
            file_id = await uploaded(client)
            own = next(reversed(simulator.provider("openai")._files._files))
            simulator.provider("openai")._files._remove(own)
            reply = await gateway_chat(gateway, file_id)
            assert reply.status == 400
            assert file_id in reply.error["message"]
            assert own not in reply.body.decode()

    async def test_a_tool_may_take_ids_of_its_own(self, gateway: Embedded) -> None:
        call = {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"file_id": "of-the-tool"}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "the tide turns at six"}
        messages = [
            {"role": "user", "content": "When?"},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ]
        tools = [{"name": "read", "input_schema": {"type": "object", "properties": {"file_id": {"type": "string"}}}}]
        body = {"model": MODEL, "max_tokens": 9, "messages": messages, "tools": tools}
        async with Caller(gateway.port, ALICE) as caller:
            assert (await caller.post("/v1/messages", body)).status == 200

    async def test_a_prompt_may_speak_of_ids(self, gateway: Embedded) -> None:
        text = '{"file_id": "file-abc", "file_ids": ["file-kr_abc"]}'
        tool = {"name": "read", "parameters": {"type": "object", "properties": {"file_id": {"type": "string"}}}}
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "metadata": {"file_id": "file-kr_a"}}
        async with Caller(gateway.port, ALICE) as caller:
            reply = await caller.post(
                "/v1/chat/completions", {**body, "tools": [{"type": "function", "function": tool}]}
            )
        assert reply.status == 200


async def gateway_chat(gateway: Embedded, *file_ids: str, stream: bool = False, model: str = MODEL) -> Any:
    body = {"model": model, "messages": [asking(*file_ids)], "stream": stream}
    async with Caller(gateway.port, ALICE) as caller:
        return await caller.post("/v1/chat/completions", body)


class TestFailover:
    async def test_an_upload_goes_to_the_next_key_with_the_same_bytes(
        self, simulator: Simulator, tmp_path: Path
    ) -> None:
        simulator.change(Change(provider="openai", keys={"sim-openai-spent": "exhausted_day"}))
        environ = environment(simulator, keys("spent", "second"), **CLIENTS, OPENAI_TIER="paid")
        content = bytes(range(256)) * 8192
        async with embedded(environ, tmp_path) as gateway, client_of(gateway) as client:
            answers = [
                await client.files.with_raw_response.create(file=("a.bin", content), purpose="user_data")
                for _ in range(3)
            ]
            assert {answer.headers["x-keyrelay-key"] for answer in answers} == {"second"}
            assert max(answer.headers["x-keyrelay-attempts"] for answer in answers) == "2"
            for answer in answers:
                assert (await client.files.content(answer.parse().id)).content == content

    async def test_what_names_a_file_goes_nowhere_else(self, simulator: Simulator, tmp_path: Path) -> None:
        environ = environment(
            simulator, keys("third", "fourth"), **CLIENTS, OPENAI_TIER="paid", KEYRELAY_MAX_WAIT_S="0"
        )
        async with embedded(environ, tmp_path) as gateway, client_of(gateway) as client:
            label, file_id = await sent(client)
            simulator.change(Change(provider="openai", keys={f"sim-openai-{label}": "exhausted_day"}))
            for _ in range(2):
                with pytest.raises(openai.RateLimitError):
                    await client.files.retrieve(file_id)
            reply = await gateway_chat(gateway, file_id)
            assert reply.status == 429
            assert await client.files.create(file=("a.pdf", PDF), purpose="user_data")


class TestWrongRequests:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("POST", "/v1/files", 400, "invalid_form"),
            ("PUT", "/v1/files", 405, "method_not_allowed"),
            ("GET", "/v1/files?limit=0", 400, "invalid_value"),
            ("GET", "/v1/files?limit=10001", 400, "invalid_value"),
            ("GET", "/v1/files?limit=x", 400, "invalid_value"),
            ("GET", "/v1/files?order=up", 400, "invalid_value"),
            ("GET", "/v1/files?after=file-a", 400, "invalid_value"),
            ("POST", "/v1/files/file-a", 405, "method_not_allowed"),
            ("DELETE", "/v1/files/file-a/content", 405, "method_not_allowed"),
            ("GET", "/v1/files/file-a/contents", 404, "unknown_path"),
            ("GET", "/v1/files/..%2fmodels", 404, "unknown_path"),
            ("GET", "/v1/files/%2e%2e", 404, "unknown_file"),
            ("GET", "/v1/files/a%20b", 404, "unknown_file"),
            ("GET", f"/files/{PREFIX}abcd", 404, "unknown_file"),
            ("GET", "/v1/files/file-a", 404, "unknown_file"),
        ],
    )
    async def test_it_is_said_what_is_wrong(
        self, gateway: Embedded, method: str, path: str, status: int, code: str
    ) -> None:
        async with Caller(gateway.port, ALICE) as caller:
            reply = await caller.get(path, method)
        assert (reply.status, reply.error["code"]) == (status, code)

    async def test_strangers_are_told_nothing(self, gateway: Embedded) -> None:
        async with Caller(gateway.port, "0" * 32) as caller:
            for path in ("/v1/files", "/v1/files/file-a"):
                assert (await caller.get(path)).status == 401

    async def test_without_a_provider_that_has_files(self, simulator: Simulator, tmp_path: Path) -> None:
        environ = environment(simulator, {"anthropic": ["one=sim-anthropic-one"]}, **ONE_CLIENT)
        async with embedded(environ, tmp_path) as gateway, client_of(gateway) as client:
            with pytest.raises(openai.BadRequestError, match="No provider with files is configured"):
                await client.files.create(file=("a.pdf", PDF), purpose="user_data")
            with pytest.raises(openai.NotFoundError):
                await client.files.retrieve("file-abc")
            assert (await client.files.list()).data == []

    async def test_a_provider_that_has_none(self, gateway: Embedded) -> None:
        async with client_of(gateway) as client:
            with pytest.raises(openai.BadRequestError, match="there is groq, mistral, openai, xai"):
                await uploaded(client, "anthropic")


# What is in a file.


def pointed_at(port: int) -> dict[str, str]:
    """The environment of a gateway whose one provider is a server that does as it likes."""
    return {
        **ONE_CLIENT,
        "KEYRELAY_LOG_FORMAT": "json",
        "KEYRELAY_PORT": "0",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1",
        "OPENAI_API_KEYS": "first=sk-test-1",
    }


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that no file backs."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


async def test_a_large_file_takes_no_memory_even_to_a_slow_reader(tmp_path: Path) -> None:
    size, sent = 20 * MIB, 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 * 1024)
        await peer.head()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/jsonl\r\ncontent-length: {size}\r\n\r\n"
        await peer.send(head.encode())
        for _ in range(size // MIB):
            await peer.send(bytes(MIB))
            sent += MIB

    async with serving(script) as server, process(pointed_at(server.port), tmp_path) as gateway:
        before = most = anonymous_bytes(gateway.process.pid)
        async with client_of(gateway) as client, client.files.with_streaming_response.content("file-abc") as answer:
            assert answer.headers["content-type"] == "application/jsonl"
            for _ in range(20):  # nothing is read for a while
                await asyncio.sleep(0.02)
                most = max(most, anonymous_bytes(gateway.process.pid))
            assert sent < size
            received = 0
            async for piece in answer.iter_bytes():
                received += len(piece)
                most = max(most, anonymous_bytes(gateway.process.pid))
        assert received == size
    assert most - before < 8 * MIB, f"{(most - before) / MIB:.1f} MiB more"


CONTENT = (
    (http(b"", "content-type: application/jsonl"), b"", True, "application/jsonl"),
    (chunked(b"a\n", b"b\n", kind="application/x-ndjson"), b"a\nb\n", True, "application/x-ndjson"),
    (chunked(b"data: [DONE]\n\n", b"x", kind="text/event-stream"), b"data: [DONE]\n\nx", True, "text/event-stream"),
    (http(b'{"error": {"message": "a line"}}', "content-type: application/json"), b"{", True, "application/json"),
    (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nhalf", b"", False, "text/plain"),
)


@pytest.mark.parametrize(("raw", "body", "whole", "kind"), CONTENT)
async def test_what_is_in_a_file_is_never_read(tmp_path: Path, raw: bytes, body: bytes, whole: bool, kind: str) -> None:
    """A file that breaks off in the middle is not ended as if it were whole."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(raw)
        await asyncio.sleep(0.05)

    async with serving(script) as server, embedded(pointed_at(server.port), tmp_path) as gateway:
        async with Caller(gateway.port, ALICE) as caller:
            reply = await caller.get("/v1/files/file-abc/content")
        line = await gateway.line_of(reply.headers["x-request-id"])
    assert (reply.status, reply.whole, reply.headers["content-type"]) == (200, whole, kind)
    assert reply.body.startswith(body)
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert line.get("category", "") == ("" if whole else "network")
    assert "Traceback" not in gateway.log()
    assert server.heads[0].startswith(b"GET /v1/files/file-abc/content HTTP/1.1\r\n")
    assert b"content-length" not in server.heads[0].lower()
