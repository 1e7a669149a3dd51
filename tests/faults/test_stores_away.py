"""The short forms of `scripts/outage`: the store is taken away under load. Redis is by the script alone."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyrelay.simulator import Latency
from tests.e2e.harness import embedded, environment, simulated
from tests.faults.crash import DATA
from tests.faults.outage import Look, look, phases, postgres_away, until_ready
from tests.faults.traffic import KEYS, PAID, Traffic, books, scenario

pytestmark = pytest.mark.alone


async def test_callers_notice_nothing_of_a_postgresql_that_is_killed_frozen_and_restarted(tmp_path: Path) -> None:
    outcome = await postgres_away(tmp_path, phases(1.2, between_s=0.4), rate=80.0, workers=1)
    assert len(outcome.tally.acknowledged) > 100
    assert outcome.good, str(outcome)


async def test_a_full_journal_refuses_before_it_loses_and_goes_on_when_the_store_is_back(tmp_path: Path) -> None:
    async with simulated(scenario(Latency())) as simulator:
        async with embedded(environment(simulator, KEYS, **PAID), tmp_path, journal_max_bytes=1 << 20) as gateway:
            traffic = Traffic(lambda: gateway.port, expected=frozenset({"journal_full"}))
            assert await traffic.ask()
            with locked(tmp_path / DATA):
                await traffic.press(at_once=16, in_a_row=3)
                assert len(traffic.tally.acknowledged) > 100
                full = await look(gateway.port)
                assert (full.live, full.ready) == (200, 503)
            assert await until_ready(gateway.port) == Look(200, 200, "ready")
            assert all([await traffic.ask() for _ in range(5)])
        assert (traffic.tally.errors, traffic.tally.cut) == ({}, []), str(traffic.tally)
        found = await books("", tmp_path / DATA, traffic.tally, simulator)
        assert found.right, str(found)
        assert found.unknown == 0


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Nobody else can write to the SQLite file meanwhile."""
    (file,) = directory.glob("*.db")
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
