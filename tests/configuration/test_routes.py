from pathlib import Path

import pytest

from keyrelay.configuration import InvalidConfiguration
from keyrelay.core.configuration import PolicyName, Target
from tests.configuration.helpers import Load

KEY = "gsk_0123456789abcdef"


@pytest.fixture
def write(tmp_path: Path) -> Path:
    return tmp_path / "keyrelay.toml"


def test_a_route_of_the_file(load: Load, write: Path) -> None:
    targets = '["groq/small", "groq/org/model", "groq"]'
    write.write_text(f'[routes.fast]\ntargets = {targets}\npolicy = "priority"\nfallback = ["ollama/a"]')
    configuration = load(GROQ_API_KEY=KEY)
    route = configuration.snapshot.routes["fast"]
    assert route.targets == (Target("groq", "small"), Target("groq", "org/model"), Target("groq", ""))
    assert route.policy is PolicyName.PRIORITY
    assert route.fallback == (Target("ollama", "a"),)
    assert "ollama" in configuration.snapshot.providers
    assert [(value.value, value.source) for value in configuration.values if value.name.startswith("routes.fast")] == [
        ("groq/small, groq/org/model, groq", "keyrelay.toml"),
        ("priority", "keyrelay.toml"),
        ("ollama/a", "keyrelay.toml"),
    ]


def test_the_setting_is_the_policy_of_routes_that_name_none(load: Load, write: Path) -> None:
    write.write_text('[routes.fast]\ntargets = ["groq"]')
    snapshot = load({"policy": "least_used"}, GROQ_API_KEY=KEY).snapshot
    assert {route.policy for route in snapshot.routes.values()} == {PolicyName.LEAST_USED}
    assert snapshot.policy is PolicyName.LEAST_USED


@pytest.mark.parametrize("mode", ["off", "deterministic", "all"])
def test_a_route_may_say_which_of_its_answers_are_kept(mode: str, load: Load, write: Path) -> None:
    write.write_text(f'[routes.fast]\ntargets = ["groq"]\ncache = "{mode}"\n[routes.slow]\ntargets = ["groq"]')
    configuration = load(GROQ_API_KEY=KEY)
    routes = configuration.snapshot.routes
    assert (routes["fast"].cache, routes["slow"].cache, routes["auto"].cache) == (mode, None, None)
    assert [(each.value, each.source) for each in configuration.values if each.name.endswith("t.cache")] == [
        (mode, "keyrelay.toml")
    ]


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ('"determinstic"', "is not one of off, deterministic, all. Did you mean deterministic?"),
        ("false", "is not one of off, deterministic, all."),
        ("1", "is not one of off, deterministic, all."),
    ],
)
def test_another_mode_is_refused(mode: str, problem: str, load: Load, write: Path) -> None:
    write.write_text(f'[routes.fast]\ntargets = ["groq"]\ncache = {mode}')
    with pytest.raises(InvalidConfiguration) as caught:
        load(GROQ_API_KEY=KEY)
    assert str(caught.value.problems[0]) == f"keyrelay.toml [routes.fast] cache: {problem}"


def test_auto_may_be_defined(load: Load, write: Path) -> None:
    write.write_text('[routes.auto]\ntargets = ["groq/large"]')
    configuration = load(GROQ_API_KEY=KEY)
    assert configuration.snapshot.routes["auto"].targets == (Target("groq", "large"),)
    assert {value.source for value in configuration.values if value.name.startswith("routes.auto")} == {"keyrelay.toml"}


def test_a_provider_without_key_is_passed_over_with_a_warning(load: Load, write: Path) -> None:
    write.write_text('[routes.fast]\ntargets = ["groq/small", "gemini/small"]')
    configuration = load(GROQ_API_KEY=KEY)
    assert Target("gemini", "small") in configuration.snapshot.routes["fast"].targets
    (warning,) = configuration.warnings
    assert warning.startswith("keyrelay.toml [routes.fast] targets: gemini is not in use (without GEMINI_API_KEY")


def test_a_model_that_is_not_listed_is_a_warning(load: Load) -> None:
    configuration = load(GROQ_API_KEY=KEY, KEYRELAY_FALLBACK="groq/smal,groq/little")
    (warning,) = configuration.warnings
    assert warning.startswith("environment KEYRELAY_FALLBACK: groq/smal is not in the catalogue")
    assert warning.endswith("Did you mean small?")
    assert configuration.snapshot.fallback == (Target("groq", "smal"), Target("groq", "little"))


@pytest.mark.parametrize(
    ("fallback", "problem"),
    [
        ("grok/small", "'grok/small' names no provider that is known. Did you mean groq?"),
        ("zzz", "'zzz' names no provider that is known. Write provider/model;"),
    ],
)
def test_unknown_providers_are_refused(fallback: str, problem: str, load: Load) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        load(KEYRELAY_FALLBACK=fallback)
    assert str(caught.value.problems[0]).startswith(f"environment KEYRELAY_FALLBACK: {problem}")
