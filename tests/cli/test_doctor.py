"""`keyrelay doctor`: what it sees, what it says to do, and what it keeps to itself."""

import socket
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.simulator import Scenario
from keyrelay.simulator.scenario import ProviderPlan
from tests.api.administration.keyed import BAD
from tests.cli.helpers import Keyrelay
from tests.e2e.harness import embedded, environment, simulated
from tests.e2e.test_views import command

DATA = {"KEYRELAY_DATA_DIR": "data"}


def levels(document: Any) -> dict[str, str]:
    return {each["name"]: each["level"] for each in document["findings"]}


def test_an_empty_machine_is_well_but_for_providers(keyrelay: Keyrelay) -> None:
    ended = keyrelay("doctor", "--json", KEYRELAY_PORT="0", **DATA)
    found = levels(ended.document)
    assert (ended.code, ended.document["ok"]) == (0, True)
    assert found["providers"] == "warn"
    assert {name for name, level in found.items() if level == "fail"} == set()
    assert {"python", "open files", "data directory", "disk", "store", "port"} <= found.keys()
    assert not (keyrelay.directory / "data").exists()


def test_what_is_wrong_is_said_with_what_to_do(keyrelay: Keyrelay) -> None:
    data = keyrelay.directory / "data"
    (keyrelay.directory / "old.env").write_text("GROQ_API_KEY=gsk_test_0123456789\n")
    assert keyrelay("import", "old.env", "--yes", KEYRELAY_PORT="0", **DATA).code == 0
    (data / "keyrelay.db").chmod(0o644)
    (data / "master.key").chmod(0o644)
    data.chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        closed = {"GROQ_BASE_URL": "http://127.0.0.1:1/v1", "KEYRELAY_REDIS_URL": "redis://127.0.0.1:1"}
        ended = keyrelay("doctor", "--json", KEYRELAY_PORT=port, **closed, **DATA)
    found = levels(ended.document)
    assert ended.code == 3
    assert {name: found[name] for name in ("data directory", "files", "master key", "port", "redis")} == {
        "data directory": "warn",
        "files": "fail",
        "master key": "fail",
        "port": "fail",
        "redis": "fail",
    }
    for each in ended.document["findings"]:
        assert each["fix"] or each["level"] == "ok"


def test_a_server_of_this_machine_that_does_not_run_is_to_be_started(keyrelay: Keyrelay) -> None:
    environ = {"OLLAMA_ENABLED": "true", "OLLAMA_BASE_URL": "http://127.0.0.1:1", **DATA}
    document = keyrelay("doctor", "--json", KEYRELAY_PORT="0", **environ).document
    (refused,) = (each for each in document["findings"] if each["name"] == "provider ollama")
    assert (refused["level"], refused["fix"].startswith("Start it: a server on this machine")) == ("fail", True)


def test_a_configuration_that_is_not_valid_is_listed(keyrelay: Keyrelay) -> None:
    ended = keyrelay("doctor", "--json", KEYRELAY_RETRY_ATTEMPTS="1000", **DATA)
    assert (ended.code, levels(ended.document)["configuration"]) == (3, "fail")
    ended = keyrelay("doctor", GROQ_API_KEY="gsk_test_0123456789", GROQ_PRIORITY="first", **DATA)
    assert ended.code == 3
    assert "failed: 1" in ended.err


async def test_a_gateway_its_keys_and_its_providers_are_looked_at(tmp_path: Path) -> None:
    plan = Scenario(providers={"groq": ProviderPlan(keys={BAD: "invalid"})})
    async with simulated(plan) as simulator:
        environ = environment(simulator, {"groq": ["work=sim-groq-a", f"old={BAD}"]})
        async with embedded(environ, tmp_path) as gateway:
            environ |= {"KEYRELAY_URL": f"http://127.0.0.1:{gateway.port}", "KEYRELAY_PORT": str(gateway.port)}
            code, out, _ = await command(tmp_path, "doctor", "--json", **environ)
            quiet = levels(msgspec.json.decode(out))
            assert (code, quiet["provider groq"], quiet["gateway"], quiet["readiness"]) == (0, "ok", "ok", "ok")
            assert not [name for name in quiet if name.startswith("key ")]
            assert not simulator.judge.calls
            code, out, err = await command(tmp_path, "doctor", "--probe", "--json", **environ)
    found = levels(msgspec.json.decode(out))
    assert code == 3
    assert (found["key groq/work"], found["key groq/old"], found["clock, by provider groq"]) == ("ok", "fail", "ok")
    assert BAD not in out + err


async def test_a_store_that_was_taken_away_is_changed_no_more_and_readiness_is_a_warning(tmp_path: Path) -> None:
    async with simulated() as simulator:
        environ = environment(simulator, {"groq": ["work=sim-groq-a"]})
        async with embedded(environ, tmp_path) as gateway:
            environ |= {"KEYRELAY_PORT": str(gateway.port)}
            store = gateway.application.watch.configuration.settings.data_dir / "keyrelay.db"
            store.unlink()
            code, _, err = await command(tmp_path, "settings", "set", "retry_attempts=4", **environ)
            assert (code, "neither looked up nor changed just now: the store does not answer" in err) == (1, True), err
            _, out, _ = await command(tmp_path, "doctor", "--json", **environ)
            assert levels(msgspec.json.decode(out))["readiness"] == "warn"
            assert "degraded, store: the database" in out
            assert not store.exists()
