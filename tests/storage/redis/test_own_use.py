from hypothesis import given
from hypothesis import strategies as st

from keyrelay.storage.redis.own_use import OwnUse, slot_of

SPAN_US = 1000
moments = st.integers(0, 100_000)


@given(calls=st.lists(st.tuples(moments, moments, st.integers(0, 9), st.integers(0, 9), st.booleans())), since=moments)
def test_it_counts_and_tells_what_a_list_would(calls: list[tuple[int, int, int, int, bool]], since: int) -> None:
    own, counted, told = OwnUse(SPAN_US), 0, 0
    for bound, new_bound, taken, used, tell in calls:
        own.add(bound, taken)
        if tell:
            told += sum(amount for _, amount in own.take_untold()) - taken + used
            assert not own.untold
        own.correct(bound, taken, new_bound, used, told=tell)
        counted += used if slot_of(new_bound, SPAN_US) * SPAN_US > since else 0
    told += sum(amount for _, amount in own.take_untold())
    assert told == sum(used for _, _, _, used, _ in calls)
    assert own.used(since) == counted
    own.forget()
    assert own.used(-1) == 0
    assert repr(own) == "<OwnUse slots=0 untold=0>"


def test_it_says_when_something_comes_back() -> None:
    own = OwnUse(SPAN_US)
    own.add(500, 2)
    own.add(5_500, 3)
    assert own.free_at_us(2, 0, 60_000) == 61_000
    assert own.free_at_us(3, 0, 60_000) == 66_000
    assert own.free_at_us(6, 0, 60_000) is None
