import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.base_urls import is_private, read_place, with_scheme
from keyrelay.configuration.environment import Environment, environment_layer
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.providers import prefix_of
from keyrelay.configuration.stored import layer_of
from keyrelay.core.administered import Administered, ProviderEntry
from keyrelay.core.origins import parse_base_url
from keyrelay.core.providers import PathsRow, ProviderRow
from tests.configuration.helpers import ROWS, MakeEnvironment, provider_row

BY_ID = {row.id: row for row in ROWS}


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("localhost", "http://localhost:11434"),
        ("192.168.1.5:8080", "http://192.168.1.5:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        (":9000", "http://127.0.0.1:9000"),
        ("[::]:9000", "http://[::1]:9000"),
        ("[fe80::1]", "http://[fe80::1]:11434"),
        ("fe80::1", "http://[fe80::1]:11434"),
        ("host/ollama", "http://host:11434/ollama"),
        ("https://ollama.example", "https://ollama.example"),
        ("http://0.0.0.0:11434", "http://127.0.0.1:11434"),
    ],
)
def test_addresses_are_read_as_ollama_reads_them(address: str, url: str) -> None:
    assert with_scheme(address) == url
    parse_base_url(url)


@given(st.text(max_size=40))
def test_any_address_is_a_place_or_a_problem(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_base_url(with_scheme(text))


@pytest.mark.parametrize(
    ("row", "variables", "url", "source"),
    [
        (BY_ID["groq"], {}, "https://api.groq.example/v1", "catalogue"),
        (BY_ID["groq"], {"GROQ_BASE_URL": "http://proxy:8080/x/"}, "http://proxy:8080/x", "environment GROQ_BASE_URL"),
        (BY_ID["gemini"], {"GOOGLE_GEMINI_BASE_URL": "https://g"}, "https://g", "environment GOOGLE_GEMINI_BASE_URL"),
        (BY_ID["gemini"], {"GEMINI_BASE_URL": "https://g/v1beta/openai"}, "https://g", "environment GEMINI_BASE_URL"),
        (BY_ID["ollama"], {"OLLAMA_BASE_URL": "http://box:1/v1"}, "http://box:1", "environment OLLAMA_BASE_URL"),
        (BY_ID["ollama"], {"OLLAMA_HOST": "box"}, "http://box:11434", "environment OLLAMA_HOST"),
        (BY_ID["cloudflare"], {"CLOUDFLARE_ACCOUNT_ID": "abc"}, "https://cf.example/accounts/abc/ai/v1", "catalogue"),
        (
            BY_ID["cloudflare"],
            {"CLOUDFLARE_BASE_URL": "https://gateway.example/v1"},
            "https://gateway.example/v1",
            "environment CLOUDFLARE_BASE_URL",
        ),
    ],
)
def test_places(
    row: ProviderRow,
    variables: dict[str, str],
    url: str,
    source: str,
    environment: MakeEnvironment,
    findings: Findings,
) -> None:
    place = read_place(row, row.id.upper(), environment=environment(**variables), findings=findings)
    assert place is not None
    assert (str(place), place.source) == (url, source)
    assert not findings.problems


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "ftp://host",
        "https://me:hunter2@host/v1",
        "https://host/v1?key=hunter2",
        "https://ho st/hunter2",
        "https://[hunter2",
        "https://hunter2\u2100",
        "https://host:99999",
        "/hunter2",
    ],
)
def test_what_is_no_base_url_is_refused_unseen(url: str, environment: MakeEnvironment, findings: Findings) -> None:
    place = read_place(provider_row(), "GROQ", environment=environment(GROQ_BASE_URL=url), findings=findings)
    assert place is None
    (problem,) = map(str, findings.problems)
    assert problem.startswith("environment GROQ_BASE_URL: is not a base URL. It starts with http:// or https://")
    assert "hunter2" not in problem


@pytest.mark.parametrize(
    ("row_id", "entry", "variables", "guarded"),
    [
        ("groq", ProviderEntry(id="groq", priority=1), {}, False),
        ("groq", ProviderEntry(id="groq", base_url="https://far.example/v1"), {}, True),
        (
            "groq",
            ProviderEntry(id="groq", base_url="https://far.example/v1"),
            {"GROQ_BASE_URL": "http://box/v1"},
            False,
        ),
        ("gemini", ProviderEntry(id="google_gemini", base_url="http://127.0.0.1:1"), {}, True),
        ("ollama", ProviderEntry(id="ollama", enabled=True), {}, False),
        ("ollama", ProviderEntry(id="ollama", base_url="0.0.0.0"), {}, True),
        ("ollama", ProviderEntry(id="ollama", base_url="far.example"), {"OLLAMA_HOST": "box"}, False),
    ],
)
def test_an_address_is_guarded_when_the_store_names_it(
    row_id: str, entry: ProviderEntry, variables: dict[str, str], findings: Findings, tmp_path: Path, *, guarded: bool
) -> None:
    layers = (environment_layer(variables), layer_of(Administered().put(entry), prefix_of))
    environment = Environment(layers, directory=tmp_path, findings=findings)
    place = read_place(BY_ID[row_id], row_id.upper(), environment=environment, findings=findings)
    assert place is not None
    assert place.origin.guarded is guarded
    assert place.source.startswith("store ") is guarded


def test_a_missing_variable_leaves_the_provider_out(environment: MakeEnvironment, findings: Findings) -> None:
    assert read_place(BY_ID["cloudflare"], "CLOUDFLARE", environment=environment(), findings=findings) is None
    assert findings.warnings == [
        "CLOUDFLARE_ACCOUNT_ID: is not set, and Cloudflare's address needs it; cloudflare is left out."
    ]


def test_a_variable_cannot_change_the_host(environment: MakeEnvironment, findings: Findings) -> None:
    row = provider_row("azure", base_url="https://{resource}.azure.example", variables={"resource": "AZ_RESOURCE"})
    variables = environment(AZ_RESOURCE="evil.example/")
    assert read_place(row, "AZURE", environment=variables, findings=findings) is None
    assert findings.problems[0].where == "environment AZ_RESOURCE"


def test_an_unused_variable_is_not_asked_for(environment: MakeEnvironment, findings: Findings) -> None:
    row = provider_row("x", variables={"unused": "X_UNUSED"}, paths=PathsRow(chat=""))
    assert read_place(row, "X", environment=environment(), findings=findings) is not None


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("fd00::1", True),
        ("ollama", True),
        ("box.local", True),
        ("api.example.com", False),
        ("8.8.8.8", False),
    ],
)
def test_private_hosts(host: str, private: bool) -> None:
    assert is_private(host) is private
