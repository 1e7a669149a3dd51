import pytest

from keyrelay.configuration import InvalidConfiguration
from keyrelay.configuration.providers import prefix_of
from keyrelay.core.configuration import Tier
from keyrelay.core.limits import LimitSource
from tests.configuration.helpers import Load

KEY = "gsk_0123456789abcdef"


def test_nothing_is_configured_without_keys(load: Load) -> None:
    snapshot = load().snapshot
    assert snapshot.providers == {}
    assert snapshot.keys == ()
    assert snapshot.routes["auto"].targets == ()


def test_a_key_is_enough(load: Load) -> None:
    snapshot = load(GROQ_API_KEY=KEY).snapshot
    provider = snapshot.providers["groq"]
    assert str(provider.origin) == "https://api.groq.example"
    assert provider.base_path == "/v1"
    assert (provider.priority, provider.tier, provider.default_model) == (3, Tier.UNKNOWN, "small")
    assert list(provider.models) == ["small", "large"]
    assert all(limit.source is LimitSource.CATALOGUE and not limit.firm for limit in provider.limits)
    assert [key.id for key in snapshot.keys] == [f"groq/{snapshot.keys[0].label}"]


def test_keys_of_all_variables_are_joined(load: Load, tmp_path: object) -> None:
    keys = load(
        GEMINI_API_KEYS="c=key-c-0123456789,d=key-d-0123456789",
        GEMINI_API_KEY_2="b=key-b-0123456789",
        GEMINI_API_KEY="a=key-a-0123456789",
        GOOGLE_API_KEY="e=key-e-0123456789",
    ).snapshot.keys
    assert [key.id for key in keys] == ["gemini/a", "gemini/b", "gemini/e", "gemini/c", "gemini/d"]


def test_twenty_keys(load: Load) -> None:
    keys = load(GEMINI_API_KEYS=",".join(f"AIza-key-number-{number:02}" for number in range(20))).snapshot.keys
    assert len({key.account for key in keys}) == 20


def test_providers_and_keys_come_in_order_of_priority(load: Load) -> None:
    variables = {f"{name}_API_KEY": f"key-of-{name}-0123" for name in ("GROQ", "GEMINI", "COHERE")}
    snapshot = load(GEMINI_PRIORITY="2", **variables).snapshot
    assert list(snapshot.providers) == ["cohere", "gemini", "groq"]
    assert [key.provider_id for key in snapshot.keys] == ["cohere", "gemini", "groq"]
    # cohere has no chat path in these rows
    assert list(map(str, snapshot.routes["auto"].targets)) == ["gemini/small", "groq/small"]


class TestVariables:
    def test_tier(self, load: Load) -> None:
        assert all(limit.firm for limit in load(GROQ_API_KEY=KEY, GROQ_TIER="Free").snapshot.providers["groq"].limits)
        assert load(GROQ_API_KEY=KEY, GROQ_TIER="paid").snapshot.providers["groq"].limits == ()

    def test_a_margin_is_kept_from_the_providers_limits_and_not_from_ones_own(self, load: Load) -> None:
        whole = load(GROQ_API_KEY=KEY, GROQ_TIER="free").snapshot.providers["groq"]
        less = load(GROQ_API_KEY=KEY, GROQ_TIER="free", GROQ_MARGIN="1").snapshot.providers["groq"]
        assert (whole.margin, less.margin) == (0.0, 0.01)
        assert [limit.amount - max(1, limit.amount // 100) for limit in whole.limits] == [
            limit.amount for limit in less.limits
        ]
        own = load(GROQ_API_KEY=KEY, GROQ_TIER="paid", GROQ_RPM="500", GROQ_MARGIN="1").snapshot.providers["groq"]
        assert [limit.amount for limit in own.limits] == [500]

    def test_models_come_first_and_replace_nothing(self, load: Load) -> None:
        provider = load(GROQ_API_KEY=KEY, GROQ_MODELS="new/model:free, little").snapshot.providers["groq"]
        assert list(provider.models) == ["new/model:free", "small", "large"]
        assert provider.default_model == "new/model:free"
        assert provider.models["small"].aliases == ("little",)

    def test_configured_limits_are_firm_and_known_by_their_variable(self, load: Load) -> None:
        configuration = load(GROQ_API_KEY=KEY, GROQ_LIMIT="14400", GROQ_RPM="10")
        firm = [limit for limit in configuration.snapshot.providers["groq"].limits if limit.firm]
        assert [str(limit) for limit in firm] == [
            "14400 requests per 24h for (account)",
            "10 requests per 60s for (account, model)",
        ]
        sources = {value.value: value.source for value in configuration.values if ".limits." in value.name}
        assert sources["10 requests per 60s for (account, model)"] == "environment GROQ_RPM"
        assert sources["14400 requests per 24h for (account, model) (belief)"] == "catalogue"

    def test_enabled_false_switches_off(self, load: Load) -> None:
        assert load(GROQ_API_KEY=KEY, GROQ_ENABLED="false").snapshot.providers == {}

    def test_enabled_without_a_key_is_a_warning(self, load: Load) -> None:
        configuration = load(GROQ_ENABLED="true")
        assert configuration.snapshot.providers == {}
        assert configuration.warnings == ("GROQ_ENABLED: Groq is switched on but has no key: set GROQ_API_KEY.",)

    def test_a_retired_provider_has_to_be_switched_on(self, load: Load) -> None:
        configuration = load(GONE_API_KEY=KEY)
        assert configuration.snapshot.providers == {}
        assert "was retired on 2026-07-30; set GONE_ENABLED=true" in configuration.warnings[0]
        assert list(load(GONE_API_KEY=KEY, GONE_ENABLED="true").snapshot.providers) == ["gone"]

    @pytest.mark.parametrize(
        ("variables", "problem"),
        [
            ({"GROQ_TIER": "fre"}, "environment GROQ_TIER: is not one of free, paid, unknown. Did you mean free?"),
            ({"GROQ_PRIORITY": "first"}, "environment GROQ_PRIORITY: is not a whole number from 0 to 100000."),
            ({"GROQ_MARGIN": "1.5"}, "environment GROQ_MARGIN: is not a number from 0 to 1."),
            ({"GROQ_MARGIN": "-1"}, "environment GROQ_MARGIN: is not a number from 0 to 1."),
            ({"GROQ_PRIORITY": "1000000"}, "environment GROQ_PRIORITY: is not a whole number from 0 to 100000."),
            ({"GROQ_ENABLED": "maybe"}, "environment GROQ_ENABLED: is not true or false."),
            ({"GROQ_MODELS": "two words"}, "environment GROQ_MODELS: holds a model name with spaces in it."),
            ({"GROQ_BASE_URL": "groq"}, "environment GROQ_BASE_URL: is not a base URL."),
            ({"GROQ_RPM": "0"}, "environment GROQ_RPM: is not a whole number from 1 to"),
        ],
    )
    def test_wrong_values(self, variables: dict[str, str], problem: str, load: Load) -> None:
        with pytest.raises(InvalidConfiguration) as caught:
            load(GROQ_API_KEY=KEY, **variables)
        (found,) = map(str, caught.value.problems)
        assert found.startswith(problem)
        assert KEY not in str(caught.value)


class TestOllama:
    @pytest.mark.parametrize(
        "variables",
        [
            {"OLLAMA_BASE_URL": "http://localhost:11434"},
            {"OLLAMA_HOST": "0.0.0.0"},
            {"OLLAMA_MODELS": "llama3.2"},
            {"OLLAMA_ENABLED": "true"},
            {"KEYRELAY_FALLBACK": "ollama/llama3.2"},
        ],
    )
    def test_is_configured_by_any_mention(self, variables: dict[str, str], load: Load) -> None:
        snapshot = load(**variables).snapshot
        assert list(snapshot.providers) == ["ollama"]
        assert [(key.id, key.secret) for key in snapshot.keys] == [("ollama/no-key", None)]

    def test_is_absent_otherwise(self, load: Load) -> None:
        assert "ollama" not in load(OLLAMA_NUM_PARALLEL="4").snapshot.providers

    def test_can_be_switched_off(self, load: Load) -> None:
        variables = {"OLLAMA_HOST": "localhost", "OLLAMA_MODELS": "a", "KEYRELAY_FALLBACK": "ollama/a"}
        assert load(OLLAMA_ENABLED="no", **variables).snapshot.providers == {}

    def test_is_in_auto_by_its_name_until_a_model_is_known(self, load: Load) -> None:
        assert list(map(str, load(OLLAMA_ENABLED="1").snapshot.routes["auto"].targets)) == ["ollama"]
        assert list(map(str, load(OLLAMA_MODELS="a,b").snapshot.routes["auto"].targets)) == ["ollama/a"]


class TestCustomProviders:
    def test_a_prefix_with_keys_and_a_base_url_is_a_provider(self, load: Load) -> None:
        snapshot = load(
            MY_LLM_API_KEYS="a=key-a-0123456789,b=key-b-0123456789",
            MY_LLM_BASE_URL="https://api.my-llm.example/v1",
            MY_LLM_PRIORITY="2",
            MY_LLM_RPM="5",
            MY_LLM_MODELS="big",
        ).snapshot
        provider = snapshot.providers["my_llm"]
        assert (str(provider.origin), provider.base_path) == ("https://api.my-llm.example", "/v1")
        assert (provider.priority, provider.default_model) == (2, "big")
        assert [str(limit) for limit in provider.limits] == ["5 requests per 60s for (account, model)"]
        assert [key.id for key in snapshot.keys] == ["my_llm/a", "my_llm/b"]
        assert not provider.row.local
        assert provider.row.first_byte_timeout_s is None

    @pytest.mark.parametrize("wish", [{"BOX_MODELS": "qwen"}, {"BOX_ENABLED": "true"}])
    def test_a_server_without_keys_needs_a_wish(self, wish: dict[str, str], load: Load) -> None:
        snapshot = load(BOX_BASE_URL="http://10.0.0.5:8000/v1", **wish).snapshot
        assert [key.id for key in snapshot.keys] == ["box/no-key"]
        assert snapshot.providers["box"].row.local
        assert snapshot.providers["box"].row.first_byte_timeout_s == 300

    @pytest.mark.parametrize(
        "variables",
        [
            {"FOO_API_KEY": "key-0123456789"},
            {"FOO_BASE_URL": "https://foo.example"},
            {"FOO_BASE_URL": "/app", "FOO_ENABLED": "false", "FOO_API_KEY": "key-0123456789"},
            {"foo_BASE_URL": "https://foo.example", "foo_API_KEY": "key-0123456789"},
            {"_BASE_URL": "https://foo.example", "_API_KEY": "key-0123456789"},
            {"FOO_BASE_URL": "https://foo.example", "FOO_ENABLED": "0"},
            {"FOO_BASE_URL": "", "FOO_API_KEY": "key-0123456789"},
        ],
    )
    def test_unrelated_variables_are_ignored_silently(self, variables: dict[str, str], load: Load) -> None:
        configuration = load(**variables)
        assert configuration.snapshot.providers == {}
        assert configuration.warnings == ()
        assert not any("foo" in value.name for value in configuration.values)

    def test_names_that_belong_to_a_row_make_no_other_provider(self, load: Load) -> None:
        snapshot = load(
            GOOGLE_API_KEY="key-0123456789",
            GOOGLE_GEMINI_BASE_URL="https://gemini.example",
            GOOGLE_BASE_URL="https://google.example",
        ).snapshot
        assert list(snapshot.providers) == ["gemini"]

    def test_a_key_file_counts_as_a_key(self, load: Load, tmp_path: object) -> None:
        with pytest.raises(InvalidConfiguration, match="environment FOO_API_KEY_FILE: cannot read"):
            load(FOO_BASE_URL="https://foo.example/v1", FOO_API_KEY_FILE="/nowhere/key")


@pytest.mark.parametrize(("provider_id", "prefix"), [("groq", "GROQ"), ("my_llm", "MY_LLM"), ("a-b.c", "A_B_C")])
def test_prefixes(provider_id: str, prefix: str) -> None:
    assert prefix_of(provider_id) == prefix
