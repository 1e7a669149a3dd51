"""The shipped files: they load, fast and from an archive, and say what the requirements say."""

import re
import subprocess
import sys
import time
import zipfile
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

import keyrelay
from keyrelay.core.failures import CALLER_KINDS, FailureScope
from keyrelay.core.limits import ScopePart, Unit, WindowKind, parse_window
from keyrelay.core.providers import LimitRow, ProviderRow
from keyrelay.upstream import catalogue as package
from keyrelay.upstream.catalogue import GENERIC_ID, load_catalogue

IDS = [
    "ai21",
    "anthropic",
    "azure",
    "cerebras",
    "cloudflare",
    "cohere",
    "deepinfra",
    "deepseek",
    "fireworks",
    "gemini",
    "groq",
    "huggingface",
    "mistral",
    "nvidia",
    "ollama",
    "openai",
    "openai_compatible",
    "openrouter",
    "perplexity",
    "sambanova",
    "together",
    "xai",
]
CATALOGUE = load_catalogue()
FILES = Path(package.__file__).parent
WHOLE_LOAD_LIMIT_S = 0.06

each_row = pytest.mark.parametrize("row", CATALOGUE.values(), ids=CATALOGUE.keys())


def limits_for(provider_id: str, model: str) -> list[LimitRow]:
    limits = CATALOGUE[provider_id].limits
    return [limit for limit in limits if not limit.models or any(fnmatchcase(model, name) for name in limit.models)]


def amounts(provider_id: str, model: str) -> set[tuple[Unit, int, str]]:
    return {(limit.unit, limit.amount, limit.window) for limit in limits_for(provider_id, model)}


def test_exactly_these_providers_are_shipped() -> None:
    assert list(CATALOGUE) == IDS
    assert sorted(file.stem for file in FILES.glob("*.toml")) == IDS


def test_loading_is_fast_enough_for_the_way_of_every_start() -> None:
    def measured() -> float:
        begin = time.perf_counter()
        load_catalogue()
        return time.perf_counter() - begin

    assert min(measured() for _ in range(5)) < WHOLE_LOAD_LIMIT_S


def test_it_loads_from_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "keyrelay.zip"
    source = Path(keyrelay.__file__).parent
    with zipfile.ZipFile(archive, "w") as target:
        for part in ("__init__.py", "core/*.py", "upstream/__init__.py", "upstream/catalogue/*.*"):
            for file in source.glob(part):
                target.write(file, f"keyrelay/{file.relative_to(source)}")
    code = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from keyrelay.upstream import catalogue\n"
        "assert '.zip' in catalogue.__file__, catalogue.__file__\n"
        "print(*catalogue.load_catalogue())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == IDS, done.stderr


@each_row
def test_a_file_names_its_source_and_date(row: ProviderRow) -> None:
    text = (FILES / f"{row.id}.toml").read_text(encoding="utf-8")
    comment = " ".join(line.removeprefix("#").strip() for line in text.split("\nid = ")[0].splitlines())
    assert re.match(r"Source: read \d{4}-\d\d-\d\d", comment)
    assert str(row.verified_at) in comment


@each_row
def test_a_key_travels_encrypted_unless_the_server_is_the_operators_own(row: ProviderRow) -> None:
    assert row.local or row.base_url.startswith("https://")
    assert row.local == row.auth.optional


@each_row
def test_a_model_can_be_chosen_and_bears_its_facts(row: ProviderRow) -> None:
    chat = {model.id for model in row.models if "chat" in model.capabilities}
    assert row.default_model in chat or (row.default_model == "" and row.id in {"azure", "ollama", GENERIC_ID})
    for model in row.models:
        assert ("embeddings" in model.capabilities) == ("embed" in model.id or "bge" in model.id)
        assert "embeddings" not in model.capabilities or row.paths.embeddings
        assert "completions" not in model.capabilities or row.paths.completions
        if model.price_source:
            assert re.search(r", \d{4}-\d\d-\d\d$", model.price_source)


@each_row
def test_regular_expressions_are_written_in_lower_case_and_compile(row: ProviderRow) -> None:
    for failure in row.failures:
        for pattern in (failure.message, failure.detail):
            re.compile(pattern, re.IGNORECASE)
        bare = re.sub(r"RPD|TPD|IPD|ASD|\\.", "", failure.message)
        assert bare == bare.lower()


@each_row
def test_a_failure_that_the_caller_mends_binds_no_key(row: ProviderRow) -> None:
    for failure in row.failures:
        assert (failure.scope is FailureScope.REQUEST) or failure.rest != "none"
        assert failure.kind not in CALLER_KINDS or failure.scope is FailureScope.REQUEST


def test_no_environment_name_means_two_providers() -> None:
    names = Counter(
        name
        for row in CATALOGUE.values()
        for name in {
            f"{row.id.upper()}_API_KEY",
            f"{row.id.upper()}_API_KEYS",
            f"{row.id.upper()}_BASE_URL",
            *row.key_env,
            *row.base_url_env,
            *row.variables.values(),
        }
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize(
    ("provider_id", "names"),
    [
        ("gemini", {"GOOGLE_API_KEY"}),
        ("huggingface", {"HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN"}),
        ("cohere", {"CO_API_KEY"}),
        ("nvidia", {"NVIDIA_NIM_API_KEY"}),
        ("together", {"TOGETHERAI_API_KEY"}),
        ("cloudflare", {"CLOUDFLARE_API_TOKEN"}),
        ("azure", {"AZURE_OPENAI_API_KEY"}),
    ],
)
def test_the_names_that_official_clients_read_are_known(provider_id: str, names: set[str]) -> None:
    assert names <= set(CATALOGUE[provider_id].key_env)


def test_priorities_are_those_of_the_requirements_and_unique() -> None:
    ordered = sorted(CATALOGUE.values(), key=lambda row: row.priority)
    assert [(row.id, row.priority) for row in ordered[:6]] == [
        ("cohere", 1),
        ("ai21", 2),
        ("groq", 3),
        ("huggingface", 4),
        ("openai", 5),
        ("gemini", 6),
    ]
    assert len({row.priority for row in ordered}) == len(ordered)


@pytest.mark.parametrize(
    ("provider_id", "base_url", "chat"),
    [
        ("openai", "https://api.openai.com/v1", "/chat/completions"),
        ("anthropic", "https://api.anthropic.com", "/v1/chat/completions"),
        ("gemini", "https://generativelanguage.googleapis.com", "/v1beta/openai/chat/completions"),
        ("cohere", "https://api.cohere.com", "/compatibility/v1/chat/completions"),
        ("ollama", "http://localhost:11434", "/v1/chat/completions"),
        ("azure", "https://{resource}.openai.azure.com", "/openai/v1/chat/completions"),
    ],
)
def test_a_base_url_has_the_form_of_the_official_client(provider_id: str, base_url: str, chat: str) -> None:
    assert (CATALOGUE[provider_id].base_url, CATALOGUE[provider_id].paths.chat) == (base_url, chat)


def test_providers_with_a_dialect_of_their_own() -> None:
    native = {row.id: row.native_dialect for row in CATALOGUE.values() if row.native_dialect != "openai"}
    assert native == {"anthropic": "anthropic", "cohere": "cohere", "gemini": "gemini", "ollama": "ollama"}
    assert [row.id for row in CATALOGUE.values() if row.dialect != "openai"] == ["anthropic"]


@pytest.mark.parametrize(
    ("model", "provider_id"),
    [
        ("gpt-7-mini", "openai"),
        ("o3-mini", "openai"),
        ("text-embedding-ada-002", "openai"),
        ("gemini-1.0-pro", "gemini"),
        ("claude-opus-9", "anthropic"),
        ("deepseek-chat", "deepseek"),
        ("command-r-plus", "cohere"),
        ("embed-english-v3.0", "cohere"),
        ("jamba-mini", "ai21"),
        ("codestral-latest", "mistral"),
        ("grok-9", "xai"),
        ("sonar-deep-research", "perplexity"),
    ],
)
def test_an_unlisted_name_finds_exactly_one_provider(model: str, provider_id: str) -> None:
    assert [row.id for row in CATALOGUE.values() if model.startswith(row.model_prefixes)] == [provider_id]


def test_geminis_day_ends_at_midnight_in_california() -> None:
    assert CATALOGUE["gemini"].day_zone == "America/Los_Angeles"
    assert {row.day_zone for row in CATALOGUE.values() if row.id != "gemini"} == {"UTC"}
    assert amounts("gemini", "gemini-2.5-flash") == {
        (Unit.REQUESTS, 5, "60s"),
        (Unit.REQUESTS, 20, "day@America/Los_Angeles"),
        (Unit.INPUT_TOKENS, 250_000, "60s"),
    }
    assert amounts("gemini", "gemini-2.5-flash-lite") == {
        (Unit.REQUESTS, 10, "60s"),
        (Unit.REQUESTS, 20, "day@America/Los_Angeles"),
        (Unit.INPUT_TOKENS, 250_000, "60s"),
    }


def test_groqs_day_rolls() -> None:
    limits = limits_for("groq", "openai/gpt-oss-120b")
    assert {parse_window(limit.window).kind for limit in limits} == {WindowKind.ROLLING}
    assert (Unit.REQUESTS, 1000, "24h") in amounts("groq", "openai/gpt-oss-120b")


def told(provider_id: str) -> set[tuple[Unit, str, str]]:
    return {(row.unit, row.window, row.limit) for row in CATALOGUE[provider_id].limit_headers}


def test_the_same_headers_mean_other_windows_at_other_providers() -> None:
    requests, tokens = "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens"
    assert told("openai") == {(Unit.REQUESTS, "60s", requests), (Unit.TOKENS, "60s", tokens)}
    assert told("groq") == {(Unit.REQUESTS, "24h", requests), (Unit.TOKENS, "60s", tokens)}


@pytest.mark.parametrize("provider_id", ["gemini", "cohere", "deepseek", "huggingface", "nvidia", "cloudflare"])
def test_providers_that_send_no_limits_have_no_rows_for_them(provider_id: str) -> None:
    assert told(provider_id) == set()


@each_row
def test_headers_tell_of_days_as_the_provider_counts_them(row: ProviderRow) -> None:
    days = {window for _, window, _ in told(row.id) if window.startswith(("day", "24h"))}
    assert days <= ({"24h"} if row.day_rolls or row.id == GENERIC_ID else {f"day@{row.day_zone}"})
    limits = {limit.window for limit in row.limits if limit.window.startswith(("day", "24h"))}
    assert limits <= ({"24h"} if row.day_rolls else {f"day@{row.day_zone}"})


def test_of_unknown_servers_only_headers_are_believed_that_say_unit_and_window() -> None:
    for row in CATALOGUE[GENERIC_ID].limit_headers:
        assert row.policy or (row.unit in row.limit and row.limit.endswith(("-minute", "-hour", "-day")))


def test_coheres_month_is_shared_by_all_models_of_an_account() -> None:
    (monthly,) = (limit for limit in CATALOGUE["cohere"].limits if limit.window == "month@UTC")
    assert (monthly.amount, monthly.scope, monthly.models) == (1000, (ScopePart.ACCOUNT,), ())


def test_openrouters_limits_bind_free_models_only() -> None:
    assert limits_for("openrouter", "deepseek/deepseek-v4-flash") == []
    free = limits_for("openrouter", "openai/gpt-oss-20b:free")
    assert {(limit.amount, limit.window) for limit in free} == {(20, "60s"), (50, "day@UTC")}
    assert {limit.scope for limit in free} == {(ScopePart.ACCOUNT,)}
    assert limits_for("openrouter", CATALOGUE["openrouter"].default_model) == free


def test_cloudflare_limits_embeddings_apart() -> None:
    neurons = (Unit.UNITS, 10_000, "day@UTC")
    assert amounts("cloudflare", "@cf/openai/gpt-oss-120b") == {neurons, (Unit.REQUESTS, 300, "60s")}
    assert amounts("cloudflare", "@cf/baai/bge-m3") == {neurons, (Unit.REQUESTS, 3000, "60s")}


def test_servers_of_the_operators_own_have_no_quota() -> None:
    own = [row for row in CATALOGUE.values() if row.local]
    assert {row.id for row in own} == {"ollama", GENERIC_ID}
    assert all(row.limits == () and row.open_models for row in own)


def test_thinking_models_of_openai_get_no_sampling_parameters() -> None:
    row = CATALOGUE["openai"]
    assert "temperature" in row.quirks_of("o4-mini").drop
    assert row.quirks_of("gpt-4.1") is row.quirks
