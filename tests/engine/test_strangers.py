"""Somebody else's use of a key, told by the provider's count of requests."""

from keyrelay.core.limits import Limit, LimitSource, ScopePart, Unit, Window, WindowKind
from keyrelay.engine.strangers import FORGOTTEN_S, Strangers
from keyrelay.quota.values import Amounts, LimitKey, Refusal
from keyrelay.storage.memory_ledger import MemoryLedger

NOW_S = 1_000_000.0


def of(unit: Unit = Unit.REQUESTS) -> LimitKey:
    limit = Limit(
        unit=unit,
        amount=1_000,
        window=Window(WindowKind.DAY),
        scope=(ScopePart.ACCOUNT,),
        source=LimitSource.CONFIGURED,
    )
    return LimitKey(limit, ("acct:groq/work",))


def test_what_was_used_before_the_first_look_may_be_anybodys_and_what_comes_after_is_counted() -> None:
    ledger = MemoryLedger()
    strangers, key = Strangers(ledger), of()
    strangers.look("groq/work", key, 500, NOW_S)
    ledger.follow(key, NOW_S, used=500)
    assert strangers.times("groq/work", NOW_S) == 0
    for number in range(10):
        reservation = ledger.reserve((key,), Amounts(1), NOW_S + number)
        assert not isinstance(reservation, Refusal)
        ledger.settle(reservation, Amounts(1), NOW_S + number)
        strangers.look("groq/work", key, 501 + number, NOW_S + number)
    assert strangers.times("groq/work", NOW_S) == 0
    strangers.look("groq/work", key, 600, NOW_S + 20)
    ledger.follow(key, NOW_S + 20, used=600)
    strangers.look("groq/work", key, 605, NOW_S + 21)
    assert strangers.times("groq/work", NOW_S + 21) == 1
    strangers.look("groq/work", key, 700, NOW_S + 22)
    assert strangers.times("groq/work", NOW_S + 22) == 2
    assert strangers.times("groq/work", NOW_S + 22 + FORGOTTEN_S) == 0
    assert strangers.times("groq/home", NOW_S) == 0


def test_tokens_are_counted_differently_everywhere_and_say_nothing() -> None:
    strangers = Strangers(MemoryLedger())
    for used in (1, 900, None):
        strangers.look("groq/work", of(Unit.TOKENS), used, NOW_S)
    strangers.look("groq/work", of(), None, NOW_S)
    assert strangers.times("groq/work", NOW_S) == 0
