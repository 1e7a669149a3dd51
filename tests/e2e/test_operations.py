"""Starting, watching, draining and stopping the real process."""

import asyncio
import contextlib
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keyrelay.configuration.client_file import read_stored
from keyrelay.configuration.first_run import remove_client
from keyrelay.simulator import KeyPlan, Latency, ProviderPlan, Scenario
from keyrelay.upstream.transport import HttpTransport
from tests.e2e.harness import (
    CLIENT_SECRET,
    Caller,
    Embedded,
    Process,
    chat,
    chat_bytes,
    embedded,
    environment,
    json_lines,
    load,
    process,
    read_head,
    simulated,
    until,
)

KEYS = {"openai": ["a=sim-openai-a"]}
CHAT = "/v1/chat/completions"
HEAD = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {CLIENT_SECRET}\r\n"
SLOW = ProviderPlan(latency=Latency(first_token_ms=(10, 10), tokens_per_s=40), answer_tokens=(40, 40))
ENDLESS = ProviderPlan(latency=Latency(first_token_ms=(10, 10), tokens_per_s=20), answer_tokens=(5000, 5000))


def request_bytes(**options: object) -> bytes:
    body = chat_bytes(**options)  # type: ignore[arg-type]
    return f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body


@contextlib.asynccontextmanager
async def served(directory: Path, scenario: Scenario | None = None) -> AsyncIterator[Embedded]:
    """A gateway with one key, in this event loop."""
    async with simulated(scenario) as simulator, embedded(environment(simulator, KEYS), directory) as gateway:
        yield gateway


class TestHealth:
    async def test_ready_while_a_key_can_serve(self, tmp_path: Path) -> None:
        async with served(tmp_path) as gateway, Caller(gateway.port) as caller:
            assert (await caller.get("/livez", authorization="")).json == {"status": "ok"}
            for path in ("/readyz", "/healthz"):
                reply = await caller.get(path, authorization="")
                assert (reply.status, reply.json) == (200, {"status": "ready"})
            checks = (await caller.get("/readyz?verbose=true")).json["checks"]
            names = ("accepting", "routable_key", "journal", "store", "configuration")
            assert {check["name"]: (check["ok"], check["degraded"]) for check in checks} == dict.fromkeys(
                names, (True, False)
            )

    async def test_not_ready_when_every_key_is_dead(self, tmp_path: Path) -> None:
        plan = ProviderPlan(accept_unknown_keys=False)
        scenario = Scenario(providers={"openai": plan})
        async with served(tmp_path, scenario) as gateway, Caller(gateway.port) as caller:
            assert (await caller.post(CHAT, chat())).status == 503
            reply = await caller.get("/readyz")
            assert reply.status == 503
            assert [check["name"] for check in reply.json["checks"] if not check["ok"]] == ["routable_key"]
            assert (await caller.get("/livez")).status == 200


async def test_metrics_count_what_was_sent(tmp_path: Path) -> None:
    plan = ProviderPlan(keys={"sim-openai-a": KeyPlan(label="a", script=("500",))})
    async with simulated(Scenario(providers={"openai": plan})) as simulator:
        keys = {"openai": ["a=sim-openai-a", "b=sim-openai-b"]}
        async with embedded(environment(simulator, keys), tmp_path) as gateway:
            await load(gateway.port, (chat_bytes() for _ in range(20)), concurrency=1)
            await load(gateway.port, (chat_bytes(stream=True) for _ in range(10)), concurrency=1)
            await load(gateway.port, [b"{}", chat_bytes("nobody-has-this")], concurrency=1)
            async with Caller(gateway.port) as caller:
                reply = await caller.get("/metrics", authorization="")
        assert reply.headers["content-type"].startswith("text/plain")
        families = {family.name: family for family in text_string_to_metric_families(reply.body.decode())}
    kept = {name for name in families if name.startswith(("keyrelay_journal_", "keyrelay_store_"))}
    assert kept == {
        "keyrelay_journal_rows",
        "keyrelay_journal_bytes",
        "keyrelay_journal_full",
        "keyrelay_store_rows",
        "keyrelay_store_rejected_rows",
        "keyrelay_store_failures",
        "keyrelay_store_degraded_seconds",
    }
    assert {name for name in set(families) - kept if not name.startswith("keyrelay_cache_")} == {
        "keyrelay_requests",
        "keyrelay_attempts",
        "keyrelay_request_duration_seconds",
        "keyrelay_time_to_first_token_seconds",
        "keyrelay_tokens",
        "keyrelay_cost_usd",
        "keyrelay_overhead_seconds",
        "keyrelay_key_state",
        "keyrelay_quota_thresholds",
        "keyrelay_quota_remaining_ratio",
        "keyrelay_build_info",
        "keyrelay_alerts_firing",
    }
    statuses: Counter[str] = Counter()
    for sample in families["keyrelay_requests"].samples:
        assert sample.labels["client"] == "tests"
        statuses[sample.labels["status"]] += int(sample.value)
    assert statuses == {"200": 30, "400": 1, "404": 1}
    outcomes = {sample.labels["outcome"]: sample.value for sample in families["keyrelay_attempts"].samples}
    assert outcomes == {"answered": 30, "service": 1}
    tokens = {sample.labels["kind"]: sample.value for sample in families["keyrelay_tokens"].samples}
    calls = [call for call in simulator.judge.calls if call.status == 200]
    assert tokens["input"] == sum(call.input_tokens for call in calls)
    assert tokens["output"] == sum(call.output_tokens for call in calls)
    counts = {
        sample.name: sample.value
        for name in ("keyrelay_request_duration_seconds", "keyrelay_time_to_first_token_seconds")
        for sample in families[name].samples
        if sample.name.endswith("_count")
    }
    assert counts == {"keyrelay_request_duration_seconds_count": 30, "keyrelay_time_to_first_token_seconds_count": 10}
    states = {sample.labels["key"]: sample.labels["state"] for sample in families["keyrelay_key_state"].samples}
    assert states == {"a": "ready", "b": "ready"}


class TestDocumentation:
    @pytest.mark.parametrize("path", ["/docs", "/redoc"])
    async def test_pages_load_nothing_from_elsewhere(self, tmp_path: Path, path: str) -> None:
        async with served(tmp_path) as gateway, Caller(gateway.port) as caller:
            page = (await caller.get(path, authorization="")).body.decode()
            references = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
            assert references
            assert not [reference for reference in references if "//" in reference]
            assert not re.findall(r"@import|url\(\s*['\"]?https?:", page)
            for reference in references:
                asset = await caller.get(reference, authorization="")
                assert asset.status == 200
                assert asset.body

    async def test_the_document_lists_both_planes(self, tmp_path: Path) -> None:
        async with served(tmp_path) as gateway, Caller(gateway.port) as caller:
            document = (await caller.get("/openapi.json", authorization="")).json
        expected = {
            "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/models", "/v1/generate",
            "/livez", "/readyz", "/healthz", "/metrics",
        }  # fmt: skip
        assert expected <= set(document["paths"])
        assert document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]


async def test_one_line_per_request_and_per_failover(tmp_path: Path) -> None:
    plan = ProviderPlan(keys={"sim-openai-a": KeyPlan(label="a", state="invalid")})
    async with simulated(Scenario(providers={"openai": plan})) as simulator:
        keys = {"openai": ["a=sim-openai-a", "b=sim-openai-b"]}
        async with process(environment(simulator, keys), tmp_path) as gateway:
            replies = [await gateway.ask(chat(stream=number % 2 == 0, text="The prompt.")) for number in range(6)]
            replies.append(await gateway.ask(b"{"))
            assert await gateway.stop() == 0
            log = gateway.log()
    lines = json_lines(log)
    assert [line for line in log.splitlines() if line.startswith("{")]
    requests = {line["request_id"]: line for line in lines if line["event"] == "request"}
    assert list(requests) == [reply.headers["x-request-id"] for reply in replies]
    failovers = [line for line in lines if line["event"] == "attempt_failed"]
    assert [(line["key"], line["kind"]) for line in failovers] == [("a", "auth")]
    assert failovers[0]["request_id"] in requests
    assert len(requests[failovers[0]["request_id"]]["attempts"]) == 2
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert line["level"] in {"info", "warning"}
    assert "The prompt" not in log, "no prompt is ever written down"


class TestStopping:
    async def _stream(self, gateway: Process) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream that has begun."""
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request_bytes(stream=True))
        assert (await read_head(reader))[0] == 200
        await reader.readuntil(b"data: ")
        return reader, writer

    async def _refused(self, port: int) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    async def test_a_running_stream_ends_well_and_nobody_new_comes_in(self, tmp_path: Path) -> None:
        async with (
            simulated(Scenario(providers={"openai": SLOW})) as simulator,
            process(environment(simulator, KEYS), tmp_path) as gateway,
        ):
            reader, writer = await self._stream(gateway)
            waiting = asyncio.ensure_future(gateway.ask(chat()))
            await until(lambda: simulator.judge.total == 2, "both calls are under way")
            gateway.process.send_signal(signal.SIGTERM)
            deadline_at = time.monotonic() + 5
            while not await self._refused(gateway.port):
                assert time.monotonic() < deadline_at
                await asyncio.sleep(0.01)
            rest = await asyncio.wait_for(reader.read(), 10)
            assert b"data: [DONE]" in rest
            assert b'"error"' not in rest
            assert (await waiting).is_good()
            writer.close()
            assert await gateway.ended() == 0
            assert [line["status"] for line in gateway.lines()] == [200, 200]

    async def test_what_lasts_too_long_is_told_so(self, tmp_path: Path) -> None:
        async with simulated(Scenario(providers={"openai": ENDLESS})) as simulator:
            environ = environment(simulator, KEYS, KEYRELAY_DRAIN_TIMEOUT_S="1")
            async with process(environ, tmp_path) as gateway:
                reader, writer = await self._stream(gateway)
                waiting = asyncio.ensure_future(gateway.ask(chat()))
                await until(lambda: simulator.judge.total == 2, "both calls are under way")
                began_at = time.monotonic()
                gateway.process.send_signal(signal.SIGTERM)
                rest = await asyncio.wait_for(reader.read(), 10)
                assert b"data: [DONE]" not in rest
                assert b'"code":"shutting_down"' in rest
                cut = await waiting
                assert (cut.status, cut.error["code"]) == (503, "shutting_down")
                assert cut.headers["x-should-retry"] == "true"
                writer.close()
                assert await gateway.ended() == 0
                assert 0.8 < time.monotonic() - began_at < 5
                assert {line["category"] for line in gateway.lines()} == {"shutdown"}
                await until(lambda: len(simulator.judge.disconnects()) == 2, "the provider is let go")

    async def test_a_second_signal_does_not_wait(self, tmp_path: Path) -> None:
        async with (
            simulated(Scenario(providers={"openai": ENDLESS})) as simulator,
            process(environment(simulator, KEYS), tmp_path) as gateway,
        ):
            _, writer = await self._stream(gateway)
            gateway.process.send_signal(signal.SIGINT)
            deadline_at = time.monotonic() + 5
            while not await self._refused(gateway.port):
                assert time.monotonic() < deadline_at
                await asyncio.sleep(0.01)
            gateway.process.send_signal(signal.SIGINT)
            await gateway.ended(5.0)
            writer.close()

    async def test_an_idle_gateway_stops_at_once(self, tmp_path: Path) -> None:
        async with simulated() as simulator, process(environment(simulator, KEYS), tmp_path) as gateway:
            async with Caller(gateway.port) as caller:
                assert (await caller.post(CHAT, chat())).is_good()
                began_at = time.monotonic()
                assert await gateway.stop() == 0
                assert time.monotonic() - began_at < 2
            assert len(gateway.lines()) == 1, "what was written down last is not lost"


class TestStarting:
    async def test_the_first_runs_secret_is_shown_once_and_works(self, tmp_path: Path) -> None:
        async with simulated() as simulator:
            environ = environment(simulator, KEYS) | {"KEYRELAY_DATA_DIR": str(tmp_path / "data")}
            del environ["CLIENT_API_KEYS_MAP"]
            async with process(environ, tmp_path) as gateway:
                found = re.search(r"client secret, shown only now: (\S+)", gateway.log())
                assert found
                secret = found[1]
                async with Caller(gateway.port, secret) as caller:
                    assert (await caller.post(CHAT, chat())).is_good()
                async with Caller(gateway.port) as caller:
                    assert (await caller.post(CHAT, chat())).status == 401
                await gateway.stop()
            async with process(environ, tmp_path) as gateway:
                assert secret not in gateway.log()
                assert "shown only now" not in gateway.log()
                async with Caller(gateway.port, secret) as caller:
                    assert (await caller.post(CHAT, chat())).is_good()
            kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
            assert kept
            assert not [path for path in kept if secret.encode() in path.read_bytes()]
            assert {path.stat().st_mode & 0o077 for path in kept} == {0}

    async def test_a_start_that_fails_leaves_no_client_whose_secret_nobody_has_seen(self, tmp_path: Path) -> None:
        environ = {"GROQ_API_KEY": "sk-test-groq", "KEYRELAY_DATA_DIR": str(tmp_path / "data")}
        with socket.create_server(("127.0.0.1", 0)) as taken:
            taken_port = {"KEYRELAY_PORT": str(taken.getsockname()[1])}
            async with process(environ | taken_port, tmp_path, ready=False) as gateway:
                assert await gateway.ended() == 1
        assert not (tmp_path / "data").exists()
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "journal").write_text("")
        async with process(environ | {"KEYRELAY_PORT": "0"}, tmp_path, ready=False) as gateway:
            assert await gateway.ended() == 2
            assert "/journal: File exists. Name a directory that can be written." in gateway.log()
        assert not (tmp_path / "data" / "clients.json").exists()

    async def test_who_has_removed_the_first_client_does_not_get_another_one(self, tmp_path: Path) -> None:
        """Nor does a second gateway start meanwhile, and one that is killed is in nobody's way."""
        data = tmp_path / "data"
        operator = "an-operators-secret-0123"
        environ = {
            "GROQ_API_KEY": "sk-test-groq",
            "KEYRELAY_DATA_DIR": str(data),
            "KEYRELAY_PORT": "0",
            "KEYRELAY_OPERATOR_SECRET": operator,
        }
        async with process(environ, tmp_path) as gateway:
            assert "client secret, shown only now: kr-" in gateway.log()
            assert "configuration changed" not in gateway.log()
            async with Caller(gateway.port, operator) as caller:
                made = await caller.post("/api/v1/clients", {"label": "mine"})
                assert made.status == 201
            remove_client(data, "first-run")
            async with process(environ, tmp_path, ready=False) as second:
                assert await second.ended() == 1
                assert f"another gateway (process {gateway.process.pid} on " in second.log()
                assert "each of the two would spend the whole quota" in second.log()
            assert await gateway.stop(signal.SIGKILL) == -signal.SIGKILL
        async with process(environ, tmp_path) as gateway:
            assert "shown only now" not in gateway.log()
            assert "1 client may call, with secrets known before" in gateway.log()
            assert not read_stored(data)

    async def test_a_port_in_use_is_said_clearly(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            async with simulated() as simulator:
                environ = environment(simulator, KEYS) | {"KEYRELAY_PORT": str(port)}
                async with process(environ, tmp_path, ready=False) as gateway:
                    assert await gateway.ended() == 1
                    said = gateway.log()
        assert f"cannot listen on 127.0.0.1 port {port}" in said
        assert "--port" in said
        assert "Traceback" not in said

    async def test_no_provider_and_no_demo(self, tmp_path: Path) -> None:
        """It waits to be administered, and says how."""
        async with process({"KEYRELAY_PORT": "0"}, tmp_path) as gateway, Caller(gateway.port) as caller:
            assert "(0 providers, 0 keys)" in gateway.log()
            for way in ("keyrelay keys add groq", "keyrelay providers add my_llm", "echo 'GROQ_API_KEY="):
                assert way in gateway.log()
            assert (await caller.get("/readyz")).status == 503
            assert await gateway.stop() == 0

    async def test_any_asgi_server_serves_the_application(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        arguments = (
            "-m",
            "uvicorn",
            "--factory",
            "keyrelay.asgi:create_app",
            "--port",
            str(port),
            "--log-level",
            "error",
        )
        async with (
            simulated() as simulator,
            process(environment(simulator, KEYS), tmp_path, arguments, ready=False) as gateway,
        ):
            gateway.port = port
            deadline_at = time.monotonic() + 15
            while True:
                try:
                    assert (await gateway.ask(chat())).is_good()
                    break
                except ConnectionRefusedError:
                    assert time.monotonic() < deadline_at
                    await asyncio.sleep(0.02)
            assert (await gateway.ask(chat(stream=True))).is_good()
            assert (await gateway.ask(b"x")).status == 400
            gateway.process.send_signal(signal.SIGTERM)
            await gateway.ended()

    async def test_the_factory_refuses_to_serve_nobody(self, tmp_path: Path) -> None:
        arguments = ("-m", "uvicorn", "--factory", "keyrelay.asgi:create_app", "--port", "0")
        environ = {"OPENAI_API_KEY": "sim-openai-a", "KEYRELAY_DATA_DIR": str(tmp_path / "data")}
        async with process(environ, tmp_path, arguments, ready=False) as gateway:
            assert await gateway.ended() != 0
            assert "CLIENT_API_KEYS_MAP" in gateway.log()

    @pytest.mark.parametrize("arguments", [("-m", "keyrelay"), ("-m", "keyrelay", "demo")], ids=["bare", "demo"])
    async def test_without_a_key_it_starts_as_a_demonstration(self, tmp_path: Path, arguments: tuple[str, ...]) -> None:
        async with process({"KEYRELAY_PORT": "0", "KEYRELAY_LOG_FORMAT": "json"}, tmp_path, arguments) as gateway:
            said = gateway.log()
            assert "DEMO" in said
            assert "GROQ_API_KEY" in said
            found = re.search(r"client secret of this run: (\S+)", said)
            assert found
            async with Caller(gateway.port, found[1]) as caller:
                assert (await caller.post(CHAT, chat())).status == 200
                short = await caller.post("/v1/generate", {"prompt": "Say hello in five words."})
                assert short.json["text"]
                for _ in range(150):
                    counted = (await caller.get("/metrics")).body.decode()
                    if 'client="demo-traffic"' in counted:
                        break
                    await asyncio.sleep(0.1)
                assert 'client="demo-traffic"' in counted
            assert not any(line.get("level") == "info" for line in gateway.lines())
            assert await gateway.stop() == 0


async def test_the_root_leads_to_the_documentation(tmp_path: Path) -> None:
    environ = {"KEYRELAY_PORT": "0", "GROQ_API_KEY": "sim-groq-a", "CLIENT_API_KEYS_MAP": "sim-client-secret-1:App"}
    async with process(environ, tmp_path) as gateway, Caller(gateway.port, "sim-client-secret-1") as caller:
        reply = await caller.get("/", accept="text/html,*/*")
        assert (reply.status, reply.headers["location"]) == (307, "/docs")
        reply = await caller.get("/")
        assert (reply.status, reply.body) == (200, b"Ollama is running")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_reader_who_stops_reading_costs_no_memory_and_holds_up_nobody(tmp_path: Path) -> None:
    endless = ProviderPlan(keys={"sim-openai-a": KeyPlan(faults={"tiny_events:1000000": 1.0})})
    scenario = Scenario(providers={"openai": endless, "mistral": ProviderPlan(limits=())})
    async with simulated(scenario) as simulator:
        keys = {"openai": ["a=sim-openai-a"], "mistral": ["a=sim-mistral-a"]}
        async with process(environment(simulator, keys, MISTRAL_TIER="paid"), tmp_path) as gateway:

            def resident_mb() -> float:
                status = Path(f"/proc/{gateway.process.pid}/status").read_text()
                found = re.search(r"VmRSS:\s+(\d+) kB", status)
                assert found
                return int(found[1]) / 1024

            assert (await gateway.ask(chat("mistral-small-2603"))).is_good()
            before_mb = resident_mb()
            lazy = []
            for _ in range(4):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=4096)
                writer.write(request_bytes(model="gpt-6-luna", stream=True))
                lazy.append((reader, writer))
            await until(lambda: simulator.judge.total >= 5, "all of them are under way")
            bodies = (chat_bytes("mistral-small-2603", stream=True) for _ in range(300))
            replies = await load(gateway.port, bodies, concurrency=4)
            assert all(reply.is_good() for reply in replies)
            assert max(reply.seconds for reply in replies) < 2
            assert resident_mb() - before_mb < 32
            assert all(call.ended_s is None for call in simulator.judge.calls if call.provider == "openai")
            for _, writer in lazy:
                writer.transport.abort()
            gone = [call for call in simulator.judge.calls if call.provider == "openai"]
            await until(lambda: all(call.disconnected_s for call in gone), "the provider is let go")


async def test_a_stream_leaves_its_connection_to_the_next_call(tmp_path: Path) -> None:
    # A bug that the slow reader's test brought up: the end of a stream's body comes after [DONE], in a packet of its
    # own, and the connection was dropped before; so every stream cost a connection, with TLS a handshake.
    async with served(tmp_path) as gateway:
        await load(gateway.port, (chat_bytes(stream=True) for _ in range(50)), concurrency=1)
        transport = gateway.application.data._gateway._attempts._upstream
        assert isinstance(transport, HttpTransport)
        assert transport.counters().opened_total <= 2
        assert transport.counters().reused_total >= 48
