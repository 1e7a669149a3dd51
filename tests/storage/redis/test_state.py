import asyncio
import time

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.storage.redis.state import (
    ENTRY_BYTES,
    MAX_WRITES,
    MOST_QUEUED_BYTES,
    MOST_ROUND_BYTES,
    MOST_VALUE_BYTES,
    RedisState,
    level,
)
from keyrelay.vault.client_seal import ClientSeal
from tests.contract.remembering import NOW_S, TTL_S, found, in_redis, over, seals_of
from tests.servers.guarded import wait_until
from tests.servers.redis_server import RedisServer

DEADLINE_S = 0.1
LATE_S = 0.05
"""What a busy machine may add to a deadline."""


def write(state: RedisState, client: str, entry_id: str, value: bytes = b"v", ttl_s: float = TTL_S) -> None:
    state.write(client, entry_id, value, now_s=NOW_S, ttl_s=ttl_s)


async def read(state: RedisState, client: str, *entry_ids: str) -> list[bytes | None]:
    values, _ = await state.read(client, entry_ids, ())
    return [values[entry_id][0] if entry_id in values else None for entry_id in entry_ids]


async def timed(state: RedisState) -> float:
    began_at = time.monotonic()
    assert await state.read("app", ["1"], ()) == ({}, set())
    return time.monotonic() - began_at


async def test_a_value_comes_back_with_its_expiry(redis_url: str, redis_prefix: str) -> None:
    async with in_redis(redis_url, redis_prefix) as state:
        write(state, "app", "1", b"one")
        await state.written()
        assert await state.read("app", ["1"], ()) == ({"1": (b"one", NOW_S + TTL_S)}, set())
        assert repr(state) == "<RedisState awake, 0 writes under way, 0 deletions owed>"


async def test_redis_gets_nothing_that_it_could_read(redis_server: RedisServer, redis_prefix: str) -> None:
    async with in_redis(redis_server.url, redis_prefix) as state:
        write(state, "canary-client", "canary-id", b"canary-value " * 10)
        await state.written()
    with redis.Redis(port=redis_server.port) as client:
        names = list(client.scan_iter(match=f"{{{redis_prefix}:state*"))
        held = b"".join(bytes(client.dump(name)) for name in names)
        kept_ms = [client.pttl(name) for name in names if client.type(name) == b"string"]
    assert len(names) == 4  # the value, two tables of its client, one of all clients
    assert b"canary" not in b"".join(names) + held
    assert len(held) > len(b"canary-value ") * 10
    assert [0 < kept <= TTL_S * 1000 for kept in kept_ms] == [True]


async def test_all_that_is_written_in_one_turn_goes_out_together(redis_server: RedisServer, redis_prefix: str) -> None:
    async with in_redis(redis_server.url, redis_prefix) as state:
        write(state, "app", "0")
        await state.written()
        before = redis_server.command("info", "commandstats")["cmdstat_evalsha"]["calls"]
        for number in range(50):
            write(state, "app", f"{number}")
        await state.written()
        assert await read(state, "app", *map(str, range(50))) == [b"v"] * 50
        assert redis_server.command("info", "commandstats")["cmdstat_evalsha"]["calls"] == before + 2


async def test_a_frozen_redis_is_waited_for_once(own_redis_server: RedisServer) -> None:
    async with in_redis(own_redis_server.url, "k", timeout_s=DEADLINE_S) as state:
        write(state, "app", "1")
        await state.written()
        own_redis_server.freeze()
        assert await timed(state) < DEADLINE_S + LATE_S
        assert not state.waits
        assert await timed(state) < 0.001
        write(state, "app", "2")
        assert state.unwritten("app") is None
        own_redis_server.thaw()
        await asyncio.to_thread(wait_until, lambda: state.waits, "the circuit has closed")
        assert await read(state, "app", "1", "2") == [b"v", None]


@pytest.mark.parametrize("harm", ["kill", "flush", "freeze"])
async def test_what_a_process_has_kept_itself_it_knows_whatever_becomes_of_redis(
    own_redis_server: RedisServer, harm: str
) -> None:
    async with in_redis(own_redis_server.url, "k", timeout_s=DEADLINE_S) as here_state:
        here = over(here_state)
        assert here.put("app", "1", b"v", now_s=NOW_S, ttl_s=TTL_S)
        await here_state.written()
        getattr(own_redis_server, harm)()
        for _ in range(2):
            assert await found(here, "app", "1") == b"v"
        assert here.put("app", "2", b"w", now_s=NOW_S, ttl_s=TTL_S)
        await here_state.written()
        assert await found(here, "app", "2") == b"w"


async def test_a_deletion_that_redis_could_not_be_told_is_told_when_it_is_back(own_redis_server: RedisServer) -> None:
    async with (
        in_redis(own_redis_server.url, "k", timeout_s=DEADLINE_S) as state,
        in_redis(own_redis_server.url, "k") as other,
    ):
        here, there = over(state), over(other)
        here.put("app", "1", b"v", now_s=NOW_S, ttl_s=TTL_S)
        await state.written()
        assert await found(there, "app", "1") == b"v"
        own_redis_server.freeze()
        assert here.delete("app", "1", ttl_s=TTL_S)
        await state.written()
        assert not state.waits
        assert repr(state).endswith("1 deletions owed>")
        own_redis_server.thaw()
        await asyncio.to_thread(wait_until, lambda: state.waits, "the circuit has closed")
        assert await found(here, "app", "1") is None
        for _ in range(300):
            if repr(state).endswith(" 0 deletions owed>"):
                break
            await asyncio.sleep(0.01)
        assert await found(there, "app", "1") is None


async def test_a_deletion_is_told_while_others_write_without_end(
    redis_url: str, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyrelay.storage.redis.state._OWED_EVERY_S", 0.05)
    async with in_redis(redis_url, redis_prefix, most_bytes=1 << 30) as state:

        async def go_on() -> None:
            number = 0
            while True:
                number += 1
                if len(state._tasks) < 5:
                    write(state, f"busy-{number % 20}", f"{number}")
                await asyncio.sleep(0)

        busy = asyncio.create_task(go_on())
        try:
            for name in "12":  # the second one comes while the first one is seen to
                for number in range(MAX_WRITES + 1):
                    write(state, f"crowd-{number}", "1")
                state.delete("app", name, ttl_s=TTL_S)
                assert len(state._owed) == 1
                for _ in range(100):
                    await asyncio.sleep(0.02)
                    if not state._owed:
                        break
                assert not state._owed
        finally:
            busy.cancel()


async def test_a_deletion_may_be_known_before_redis_is(redis_url: str, redis_prefix: str) -> None:
    async with in_redis(redis_url, redis_prefix) as state:
        write(state, "app", "1")
        await state.written()
        state.delete("app", "1", ttl_s=TTL_S)
        assert await state.read("app", ["1"], ()) == ({}, {"1"})
        assert await state.read("app", [], ["1"]) == ({}, {"1"})
        await state.written()
        assert await state.read("app", ["1"], ()) == ({}, {"1"})


async def test_what_is_changed_or_put_elsewhere_is_used_by_nobody(redis_server: RedisServer, redis_prefix: str) -> None:
    reports: list[str] = []
    async with in_redis(redis_server.url, redis_prefix, reports=reports) as state:
        write(state, "app", "1", b"one")
        write(state, "other", "1", b"other")
        await state.written()
        base = {client: state._base(client) for client in ("app", "other")}
        (seal,), (foreign,) = seals_of("app"), seals_of("other")
        redis_server.command("copy", f"{base['other']}:{foreign.name('1')}", f"{base['app']}:{seal.name('2')}")
        redis_server.command("copy", f"{base['app']}:{seal.name('1')}", f"{base['app']}:{seal.name('3')}")
        redis_server.command("setrange", f"{base['app']}:{seal.name('1')}", 40, "x")
        redis_server.command("set", f"{base['app']}:{seal.name('4')}", "?")
        redis_server.command("set", f"{base['app']}:{seal.name('5')}", "")
        assert await read(state, "app", *"12345") == [None] * 5
        assert state.wrong == 5
        assert await read(state, "other", "1") == [b"other"]
    assert len(reports) == 1
    assert "it was not used" in reports[0]


async def test_a_client_with_another_secret_still_has_what_was_kept_under_the_old_one(
    redis_url: str, redis_prefix: str
) -> None:
    new, old = seals_of("rotating")

    def before(client: str) -> tuple[ClientSeal, ...]:
        return (old,)

    def afterwards(client: str) -> tuple[ClientSeal, ...]:
        return (new,)

    async with in_redis(redis_url, redis_prefix, seals=before) as state:
        write(state, "rotating", "1", b"old")
        write(state, "rotating", "2", b"old")
        await state.written()
    async with in_redis(redis_url, redis_prefix) as state:
        write(state, "rotating", "3", b"new")
        state.delete("rotating", "2", ttl_s=TTL_S)
        await state.written()
        assert await read(state, "rotating", *"123") == [b"old", None, b"new"]
        assert await state.read("rotating", (), ["1", "2"]) == ({}, {"2"})
    async with in_redis(redis_url, redis_prefix, seals=afterwards) as state:
        assert await read(state, "rotating", *"123") == [None, None, b"new"]


async def test_who_is_no_client_any_more_has_nothing(redis_url: str, redis_prefix: str) -> None:
    async with in_redis(redis_url, redis_prefix) as state:
        write(state, "nobody", "1")
        assert state.unwritten("nobody") is None
        assert await read(state, "nobody", "1") == [None]
        assert state.skipped == 1


async def test_what_is_too_large_or_too_much_stays_here(redis_url: str, redis_prefix: str) -> None:
    async with in_redis(redis_url, redis_prefix, most_bytes=1 << 30) as state:
        write(state, "app", "large", b"x" * (MOST_VALUE_BYTES + 1))
        assert state.skipped == 1
        for number in range(MAX_WRITES + 5):
            write(state, f"c{number}", "1")
        assert state.skipped == 6
        await state.written()
        places = MOST_QUEUED_BYTES // MOST_VALUE_BYTES
        for number in range(places + 3):
            write(state, "app", f"{number}", b"x" * (MOST_VALUE_BYTES - 100))
        assert state.skipped == 6 + 3
        await state.written()
        assert state._queued_bytes == 0
        assert len([each for each in await read(state, "app", *map(str, range(places + 3))) if each]) == places
        assert state.failed == 0


async def test_a_round_of_reading_is_bounded_in_bytes(redis_server: RedisServer, redis_prefix: str) -> None:
    ids = [f"{number}" for number in range(8)]
    async with in_redis(redis_server.url, redis_prefix, most_bytes=1 << 30) as state:
        for entry_id in ids:
            write(state, "app", entry_id, entry_id.encode() * (MOST_ROUND_BYTES // 2))
        await state.written()
        before = redis_server.command("info", "commandstats")["cmdstat_evalsha"]["calls"]
        assert await read(state, "app", *ids) == [each.encode() * (MOST_ROUND_BYTES // 2) for each in ids]
        assert redis_server.command("info", "commandstats")["cmdstat_evalsha"]["calls"] == before + 4


async def test_the_oldest_make_room_and_the_count_is_exact(redis_server: RedisServer, redis_prefix: str) -> None:
    (seal,) = seals_of("app")
    size = len(seal.seal("1", b"x" * 1008)) + ENTRY_BYTES
    async with in_redis(redis_server.url, redis_prefix, most_bytes=5 * size) as state:
        for number in range(20):
            write(state, "app", f"{number}", b"x" * 1000)
            await state.written()
        assert [entry is not None for entry in await read(state, "app", *map(str, range(20)))] == 15 * [False] + 5 * [
            True
        ]
        sizes = redis_server.command("hgetall", f"{state._base('app')}:sizes")
        total = int(sizes.pop(""))
        assert total == sum(map(int, sizes.values())) == 5 * size
        write(state, "app", "19", b"")
        await state.written()
        assert int(redis_server.command("hget", f"{state._base('app')}:sizes", "")) == 4 * size + size - 1000


async def test_what_has_expired_counts_no_more(redis_server: RedisServer, redis_prefix: str) -> None:
    async with in_redis(redis_server.url, redis_prefix) as state:
        for number in range(5):
            write(state, "app", f"{number}", ttl_s=0.05)
        await state.written()
        await asyncio.sleep(0.1)
        write(state, "app", "new")
        await state.written()
        assert redis_server.command("zcard", f"{state._base('app')}:index") == 1
        assert set(redis_server.command("hgetall", f"{state._base('app')}:sizes")) == {
            "",
            seals_of("app")[0].name("new"),
        }


async def test_together_clients_have_no_more_than_they_may(
    redis_server: RedisServer, redis_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keyrelay.storage.redis.state.LOOK_EVERY_S", 0.0)
    async with in_redis(redis_server.url, redis_prefix, most_bytes=60_000) as state:
        write(state, "quiet", "1", b"q" * 1000)
        await state.written()
        for client in ("busy", "busier"):
            for number in range(40):
                write(state, client, f"{number}", b"b" * 1000)
                await state.written()
        names = redis_server.command("keys", f"{{{redis_prefix}:state:*:sizes")
        held = [int(redis_server.command("hget", name, "")) for name in names]
        assert sum(held) <= 60_000
        assert sum(held) > 50_000
        assert await read(state, "quiet", "1") == [b"q" * 1000]
        assert (await read(state, "busy", "39"), await read(state, "busier", "39")) == ([b"b" * 1000], [b"b" * 1000])


async def test_a_flushed_redis_has_the_scripts_again(own_redis_server: RedisServer) -> None:
    async with in_redis(own_redis_server.url, "k") as state:
        for _ in range(2):
            write(state, "app", "1")
            await state.written()
            assert await read(state, "app", "1") == [b"v"]
            own_redis_server.flush()
            assert await read(state, "app", "1") == [None]


async def test_closing_gives_up_what_is_owed(own_redis_server: RedisServer) -> None:
    async with in_redis(own_redis_server.url, "k", timeout_s=DEADLINE_S) as state:
        own_redis_server.kill()
        state.delete("app", "1", ttl_s=TTL_S)
        await state.written()
        state.delete("app", "2", ttl_s=TTL_S)
        assert repr(state) == "<RedisState asleep, 0 writes under way, 2 deletions owed>"


@given(st.lists(st.integers(1, 1000), max_size=30), st.integers(0, 20_000))
def test_the_level_is_the_highest_at_which_all_fits(held: list[int], most: int) -> None:
    found_level = level(held, most)
    assert sum(min(size, found_level) for size in held) <= most
    if sum(held) > most:
        assert sum(min(size, found_level + 1) for size in held) > most
    else:
        assert found_level == most
