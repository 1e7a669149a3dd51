from pathlib import Path

import pytest

from keyrelay.core.errors import ConfigurationError
from keyrelay.core.limits import Unit
from keyrelay.replay.plan import KeyEntry, load_plan, shipped_plans

TEXT = """\
seed = 5
[settings]
policy = "weighted"
[providers.groq]
keys = ["a", { label = "b", account = "a", state = "exhausted_day" }]
true_limits = [{ unit = "requests", amount = 3, window = "60s" }]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return str(path)


def test_a_plan_is_read_from_a_file(file: str) -> None:
    plan = load_plan(file)
    assert (plan.name, plan.seed, plan.ledger, plan.settings) == (file, 5, True, {"policy": "weighted"})
    groq = plan.providers["groq"]
    assert groq.key_entries() == (KeyEntry(label="a"), KeyEntry(label="b", account="a", state="exhausted_day"))
    assert groq.limits is None
    assert groq.true_limits is not None
    assert (groq.true_limits[0].unit, groq.true_limits[0].amount) == (Unit.REQUESTS, 3)


def test_the_shipped_plans_differ_in_ledger_waiting_and_policy_alone() -> None:
    assert shipped_plans() == ["default", "priority", "round_robin"]
    default, priority, round_robin = map(load_plan, shipped_plans())
    assert default.providers == priority.providers == round_robin.providers
    assert (default.ledger, default.settings) == (True, {})
    assert (priority.ledger, priority.settings) == (False, {"policy": "priority", "max_waiting": 0})
    assert (round_robin.ledger, round_robin.settings) == (False, {"policy": "round_robin", "max_waiting": 0})


def test_changes_behind_the_name_win_over_those_for_all(file: str) -> None:
    text = f"{file}+providers.groq.keys=3+policy=least_used"
    plan = load_plan(text, ("policy=priority", "seed=9", "providers.mistral.keys=0"))
    assert plan.name == text
    assert plan.settings == {"policy": "least_used"}
    assert plan.seed == 9
    assert [key.label for key in plan.providers["groq"].key_entries()] == ["k1", "k2", "k3"]
    assert plan.providers["mistral"].key_entries() == ()


@pytest.mark.parametrize(
    ("change", "setting"),
    [("retry_attempts=1", 1), ("answer_headers=false", False), ("total_timeout_s=2.5", 2.5), ("fallback=x/y", "x/y")],
)
def test_a_value_is_what_toml_makes_of_it_else_text(file: str, change: str, setting: object) -> None:
    assert load_plan(file, (change,)).settings[change.partition("=")[0]] == setting


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[providers.groq]\nkeys = -1", r"providers\.groq\.keys: Expected `int` >= 0"),
        ("[providers.groq]\nkey = 1", r"providers\.groq: Object contains unknown field `key`"),
        ("[providers.groq]\nkeys = [{ state = 'ok' }]", r"providers\.groq\.keys.*missing required field `label`"),
        ("[providers.groq]\nkeys = [{ label = 'a', state = 'sleepy' }]", r"keys.*state: Invalid enum value"),
        ("[providers.groq]\nkeys = ['a', 'a']", r"providers\.groq\.keys: a label is used twice"),
        ("[providers.groq]\ntier = 'rich'", r"providers\.groq\.tier: Invalid enum value"),
        ("[providers.Groq]\nkeys = 1", "'Groq' does not name a provider"),
        ("ledger = 'maybe'\n[providers.groq]", "ledger: Expected `bool`"),
        ("ledger = true", "providers: there is none"),
        ("ledger = \n", r"this is not TOML: .*line 1"),
    ],
)
def test_a_wrong_plan_is_refused_naming_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=message) as refused:
        load_plan(str(path))
    assert refused.value.where.startswith(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("polcy=priority", "no field or setting 'polcy'"),
        ("policy", "is not field=value"),
        ("seed.x=1", "holds no further fields"),
        ("providers.groq.keys.x=1", "holds no further fields"),
    ],
)
def test_a_wrong_change_is_refused(file: str, change: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_plan(file, (change,))


def test_a_missing_plan_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read.*default, priority, round_robin"):
        load_plan("nowhere.toml")
