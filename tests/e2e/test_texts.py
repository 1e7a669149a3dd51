"""Prompts and answers: kept nowhere unless switched on, and then sealed, for the operator's eyes."""

import asyncio
import base64
import contextlib
import sqlite3
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from keyrelay.engine.text_keeper import TextKeeper
from keyrelay.simulator import ProviderPlan, Scenario
from tests.api.served import KEYS, MODEL, OPERATOR_SECRET
from tests.e2e.harness import (
    CLIENT_SECRET,
    Caller,
    Embedded,
    Reply,
    chat,
    embedded,
    environment,
    process,
    read_head,
    simulated,
    until,
)
from tests.e2e.test_passing_through import form
from tests.e2e.test_views import command

CANARY = "canary prompt 4f1d9c77e0: für niemanden"
ON = {"KEYRELAY_KEEP_TEXTS": "all", "KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET}


def forms(text: str) -> set[bytes]:
    """The ways in which a text may be written, and parts of it that stand for the whole."""
    raw, wide = text.encode(), text.encode("utf-16-le")
    shifted = (base64.b64encode(b"x" * pad + raw)[4 : -8 or None] for pad in range(3))
    return {raw, wide, raw.hex().encode(), quote(text).encode(), text[:16].encode(), *shifted}


def written(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def one(directory: Path, name: str) -> Path:
    """The one file of this name."""
    (path,) = directory.rglob(name)
    return path


def found_in(contents: Mapping[str, bytes], text: str) -> list[str]:
    return [name for name, content in contents.items() if any(form in content for form in forms(text))]


def keeper_of(gateway: Embedded) -> TextKeeper:
    texts = gateway.application.data._texts
    assert texts is not None
    keeper = texts._keep.__self__  # type: ignore[attr-defined]
    assert isinstance(keeper, TextKeeper)
    return keeper


async def text_of(gateway: Embedded, reply: Reply, secret: str = OPERATOR_SECRET) -> Reply:
    if gateway.application.data._texts is not None:
        await keeper_of(gateway).flush()
    async with Caller(gateway.port, secret) as caller:
        return await caller.get(f"/api/v1/requests/{reply.headers['x-request-id']}/text")


async def exchange(gateway: Embedded) -> list[Reply]:
    """A whole answer, a stream, one from the cache, and an error, all about the canary."""
    bodies: list[dict[str, Any]] = [
        chat(MODEL, text=CANARY, temperature=0),
        chat(MODEL, text=CANARY, temperature=0),
        chat(MODEL, text=CANARY, stream=True),
        chat("no-such-model", text=CANARY),
    ]
    return [await gateway.ask(body) for body in bodies]


async def test_nothing_is_kept_unless_it_is_switched_on(tmp_path: Path) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, KEYS, KEYRELAY_OPERATOR_SECRET=OPERATOR_SECRET, KEYRELAY_LOG_LEVEL="debug")
        async with embedded(environ, tmp_path) as gateway:
            replies = await exchange(gateway)
            contents = written(tmp_path) | {"log": gateway.log().encode()}
            shown = await text_of(gateway, replies[0])
        contents |= {f"after {name}": content for name, content in written(tmp_path).items()}
    assert [reply.status for reply in replies] == [200, 200, 200, 404]
    assert any("journal" in name for name in contents)
    assert any(name.endswith("keyrelay.db") for name in contents)
    assert found_in(contents, CANARY) == []
    assert found_in(contents, replies[0].text) == []
    assert not any("master.key" in name for name in contents)
    assert (shown.status, shown.error["code"]) == (404, "text_not_found")


async def test_what_is_kept_is_sealed_and_for_the_operator_alone(tmp_path: Path) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, KEYS, **ON, KEYRELAY_LOG_LEVEL="debug")
        async with embedded(environ, tmp_path) as gateway:
            replies = await exchange(gateway)
            shown = [await text_of(gateway, reply) for reply in replies]
            refused = await text_of(gateway, replies[0], CLIENT_SECRET)
            contents = written(tmp_path) | {"log": gateway.log().encode()}
            async with Caller(gateway.port) as caller:
                metrics = (await caller.get("/metrics")).body.decode()
        contents |= {f"after {name}": content for name, content in written(tmp_path).items()}
    assert replies[1].headers["x-keyrelay-cache"] == "hit"
    for reply, text in zip(replies, shown, strict=True):
        document = text.json
        assert document["request_id"] == reply.headers["x-request-id"]
        assert CANARY in document["request"]["text"]
        assert document["request"]["content_type"] == "application/json"
        assert document["answer"]["text"] == reply.body.decode()
        assert document["answer"]["bytes"] == len(reply.body)
        assert document["answer"]["content_type"] == reply.headers["content-type"]
        assert not document["request"]["truncated"]
        assert text.headers["cache-control"] == "no-store"
    assert (refused.status, refused.error["code"]) == (403, "not_permitted")
    assert found_in(contents, CANARY) == []
    assert found_in(contents, replies[0].text) == []
    key = one(tmp_path, "master.key")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "keyrelay_texts_written_total 4.0" in metrics
    assert "keyrelay_texts_dropped_total 0.0" in metrics


async def test_a_client_may_want_nothing_kept(tmp_path: Path) -> None:
    async with simulated() as simulator, embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway:
        body = chat(MODEL, text=CANARY)
        for word, status in (("no", 404), ("No", 404), ("false", 404), ("yes", 200)):
            reply = await gateway.ask(body, headers={"x-keyrelay-store": word})
            assert (await text_of(gateway, reply)).status == status, word


async def test_of_what_is_long_the_beginning_is_kept(tmp_path: Path) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, KEYS, **ON, KEYRELAY_KEEP_TEXTS_MAX_BYTES="256")
        async with embedded(environ, tmp_path) as gateway:
            for stream in (False, True):
                reply = await gateway.ask(chat(MODEL, text="ü" * 5_000, stream=stream))
                document = (await text_of(gateway, reply)).json
                assert document["request"]["truncated"]
                assert document["request"]["bytes"] > 10_000
                assert len(document["request"]["text"].encode()) in {255, 256}
                assert document["answer"]["truncated"]
                assert document["answer"]["bytes"] == len(reply.body)
                assert reply.body.decode().startswith(document["answer"]["text"])


async def test_of_errors_alone_what_ended_well_is_not_kept(tmp_path: Path) -> None:
    async with simulated(Scenario(providers={"groq": ProviderPlan(limits=())})) as simulator:
        environ = environment(simulator, KEYS, **ON | {"KEYRELAY_KEEP_TEXTS": "errors"})
        async with embedded(environ, tmp_path) as gateway:
            statuses = [(await text_of(gateway, reply)).status for reply in await exchange(gateway)]
            broken = await gateway.ask(b'{"model": "auto", ' + CANARY.encode())
            assert statuses == [404, 404, 404, 200]
            document = (await text_of(gateway, broken)).json
            assert CANARY in document["request"]["text"]
            assert document["answer"]["text"] == broken.body.decode()


async def test_what_strangers_send_is_not_kept(tmp_path: Path) -> None:
    async with simulated() as simulator, embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway:
        async with Caller(gateway.port, "unknown") as stranger:
            reply = await stranger.post("/v1/chat/completions", chat(MODEL, text=CANARY))
        assert reply.status == 401
        assert (await text_of(gateway, reply)).status == 404


async def test_what_has_no_row_has_no_text(tmp_path: Path) -> None:
    async with simulated() as simulator, embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway:
        body = {"model": MODEL, "messages": [{"role": "user", "content": CANARY}], "max_tokens": 1}
        counted = await gateway.ask(body, "/v1/messages/count_tokens")
        assert counted.status == 200
        assert keeper_of(gateway).counts().waiting == 0


async def test_of_a_stream_that_the_caller_leaves_what_it_has_seen_is_kept(tmp_path: Path) -> None:
    plan = ProviderPlan(limits=(), faults={"stall_mid_stream": 1.0})
    async with (
        simulated(Scenario(providers={"groq": plan})) as simulator,
        embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway,
    ):
        async with Caller(gateway.port) as caller:
            reader, writer = await caller.streams()
            data = msgspec.json.encode(chat(MODEL, text=CANARY, stream=True))
            head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n"
            writer.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
            _, headers = await read_head(reader)
            await reader.readuntil(b"canary")
        keeper = keeper_of(gateway)
        await until(lambda: keeper.counts().waiting or keeper.counts().written, "a text is kept")
        document = (await text_of(gateway, Reply(200, headers, b"", whole=False, seconds=0))).json
        assert "canary" in document["answer"]["text"]
        assert "[DONE]" not in document["answer"]["text"]
        assert CANARY in document["request"]["text"]


async def test_of_a_form_its_words_are_kept_and_not_its_files(tmp_path: Path) -> None:
    body, headers = form(
        ("file", "a.wav", b"RIFF" + b"\x81sound" * 40),
        ("model", None, b"whisper-large-v3"),
        ("prompt", None, b"a name"),
    )
    async with simulated() as simulator, embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway:
        reply = await gateway.ask(body, "/v1/audio/transcriptions", headers=headers)
        document = (await text_of(gateway, reply)).json
        assert "a name" in document["request"]["text"]
        assert "sound" not in document["request"]["text"]
        assert document["answer"]["text"] == reply.body.decode()


async def test_what_is_no_text_is_shown_in_base64(tmp_path: Path) -> None:
    async with simulated() as simulator, embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway:
        reply = await gateway.ask(b"\xff\xfe" + b"\x00" * 9)
        document = (await text_of(gateway, reply)).json
        assert document["request"]["text"] is None
        assert base64.b64decode(document["request"]["base64"]) == b"\xff\xfe" + b"\x00" * 9


async def test_a_text_that_was_changed_in_the_store_is_not_shown(tmp_path: Path) -> None:
    async with simulated() as simulator, embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway:
        replies = [await gateway.ask(chat(MODEL, text=CANARY)) for _ in range(2)]
        for reply in replies:
            assert (await text_of(gateway, reply)).status == 200
        file = one(tmp_path, "keyrelay.db")
        with contextlib.closing(sqlite3.connect(file)) as store:
            store.execute("UPDATE texts SET request = (SELECT max(request) FROM texts)")
            store.commit()
        shown = [await text_of(gateway, reply) for reply in replies]
        assert sorted(each.status for each in shown) == [200, 503]
        (refused,) = (each for each in shown if each.status == 503)
        assert refused.error["code"] == "text_unreadable"
        assert "was changed, or put there from elsewhere" in refused.error["message"]


async def test_texts_outlive_a_restart_and_being_switched_off(tmp_path: Path) -> None:
    async with simulated() as simulator:
        async with embedded(environment(simulator, KEYS, **ON), tmp_path) as gateway:
            reply = await gateway.ask(chat(MODEL, text=CANARY))
        off = environment(simulator, KEYS, **ON | {"KEYRELAY_KEEP_TEXTS": "off"})
        async with embedded(off, tmp_path) as gateway:
            document = (await text_of(gateway, reply)).json
            assert CANARY in document["request"]["text"]


async def refusal(environ: Mapping[str, str], directory: Path) -> str:
    """What a start that is refused says."""
    async with process(environ, directory, ready=False) as refused:
        assert await refused.ended() == 2
        return refused.log()


async def test_a_missing_or_wrong_master_key_refuses_to_start_and_says_what_to_do(tmp_path: Path) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, KEYS, **ON)
        async with embedded(environ, tmp_path) as gateway:
            await gateway.ask(chat(MODEL, text=CANARY))
        key = one(tmp_path, "master.key")
        whole = key.read_text()
        key.chmod(0o644)
        words = await refusal(environ, tmp_path)
        assert "has mode 0644, so that others may get at it: `chmod 600 " in words
        key.unlink()
        off = environ | {"KEYRELAY_KEEP_TEXTS": "off"}
        words = await refusal(off, tmp_path)
        assert f"no master key in the file {key}. Put the key there with which the ring was made" in words
        another = base64.b64encode(bytes(range(32))).decode()
        words = await refusal(environ | {"KEYRELAY_MASTER_KEY": another}, tmp_path)
        assert "KEYRELAY_MASTER_KEY: the key ring was made with the master key" in words
        assert another[:12] not in words
        words = await refusal(
            environ | {"KEYRELAY_MASTER_KEY": another, "KEYRELAY_MASTER_KEY_FILE": str(key)}, tmp_path
        )
        assert "are both set: keep one of them" in words
        assert not key.exists()
        key.touch(0o600)
        key.write_text(whole)
        async with embedded(environ, tmp_path) as gateway:
            assert (await gateway.ask(chat(MODEL))).status == 200


async def test_the_master_key_is_not_shown_with_the_configuration(tmp_path: Path) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    code, out, _ = await command(
        tmp_path, "config", "show", KEYRELAY_MASTER_KEY=key, GROQ_API_KEY="gsk_test_0123456789"
    )
    assert code == 0
    assert "master_key" in out
    assert not any(key[at : at + 4] in out for at in range(0, 40, 4))


async def test_the_vault_is_not_loaded_where_nothing_is_sealed(tmp_path: Path) -> None:
    script = (
        "import sys; import keyrelay.cli.main, keyrelay.bootstrap\n"
        "print([name for name in sys.modules if name.startswith(('cryptography', 'keyrelay.vault'))])\n"
    )
    done = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(done.communicate(), 30.0)
    assert out == b"[]\n"
