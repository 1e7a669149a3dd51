"""What the metrics say of journal, store and Redis, over real journals and a real Redis."""

import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from keyrelay.api.keeping_metrics import KeepingCollector, SharingCollector, TextsCollector
from keyrelay.api.worker_metrics import GAUGES
from keyrelay.core.limits import Limit, Unit, parse_window
from keyrelay.quota.values import Amounts, LimitKey
from keyrelay.storage.redis.shared_ledger import SharedLedger
from tests.engine.rig import FakeClock
from tests.engine.test_recorder import Rig, down, refusing
from tests.engine.test_text_keeper import Rig as TextRig
from tests.engine.test_text_keeper import texts
from tests.servers.redis_server import RedisServer

CALM = {
    "keyrelay_journal_rows": 0.0,
    "keyrelay_journal_bytes": 0.0,
    "keyrelay_journal_full": 0.0,
    "keyrelay_store_rows_total": 0.0,
    "keyrelay_store_rejected_rows_total": 0.0,
    "keyrelay_store_failures_total": 0.0,
    "keyrelay_store_degraded_seconds": 0.0,
}


def values(collector: Collector) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (line.split() for line in lines if not line.startswith("#"))}


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.store.trouble = lambda lines: None
    await made.recorder.drain(0.5)
    made.journal.close()


async def test_rows_are_counted_where_they_are(rig: Rig) -> None:
    collector = KeepingCollector(rig.recorder, rig.journal, FakeClock().epoch_s)
    assert values(collector) == CALM
    rig.serve(*range(7))
    waiting = values(collector)
    assert waiting == CALM | {"keyrelay_journal_rows": 7, "keyrelay_journal_bytes": rig.journal.bytes_waiting}
    assert waiting["keyrelay_journal_bytes"] > 7 * 400
    rig.store.trouble = refusing(3)
    rig.recorder.start()
    await rig.until(lambda: rig.rejected() == [3] and not rig.journal.rows_waiting)
    after = values(collector)
    assert (after["keyrelay_store_rows_total"], after["keyrelay_store_rejected_rows_total"]) == (6, 1)
    assert (after["keyrelay_journal_rows"], after["keyrelay_journal_bytes"]) == (0, 0)


async def test_a_store_that_is_down_is_told_with_how_long(rig: Rig) -> None:
    rig.store.trouble = down
    rig.serve(1)
    rig.recorder.start()
    await rig.until(lambda: rig.recorder.counts().failures >= 2)
    trouble = rig.recorder.degraded
    assert trouble is not None
    collector = KeepingCollector(rig.recorder, rig.journal, lambda: trouble.since_s + 42.5)
    during = values(collector)
    assert during["keyrelay_store_degraded_seconds"] == pytest.approx(42.5)
    assert during["keyrelay_store_failures_total"] >= 2
    assert during["keyrelay_journal_rows"] == 1
    rig.store.trouble = lambda lines: None
    await rig.until(lambda: rig.recorder.degraded is None)
    assert values(collector)["keyrelay_store_degraded_seconds"] == 0


async def test_a_full_journal_is_told(rig: Rig) -> None:
    collector = KeepingCollector(rig.recorder, rig.journal, FakeClock().epoch_s)
    number = 0
    while not rig.journal.full:
        rig.serve(number)
        number += 1
        if number % 50 == 0:
            await rig.journal.tend()
    assert values(collector)["keyrelay_journal_full"] == 1
    rig.recorder.start()
    await rig.until(lambda: not rig.journal.full)
    assert values(collector)["keyrelay_journal_full"] == 0


async def test_redis_is_told_as_it_is(redis_server: RedisServer, redis_prefix: str) -> None:
    ledger = SharedLedger(
        redis_server.url,
        prefix=redis_prefix,
        worker="host/0",
        epoch_s=time.time,
        random=random.random,
        report=lambda _: None,
        barrier_s=0.0,
        beat_s=0.05,
    )
    collector = SharingCollector(ledger.status)
    try:
        await ledger.start(["p"])
        assert values(collector)["keyrelay_redis_connected"] == 0
        assert await ledger.serving("p")
        limits = (LimitKey(Limit(unit=Unit.REQUESTS, amount=10, window=parse_window("60s")), ("acct:p/a",)),)
        assert await ledger.confirm(ledger.reserve(limits, Amounts(), time.time()), time.time()) is None
        assert values(collector) == {
            "keyrelay_redis_connected": 1.0,
            "keyrelay_redis_losses_total": 0.0,
            "keyrelay_redis_workers": 1.0,
            "keyrelay_redis_apart": 0.0,
            "keyrelay_redis_unsent": 0.0,
        }
    finally:
        await ledger.stop()
    gone = values(collector)
    assert gone["keyrelay_redis_connected"] == 0
    assert gone["keyrelay_redis_apart"] == 1


def test_gauges_of_all_workers_are_joined_as_they_mean() -> None:
    joined = {name.removeprefix("keyrelay_"): join(0.0, 1.0) for name, join in GAUGES.items()}
    assert joined["journal_full"] == joined["store_degraded_seconds"] == joined["redis_apart"] == 1
    assert joined["redis_workers"] == 1
    assert joined["redis_connected"] == 0


async def test_texts_are_counted_where_they_are_kept() -> None:
    rig = TextRig(max_waiting_bytes=600)
    collector = TextsCollector(rig.keeper)
    for number in range(3):
        rig.keeper.keep(texts(number))
    waiting = {"waiting_bytes": 552.0, "written_total": 0.0, "dropped_total": 1.0}
    assert values(collector) == {f"keyrelay_texts_{name}": value for name, value in waiting.items()}
    await rig.keeper.flush()
    written = {"waiting_bytes": 0.0, "written_total": 2.0, "dropped_total": 1.0}
    assert values(collector) == {f"keyrelay_texts_{name}": value for name, value in written.items()}
    assert repr(collector) == "<TextsCollector of <TextKeeper 0 waiting, 2 written, 1 dropped>>"
