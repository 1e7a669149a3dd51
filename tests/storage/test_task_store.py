"""One suite for both databases: tasks are kept for those who do not run them."""

import sqlalchemy as sa

from keyrelay.core.kept_tasks import TaskToKeep
from keyrelay.storage.database import Database
from keyrelay.storage.task_store import KEEP_S, SqlTaskStore


def task(name: str, line: bytes = b"line", results: bytes = b"results") -> TaskToKeep:
    return TaskToKeep(id=f"task_{name}", line=line, results=results)


async def make_older(database: Database, name: str, by_s: int) -> None:
    statement = sa.text("UPDATE states SET updated_s = updated_s - :by_s WHERE name LIKE :name")
    values = {"by_s": by_s, "name": f"task%:task_{name}"}
    await database.change(lambda connection: connection.execute(statement, values).close())


async def test_what_is_kept_last_is_found_with_its_age_and_others_may_want_its_end(database: Database) -> None:
    store = SqlTaskStore(database)
    assert await store.find("task_a") is None
    assert await store.newest(10) == ()
    assert await store.keep([]) == frozenset()
    assert await store.keep([task("a"), task("b")]) == frozenset()
    assert await store.keep([task("a", b"later", b"\x00more")]) == frozenset()
    found = await store.find("task_a")
    assert found is not None
    assert (found.line, found.results) == (b"later", b"\x00more")
    assert 0 <= found.age_s <= 2
    await make_older(database, "a", 100)
    older = await store.find("task_a")
    assert older is not None
    assert 100 <= older.age_s <= 102
    assert [(each.line, each.results) for each in await store.newest(10)] == [(b"line", b""), (b"later", b"")]
    assert len(await store.newest(1)) == 1
    for _ in range(2):
        await store.want_end("task_a")
    assert await store.keep([task("b")]) == frozenset()
    assert await store.keep([task("a"), task("b")]) == {"task_a"}
    assert repr(store).startswith("<SqlTaskStore in <")


async def test_what_is_old_is_forgotten_and_nothing_else(database: Database) -> None:
    store = SqlTaskStore(database)
    other = sa.text("INSERT INTO states (name, value, updated_s) VALUES ('learned', :value, 0)")
    await database.change(lambda connection: connection.execute(other, {"value": b"kept"}).close())
    await store.keep([task("a"), task("b")])
    await store.want_end("task_a")
    await make_older(database, "a", KEEP_S + 10)
    await store.purge()
    names = await database.read(
        lambda connection: connection.execute(sa.text("SELECT name FROM states ORDER BY name")).scalars().all()
    )
    assert sorted(names) == ["learned", "task-results:task_b", "task:task_b"]
