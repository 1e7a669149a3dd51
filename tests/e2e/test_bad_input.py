"""What callers and operators get wrong: each gets a clear answer, and the gateway goes on."""

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyrelay.simulator import Simulator
from tests.e2e.harness import (
    CLIENT_SECRET,
    Caller,
    Embedded,
    Reply,
    calls_of,
    chat,
    chat_bytes,
    embedded,
    environment,
    process,
    simulated,
    until,
)

CHAT = "/v1/chat/completions"
MODEL = "gpt-6-luna"
KEYS = {"openai": ["first=sim-openai-a"], "mistral": ["only=sim-mistral-a"]}


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


@pytest.fixture
async def gateway(simulator: Simulator, tmp_path: Path) -> AsyncIterator[Embedded]:
    """A gateway that has to serve as well after the test as before, and to have logged no failure of its own."""
    environ = environment(simulator, KEYS, KEYRELAY_BODY_TIMEOUT_S="1")
    async with embedded(environ, tmp_path) as gateway:
        yield gateway
        assert (await gateway.ask(chat(MODEL))).is_good()
        assert not [line for line in gateway.lines() if line.get("status") == 500]


def check_error(reply: Reply, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's shape, with everything a caller can rely on."""
    assert reply.status == status, reply.body
    assert reply.whole
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers.get("x-request-id", "req_").startswith("req_")
    error = reply.error
    assert {"message", "type", "param", "code"} <= set(error)
    assert len(error["message"]) > 10
    assert error["message"][-1] in ".?!"
    assert param is None or error["param"] == param
    assert code is None or error["code"] == code
    return error


BODIES: dict[str, tuple[bytes, str, str | None]] = {
    "empty": (b"", "invalid_json", None),
    "not JSON": (b"model=gpt", "invalid_json", None),
    "half JSON": (chat_bytes(MODEL)[:-9], "invalid_json", None),
    "text behind": (chat_bytes(MODEL) + b"x", "invalid_json", None),
    "a list": (b"[]", "invalid_json", None),
    "null": (b"null", "invalid_json", None),
    "a number": (b"17", "invalid_json", None),
    "NaN": (
        b'{"model":"gpt-6-luna","temperature":NaN,"messages":[{"role":"user","content":"a"}]}',
        "invalid_json",
        None,
    ),
    "Infinity": (b'{"model":"gpt-6-luna","top_p":-Infinity,"messages":[{"role":"user"}]}', "invalid_json", None),
    "lone surrogate in the model": (b'{"model":"\\ud800","messages":[{"role":"user","content":"a"}]}', "", None),
    "lone surrogate in a message": (
        b'{"model":"gpt-6-luna","messages":[{"role":"user","content":"\\ud800"}]}',
        "",
        None,
    ),
    "invalid UTF-8": (
        b'{"model":"gpt-6-luna","messages":[{"role":"user","content":"\xff\xfe"}]}',
        "invalid_json",
        None,
    ),
    "UTF-16": (chat_bytes(MODEL).decode().encode("utf-16"), "invalid_json", None),
    "depth of 1,000": (
        b'{"model":"gpt-6-luna","messages":[{"role":"user","content":' + b"[" * 1000 + b"]" * 1000 + b"}]}",
        "invalid_json",
        None,
    ),
    "depth of 100,000": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "invalid_json", None),
    "depth of 100,000 unclosed": (b"[" * 100_000, "invalid_json", None),
    "no model": (b'{"messages":[{"role":"user","content":"a"}]}', "missing_field", "model"),
    "model is a number": (chat_bytes(MODEL).replace(b'"gpt-6-luna"', b"7"), "invalid_type", "model"),
    "model is null": (chat_bytes(MODEL).replace(b'"gpt-6-luna"', b"null"), "", "model"),
    "model is empty": (chat_bytes(""), "invalid_value", "model"),
    "model holds NUL": (chat_bytes("gpt\u0000"), "invalid_value", "model"),
    "model holds a line break": (chat_bytes("gpt\r\nx-evil: 1"), "invalid_value", "model"),
    "model is very long": (chat_bytes("m" * 100_000), "invalid_value", "model"),
    "no messages": (b'{"model":"gpt-6-luna"}', "missing_field", "messages"),
    "messages is a string": (b'{"model":"gpt-6-luna","messages":"hi"}', "invalid_type", "messages"),
    "messages is empty": (b'{"model":"gpt-6-luna","messages":[]}', "invalid_value", "messages"),
    "messages holds a string": (b'{"model":"gpt-6-luna","messages":["hi"]}', "invalid_value", "messages"),
    "stream is a string": (chat_bytes(MODEL, stream_="x").replace(b"stream_", b"stream"), "invalid_type", "stream"),
    "max_tokens is text": (chat_bytes(MODEL, max_tokens="many"), "invalid_type", "max_tokens"),
    "max_tokens is negative": (chat_bytes(MODEL, max_tokens=-1), "invalid_value", "max_tokens"),
    "max_tokens is huge": (
        chat_bytes(MODEL, max_tokens=1).replace(b":1}", b":" + b"9" * 5000 + b"}"),
        "",
        None,
    ),
    "stream_options is a list": (chat_bytes(MODEL, stream=True, stream_options=[]), "invalid_type", "stream_options"),
    "response_format is text": (chat_bytes(MODEL, response_format="json"), "invalid_type", "response_format"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_cannot_be_read(gateway: Embedded, simulator: Simulator, name: str) -> None:
    body, code, param = BODIES[name]
    reply = await gateway.ask(body)
    check_error(reply, 400, code or None, param)
    assert not calls_of(simulator), "nothing of this goes to a provider"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/embeddings", {"model": "text-embedding-3-small"}, "input"),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": 7}, "input"),
        ("/v1/completions", {"model": MODEL}, "prompt"),
        ("/v1/generate", {}, "prompt"),
        ("/v1/generate", {"prompt": 5}, "prompt"),
        ("/v1/generate", {"prompt": "a", "temperature": "hot"}, "temperature"),
        ("/v1/generate", {"prompt": "a", "stream": "yes"}, "stream"),
    ],
)
async def test_each_endpoint_names_the_field_at_fault(
    gateway: Embedded, path: str, body: dict[str, Any], param: str
) -> None:
    check_error(await gateway.ask(body, path), 400, param=param)


async def test_an_unknown_model_is_answered_with_near_matches(gateway: Embedded) -> None:
    error = check_error(await gateway.ask(chat("mistrl-smal-2603")), 404, "model_not_found", "model")
    assert "mistral-small-2603" in error["message"]
    assert "mistral-small-2603" in error["keyrelay"]["near_matches"]


async def test_a_name_with_every_kind_of_character_comes_back_as_it_was(gateway: Embedded) -> None:
    name = 'naïve "模型" \\ {0} %s ${x} <script>'
    error = check_error(await gateway.ask(chat(name)), 404, "model_not_found")
    assert name in error["message"]
    assert gateway.lines()[-1]["model_asked"] == name


class TestSecrets:
    @pytest.mark.parametrize(
        ("path", "headers"),
        [
            (CHAT, {"authorization": f"Bearer {CLIENT_SECRET}"}),
            (CHAT, {"authorization": f"bearer   {CLIENT_SECRET} "}),
            (CHAT, {"authorization": "", "x-api-key": CLIENT_SECRET}),
            (CHAT, {"authorization": "", "x-goog-api-key": CLIENT_SECRET}),
            (f"{CHAT}?key={CLIENT_SECRET}", {"authorization": ""}),
            (f"{CHAT}?api-version=1&key={CLIENT_SECRET}", {"authorization": ""}),
        ],
    )
    async def test_every_way_to_send_it_works(self, gateway: Embedded, path: str, headers: dict[str, str]) -> None:
        assert (await gateway.ask(chat(MODEL), path, headers=headers)).is_good()

    @pytest.mark.parametrize(
        ("path", "headers", "code"),
        [
            (CHAT, {"authorization": ""}, "missing_api_key"),
            (CHAT, {"authorization": "Bearer "}, "missing_api_key"),
            (CHAT, {"authorization": f"Basic {CLIENT_SECRET}"}, "missing_api_key"),
            (CHAT, {"authorization": "Bearer not-the-secret"}, "invalid_api_key"),
            (CHAT, {"authorization": f"Bearer {CLIENT_SECRET[:-1]}"}, "invalid_api_key"),
            (CHAT, {"authorization": f"Bearer {CLIENT_SECRET} x"}, "invalid_api_key"),
            (CHAT, {"authorization": "Bearer " + "x" * 20_000}, "invalid_api_key"),
            (CHAT, {"authorization": "Bearer sim-openai-a"}, "invalid_api_key"),
            (CHAT, {"authorization": "Bearer \xff\xfe"}, "invalid_api_key"),
            (CHAT, {"authorization": "", "x-api-key": "wrong"}, "invalid_api_key"),
            (f"{CHAT}?key=wrong", {"authorization": ""}, "invalid_api_key"),
            (f"{CHAT}?key=", {"authorization": ""}, "missing_api_key"),
        ],
    )
    async def test_a_missing_or_wrong_one(
        self, gateway: Embedded, simulator: Simulator, path: str, headers: dict[str, str], code: str
    ) -> None:
        async with Caller(gateway.port) as caller:
            fields = {"authorization": f"Bearer {CLIENT_SECRET}"} | headers
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
            body = chat_bytes(MODEL)
            head = f"POST {path} HTTP/1.1\r\nhost: a\r\n{lines}content-length: {len(body)}\r\n\r\n"
            reply = await caller.raw(head.encode("latin-1") + body)
        error = check_error(reply, 401, code)
        assert error["type"] == "authentication_error"
        assert reply.headers["www-authenticate"] == "Bearer"
        assert not calls_of(simulator)

    @pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{MODEL}", "/models"])
    async def test_models_need_it_too(self, gateway: Embedded, path: str) -> None:
        async with Caller(gateway.port) as caller:
            check_error(await caller.get(path, authorization=""), 401, "missing_api_key")
            assert (await caller.get(path)).status == 200


class TestLargeBodies:
    async def test_forty_megabytes_are_refused_without_being_read(self, gateway: Embedded) -> None:
        size = 40 * 1024 * 1024
        head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n"
        async with Caller(gateway.port) as caller:
            reply = await caller.raw(f"{head}content-length: {size}\r\n\r\n".encode() + b"{" * 1000)
            check_error(reply, 413, "body_too_large")

    async def test_forty_megabytes_sent_in_full_get_an_answer_all_the_same(self, gateway: Embedded) -> None:
        reply = await gateway.ask(chat_bytes(MODEL, text="x" * (40 * 1024 * 1024)))
        check_error(reply, 413, "body_too_large")

    async def test_forty_megabytes_in_chunks(self, gateway: Embedded) -> None:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n"
        piece = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        async with Caller(gateway.port) as caller:
            reader, writer = await caller.streams()
            writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
            with contextlib.suppress(ConnectionError):  # the gateway may close while there is more to send
                for _ in range(40):
                    writer.write(piece)
                    await writer.drain()
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 413")

    async def test_bug_a_body_in_one_chunk_slipped_by_the_bound(self, simulator: Simulator, tmp_path: Path) -> None:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n"
        body = chat_bytes(MODEL, text="x" * 3000)
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        environ = environment(simulator, KEYS, KEYRELAY_MAX_BODY_BYTES="2048")
        async with embedded(environ, tmp_path) as gateway, Caller(gateway.port) as caller:
            reply = await caller.raw(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunk)
            check_error(reply, 413, "body_too_large")

    async def test_a_large_body_within_the_bound_is_served(self, gateway: Embedded, simulator: Simulator) -> None:
        text = "word " * 400_000
        reply = await gateway.ask(chat(MODEL, text=text))
        assert reply.is_good()
        assert calls_of(simulator)[-1].input_tokens > 100_000

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "x-unheard-of", "gzip, identity"])
    async def test_a_compressed_body_is_refused(self, gateway: Embedded, encoding: str) -> None:
        body = gzip.compress(chat_bytes(MODEL))
        check_error(await gateway.ask(body, headers={"content-encoding": encoding}), 415)


class TestHalfSent:
    async def test_a_body_that_stops_is_answered_within_the_timeout(self, gateway: Embedded) -> None:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\ncontent-length: 500\r\n\r\n"
        )
        async with Caller(gateway.port) as caller:
            reply = await caller.raw(head.encode() + b'{"model":')
            check_error(reply, 408, "body_timeout")
            assert 0.9 < reply.seconds < 3
            assert reply.headers["connection"] == "close"

    async def test_a_body_that_drips_ends_too(self, gateway: Embedded) -> None:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\ncontent-length: 500\r\n\r\n"
        )
        async with Caller(gateway.port) as caller:
            reader, writer = await caller.streams()
            writer.write(head.encode())
            began_at = time.monotonic()
            answered = asyncio.ensure_future(reader.readuntil(b"\r\n\r\n"))
            while not answered.done() and time.monotonic() < began_at + 5:
                writer.write(b" ")
                await asyncio.wait([answered], timeout=0.1)
            assert (await answered).startswith(b"HTTP/1.1 408")
            assert time.monotonic() - began_at < 3

    async def test_a_caller_who_leaves_in_the_middle_of_the_body(self, gateway: Embedded) -> None:
        head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\ncontent-length: 500\r\n\r\n"
        )
        async with Caller(gateway.port) as caller:
            _, writer = await caller.streams()
            writer.write(head.encode() + b'{"model":')
            await until(lambda: len(gateway.application.data.visits) == 1, "the request is under way")
        await until(lambda: len(gateway.application.data.visits) == 0, "the request has ended")
        assert gateway.lines()[-1].get("category") == "caller_gone"

    async def test_two_hundred_half_heads_and_two_hundred_half_bodies_do_not_stop_service(
        self, gateway: Embedded
    ) -> None:
        body_head = (
            f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\ncontent-length: 9\r\n\r\n{{"
        )
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(200):
                for half in (b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nx-slow:", body_head.encode()):
                    caller = await stack.enter_async_context(Caller(gateway.port))
                    _, writer = await caller.streams()
                    writer.write(half)
            replies = [await gateway.ask(chat(MODEL)) for _ in range(20)]
            assert all(reply.is_good() for reply in replies)
            assert max(reply.seconds for reply in replies) < 1
        await until(lambda: len(gateway.application.data.visits) == 0, "all of them have ended")


class TestPaths:
    @pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat", "/v1", "/nothing", "/v1/../etc/passwd", "/v1/%00"])
    async def test_an_unknown_path(self, gateway: Embedded, path: str) -> None:
        for method in ("GET", "POST", "DELETE"):
            async with Caller(gateway.port) as caller:
                check_error(await caller.request(method, path, b"", {}), 404, "unknown_path")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", CHAT, "POST"),
            ("PUT", "/chat/completions", "POST"),
            ("DELETE", "/v1/embeddings/", "POST"),
            ("POST", "/v1/models", "GET, HEAD"),
            ("DELETE", f"/v1/models/{MODEL}", "GET, HEAD"),
            ("POST", "/livez", "GET"),
            ("BREW", CHAT, "POST"),
        ],
    )
    async def test_a_wrong_method(self, gateway: Embedded, method: str, path: str, allowed: str) -> None:
        async with Caller(gateway.port) as caller:
            reply = await caller.request(method, path, b"", {"authorization": f"Bearer {CLIENT_SECRET}"})
        if method == "BREW":  # no method at all: the server's own refusal, in plain text
            assert reply.status == 400
            return
        assert reply.status == 405
        assert reply.headers["allow"] == allowed
        assert reply.error["code"] == "method_not_allowed"

    @pytest.mark.parametrize("path", [CHAT, f"{CHAT}/", "/chat/completions", "/chat/completions/", f"{CHAT}?x=1"])
    async def test_tolerated_spellings(self, gateway: Embedded, path: str) -> None:
        assert (await gateway.ask(chat(MODEL), path)).is_good()

    @pytest.mark.parametrize(
        "path", ["/v1/models", "/models", "/v1/models/", f"/models/{MODEL}", f"/v1/models/openai/{MODEL}"]
    )
    async def test_models_under_every_spelling(self, gateway: Embedded, path: str) -> None:
        async with Caller(gateway.port) as caller:
            reply = await caller.get(path)
            assert reply.status == 200
            head = await caller.get(path, method="HEAD")
            assert head.status == 200
            assert head.headers["content-length"] == reply.headers["content-length"]
            assert (await caller.get(path)).json == reply.json, "the connection goes on after HEAD"


class TestHttp:
    """What is no proper HTTP is refused by uvicorn's parser, in plain text, and never becomes a second request."""

    @pytest.mark.parametrize(
        "fields",
        [
            b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
            b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            b"content-length: 5\r\ncontent-length: 6\r\n",
            b"content-length: 5, 6\r\n",
            b"content-length: +5\r\n",
            b"content-length: -5\r\n",
            b"content-length: 0x5\r\n",
            b"transfer-encoding: chunked, identity\r\n",
            b"transfer-encoding : chunked\r\n",
            b"x-null: a\0b\r\n",
            b"bad header: 1\r\n",
        ],
    )
    async def test_smuggling(self, gateway: Embedded, simulator: Simulator, fields: bytes) -> None:
        hidden = b"GET /v1/models HTTP/1.1\r\nhost: b\r\n\r\n"
        head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head + fields + b"\r\n0\r\n\r\n" + hidden)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1") == 1, "what was hidden in the body was taken for a request"
        assert not calls_of(simulator)

    @pytest.mark.parametrize(
        "line",
        [
            b"NONSENSE\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"GET /v1/models HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ],
    )
    async def test_what_is_no_http(self, gateway: Embedded, line: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(line)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 400 ")

    async def test_what_a_caller_names_is_not_written_into_headers(self, gateway: Embedded) -> None:
        headers = {"x-keyrelay-prefer": "openai", "x-request-id": "mine", "x-evil": "1"}
        reply = await gateway.ask(chat(MODEL), headers=headers)
        assert reply.is_good()
        assert "x-evil" not in reply.headers
        assert reply.headers["x-request-id"] != "mine"

    @pytest.mark.parametrize("value", ["0", "-5", "soon", "1e3", "99999999999", "3600001", "²"])
    async def test_a_deadline_that_is_none(self, gateway: Embedded, value: str) -> None:
        body = chat_bytes(MODEL)
        fields = f"authorization: Bearer {CLIENT_SECRET}\r\nx-keyrelay-deadline-ms: {value}\r\n"
        head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\n{fields}content-length: {len(body)}\r\n\r\n"
        async with Caller(gateway.port) as caller:
            reply = await caller.raw(head.encode() + body)
        check_error(reply, 400, "invalid_header", "x-keyrelay-deadline-ms")

    async def test_requests_in_one_write_are_answered_in_order(self, gateway: Embedded) -> None:
        one = f"GET /v1/models/{MODEL} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n\r\n".encode()
        async with Caller(gateway.port) as caller:
            first = await caller.raw(one * 3)
            second = await caller.raw(b"")
            assert first.json == second.json == (await caller.raw(b"")).json


SECRET = "sk-proj-0123456789canary0123456789"
CONFIGURATIONS: dict[str, tuple[dict[str, str], str, tuple[str, ...]]] = {
    "a port that is none": ({"KEYRELAY_PORT": "eighty"}, "", ("KEYRELAY_PORT", "from 0 to 65535")),
    "a setting that does not exist": ({"KEYRELAY_HOSTT": "x"}, "", ("KEYRELAY_HOSTT", "KEYRELAY_HOST?")),
    "a number out of bounds": ({"KEYRELAY_BODY_TIMEOUT_S": "0"}, "", ("KEYRELAY_BODY_TIMEOUT_S", "0.1 to 3600")),
    "a base URL with a password": (
        {"OPENAI_BASE_URL": f"https://me:{SECRET}@api.example.com/v1"},
        "",
        ("OPENAI_BASE_URL", "http:// or https://"),
    ),
    "a key with a line break": (
        {"OPENAI_API_KEY": f"{SECRET}\u00e9"},
        "",
        ("OPENAI_API_KEY", "Copy the key once more"),
    ),
    "the same label twice": ({"OPENAI_API_KEYS": f"a={SECRET}1,a={SECRET}2"}, "", ("OPENAI_API_KEYS", "label a")),
    "a client without a label": ({"CLIENT_API_KEYS_MAP": SECRET}, "", ("CLIENT_API_KEYS_MAP",)),
    "a tier that does not exist": ({"OPENAI_TIER": "gold"}, "", ("OPENAI_TIER", "free")),
    "a limit that is no number": ({"OPENAI_RPM": "lots"}, "", ("OPENAI_RPM",)),
    "TOML that is none": ({}, "[settings\nport = 1", ("keyrelay.toml",)),
    "an unknown table": ({}, "[setings]\nport = 1", ("keyrelay.toml", "setings")),
    "a route to an unknown provider": ({}, '[routes.fast]\ntargets = ["opnai/gpt"]', ("keyrelay.toml", "opnai")),
    "a named file that is missing": ({"KEYRELAY_CONFIG_FILE": "none.toml"}, "", ("none.toml",)),
    "beyond this machine without clients": ({"KEYRELAY_HOST": "0.0.0.0"}, "", ("KEYRELAY_HOST", "CLIENT_API_KEYS_MAP")),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_a_bad_configuration_does_not_start(tmp_path: Path, name: str) -> None:
    given, file, words = CONFIGURATIONS[name]
    if file:
        (tmp_path / "keyrelay.toml").write_text(file)
    environ = {"OPENAI_API_KEY": SECRET, "KEYRELAY_PORT": "0", **given}
    async with process(environ, tmp_path, ready=False) as gateway:
        assert await gateway.ended() == 2
        said = gateway.log()
    for word in words:
        assert word in said
    assert SECRET not in said
    assert "Traceback" not in said
