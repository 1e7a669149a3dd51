"""Texts wait in memory, go to the store sealed, and never hold anybody up."""

import asyncio
from collections.abc import Sequence

import pytest

from keyrelay.core.errors import MasterKeyError, SealedValueError, StoreError
from keyrelay.core.kept_texts import KeptText, KeptTexts
from keyrelay.engine.text_keeper import TextKeeper, TextKeeperSettings
from keyrelay.ports import SealedTexts
from keyrelay.vault.ring import new_ring, unwrapped
from keyrelay.vault.vault import Vault
from tests.vault.rings import A_KEY, NOW_S


class MemoryTextStore:
    """`ports.TextStore` over a dictionary; `trouble` is raised by whoever writes, `written` are the batches."""

    def __init__(self) -> None:
        self.rows: dict[str, SealedTexts] = {}
        self.batches: list[int] = []
        self.trouble: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def write_texts(self, rows: Sequence[SealedTexts]) -> None:
        if self.gate is not None:
            await self.gate.wait()
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        self.batches.append(len(rows))
        for row in rows:
            self.rows.setdefault(row.request_id, row)

    async def read_texts(self, request_id: str) -> SealedTexts | None:
        return self.rows.get(request_id)


class Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def epoch_s(self) -> float:
        return NOW_S + self.now_s


class Rig:
    def __init__(self, **settings: float) -> None:
        self.store = MemoryTextStore()
        self.clock = Clock()
        self.vault = Vault(unwrapped(new_ring(A_KEY, NOW_S), A_KEY))
        self.trouble: Exception | None = None
        self.keeper = TextKeeper(self.store, self.open, self.clock, TextKeeperSettings(**settings))  # type: ignore[arg-type]

    async def open(self) -> Vault:
        if self.trouble is not None:
            raise self.trouble
        return self.vault


def texts(number: int, size: int = 10) -> KeptTexts:
    data = b"p%d" % number
    return KeptTexts(
        request_id=f"req_{number:032x}",
        request=KeptText("application/json", size, data.ljust(size, b".")),
        answer=KeptText("text/event-stream", size, data[::-1].ljust(size, b".")),
    )


async def test_what_is_kept_is_sealed_and_comes_back() -> None:
    rig = Rig()
    kept = [texts(number) for number in range(3)]
    for each in kept:
        rig.keeper.keep(each)
    assert rig.store.rows == {}
    await rig.keeper.flush()
    assert [await rig.keeper.read(each.request_id) for each in kept] == kept
    assert not any(b"p1..." in (row.request or b"") + (row.answer or b"") for row in rig.store.rows.values())
    assert repr(rig.keeper) == "<TextKeeper 0 waiting, 3 written, 0 dropped>"
    assert await rig.keeper.read("req_none") is None


async def test_what_was_not_answered_is_kept_without_an_answer() -> None:
    rig = Rig()
    kept = KeptTexts(request_id="req_1", request=None, answer=None)
    rig.keeper.keep(kept)
    await rig.keeper.flush()
    assert await rig.keeper.read("req_1") == kept


async def test_texts_that_were_swapped_in_the_store_are_not_shown() -> None:
    rig = Rig()
    for number in range(2):
        rig.keeper.keep(texts(number))
    await rig.keeper.flush()
    first, second = rig.store.rows.values()
    for wrong in (
        SealedTexts(request_id=first.request_id, request=second.request, answer=first.answer),
        SealedTexts(request_id=first.request_id, request=first.answer, answer=first.request),
        SealedTexts(request_id=first.request_id, request=first.request, answer=b""),
    ):
        rig.store.rows[first.request_id] = wrong
        with pytest.raises(SealedValueError):
            await rig.keeper.read(first.request_id)


async def test_a_text_of_a_form_that_is_not_known_is_not_shown() -> None:
    rig = Rig()
    sealed = rig.vault.seal(b"\x91\x01", table="texts", row="req_1", column="request")
    rig.store.rows["req_1"] = SealedTexts(request_id="req_1", request=sealed, answer=None)
    with pytest.raises(SealedValueError, match="a newer Keyrelay wrote it"):
        await rig.keeper.read("req_1")


async def test_batches_are_bounded_by_rows_and_by_bytes() -> None:
    rig = Rig(max_rows=4, max_bytes=1_000)
    for number in range(10):
        rig.keeper.keep(texts(number))
    await rig.keeper.flush()
    assert rig.store.batches == [4, 4, 2]
    for number in range(10, 14):
        rig.keeper.keep(texts(number, 200))
    rig.keeper.keep(texts(14, 5_000))
    await rig.keeper.flush()
    assert rig.store.batches[3:] == [2, 2, 1]
    assert len(rig.store.rows) == 15


async def test_what_finds_no_room_is_dropped_and_counted() -> None:
    rig = Rig(max_waiting_bytes=1_000)
    for number in range(10):
        rig.keeper.keep(texts(number))
    counts = rig.keeper.counts()
    assert (counts.waiting, counts.waiting_bytes, counts.dropped) == (3, 3 * (20 + 256), 7)
    await rig.keeper.flush()
    assert rig.keeper.counts().waiting_bytes == 0
    rig.keeper.keep(texts(11))
    await rig.keeper.flush()
    counts = rig.keeper.counts()
    assert (counts.waiting, counts.written, counts.dropped) == (0, 4, 7)


async def test_a_store_that_fails_is_asked_again_later_and_has_each_text_once() -> None:
    rig = Rig()
    rig.keeper.keep(texts(1))
    rig.store.trouble = StoreError("no connection")
    with pytest.raises(StoreError):
        await rig.keeper.flush()
    rig.store.trouble = None
    await rig.keeper.flush()
    assert rig.store.rows == {}, "it is left alone for a while"
    rig.clock.now_s += 5.0
    await rig.keeper.flush()
    assert (len(rig.store.rows), rig.keeper.counts().written, rig.keeper.counts().dropped) == (1, 1, 0)


async def test_a_vault_that_does_not_open_drops_nothing_at_once() -> None:
    rig = Rig()
    rig.keeper.keep(texts(1))
    rig.trouble = MasterKeyError("there is no master key")
    with pytest.raises(MasterKeyError):
        await rig.keeper.flush()
    rig.trouble = None
    rig.clock.now_s += 5.0
    await rig.keeper.flush()
    assert rig.keeper.counts().written == 1


async def test_what_is_written_and_cut_off_is_written_again() -> None:
    rig = Rig()
    rig.store.gate = asyncio.Event()
    rig.keeper.keep(texts(1))
    flushing = asyncio.create_task(rig.keeper.flush())
    await asyncio.sleep(0.01)
    flushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await flushing
    rig.store.gate.set()
    assert rig.keeper.counts().waiting == 1
    assert await rig.keeper.drain(1.0)
    assert rig.keeper.counts().written == len(rig.store.rows) == 1


async def test_two_who_write_at_once_take_turns() -> None:
    rig = Rig(max_rows=2)
    for number in range(9):
        rig.keeper.keep(texts(number))
    await asyncio.gather(*(rig.keeper.flush() for _ in range(3)))
    assert (sum(rig.store.batches), rig.keeper.counts().waiting, rig.keeper.counts().written) == (9, 0, 9)


async def test_a_stop_waits_no_longer_than_it_may() -> None:
    rig = Rig()
    rig.store.gate = asyncio.Event()
    rig.keeper.keep(texts(1))
    assert not await rig.keeper.drain(0.02)
    assert rig.keeper.counts().dropped == 1
    assert await Rig().keeper.drain(0.02)


async def test_a_stop_tries_a_store_that_was_left_alone() -> None:
    rig = Rig()
    rig.keeper.keep(texts(1))
    rig.store.trouble = StoreError("no connection")
    with pytest.raises(StoreError):
        await rig.keeper.flush()
    assert not await rig.keeper.drain(1.0)
    rig.store.trouble = None
    assert await rig.keeper.drain(1.0)
    assert len(rig.store.rows) == 1
