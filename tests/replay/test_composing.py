import msgspec
import pytest

from keyrelay.core.configuration import PolicyName, Tier
from keyrelay.core.errors import ConfigurationError
from keyrelay.quota.values import Amounts, LimitKey
from keyrelay.replay.composing import BlindLedger, make_ready
from keyrelay.replay.plan import load_plan, plan_of
from tests.replay.helpers import acme, per_minute


def test_a_plan_becomes_the_configuration_that_it_describes() -> None:
    setting = make_ready(load_plan("default", ("policy=least_used", "providers.groq.tier=unknown")))
    snapshot = setting.configuration.snapshot
    assert {key.id for key in snapshot.keys if key.provider_id == "gemini"} == {f"gemini/k{n}" for n in (1, 2, 3, 4)}
    assert snapshot.policy is PolicyName.LEAST_USED
    assert snapshot.providers["gemini"].tier is Tier.FREE
    assert not any(limit.firm for limit in snapshot.providers["groq"].limits)
    assert snapshot.providers["groq"].origin.host == "groq.replay.invalid"


def test_what_is_told_need_not_be_true() -> None:
    told = per_minute(15)
    setting = make_ready(plan_of({"providers": {"gemini": {"limits": [told]}}}, "x"))
    (limit,) = setting.configuration.snapshot.providers["gemini"].limits
    assert limit.amount == 15
    assert len(setting.rows["gemini"].limits) > 1


def test_a_provider_of_the_plans_own_and_one_taken_out() -> None:
    plan = plan_of({"providers": {"acme": {"models": ["m"]}, "groq": {"keys": 0}, "mistral": {"priority": 77}}}, "x")
    providers = make_ready(plan).configuration.snapshot.providers
    assert list(providers) == ["acme", "mistral"]
    assert list(providers["acme"].models) == ["m"]
    assert providers["mistral"].priority == 77


@pytest.mark.parametrize("settings", [{"polcy": "priority"}, {"retry_attempts": 1000}, {"answer_headers": "perhaps"}])
def test_settings_are_checked_as_the_gateway_checks_them(settings: dict[str, str | int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        make_ready(msgspec.structs.replace(acme(), settings=dict(settings)))


def test_a_blind_ledger_admits_everything_and_knows_nothing() -> None:
    ledger = BlindLedger()
    held = [ledger.reserve((), Amounts(), 0.0) for _ in range(1000)]
    ledger.answered(held[0], 1.0)
    ledger.settle(held[0], Amounts(), 2.0)
    plan = plan_of({"providers": {"gemini": {"keys": 1}}}, "x")
    limits = make_ready(plan).configuration.snapshot.providers["gemini"].limits
    path = tuple(LimitKey(limit, ("acct:gemini/k1",)) for limit in limits)
    standings = ledger.peek(path, 3.0)
    assert [(each.limit, each.amount, each.used) for each in standings] == [(key, key.limit.amount, 0) for key in path]
    assert not ledger.follow(path[0], 4.0, amount=1, used=5)
    ledger.confirm_belief(path[0], 4.0)
    ledger.raise_belief(held[1])
    assert ledger.peek(path, 5.0) == standings
    assert repr(ledger) == "<BlindLedger>"
