"""Limits that nobody has told the gateway: found out by at most two refusals, and never met again.

The whole engine on the virtual clock; the simulated provider keeps the limit with a naive sliding log of its own.
"""

from typing import Any

import pytest

from keyrelay.replay.running import replay
from tests.replay.helpers import INSTANT, acme, every, per_minute

HOUR_S, DAY_S = 3600.0, 86_400.0
UNTOLD: dict[str, Any] = {"limits": [], **INSTANT}


def per_day(amount: int) -> dict[str, Any]:
    return {"unit": "requests", "amount": amount, "window": "day@UTC", "scope": ["account", "model"]}


@pytest.mark.parametrize("amount", [1, 5, 15, 60])
def test_a_minute_is_learned_and_then_used_to_the_last_request(amount: int) -> None:
    gap_s = 60 / (4 * amount)
    trace = every(gap_s, int(HOUR_S / gap_s), deadline_s=50.0)
    figures = replay(trace, acme(true_limits=[per_minute(amount)], **UNTOLD))
    assert 0 < figures.upstream_429 <= 2
    assert figures.answered >= 0.95 * figures.usable


@pytest.mark.parametrize("amount", [5, 50])
def test_a_day_is_learned_with_its_reset(amount: int) -> None:
    gap_s = DAY_S / (4 * amount)
    trace = every(gap_s, 4 * amount * 3, deadline_s=10.0)
    figures = replay(trace, acme(true_limits=[per_day(amount)], **UNTOLD))
    assert 0 < figures.upstream_429 <= 2
    assert figures.answered >= 0.95 * figures.usable, "each day's quota returns when the day begins, not later"


def test_two_keys_of_one_account_share_what_is_learned() -> None:
    keys = [{"label": "a", "account": "one"}, {"label": "b", "account": "one"}]
    trace = every(1.0, 3600, deadline_s=50.0)
    figures = replay(trace, acme(true_limits=[per_minute(20)], keys=keys, **UNTOLD))
    assert 0 < figures.upstream_429 <= 2
    assert figures.answered >= 0.95 * figures.usable


def test_a_minute_and_a_day_at_once() -> None:
    trace = every(4.0, 3 * 21_600, deadline_s=20.0)
    figures = replay(trace, acme(true_limits=[per_minute(10), per_day(2000)], **UNTOLD))
    assert 0 < figures.upstream_429 <= 4, "two for each limit"
    assert figures.answered >= 0.95 * figures.usable
