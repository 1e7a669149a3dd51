import gc
import os
import tracemalloc
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.storage.memory_cache import ENTRY_BYTES, MemoryCache

NOW_S = 1000.0
APP = "client:app"


def room_for(entries: int, value: bytes = b"v") -> int:
    probe = MemoryCache(1 << 30)
    probe.put(b"probe", APP, value, now_s=NOW_S, ttl_s=1)
    return probe.bytes_held * entries


def put(cache: MemoryCache, key: bytes, value: bytes = b"v", *, now_s: float = NOW_S, ttl_s: float = 60.0) -> bool:
    return cache.put(key, APP, value, now_s=now_s, ttl_s=ttl_s)


def test_the_least_recently_used_goes_first() -> None:
    cache = MemoryCache(room_for(3))
    for key in (b"a", b"b", b"c"):
        assert put(cache, key)
    assert cache.get_now(b"a", APP, NOW_S) == b"v"
    assert put(cache, b"d")
    assert [cache.get_now(key, APP, NOW_S) for key in (b"a", b"b", b"c", b"d")] == [b"v", None, b"v", b"v"]
    assert cache.evicted == 1
    assert repr(cache) == f"<MemoryCache 3 answers, {room_for(3)} of {room_for(3)} bytes>"


def test_what_had_expired_anyway_was_not_evicted() -> None:
    cache = MemoryCache(room_for(1))
    put(cache, b"a", ttl_s=5)
    put(cache, b"b", now_s=NOW_S + 6)
    assert cache.evicted == 0


def test_a_value_that_replaces_another_takes_its_room() -> None:
    cache = MemoryCache(room_for(2))
    put(cache, b"a", b"x")
    put(cache, b"a", b"y")
    assert cache.size() == (1, room_for(1))
    assert cache.get_now(b"a", APP, NOW_S) == b"y"


@pytest.mark.parametrize("most_bytes", [0, 1, ENTRY_BYTES])
def test_what_does_not_fit_is_not_kept_and_moves_nothing_out(most_bytes: int) -> None:
    cache = MemoryCache(most_bytes)
    assert not put(cache, b"a")
    assert cache.size() == (0, 0)


def test_a_value_too_large_takes_the_one_before_it_along() -> None:
    cache = MemoryCache(room_for(2))
    put(cache, b"a", b"small")
    put(cache, b"b")
    assert not put(cache, b"a", b"x" * room_for(2))
    assert cache.get_now(b"a", APP, NOW_S) is None
    assert cache.get_now(b"b", APP, NOW_S) == b"v"


def test_what_has_expired_gives_its_room_back_when_asked_for() -> None:
    cache = MemoryCache(room_for(2))
    put(cache, b"a", ttl_s=5)
    assert cache.get_now(b"a", APP, NOW_S + 5) is None
    assert cache.size() == (0, 0)


async def test_others_have_their_turn_while_one_scope_is_purged() -> None:
    cache = MemoryCache(1 << 30)
    for number in range(2500):
        cache.put(b"%d" % number, APP if number % 2 else "client:other", b"v", now_s=NOW_S, ttl_s=60)
    assert await cache.purge(APP) == 1250
    assert cache.size() == (1250, cache.bytes_held)
    await cache.aclose()
    assert cache.size() == (0, 0)


def test_it_takes_no_more_memory_than_it_says() -> None:
    cache = MemoryCache(1 << 30)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(11_000):  # past a doubling of its tables
            cache.put(os.urandom(32), f"client:app{number % 5}", os.urandom(100), now_s=NOW_S + number, ttl_s=60.5)
            if number % 500 == 499:
                assert tracemalloc.get_traced_memory()[0] <= cache.bytes_held
    finally:
        tracemalloc.stop()


@given(st.lists(st.tuples(st.sampled_from("pgd"), st.integers(0, 5), st.integers(0, 200)), max_size=60))
def test_it_is_a_bounded_dictionary_in_order_of_use(steps: list[tuple[str, int, int]]) -> None:
    cache = MemoryCache(room_for(3, b"x" * 100))
    model: OrderedDict[bytes, bytes] = OrderedDict()
    size_of = {length: room_for(1, b"x" * length) for length in range(201)}
    for verb, number, length in steps:
        key = b"%d" % number
        if verb == "p":
            put(cache, key, b"x" * length)
            model.pop(key, None)
            model[key] = b"x" * length
            while sum(size_of[len(value)] for value in model.values()) > cache.most_bytes:
                model.popitem(last=False)
        elif verb == "g":
            assert cache.get_now(key, APP, NOW_S) == model.get(key)
            if key in model:
                model.move_to_end(key)
        else:
            cache.discard(key, APP)
            model.pop(key, None)
        assert cache.size() == (len(model), sum(size_of[len(value)] for value in model.values()))
