import msgspec
import pytest

from keyrelay.administration.importing.env_file import read_env
from keyrelay.administration.importing.found import Found, FoundProvider, FoundRoute
from keyrelay.administration.importing.usage_file import read_usage
from keyrelay.core.administered import (
    NOTHING,
    ClientEntry,
    KeyEntry,
    ProviderEntry,
    RouteEntry,
    SettingEntry,
    UsageEntry,
)
from keyrelay.core.configuration import Key
from keyrelay.core.secrets import Secret
from tests.administration.importing.files import KNOWN, NOW_S, line_of, outcomes, plan

GROQ = "gsk_test_0123456789"
CLIENT = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def env(text: str) -> Found:
    return read_env(".env", text, KNOWN)


def usage(text: str) -> Found:
    return read_usage("api_usage.json", text, KNOWN, NOW_S)


def key_of(secret: str, label: str = "work", provider: str = "groq") -> Key:
    return Key(provider_id=provider, label=label, account=label, secret=Secret(secret))


EVERYTHING = f"""
GROQ_API_KEYS=work={GROQ},gsk_test_another
GROQ_LIMIT=100
KEYRELAY_RETRY_ATTEMPTS=5
CLIENT_API_KEYS_MAP={CLIENT}:App
"""


def test_all_of_it_is_new_once_and_there_already_after_that() -> None:
    files = env(EVERYTHING), usage('{"groq": 5}')
    first = plan(*files)
    assert set(outcomes(first).values()) == {"new"}
    again = plan(*files, state=first.state)
    assert set(outcomes(again).values()) == {"duplicate"}
    assert again.state == first.state


def test_what_is_made_of_it() -> None:
    state = plan(env(EVERYTHING), usage('{"groq": 5}')).state
    work = state.get(KeyEntry, "groq/work")
    assert work is not None
    assert (work.tail, work.created_s, work.set_by) == ("6789", NOW_S, "tests")
    assert state.secrets["key", "groq/work"] == Secret(GROQ)
    assert state.get(ProviderEntry, "groq") == ProviderEntry(id="groq", limits=("100 requests per 24h for (account)",))
    assert state.get(SettingEntry, "retry_attempts") == SettingEntry(name="retry_attempts", text="5")
    client = state.get(ClientEntry, "App")
    assert client is not None
    assert CLIENT not in client.digest
    assert state.get(UsageEntry, "groq/work") == UsageEntry(
        provider="groq", label="work", at_s=NOW_S, requests=5, source="api_usage.json"
    )


def test_what_the_environment_holds_is_taken_over_under_its_label() -> None:
    made = plan(env(f"GROQ_API_KEY={GROQ}"), keys=(key_of(GROQ, "mine"),))
    line = line_of(made, "GROQ_API_KEY")
    assert (line.outcome, line.id) == ("copied", "groq/mine")
    assert ("key", "groq/mine") in made.state.secrets


def test_a_key_is_not_taken_over_for_two_providers() -> None:
    made = plan(env(f"GROQ_API_KEY={GROQ}"), keys=(key_of(GROQ, provider="openai"),))
    assert line_of(made, "GROQ_API_KEY").message == "It is there already, as openai/work."
    assert made.state == NOTHING


def test_a_label_that_is_taken_gets_another_behind_it() -> None:
    made = plan(env(f"GROQ_API_KEY=work={GROQ}"), keys=(key_of("gsk_test_other"),))
    assert line_of(made, "GROQ_API_KEY").id == f"groq/work-{Secret(GROQ).fingerprint}"


def test_a_key_that_is_there_may_get_more_limits() -> None:
    state = NOTHING.put(KeyEntry(provider="groq", label="work"), Secret(GROQ))
    found = env(f"GROQ_API_KEY={GROQ}")
    found.keys = [msgspec.structs.replace(found.keys[0], limits=("3 requests per 60s",))]
    made = plan(found, state=state)
    assert line_of(made, "GROQ_API_KEY").outcome == "changed"
    assert made.state.get(KeyEntry, "groq/work") == KeyEntry(
        provider="groq", label="work", limits=("3 requests per 60s",)
    )


def test_what_is_said_of_a_provider_already_stays() -> None:
    state = NOTHING.put(ProviderEntry(id="groq", priority=1))
    made = plan(env("GROQ_PRIORITY=9\nGROQ_TIER=free"), state=state)
    (line,) = made.lines
    assert line.outcome == "changed"
    assert "stays: priority" in line.message
    assert made.state.get(ProviderEntry, "groq") == ProviderEntry(id="groq", priority=1, tier="free")
    (line,) = plan(env("GROQ_PRIORITY=9"), state=state).lines
    assert line.outcome == "left"


@pytest.mark.parametrize("address", ["http://127.0.0.1:9000/v1", "http://169.254.169.254/v1"])
def test_an_address_that_may_not_be_named_stays_behind_with_its_keys(address: str) -> None:
    made = plan(env(f"MINE_BASE_URL={address}\nMINE_API_KEY=k-0123456789"))
    assert outcomes(made) == {"MINE_BASE_URL": "left", "MINE_API_KEY": "left"}
    assert made.state == NOTHING


def test_routes_and_settings_that_are_there_stay() -> None:
    state = NOTHING.put(RouteEntry(name="fast", targets=("groq/a",))).put(SettingEntry(name="retry_attempts", text="2"))
    found = env("KEYRELAY_RETRY_ATTEMPTS=5\nKEYRELAY_RETRY_BUDGET_PERCENT=10")
    found.routes = [
        FoundRoute(source=name, entry=RouteEntry(name=name, targets=(target,)))
        for name, target in (("fast", "groq/b"), ("slow", "nowhere/x"), ("good", "groq/c"))
    ]
    made = plan(found, state=state)
    assert outcomes(made) == {
        "fast": "left",
        "slow": "left",
        "good": "new",
        "KEYRELAY_RETRY_ATTEMPTS": "left",
        "KEYRELAY_RETRY_BUDGET_PERCENT": "duplicate",
    }


def test_a_client_of_the_same_name_stays() -> None:
    first = plan(env(f"CLIENT_API_KEYS_MAP={CLIENT}:App"))
    made = plan(env(f"CLIENT_API_KEYS_MAP={CLIENT}77:App"), state=first.state)
    (line,) = made.lines
    assert (line.outcome, made.state) == ("left", first.state)


def test_usage_without_a_key_stays_behind() -> None:
    (line,) = plan(usage('{"groq": 5}')).lines
    assert (line.outcome, "no key" in line.message) == ("left", True)


def test_later_usage_wins() -> None:
    keys = (key_of("co-test-0123456789", provider="cohere"),)
    first = plan(usage('{"cohere": {"usage": 7, "date": 1000}}'), keys=keys)
    entry = first.state.get(UsageEntry, "cohere/work")
    assert entry is not None
    assert (entry.requests, entry.tokens, entry.at_s) == (0, 7, 1000.0)
    later = plan(usage('{"cohere": {"usage": 9, "date": 2000}}'), state=first.state, keys=keys)
    assert [line.outcome for line in later.lines] == ["changed"]
    assert plan(usage('{"cohere": {"usage": 7, "date": 1000}}'), state=later.state, keys=keys).state == later.state


def test_a_provider_of_which_nothing_is_said_is_no_entry() -> None:
    found = Found(name="x", providers=[FoundProvider(source="a", entry=ProviderEntry(id="groq"))])
    assert plan(found).state == NOTHING


def test_secrets_stand_in_no_line() -> None:
    text = EVERYTHING + "MINE_BASE_URL=https://user:hunter2secret@llm.example.com/v1\nMINE_API_KEY=k-0123456789\n"
    shown = msgspec.json.encode(plan(env(text)).lines).decode()
    for secret in (GROQ, "gsk_test_another", CLIENT, "hunter2secret", "k-0123456789"):
        assert secret not in shown


def test_what_is_told_of_it_is_in_words() -> None:
    made = plan(env("OLLAMA_BASE_URL=http://localhost:11434/"), usage('{"groq": 1}'), keys=(key_of(GROQ),))
    told = [line.message for line in made.lines]
    assert any("enabled yes" in message for message in told)
    assert any(message.startswith("1 request") and not message.startswith("1 requests") for message in told)
