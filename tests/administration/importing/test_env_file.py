import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.administration.importing.env_file import MAX_VARIABLES, read_env
from keyrelay.administration.importing.found import Found
from keyrelay.core.administered import ProviderEntry
from keyrelay.core.secrets import Secret
from tests.administration.importing.files import KNOWN, reasons

GROQ = "gsk_test_0123456789"
CLIENT = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def read(text: str) -> Found:
    return read_env(".env", text, KNOWN)


def keys(found: Found) -> list[tuple[str, str, str]]:
    return [(key.provider, key.label, key.secret.reveal()) for key in found.keys]


def provider(found: Found) -> ProviderEntry:
    (only,) = found.providers
    return only.entry


@pytest.mark.parametrize(
    ("text", "provider_id", "secrets"),
    [
        ("GEMINI_API_KEYS=AIza1,AIza2,AIza3", "gemini", ["AIza1", "AIza2", "AIza3"]),
        ("DEEPSEEK_API_KEY='sk-test-1'  # mine", "deepseek", ["sk-test-1"]),
        ("export COHERE_API_KEY=co-test-1", "cohere", ["co-test-1"]),
        ("GROQ_API_KEY=a-1\nGROQ_API_KEY_2=b-2", "groq", ["a-1", "b-2"]),
        ("GOOGLE_API_KEY=AIza1", "gemini", ["AIza1"]),
        ("GOOGLE_API_KEYS=AIza1,AIza2", "gemini", ["AIza1", "AIza2"]),
        ("HF_TOKEN=hf_test", "huggingface", ["hf_test"]),
        ("VITE_OPENAI_API_KEY=sk-test-1", "openai", ["sk-test-1"]),
        ("NEXT_PUBLIC_GROQ_API_KEY=a-1", "groq", ["a-1"]),
        ("OPENAI_KEY=sk-test-1", "openai", ["sk-test-1"]),
        ("\ufeffGROQ_API_KEY=a-1", "groq", ["a-1"]),
        ("MY_LLM_BASE_URL=https://llm.example.com/v1\nMY_LLM_API_KEY=k-1", "my_llm", ["k-1"]),
    ],
)
def test_keys_are_read_by_the_names_that_old_systems_gave_them(text: str, provider_id: str, secrets: list[str]) -> None:
    found = read(text)
    assert [(key.provider, key.secret.reveal()) for key in found.keys] == [(provider_id, each) for each in secrets]
    assert not found.left


def test_labels_accounts_and_weights_come_along() -> None:
    found = read(f"GROQ_API_KEYS=work=one-1,team:home=two-2\nGROQ_WEIGHT=2.5\nGROQ_API_KEY={GROQ}")
    assert [(key.label, key.account, key.weight) for key in found.keys] == [
        ("", "", 2.5),
        ("work", "", 2.5),
        ("home", "team", 2.5),
    ]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("GROQ_LIMIT=14400", ProviderEntry(id="groq", limits=("14400 requests per 24h for (account)",))),
        ("COHERE_LIMIT=5_000",
         ProviderEntry(id="cohere", limits=("5000 requests per month@UTC for (account)",))),
        ("GROQ_RPM=30", ProviderEntry(id="groq", limits=("30 requests per 60s for (account, model)",))),
        ("GROQ_LIMITS=5 requests concurrent; 1 usd per month@UTC",
         ProviderEntry(id="groq", limits=("5 requests concurrent", "1 usd per month@UTC"))),
        ("GROQ_PRIORITY=3\nGROQ_TIER=free", ProviderEntry(id="groq", priority=3, tier="free")),
        ("GROQ_MARGIN=0.5\nGROQ_ENABLED=no", ProviderEntry(id="groq", margin=0.5, enabled=False)),
        ("GROQ_MODEL=llama-3.1-8b-instant", ProviderEntry(id="groq", models=("llama-3.1-8b-instant",))),
        ("OPENAI_DIALECT=Anthropic", ProviderEntry(id="openai", dialect="anthropic")),
        ("OPENAI_API_BASE=https://proxy.example.com/v1", ProviderEntry(id="openai", base_url="https://proxy.example.com/v1")),
        ("OLLAMA_BASE_URL=http://localhost:11434/", ProviderEntry(id="ollama", enabled=True)),
        ("OLLAMA_HOST=ollama.example.com:11434", ProviderEntry(id="ollama", base_url="http://ollama.example.com:11434")),
    ],
)  # fmt: skip
def test_what_is_said_of_a_provider_is_read(text: str, entry: ProviderEntry) -> None:
    found = read(text)
    assert provider(found) == entry
    assert not found.left


def test_the_address_of_the_catalogue_says_nothing_new() -> None:
    assert not read("GROQ_BASE_URL=https://api.groq.com/openai/v1").providers


@pytest.mark.parametrize(
    ("text", "source", "words"),
    [
        ("OPENAI_API_KEY=your_key_here", "OPENAI_API_KEY", "placeholder"),
        ("OPENAI_API_KEY='a b'", "OPENAI_API_KEY", "spaces"),
        ("GROQ_API_KEY_FILE=/run/secrets/groq", "GROQ_API_KEY_FILE", "names a file"),
        ("CLIENT_API_KEYS_MAP_FILE=/run/clients", "CLIENT_API_KEYS_MAP_FILE", "names a file"),
        ("GROQ_LIMIT=many", "GROQ_LIMIT", "whole number"),
        ("GROQ_LIMIT=0", "GROQ_LIMIT", "whole number"),
        ("GROQ_LIMITS=five a day", "GROQ_LIMITS", "cannot be read"),
        ("GROQ_PRIORITY=first", "GROQ_PRIORITY", "whole number"),
        ("GROQ_TIER=gold", "GROQ_TIER", "not one of"),
        ("GROQ_MARGIN=7", "GROQ_MARGIN", "from 0 to 1"),
        ("GROQ_ENABLED=perhaps", "GROQ_ENABLED", "true or false"),
        ("GROQ_MODELS='a b'", "GROQ_MODELS", "spaces"),
        ("GROQ_WEIGHT=0", "GROQ_WEIGHT", "above 0"),
        ("GROQ_BASE_URL=ftp://example.com", "GROQ_BASE_URL", "no base URL"),
        ("CLIENT_API_KEYS_MAP=short:App", "CLIENT_API_KEYS_MAP entry 1", "shorter than 16"),
        (f"CLIENT_API_KEYS_MAP={CLIENT}", "CLIENT_API_KEYS_MAP entry 1", "no label"),
        ("CLIENT_API_KEYS_MAP=:App", "CLIENT_API_KEYS_MAP entry 1", "no secret"),
        ("PORT=8000", "PORT", "environment"),
        ("REDIS_URL=redis://localhost", "REDIS_URL", "environment"),
        ("KEYRELAY_OPERATOR_SECRET_FILE=/run/secret", "KEYRELAY_OPERATOR_SECRET_FILE", "environment"),
        ("FLASK_ENV=dev", "FLASK_ENV", "nothing of this name"),
        ("BAR_API_KEY=k-1", "BAR_API_KEY", "No provider of this name"),
        (f"THE_ONE={GROQ}", "THE_ONE", "looks like a key of groq"),
    ],
)
def test_what_stays_behind_is_named_with_the_reason(text: str, source: str, words: str) -> None:
    found = read(text)
    assert words in reasons(found)[source]
    assert len(found.left) == 1
    assert not [*found.keys, *found.clients, *found.settings, *found.providers]


def test_clients_and_settings_are_read() -> None:
    found = read(f'CLIENT_API_KEYS_MAP="{CLIENT}:App 1"\nKEYRELAY_RETRY_ATTEMPTS=5\nEMPTY=\n')
    assert [(each.label, each.secret) for each in found.clients] == [("App 1", Secret(CLIENT))]
    assert [(each.name, each.text) for each in found.settings] == [("retry_attempts", "5")]
    assert not found.left


def test_a_name_of_old_yields_to_the_one_of_today() -> None:
    found = read("GEMINI_LIMIT=20\nGOOGLE_LIMIT=5000")
    assert provider(found).limits == ("20 requests per day@America/Los_Angeles for (account)",)
    assert "nothing of this name" in reasons(found)["GOOGLE_LIMIT"]


def test_more_variables_than_that_are_left() -> None:
    found = read("".join(f"V{number}=1\n" for number in range(MAX_VARIABLES + 3)))
    assert sum("at once" in left.reason for left in found.left) == 3


_words = st.sampled_from(
    [
        "GROQ", "GEMINI", "GOOGLE", "OLLAMA", "X", "CLIENT", "KEYRELAY", "VITE", "API", "KEY", "KEYS", "LIMIT",
        "LIMITS", "BASE", "URL", "MAP", "FILE", "2", "MODEL", "ENABLED", "WEIGHT", "HOST", "PORT", "TOKEN",
    ]
)  # fmt: skip
_lines = st.tuples(st.lists(_words, min_size=1, max_size=4).map("_".join), st.text(max_size=30)).map("=".join)


@given(st.one_of(st.text(max_size=200), st.lists(_lines, max_size=6).map("\n".join)))
def test_whatever_stands_there_is_read_or_left(text: str) -> None:
    read(text)


@given(st.lists(_words, min_size=1, max_size=4).map("_".join), st.sampled_from(["", "label=", "a b ", "http://", "x:"]))
def test_no_secret_is_repeated(name: str, before: str) -> None:
    canary = "canary0f1e2d3c4b5a6978"
    found = read(f"{name}={before}{canary}")
    for left in found.left:
        assert canary not in left.source + left.reason


@pytest.mark.parametrize(
    ("text", "whole"),
    [("=nothing", False), ("%PDF-1.7", False), ("", True), ("# later", True), ("GROQ_API_KEY=", True)],
)
def test_what_holds_no_line_of_that_kind_is_no_such_file(text: str, whole: bool) -> None:
    assert (read(text).unreadable == "") is whole


def test_a_line_that_cannot_be_read_stays_behind_alone() -> None:
    found = read("=nothing\nGROQ_TIER=free")
    assert reasons(found) == {"line 1": "It cannot be read: write NAME=value."}
    assert len(found.providers) == 1
