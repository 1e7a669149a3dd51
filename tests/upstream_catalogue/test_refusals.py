"""A wrong file is refused with file, row, field and what would be right."""

from pathlib import Path

import msgspec
import pytest

from keyrelay.core.errors import ConfigurationError
from keyrelay.upstream.catalogue import GENERIC_ID, load_catalogue, provider_row_for_generic
from keyrelay.upstream.catalogue.checks import row_flaws

VALID = """
id = "acme"
name = "Acme"
base_url = "https://{region}.acme.example/v1"
priority = 30
verified_at = 2026-11-21
key_env = ["ACME_TOKEN"]
base_url_env = ["ACME_HOST"]
variables = { region = "ACME_REGION" }
extra_headers = { x-team = "blue" }
day_zone = "Europe/Kyiv"
organisation_headers = ["x-team-id"]
default_model = "small"
first_byte_timeout_s = 20

[auth]
header = "x-api-key"
prefix = "Key "

[paths]
chat = "/chat/completions"

[[limits]]
unit = "requests"
amount = 60
window = "60s"

[[limits]]
unit = "tokens"
amount = 1000
window = "day@Europe/Kyiv"
scope = ["account"]
models = ["small*"]

[[limit_headers]]
unit = "requests"
window = "1h"
limit = "x-ratelimit-limit"
remaining = "x-ratelimit-remaining"
scope = ["provider"]

[[limit_headers]]
unit = "input_tokens"
limit = "ratelimit"
policy = "ratelimit-policy"

[[models]]
id = "small"
aliases = ["tiny"]
context_tokens = 1000
price_input_usd_per_mtok = 1
price_source = "price list, 2026-11-21"

[[models]]
id = "large"
aliases = ["huge"]

[[failures]]
kind = "billing"
scope = "account"
rest = "hint"
rest_default = "6h"
status = [402]

[[failures]]
kind = "rate"
scope = "pair"
rest = "10m"
code = ["slow"]
message = 'too (fast|quick)'
detail = 'minute'

[[failures]]
kind = "context"
scope = "request"

[probe]
path = "https://admin.acme.example/me"
"""

BROKEN = [
    # old text, new text, field, what the text says beside it
    ('id = "acme"', 'id = "akme"', "id", "file's name 'acme'"),
    ('id = "acme"', 'id = "Acme"', "id", "does not name a provider"),
    ("priority = 30", "priority = 0", "priority", "above 0"),
    ("first_byte_timeout_s = 20", "first_byte_timeout_s = 0", "first_byte_timeout_s", "above 0"),
    ("https://{region}", "ftp://{region}", "base_url", "http:// or https://"),
    ("https://{region}", "https://user@{region}", "base_url", "no user"),
    ("https://{region}", "https://{place}", "variables", "only one of base_url and variables"),
    ("{region}.", "", "variables", "'region'"),
    ('"/chat/completions"', '"chat"', "paths.chat", "not a path"),
    ('"/chat/completions"', '""', "paths", "no operation"),
    ('"https://admin.acme.example/me"', '"https://acme.evil.example/me"', "probe.path", "not in the domain"),
    ('"https://admin.acme.example/me"', '"me"', "probe.path", "neither"),
    ('"https://admin.acme.example/me"', '""', "probe.path", "neither"),
    ('header = "x-api-key"', 'header = "x api key"', "auth.header", "not a header name"),
    ('prefix = "Key "', 'prefix = "Key\\r\\n"', "auth.prefix", "line break"),
    ('x-team = "blue"', '"x:team" = "blue"', "extra_headers", "not a header name"),
    ('x-team = "blue"', 'x-team = "blue\\nx-evil: 1"', "extra_headers.x-team", "line break"),
    ("ACME_TOKEN", "acme token", "key_env", "environment variable"),
    ("ACME_HOST", "acme-host", "base_url_env", "environment variable"),
    ("ACME_REGION", "region", "variables.region", "environment variable"),
    ('day_zone = "Europe/Kyiv"', 'day_zone = "Europe/Nowhere"', "day_zone", "IANA"),
    ('day_zone = "Europe/Kyiv"', 'day_zone = "Europe"', "day_zone", "IANA"),
    ("amount = 60", "amount = 0", "limits[0].amount", "above 0"),
    ('window = "60s"', 'window = "a minute"', "limits[0].window", "60s"),
    ("day@Europe/Kyiv", "day@Europe/Nowhere", "limits[1].window", "IANA"),
    ('scope = ["account"]', "scope = []", "limits[1].scope", "one owner"),
    ('scope = ["account"]', 'scope = ["model"]', "limits[1].scope", "one owner"),
    ('scope = ["account"]', 'scope = ["key", "account"]', "limits[1].scope", "one owner"),
    ('scope = ["account"]', 'scope = ["account", "model", "model"]', "limits[1].scope", "one owner"),
    ('models = ["small*"]', 'models = [""]', "limits[1].models", "shell patterns"),
    ('"x-team-id"', '"X-Team-Id"', "organisation_headers", "lower case"),
    ('"x-ratelimit-limit"', '"x ratelimit"', "limit_headers[0].limit", "lower case"),
    ('limit = "x-ratelimit-limit"\nremaining = "x-ratelimit-remaining"', "", "limit_headers[0].limit", "an amount"),
    ('window = "1h"', 'window = "an hour"', "limit_headers[0].window", "60s"),
    ('window = "1h"', 'window = "day@Nowhere"', "limit_headers[0].window", "IANA"),
    ('scope = ["provider"]', 'scope = ["provider", "key"]', "limit_headers[0].scope", "one owner"),
    ('"ratelimit-policy"', '"RateLimit-Policy"', "limit_headers[1].policy", "lower case"),
    ('limit = "ratelimit"', 'limit = "ratelimit"\nwindow = "60s"', "limit_headers[1].window", "policy"),
    ('id = "large"', 'id = "small"', "models[1].id", "twice"),
    ('id = "large"', 'id = "tiny"', "models[1].id", "twice"),
    ('aliases = ["huge"]', 'aliases = ["small"]', "models[1].aliases", "twice"),
    ('aliases = ["huge"]', 'aliases = [""]', "models[1].aliases", "empty"),
    ('default_model = "small"', 'default_model = "medium"', "default_model", "open_models"),
    ("context_tokens = 1000", "context_tokens = -1", "models[0].context_tokens", "below 0"),
    ("price_input_usd_per_mtok = 1", "price_input_usd_per_mtok = -1", "models[0].price_input_usd_per_mtok", "below 0"),
    ('price_source = "price list, 2026-11-21"', "", "models[0].price_source", "no source"),
    ("context_tokens = 1000", "units_per_request = -1", "models[0].units_per_request", "below 0"),
    ("context_tokens = 1000", "units_output_per_mtok = inf", "models[0].units_output_per_mtok", "0 or more"),
    ('unit = "tokens"', 'unit = "units"', "limits[1].unit", "a request of small"),
    ('unit = "tokens"\namount = 1000', 'unit = "units"\namount = 1', "limits[1].unit", "units_input_per_mtok"),
    ('models = ["small*"]', 'models = ["other"]\n[price]\nunits_per_usd = 0', "price.units_per_usd", "above 0"),
    ("status = [402]", "status = [42]", "failures[0].status", "HTTP status"),
    ("status = [402]", "", "failures[0]", "no test"),
    ("status = [402]", "status = [402]\ncode = ['Empty']", "failures[0].code", "lower case"),
    ('rest = "10m"', 'rest = "soon"', "failures[1].rest", "none, hint, day, month, manual"),
    ('rest = "10m"', 'rest = "month@UTC"', "failures[1].rest", "no rest"),
    ('rest_default = "6h"', 'rest_default = "hint"', "failures[0].rest_default", "no duration"),
    ("'too (fast|quick)'", "'too (fast'", "failures[1].message", "does not compile"),
    ("'minute'", "'[minute'", "failures[1].detail", "does not compile"),
    ('scope = "request"', 'scope = "key"', "failures[2].scope", "request's own"),
    ('scope = "request"', 'scope = "request"\nrest = "10m"', "failures[2].scope", "request's own"),
    (
        '[[failures]]\nkind = "context"',
        '[[failures]]\nkind = "rate"\nscope = "key"\nrest = "10m"\nstatus = [402]\n\n[[failures]]\nkind = "context"',
        "failures[2]",
        "tests of failures[0]",
    ),
    # what the types say
    ("amount = 60", 'amount = "60"', "limits[0].amount", "Expected `int`"),
    ("amount = 60", "amount = 60\nburst = 5", "limits[0]", "burst"),
    ('unit = "tokens"', 'unit = "neurons"', "limits[1].unit", "neurons"),
    ('kind = "billing"', 'kind = "poverty"', "failures[0].kind", "poverty"),
    ("priority = 30", "", "acme.toml", "priority"),
    ("priority = 30", "priority = 30\ncolour = 1", "acme.toml", "colour"),
    ("priority = 30", "priority =", "acme.toml", "not TOML"),
]


def write(directory: Path, content: str | bytes) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "acme.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


def test_the_file_without_faults_is_read(tmp_path: Path) -> None:
    (row,) = load_catalogue(write(tmp_path, VALID)).values()
    assert (row.id, row.limits[0].amount, row.failures[1].rest) == ("acme", 60, "10m")


@pytest.mark.parametrize(("old", "new", "field", "says"), BROKEN, ids=[f"{case[2]}: {case[3]}" for case in BROKEN])
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, field: str, says: str) -> None:
    assert VALID.count(old) == 1, "the case has to change one place"
    directory = write(tmp_path, VALID.replace(old, new))
    with pytest.raises(ConfigurationError) as caught:
        load_catalogue(directory)
    text = str(caught.value)
    assert str(directory / "acme.toml") in text
    assert field in caught.value.where
    assert says in text
    assert caught.value.fix


@pytest.mark.parametrize("figures", ["units_input_per_mtok = 3", "units_output_per_mtok = 3", "units_per_request = 3"])
def test_a_limit_in_units_needs_figures_for_the_models_that_it_binds(tmp_path: Path, figures: str) -> None:
    in_units = VALID.replace('unit = "tokens"', 'unit = "units"').replace("context_tokens = 1000", figures)
    assert load_catalogue(write(tmp_path, in_units))["acme"].models[0].counts_units
    for_nobody = in_units.replace('models = ["small*"]', 'models = ["medium"]')
    with pytest.raises(ConfigurationError, match="any model"):
        load_catalogue(write(tmp_path, for_nobody))


def test_a_base_url_that_cannot_be_read_is_the_only_complaint_about_addresses(tmp_path: Path) -> None:
    row = msgspec.structs.replace(load_catalogue(write(tmp_path, VALID))["acme"], base_url="acme", variables={})
    assert [flaw.field for flaw in row_flaws(row, "acme")] == ["base_url"]


def test_an_open_provider_needs_no_default_model(tmp_path: Path) -> None:
    directory = write(tmp_path, VALID.replace('default_model = "small"', "open_models = true"))
    assert load_catalogue(directory)["acme"].default_model == ""


def test_a_provider_without_free_check_needs_no_probe_path(tmp_path: Path) -> None:
    directory = write(tmp_path, VALID.replace("[probe]", '[probe]\nmethod = "none"').replace("https://admin", ""))
    assert load_catalogue(directory)["acme"].probe.method == "none"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"acme\.toml.*UTF-8"):
        load_catalogue(write(tmp_path, b'name = "\xff"'))


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_catalogue(tmp_path / "nowhere")


def test_other_files_of_the_directory_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("not a row", encoding="utf-8")
    assert load_catalogue(tmp_path) == {}


def test_a_wholly_new_provider_takes_the_generic_row() -> None:
    catalogue = load_catalogue()
    row = provider_row_for_generic("acme", " https://llm.acme.example/v1 ", catalogue)
    assert (row.id, row.name, row.base_url, row.base_url_env) == ("acme", "acme", "https://llm.acme.example/v1", ())
    assert row.failures == catalogue[GENERIC_ID].failures
    assert row == provider_row_for_generic("acme", "https://llm.acme.example/v1")


@pytest.mark.parametrize("provider_id", ["", "Acme", "1acme", "acme-2", "acme.example"])
def test_a_new_provider_needs_a_name_that_fits_an_environment_prefix(provider_id: str) -> None:
    with pytest.raises(ConfigurationError, match="lower-case"):
        provider_row_for_generic(provider_id, "https://llm.acme.example/v1")


@pytest.mark.parametrize("base_url", ["", "llm.acme.example/v1", "https://me:hunter2@llm.acme.example/v1"])
def test_a_new_provider_needs_a_base_url_and_it_is_not_repeated(base_url: str) -> None:
    with pytest.raises(ConfigurationError, match="ACME_BASE_URL") as caught:
        provider_row_for_generic("acme", base_url)
    assert "hunter2" not in str(caught.value)
