from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.administration.importing.found import Found
from keyrelay.administration.importing.litellm import MASTER_LABEL, MAX_DEPLOYMENTS, read_litellm
from keyrelay.core.administered import ProviderEntry, RouteEntry
from keyrelay.core.configuration import PolicyName
from keyrelay.core.secrets import Secret
from tests.administration.importing.files import KNOWN, reasons

MASTER = "sk-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
VARIABLES = {"GROQ_KEY": "gsk_test_0123456789", "MASTER": MASTER}

WHOLE = """
model_list:
  - model_name: fast
    litellm_params: &groq
      model: groq/llama-3.1-8b-instant
      api_key: os.environ/GROQ_KEY
      rpm: 30
      tpm: 6000
  - model_name: fast
    litellm_params:
      model: gpt-4o-mini
      api_key: sk-test-openai-0123
      max_parallel_requests: 4
      temperature: 0.2
  - model_name: clever
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      api_key: sk-ant-test-0123
  - model_name: openai/gpt-4o-mini
    litellm_params: {model: openai/gpt-4o-mini, api_key: sk-test-openai-0123, weight: 3}
  - model_name: other
    litellm_params:
      <<: *groq
      model: groq/llama-3.3-70b-versatile
      rpm: "12"
litellm_settings:
  drop_params: true
  num_retries: 3
router_settings:
  routing_strategy: usage-based-routing-v2
  fallbacks: [{fast: [clever]}]
  model_group_alias: {gpt-4: fast, quick: {model: other, hidden: true}}
general_settings:
  master_key: os.environ/MASTER
  database_url: postgresql://somewhere
"""


def read(document: Any, **variables: str) -> Found:
    return read_litellm("config.yaml", yaml.safe_dump(document), KNOWN, {**VARIABLES, **variables})


def deployment(group: str = "fast", **params: Any) -> dict[str, Any]:
    return {"model_name": group, "litellm_params": {"model": "groq/llama", "api_key": "gsk_test_0123", **params}}


def routes(found: Found) -> dict[str, RouteEntry]:
    return {each.entry.name: each.entry for each in found.routes}


def provider(found: Found) -> ProviderEntry:
    (only,) = found.providers
    return only.entry


def test_a_whole_configuration_is_read() -> None:
    found = read_litellm("config.yaml", WHOLE, KNOWN, VARIABLES)
    assert [(key.provider, key.secret.reveal(), key.weight, key.limits) for key in found.keys] == [
        (
            "groq",
            "gsk_test_0123456789",
            None,
            (
                "30 requests per 60s for key+model of llama-3.1-8b-instant",
                "6000 tokens per 60s for key+model of llama-3.1-8b-instant",
                "12 requests per 60s for key+model of llama-3.3-70b-versatile",
                "6000 tokens per 60s for key+model of llama-3.3-70b-versatile",
            ),
        ),
        ("openai", "sk-test-openai-0123", None, ("4 requests concurrent for key+model of gpt-4o-mini",)),
        ("anthropic", "sk-ant-test-0123", None, ()),
    ]
    policy = PolicyName.LEAST_USED
    fast = RouteEntry(
        name="fast",
        targets=("groq/llama-3.1-8b-instant", "openai/gpt-4o-mini"),
        policy=policy,
        fallback=("anthropic/claude-sonnet-4-5",),
    )
    assert routes(found) == {
        "fast": fast,
        "clever": RouteEntry(name="clever", targets=("anthropic/claude-sonnet-4-5",), policy=policy),
        "other": RouteEntry(name="other", targets=("groq/llama-3.3-70b-versatile",), policy=policy),
        "gpt-4": RouteEntry(name="gpt-4", targets=fast.targets, policy=policy, fallback=fast.fallback),
        "quick": RouteEntry(name="quick", targets=("groq/llama-3.3-70b-versatile",), policy=policy),
    }
    assert [(each.label, each.secret.reveal()) for each in found.clients] == [(MASTER_LABEL, MASTER)]
    assert set(reasons(found)) == {
        "model_list[1] fast temperature",
        "litellm_settings.drop_params",
        "litellm_settings.num_retries",
        "general_settings.database_url",
    }


@pytest.mark.parametrize(
    ("params", "target", "entry"),
    [
        ({"model": "gemini/gemini-2.5-flash"}, "gemini/gemini-2.5-flash", None),
        ({"model": "together_ai/a/b"}, "together/a/b", None),
        ({"model": "x", "custom_llm_provider": "groq"}, "groq/x", None),
        ({"model": "x", "api_base": "https://api.groq.com/openai/v1"}, "groq/x", None),
        ({"model": "ollama_chat/llama3.2"}, "ollama/llama3.2", ProviderEntry(id="ollama", enabled=True)),
        ({"model": "ollama/llama3.2", "api_base": "http://gpu.example.com:11434/"}, "ollama/llama3.2",
         ProviderEntry(id="ollama", base_url="http://gpu.example.com:11434")),
        ({"model": "openai/x", "api_base": "https://llm.example.com/v1"}, "llm_example_com/x",
         ProviderEntry(id="llm_example_com", base_url="https://llm.example.com/v1", models=("x",))),
        ({"model": "hosted_vllm/x", "base_url": "https://9.example.com:8443/v1"}, "host_9_example_com_8443/x",
         ProviderEntry(id="host_9_example_com_8443", base_url="https://9.example.com:8443/v1", models=("x",))),
    ],
)  # fmt: skip
def test_a_deployment_goes_where_litellm_sent_it(
    params: dict[str, str], target: str, entry: ProviderEntry | None
) -> None:
    found = read({"model_list": [deployment(**params)]})
    assert routes(found)["fast"].targets == (target,)
    assert [each.entry for each in found.providers] == ([] if entry is None else [entry])
    assert not found.left


def test_two_deployments_of_an_own_server_are_one_provider() -> None:
    listed = [deployment(model=f"openai/{name}", api_base="https://llm.example.com/v1") for name in "xy"]
    assert provider(read({"model_list": listed})).models == ("x", "y")


def test_a_provider_at_two_addresses_is_at_the_first_one() -> None:
    listed = [deployment(model="ollama/x", api_base=f"http://{host}.example.com:11434") for host in "ab"]
    found = read({"model_list": listed})
    assert provider(found).base_url == "http://a.example.com:11434"
    assert "another address" in reasons(found)["model_list[1] fast api_base"]


@pytest.mark.parametrize("api_key", [None, "none", "os.environ/NOTHING"])
def test_a_key_that_is_not_there(api_key: str | None) -> None:
    local = read({"model_list": [deployment(model="ollama/x", api_key=api_key)]}, NOTHING="na")
    assert routes(local)["fast"].targets == ("ollama/x",)
    assert not local.keys


@pytest.mark.parametrize(
    ("document", "source", "words"),
    [
        ([], "the file", "holds no settings"),
        ({"model_list": 5}, "model_list", "no list"),
        ({"model_list": [{}]}, "model_list[0]", "no model_name"),
        ({"model_list": [deployment(model="bedrock/claude")]}, "model_list[0] fast", "account of a cloud"),
        ({"model_list": [deployment(model="nowhere/x")]}, "model_list[0] fast", "no provider"),
        ({"model_list": [deployment(model="openai/x", api_base="nowhere")]}, "model_list[0] fast", "no api_base"),
        ({"model_list": [deployment(api_base=5)]}, "model_list[0] fast api_base", "no text"),
        ({"model_list": [deployment(api_key="os.environ/NOTHING")]}, "model_list[0] fast api_key", "no value here"),
        ({"model_list": [deployment(api_key="a b")]}, "model_list[0] fast api_key", "placeholder"),
        ({"model_list": [deployment(model="groq/*")]}, "model_list[0] fast", "pattern"),
        ({"model_list": [deployment(model="groq/a b")]}, "model_list[0] fast", "cannot be a target"),
        ({"model_list": [deployment("a/b")]}, "model_list[0] a/b", "name of a route"),
        ({"model_list": [deployment(rpm=-1)]}, "model_list[0] fast rpm", "whole number"),
        ({"model_list": [deployment(rpm=1.5)]}, "model_list[0] fast rpm", "whole number"),
        ({"model_list": [deployment(rpm=True)]}, "model_list[0] fast rpm", "whole number"),
        ({"router_settings": {"routing_strategy": "latency-based-routing"}},
         "router_settings.routing_strategy", "orders by"),
        ({"router_settings": {"model_group_alias": {"a": "b"}}}, "router_settings.model_group_alias a", "not there"),
        ({"router_settings": {"fallbacks": [{"a": ["b"]}]}}, "fallbacks a", "no model_name"),
        ({"router_settings": 5}, "router_settings", "no settings"),
        ({"general_settings": {"master_key": "sk-1234"}}, "general_settings.master_key", "guessed"),
        ({"guardrails": []}, "guardrails", "contents"),
        ({"made_up": 1}, "made_up", "nothing of this name"),
    ],
)  # fmt: skip
def test_what_stays_behind_is_named_with_the_reason(document: object, source: str, words: str) -> None:
    assert words in reasons(read(document))[source]


def test_fallbacks_for_all_and_for_the_rest() -> None:
    listed = [deployment("a", model="groq/a"), deployment("b", model="groq/b"), deployment("c", model="groq/c")]
    router = {"fallbacks": [{"a": ["b"]}, {"*": ["a"]}], "default_fallbacks": ["c"]}
    found = routes(read({"model_list": listed, "litellm_settings": router}))
    assert [found[name].fallback for name in "abc"] == [("groq/b", "groq/c"), ("groq/a", "groq/c"), ("groq/a",)]


def test_variables_of_the_file_itself_count() -> None:
    document = {"environment_variables": {"K": "gsk_test_own"}, "model_list": [deployment(api_key="os.environ/K")]}
    assert read(document).keys[0].secret == Secret("gsk_test_own")


def test_deployments_are_bounded() -> None:
    found = read({"model_list": [deployment("llama", model="groq/llama")] * (MAX_DEPLOYMENTS + 1)})
    assert "at once" in reasons(found)["model_list"]


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 'x",
        "a: b: c",
        "\x00",
        "!!python/object:os.system {}",
        "d: 2026-99-99",
        "{[]: 1}: 2",
        "[" * 9999,
    ],
)
def test_what_is_no_yaml_says_so(text: str) -> None:
    assert "YAML" in reasons(read_litellm("x", text, KNOWN, {}))["the file"]


def test_references_that_bring_in_more_and_more_are_refused() -> None:
    levels = ["a0: &a0 {k: v}"] + [f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 20)}]}}" for n in range(7)]
    assert "YAML" in reasons(read_litellm("x", "\n".join(levels), KNOWN, {}))["the file"]


_names = st.sampled_from(
    [
        "model_list", "model_name", "litellm_params", "model", "api_key", "rpm", "router_settings", "fallbacks",
        "model_group_alias", "general_settings", "master_key", "api_base",
    ]
)  # fmt: skip
_leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["groq/x", "fast"])
)
_values = st.recursive(
    _leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_names, inner, max_size=4)),
    max_leaves=16,
)


@given(_values)
def test_whatever_stands_there_is_read_or_left(document: object) -> None:
    read(document)


@given(st.text(max_size=100))
def test_a_text_that_is_anything_raises_nothing(text: str) -> None:
    read_litellm("x", text, KNOWN, {})


@pytest.mark.parametrize("field", ["api_key", "api_base", "rpm", "weight", "max_parallel_requests"])
@pytest.mark.parametrize("before", ["", "a b ", "http://", "os.environ/"])
def test_no_secret_is_repeated(field: str, before: str) -> None:
    canary = "canary0f1e2d3c4b5a69780f1e2d3c4b5a697899"
    for left in read({"model_list": [deployment(**{field: before + canary})]}).left:
        assert canary not in left.source
        assert canary not in left.reason or before == "os.environ/"
