import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.engine.continuity_store import ENTRY_BYTES, SHARE, ContinuityStore, MemoryContinuityStore

DAY_S = 86_400.0


@pytest.fixture
def store() -> MemoryContinuityStore:
    return MemoryContinuityStore(100_000)


def keep(store: ContinuityStore, client: str, entry_id: str, value: bytes = b"v", now_s: float = 0) -> bool:
    return store.put(client, entry_id, value, now_s=now_s, ttl_s=DAY_S)


def test_a_value_is_for_the_client_it_was_kept_for(store: MemoryContinuityStore) -> None:
    assert keep(store, "a", "1", b"one")
    assert store.get("a", "1", 1) == b"one"
    assert store.get("b", "1", 1) is None
    assert (store.holds("a"), store.holds("b")) == (True, False)
    assert not store.delete("b", "1")
    assert store.delete("a", "1")
    assert store.get("a", "1", 1) is None
    assert not store.holds("a")
    assert store.size() == (0, 0)


def test_a_value_has_its_time(store: MemoryContinuityStore) -> None:
    keep(store, "a", "1", now_s=10)
    assert store.get("a", "1", 10 + DAY_S - 1) == b"v"
    assert store.get("a", "1", 10 + DAY_S) is None
    assert repr(store) == "<MemoryContinuityStore 0 values of 0 clients, 0 of 100000 bytes>"


def test_nothing_is_kept_for_no_time_or_without_room(store: MemoryContinuityStore) -> None:
    assert not store.put("a", "1", b"v", now_s=0, ttl_s=0)
    assert not keep(store, "a", "1", b"v" * (100_000 // SHARE))
    assert not keep(MemoryContinuityStore(0), "a", "1")
    assert store.size() == (0, 0)


def test_a_value_takes_the_place_of_the_one_before(store: MemoryContinuityStore) -> None:
    keep(store, "a", "1", b"v" * 1000)
    held = store.bytes_held
    keep(store, "a", "1", b"w" * 1000)
    assert store.get("a", "1", 1) == b"w" * 1000
    assert store.bytes_held == held


def test_the_least_recently_used_makes_room(store: MemoryContinuityStore) -> None:
    value = b"v" * (10_000 - ENTRY_BYTES)
    for client in "abcdefghi":
        keep(store, client, "1", value)
    store.get("a", "1", 1)
    keep(store, "j", "1", value)
    assert store.get("a", "1", 1) == value
    assert store.get("b", "1", 1) is None


def test_one_client_may_have_it_all_but_not_at_the_cost_of_others(store: MemoryContinuityStore) -> None:
    value = b"v" * 5_000
    keep(store, "quiet", "1", value)
    for number in range(100):
        keep(store, "busy", str(number), value)
    assert store.get("quiet", "1", 1) == value
    assert store.size()[0] > 10
    assert store.get("busy", "99", 1) == value
    assert store.get("busy", "0", 1) is None


OPERATIONS = st.tuples(
    st.sampled_from(["put", "get", "delete"]), st.sampled_from("abc"), st.sampled_from("12345"), st.integers(0, 9000)
)


@given(st.lists(OPERATIONS, max_size=60))
def test_it_never_holds_more_than_it_may_and_knows_what_it_holds(operations: list[tuple[str, str, str, int]]) -> None:
    store, now_s = MemoryContinuityStore(40_000), 0.0
    for verb, client, entry_id, size in operations:
        now_s += 10_000
        if verb == "put":
            kept = store.put(client, entry_id, b"v" * size, now_s=now_s, ttl_s=size * 10)
            assert store.get(client, entry_id, now_s) == (b"v" * size if kept else None)
        elif verb == "get":
            store.get(client, entry_id, now_s)
        else:
            store.delete(client, entry_id)
        assert store.bytes_held <= store.most_bytes
        assert (store.bytes_held == 0) == (store.size()[0] == 0)
        assert store.bytes_held == sum(entry.size for entry in store._entries.values()) == sum(store._held.values())
