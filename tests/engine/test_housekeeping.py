import asyncio

from keyrelay.core.errors import StoreError
from keyrelay.engine.housekeeping import Chore, Housekeeping
from tests.e2e.harness import until


async def test_each_chore_is_done_at_its_own_pace_until_it_is_stopped() -> None:
    done: list[str] = []

    async def often() -> None:
        done.append("often")

    async def later() -> None:
        done.append("later")

    keeping = Housekeeping((Chore("often", 0.01, often), Chore("later", 60.0, later, first_s=0.02)), print)
    keeping.start()
    await until(lambda: done.count("often") >= 5 and "later" in done, "the chores are done")
    await keeping.stop()
    count = len(done)
    await asyncio.sleep(0.05)
    assert len(done) == count
    assert done.count("later") == 1
    assert done[0] == "often"


async def test_a_store_that_fails_is_reported_once_until_it_has_worked_again() -> None:
    said: list[str] = []
    outcomes = [StoreError("no connection"), StoreError("no connection"), None, StoreError("disk full")]

    async def work() -> None:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome

    chore = Chore("deleting old rows", 60.0, work)
    keeping = Housekeeping((chore,), said.append)
    for _ in range(4):
        await keeping.do(chore)
    assert said == [
        "deleting old rows: no connection; tried again every 60 s",
        "deleting old rows: disk full; tried again every 60 s",
    ]


async def test_a_chore_that_fails_in_whatever_way_is_done_again() -> None:
    said: list[str] = []
    done = 0

    async def work() -> None:
        nonlocal done
        done += 1
        raise KeyError("sk-test-not-to-be-told")

    keeping = Housekeeping((Chore("deleting old rows", 0.01, work),), said.append)
    keeping.start()
    await until(lambda: done >= 3, "it is done again and again")
    await keeping.stop()
    assert said == ["deleting old rows: KeyError; tried again every 0.01 s"]
