"""What is administered, between the file and the environment."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from keyrelay.configuration import Configuration, InvalidConfiguration, load_configuration
from keyrelay.configuration.stored import address_of, bound
from keyrelay.core.administered import (
    NOTHING,
    Administered,
    Entry,
    KeyEntry,
    ProviderEntry,
    RouteEntry,
    SettingEntry,
)
from keyrelay.core.configuration import Key, PolicyName, Target, Tier
from keyrelay.core.limits import ScopePart
from keyrelay.core.secrets import Secret
from tests.configuration.helpers import ROWS

KEY = "gsk_0123456789abcdef"
OTHER = "gsk_fedcba9876543210"

LoadWith = Callable[..., Configuration]


@pytest.fixture
def load_with(tmp_path: Path) -> LoadWith:
    def load(administered: Administered, **environ: str) -> Configuration:
        catalogue = {row.id: row for row in ROWS}
        environ = {"HOME": str(tmp_path / "home"), **environ}
        return load_configuration(
            environ, directory=tmp_path, overrides={}, catalogue=catalogue, administered=administered
        )

    return load


def of(*entries: Entry) -> Administered:
    administered = NOTHING
    for entry in entries:
        administered = administered.put(entry)
    return administered


def key(label: str = "work", secret: str = KEY, **more: object) -> Administered:
    return NOTHING.put(KeyEntry(provider="groq", label=label, **more), Secret(secret))  # type: ignore[arg-type]


def value(configuration: Configuration, name: str) -> tuple[str, str]:
    return {each.name: (each.value, each.source) for each in configuration.values}[name]


def only(configuration: Configuration) -> Key:
    (found,) = configuration.snapshot.keys
    return found


def test_the_store_wins_over_the_file_and_the_environment_over_the_store(load_with: LoadWith, tmp_path: Path) -> None:
    (tmp_path / "keyrelay.toml").write_text("[settings]\nmax_waiting = 1")
    setting = of(SettingEntry(name="max_waiting", text="2"))
    assert load_with(NOTHING).settings.max_waiting == 1
    assert load_with(setting).settings.max_waiting == 2
    assert value(load_with(setting), "settings.max_waiting") == ("2", "store KEYRELAY_MAX_WAITING")
    assert load_with(setting, KEYRELAY_MAX_WAITING="3").settings.max_waiting == 3


def test_what_is_said_of_a_provider_counts_like_its_variables(load_with: LoadWith) -> None:
    entry = ProviderEntry(
        id="groq",
        priority=7,
        tier="free",
        models=("large",),
        limits=("5 requests per 60s",),
        margin=0.5,
    )
    configuration = load_with(of(entry), GROQ_API_KEY=KEY)
    provider = configuration.snapshot.providers["groq"]
    assert (provider.priority, provider.tier, provider.default_model) == (7, Tier.FREE, "large")
    assert value(configuration, "providers.groq.priority") == ("7", "store GROQ_PRIORITY")
    assert load_with(of(entry), GROQ_API_KEY=KEY, GROQ_PRIORITY="3").snapshot.providers["groq"].priority == 3
    assert load_with(of(ProviderEntry(id="groq", enabled=False)), GROQ_API_KEY=KEY).snapshot.providers == {}


def test_a_provider_that_only_the_store_knows(load_with: LoadWith) -> None:
    entry = ProviderEntry(id="my_llm", base_url="https://llm.example/v1", models=("one",))
    main = KeyEntry(provider="my_llm", label="main", origin="https://llm.example")
    keyed = of(entry).put(main, Secret(KEY))
    configuration = load_with(keyed)
    assert [key.id for key in configuration.snapshot.keys] == ["my_llm/main"]
    assert str(configuration.snapshot.providers["my_llm"].origin) == "https://llm.example"
    assert list(load_with(of(entry)).snapshot.providers) == ["my_llm"]
    bare = of(ProviderEntry(id="my_llm", base_url="https://llm.example/v1"))
    assert list(load_with(bare.put(main, Secret(KEY))).snapshot.providers) == ["my_llm"]
    assert list(load_with(bare).snapshot.providers) == []


def test_a_key_of_the_store_serves_beside_those_of_the_environment(load_with: LoadWith) -> None:
    configuration = load_with(key(account="org", weight=2.0, backup=True, priority=3), GROQ_API_KEY=f"home={OTHER}")
    home, work = configuration.snapshot.keys
    assert (home.id, work.id, work.account, work.weight) == ("groq/home", "groq/work", "org", 2.0)
    assert (home.backup, work.backup, work.priority) == (False, True, 3)
    assert value(configuration, "providers.groq.keys.work") == (
        "…cdef (account org, backup, priority 3, weight 2)",
        "store",
    )


def test_the_weight_of_a_provider_is_that_of_keys_without_one(load_with: LoadWith) -> None:
    assert only(load_with(key(), GROQ_WEIGHT="4")).weight == 4.0


def test_what_is_said_of_a_key_of_the_environment_is_added_to_it(load_with: LoadWith) -> None:
    said = of(KeyEntry(provider="groq", label="home", referenced=True, backup=True))
    assert only(load_with(said, GROQ_API_KEY=f"home={OTHER}")).backup
    assert load_with(said).snapshot.keys == ()


@pytest.mark.parametrize("held", [f"work={OTHER}", f"home={KEY}"], ids=["the same label", "the same key"])
def test_the_environment_wins_over_the_same_key_of_the_store(load_with: LoadWith, held: str) -> None:
    configuration = load_with(key(), GROQ_API_KEY=held)
    assert only(configuration).label == held.partition("=")[0]
    assert any("store key groq/work" in warning for warning in configuration.warnings)


def test_a_key_that_is_switched_off_or_out_of_date_does_not_serve(load_with: LoadWith) -> None:
    assert load_with(key(enabled=False)).snapshot.keys == ()
    assert load_with(key(expires_s=1.0)).snapshot.keys == ()
    assert only(load_with(key(expires_s=1e12))).label == "work"


def test_limits_of_a_key_bind_it_alone(load_with: LoadWith) -> None:
    (limit,) = only(load_with(key(limits=("5 requests per 60s",)))).limits
    assert (limit.amount, limit.scope, limit.firm) == (5, (ScopePart.KEY,), True)


@pytest.mark.parametrize(
    ("administered", "problem"),
    [
        (key(limits=("many",)), "it is not written like a limit"),
        (key(limits=("5 requests per 60s for account",)), "is not for the key"),
        (key(limits=("5 requests per 60s", "6 requests per 60s")), "contradict each other"),
        (of(ProviderEntry(id="groq", tier="gold")), "GROQ_TIER"),
        (of(SettingEntry(name="nonsense", text="1")), "no such setting"),
        (of(SettingEntry(name="data_dir", text="/tmp")), "only be set in the environment"),
        (of(SettingEntry(name="operator_secret", text="x")), "only be set in the environment"),
        (of(RouteEntry(name="fast", targets=())), "names no target"),
        (of(RouteEntry(name="fast", targets=("groq",), policy="quick")), "is not one of"),
        (of(RouteEntry(name="fast", targets=("grok/x",))), "names no provider"),
    ],
)
def test_what_is_wrong_is_refused(load_with: LoadWith, administered: Administered, problem: str) -> None:
    with pytest.raises(InvalidConfiguration, match=problem):
        load_with(administered, GROQ_API_KEY=f"home={OTHER}")


def test_routes_of_the_store_join_those_of_the_file_and_win(load_with: LoadWith, tmp_path: Path) -> None:
    (tmp_path / "keyrelay.toml").write_text(
        '[routes.fast]\ntargets = ["groq/small"]\n[routes.slow]\ntargets = ["groq/large"]'
    )
    own = RouteEntry(name="fast", targets=("groq/large",), policy="weighted", cache="all")
    configuration = load_with(of(own), GROQ_API_KEY=KEY)
    routes = configuration.snapshot.routes
    assert routes["fast"].targets == routes["slow"].targets == (Target("groq", "large"),)
    assert (routes["fast"].policy, routes["fast"].cache) == (PolicyName.WEIGHTED, "all")
    assert value(configuration, "routes.fast.policy") == ("weighted", "store")
    assert value(configuration, "routes.slow.targets") == ("groq/large", "keyrelay.toml")


# Where keys may go

GROQ = "https://api.groq.example"
ELSEWHERE = "https://elsewhere.example"


@pytest.mark.parametrize(
    ("bound_to", "base_url", "environ", "serves"),
    [
        ("", "", {}, True),
        ("", f"{ELSEWHERE}/v1", {}, False),
        ("", f"{GROQ}/openai/v1", {}, True),
        ("", f"{GROQ}:8443/openai/v1", {}, False),
        ("", "http://api.groq.example/openai/v1", {}, False),
        (ELSEWHERE, f"{ELSEWHERE}/v1", {}, True),
        (ELSEWHERE, "https://third.example/v1", {}, False),
        (ELSEWHERE, "", {}, False),
        (ELSEWHERE, "", {"GROQ_BASE_URL": "https://operator.example/v1"}, True),
        ("", f"{ELSEWHERE}/v1", {"GROQ_BASE_URL": "https://operator.example/v1"}, True),
    ],
)
def test_a_key_goes_to_the_address_that_it_was_entered_for(
    load_with: LoadWith, bound_to: str, base_url: str, environ: dict[str, str], *, serves: bool
) -> None:
    administered = key(origin=bound_to).put(ProviderEntry(id="groq", base_url=base_url, priority=1))
    configuration = load_with(administered, **environ)
    assert [each.id for each in configuration.snapshot.keys] == (["groq/work"] if serves else [])
    assert [(each.key.id, each.reason) for each in configuration.snapshot.withheld] == (
        [] if serves else [("groq/work", "other_host")]
    )


def test_a_key_that_stays_behind_says_so(load_with: LoadWith) -> None:
    moved = key().put(ProviderEntry(id="groq", base_url=f"{ELSEWHERE}/v1"))
    configuration = load_with(moved)
    (withheld,) = configuration.snapshot.withheld
    assert withheld.detail == (
        f"it was entered for {GROQ}, and its provider is at {ELSEWHERE} now: enter it again, or confirm the address"
    )
    (warning,) = configuration.warnings
    assert warning == (
        f"store provider groq: 1 key was entered for another address, and not sent to {ELSEWHERE}: work. "
        "Enter them again, or confirm the address."
    )


def test_a_key_of_the_environment_goes_to_addresses_of_the_environment_alone(load_with: LoadWith) -> None:
    moved = of(ProviderEntry(id="groq", base_url=f"{ELSEWHERE}/v1"))
    (withheld,) = load_with(moved, GROQ_API_KEY=f"home={OTHER}").snapshot.withheld
    assert withheld.detail == (
        "it stands in environment GROQ_API_KEY, and goes to addresses of the environment and the catalogue alone"
    )
    said = moved.put(KeyEntry(provider="groq", label="home", referenced=True, origin=ELSEWHERE))
    copied = said.put(KeyEntry(provider="groq", label="home", origin=ELSEWHERE), Secret(OTHER))
    for state in (said, copied):
        assert load_with(state, GROQ_API_KEY=f"home={OTHER}").snapshot.keys == ()
    assert [each.id for each in load_with(copied).snapshot.keys] == ["groq/home"], "once it is the store's alone"


def test_what_a_person_has_said_of_a_key_comes_before_where_it_belongs(load_with: LoadWith) -> None:
    moved = key(enabled=False, set_by="user:ann").put(ProviderEntry(id="groq", base_url=f"{ELSEWHERE}/v1"))
    (withheld,) = load_with(moved).snapshot.withheld
    assert (withheld.reason, withheld.set_by) == ("disabled", "user:ann")
    assert "it was entered for" in withheld.detail, "and it is not sent anywhere to be tested"


def test_a_provider_that_only_the_store_knows_gets_no_key_by_its_name(load_with: LoadWith) -> None:
    thief = of(ProviderEntry(id="stripe", base_url=f"{ELSEWHERE}/v1", models=("m",)))
    configuration = load_with(thief, STRIPE_API_KEY=KEY)
    assert configuration.snapshot.keys == ()
    assert [each.reason for each in configuration.snapshot.withheld] == ["other_host"]
    unbound = thief.put(KeyEntry(provider="stripe", label="a"), Secret(KEY))
    assert "it belongs to no address that is administered" in load_with(unbound).snapshot.withheld[0].detail


def test_a_key_is_bound_to_the_address_of_when_it_was_entered() -> None:
    provider = ProviderEntry(id="groq", base_url=f"{ELSEWHERE}/v1")
    first = bound(NOTHING, key())
    assert origins(first) == {"groq/work": ""}
    moved = bound(first, first.put(provider))
    assert origins(moved) == {"groq/work": ""}
    again = bound(moved, moved.put(KeyEntry(provider="groq", label="work"), Secret(KEY)))
    assert origins(again) == {"groq/work": ELSEWHERE}
    noted = bound(again, again.put(msgspec.structs.replace(again.all(KeyEntry)[0], notes="mine")))
    assert origins(noted) == {"groq/work": ELSEWHERE}
    together = bound(NOTHING, of(provider).put(KeyEntry(provider="groq", label="work"), Secret(KEY)))
    assert origins(together) == {"groq/work": ELSEWHERE}


def test_a_key_that_gets_another_label_stays_bound_as_it_was() -> None:
    first = bound(NOTHING, key())
    moved = first.put(ProviderEntry(id="groq", base_url=f"{ELSEWHERE}/v1"))
    secret = moved.secrets["key", "groq/work"]
    renamed = moved.without("key", "groq/work").put(KeyEntry(provider="groq", label="new"), secret)
    assert origins(bound(moved, renamed)) == {"groq/new": ""}
    forged = moved.put(KeyEntry(provider="groq", label="copy", origin=ELSEWHERE), secret)
    assert origins(bound(moved, forged)) == {"groq/copy": "", "groq/work": ""}


def test_a_copy_of_a_key_of_the_environment_belongs_where_that_one_does() -> None:
    moved = of(ProviderEntry(id="groq", base_url=f"{ELSEWHERE}/v1"))
    copied = moved.put(KeyEntry(provider="groq", label="home"), Secret(OTHER))
    assert origins(bound(moved, copied, held=frozenset({Secret(OTHER)}))) == {"groq/home": ""}
    assert origins(bound(moved, copied, held=frozenset({Secret(KEY)}))) == {"groq/home": ELSEWHERE}


def test_an_address_that_is_none_binds_to_nothing() -> None:
    assert address_of(of(ProviderEntry(id="groq", base_url="nonsense")), "groq") == ""
    assert address_of(NOTHING, "groq") == ""


def origins(administered: Administered) -> dict[str, str]:
    return {entry.id: entry.origin for entry in administered.all(KeyEntry)}
