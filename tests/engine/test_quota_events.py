from keyrelay.core.records import RequestRecord
from keyrelay.engine.quota_events import QuotaEvents
from keyrelay.quota.values import Amounts, Refusal
from tests.engine.rig import providers
from tests.engine.test_quota_view import NOW_S, Viewed


def answered(viewed: Viewed, key: str = "k00") -> RequestRecord:
    taken = viewed.ledger.reserve(viewed.candidate(key).path, Amounts(), NOW_S)
    assert not isinstance(taken, Refusal)
    viewed.ledger.settle(taken, Amounts(), NOW_S, arrived=True)
    return RequestRecord("req", provider="acme", key=key, model="m", status=200)


def test_each_threshold_speaks_once_for_the_count_that_reached_it() -> None:
    viewed = Viewed(providers("acme", keys=2, ACME_RPD="20"))
    events = QuotaEvents(viewed.pool, viewed.ledger)
    spoken = []
    for number in range(1, 21):
        for event in events.check([answered(viewed)], NOW_S):
            spoken.append((number, event.crossing.threshold, event.candidate.key.label))
            assert (event.crossing.used, event.crossing.amount) == (number, 20)
            assert event.limit_key.bound == ("acct:acme/k00", "model:m")
            assert event.crossing.reset_s is not None
    assert spoken == [(15, 0.75, "k00"), (18, 0.9, "k00"), (19, 0.95, "k00")]


def test_a_batch_is_looked_at_together() -> None:
    viewed = Viewed(providers("acme", keys=2, ACME_RPD="20"))
    batch = [answered(viewed, key) for key in ("k00", "k01") for _ in range(19)]
    found = QuotaEvents(viewed.pool, viewed.ledger).check(batch, NOW_S)
    assert [(event.candidate.key.label, event.crossing.threshold) for event in found] == [("k00", 0.95), ("k01", 0.95)]


def test_what_nobody_answered_or_nobody_knows_is_no_event() -> None:
    viewed = Viewed(providers("acme", ACME_RPD="1"))
    answered(viewed)
    events = QuotaEvents(viewed.pool, viewed.ledger)
    gone = RequestRecord("req", provider="acme", key="long gone", model="m")
    assert events.check([RequestRecord("req"), gone], NOW_S) == []
    assert "75%" in repr(events)
