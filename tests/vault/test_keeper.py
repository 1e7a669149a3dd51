import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from keyrelay.core.errors import MasterKeyError, RingError, SealedValueError, WrongMasterKeyError
from keyrelay.ports import AuditEntry
from keyrelay.vault.keeper import RingKeeper
from keyrelay.vault.ring import RETIRE_AFTER_S
from tests.vault.rings import A_KEY, ANOTHER_KEY, Clock, MemoryRingStore, keeper_of, source_of

PLACE = {"table": "entries", "row": "key/1", "column": "secret"}


@pytest.fixture
def store() -> MemoryRingStore:
    return MemoryRingStore()


async def test_the_first_to_open_makes_the_ring_and_those_after_find_it(store: MemoryRingStore) -> None:
    sealed = (await keeper_of(store).open()).seal(b"sk-test-1", **PLACE)
    assert (await keeper_of(store).open()).open(sealed, **PLACE) == b"sk-test-1"
    assert store.writes == 1


async def test_of_many_who_open_at_once_one_makes_the_ring(store: MemoryRingStore) -> None:
    vaults = await asyncio.gather(*(keeper_of(store).open() for _ in range(8)))
    assert store.writes == 1
    sealed = vaults[0].seal(b"sk-test-1", **PLACE)
    assert {vault.open(sealed, **PLACE) for vault in vaults} == {b"sk-test-1"}


async def test_the_first_run_makes_the_master_key_before_the_ring(store: MemoryRingStore, tmp_path: Path) -> None:
    source = source_of(None, tmp_path)
    await RingKeeper(store, source, Clock().epoch_s).open()
    master = source.find()
    assert master is not None
    assert store.ring.master == master.mark


async def test_hosts_that_start_at_once_with_files_of_their_own_end_with_one_ring(
    store: MemoryRingStore, tmp_path: Path
) -> None:
    keepers = [RingKeeper(store, source_of(None, tmp_path / name), Clock().epoch_s) for name in ("one", "two")]
    first, second = await asyncio.gather(*(keeper.open() for keeper in keepers), return_exceptions=True)
    refused = [each for each in (first, second) if isinstance(each, BaseException)]
    assert store.writes == len(refused) == 1
    assert isinstance(refused[0], WrongMasterKeyError)
    assert "from the host that made it" in str(refused[0])


async def test_a_missing_master_key_is_not_made_anew(store: MemoryRingStore, tmp_path: Path) -> None:
    await keeper_of(store).open()
    with pytest.raises(MasterKeyError) as caught:
        await RingKeeper(store, source_of(None, tmp_path), Clock().epoch_s).open()
    words = str(caught.value)
    for part in (f"no master key in the file {tmp_path}/master.key", "from a backup", "nobody can read", "begin anew"):
        assert part in words
    assert source_of(None, tmp_path).find() is None


async def test_a_wrong_master_key_says_where_it_is_from(store: MemoryRingStore) -> None:
    await keeper_of(store).open()
    with pytest.raises(
        WrongMasterKeyError, match=r"^KEYRELAY_MASTER_KEY: the key ring was made with .*backup"
    ) as caught:
        await keeper_of(store, ANOTHER_KEY).open()
    assert ANOTHER_KEY.reveal() not in str(caught.value)


async def test_a_new_term_reaches_the_others_when_they_look(store: MemoryRingStore) -> None:
    mine, theirs = keeper_of(store), keeper_of(store)
    vault, other = await mine.open(), await theirs.open()
    old = vault.seal(b"sk-test-1", **PLACE)
    assert (await mine.add_term()).current == 2
    await mine.refresh(vault)
    sealed = vault.seal(b"sk-test-2", **PLACE)
    assert not other.knows(sealed)
    with pytest.raises(SealedValueError):
        other.open(sealed, **PLACE)
    await theirs.refresh(other)
    assert (other.open(sealed, **PLACE), other.open(old, **PLACE)) == (b"sk-test-2", b"sk-test-1")


async def test_terms_that_are_added_at_once_are_all_there(store: MemoryRingStore) -> None:
    await keeper_of(store).open()
    rings = await asyncio.gather(*(keeper_of(store).add_term() for _ in range(4)))
    assert sorted(ring.current for ring in rings) == [2, 3, 4, 5]
    assert [term.number for term in store.ring.terms] == [1, 2, 3, 4, 5]


async def test_a_retired_term_is_gone_once_it_is_safe(store: MemoryRingStore) -> None:
    clock = Clock()
    keeper = keeper_of(store, clock=clock)
    vault = await keeper.open()
    sealed = vault.seal(b"sk-test-1", **PLACE)
    await keeper.add_term()
    with pytest.raises(RingError, match="retire it later"):
        await keeper.retire_term(1)
    clock.now_s += RETIRE_AFTER_S
    await keeper.retire_term(1)
    await keeper.refresh(vault)
    with pytest.raises(SealedValueError, match="the term was retired"):
        vault.open(sealed, **PLACE)


async def test_the_master_key_changes_and_nothing_sealed_does(store: MemoryRingStore) -> None:
    keeper = keeper_of(store)
    vault = await keeper.open()
    sealed = vault.seal(b"sk-test-1", **PLACE)
    await keeper.change_master_key(ANOTHER_KEY)
    assert vault.open(sealed, **PLACE) == b"sk-test-1"
    assert (await keeper_of(store, ANOTHER_KEY).open()).open(sealed, **PLACE) == b"sk-test-1"
    with pytest.raises(WrongMasterKeyError):
        await keeper_of(store).open()


async def test_a_change_of_the_master_key_that_was_cut_off_may_be_done_again(store: MemoryRingStore) -> None:
    keeper = keeper_of(store)
    await keeper.open()
    notes = [AuditEntry(id=name, at_ms=1, actor="local", action="rotate master key") for name in ("first", "second")]
    waiting = iter(notes)
    for _ in notes:
        await keeper.change_master_key(ANOTHER_KEY, lambda _: next(waiting))
    assert (store.writes, store.audit) == (2, notes[:1])


async def test_a_ring_that_others_change_all_the_time_is_given_up(store: MemoryRingStore) -> None:
    await keeper_of(store).open()

    class Busy(MemoryRingStore):
        async def write_ring(self, value: bytes, *, replaces: int, audit: Sequence[AuditEntry] = ()) -> bool:
            return False

    busy = Busy()
    busy.stored = store.stored
    with pytest.raises(RingError, match="by somebody else all the time"):
        await keeper_of(busy).add_term()


async def test_without_a_ring_there_is_nothing_to_change(store: MemoryRingStore) -> None:
    keeper = keeper_of(store)
    vault = await keeper.open()
    store.stored = None
    for change in (keeper.add_term(), keeper.retire_term(1), keeper.change_master_key(ANOTHER_KEY)):
        with pytest.raises(RingError, match="no key ring"):
            await change
    with pytest.raises(RingError, match="no key ring"):
        await keeper.refresh(vault)


def test_it_shows_where_its_key_is_from(store: MemoryRingStore) -> None:
    assert repr(keeper_of(store)) == "<RingKeeper <MasterKeySource KEYRELAY_MASTER_KEY>>"
    assert A_KEY.reveal() not in repr(keeper_of(store))


async def test_of_two_keys_the_one_that_wraps_the_ring_opens_it(store: MemoryRingStore, tmp_path: Path) -> None:
    sealed = (await keeper_of(store).open()).seal(b"sk-test-1", **PLACE)
    source = source_of(None, tmp_path)
    both = RingKeeper(store, source, Clock().epoch_s)
    source.replace(A_KEY, ANOTHER_KEY)
    assert (await both.open()).open(sealed, **PLACE) == b"sk-test-1"
    await both.change_master_key(ANOTHER_KEY)
    assert (await both.open()).open(sealed, **PLACE) == b"sk-test-1"
    await both.add_term()
    ring = await both.ring()
    assert ring is not None
    assert (ring.master, ring.current) == (ANOTHER_KEY.mark, 2)


async def test_without_a_ring_there_is_none_to_see(store: MemoryRingStore) -> None:
    assert await keeper_of(store).ring() is None
