import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hiredis import ReplyError, pack_command

from keyrelay.core.errors import StoreError
from keyrelay.storage.redis.connection import LAST_LOOK_S, Awaited, Call, Connection, error_code
from tests.servers.redis_server import RedisServer

Dial = Callable[[int], Awaitable[Connection]]
TIMEOUT_S = 0.1


@pytest.fixture
def lost() -> list[str]:
    return []


@pytest.fixture
async def dial(lost: list[str]) -> AsyncIterator[Dial]:
    loop, opened = asyncio.get_running_loop(), []

    async def open_one(port: int) -> Connection:
        _, connection = await loop.create_connection(
            lambda: Connection(loop, timeout_s=TIMEOUT_S, on_lost=lambda _, reason: lost.append(reason)),
            "127.0.0.1",
            port,
        )
        opened.append(connection)
        return connection

    yield open_one
    for connection in opened:
        connection.give_up("the test is over")
    await asyncio.sleep(0.02)  # for the other side to see it


async def serve(answer: Callable[[bytes], bytes]) -> asyncio.Server:
    """A server that answers each piece that it reads."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                writer.write(answer(data))
        writer.close()

    return await asyncio.start_server(talk, "127.0.0.1", 0)


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


async def test_answers_go_to_those_who_asked_whoever_gives_up(dial: Dial, redis_server: RedisServer) -> None:
    connection = await dial(redis_server.port)
    names = [f"{random.random()}" for _ in range(2000)]

    async def echo(name: str) -> bytes:
        answer = await connection.call("ECHO", name)
        assert isinstance(answer, bytes)
        return answer

    tasks = [asyncio.create_task(echo(name)) for name in names]
    for index, task in enumerate(tasks):
        if index % 100 == 99:
            await asyncio.sleep(0)
        if random.random() < 0.3:
            random.choice(tasks[: index + 1]).cancel()
            task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    kept = [(name, answer) for name, answer in zip(names, answers, strict=True) if isinstance(answer, bytes)]
    assert len(kept) > 500
    assert all(answer.decode() == name for name, answer in kept)


async def test_calls_of_one_step_of_the_loop_go_out_in_one_piece(dial: Dial) -> None:
    pieces: list[bytes] = []

    def answer(data: bytes) -> bytes:
        pieces.append(data)
        return b"+OK\r\n" * data.count(b"PING")

    async with await serve(answer) as server:
        connection = await dial(port_of(server))
        assert await asyncio.gather(*(connection.call("PING") for _ in range(50))) == [b"OK"] * 50
    assert pieces == [pack_command(("PING",)) * 50]


async def test_whoever_gets_no_answer_in_time_loses_all_calls_at_once(dial: Dial, lost: list[str]) -> None:
    loop = asyncio.get_running_loop()
    async with await serve(lambda _: b"") as server:
        connection = await dial(port_of(server))
        began_at = loop.time()
        first = asyncio.create_task(connection.call("PING"))
        await asyncio.sleep(TIMEOUT_S / 2)
        outcomes = await asyncio.gather(first, connection.call("PING"), return_exceptions=True)
        assert all(isinstance(outcome, StoreError) for outcome in outcomes)
        assert TIMEOUT_S <= loop.time() - began_at < TIMEOUT_S + LAST_LOOK_S + 0.03
        assert lost == ["it does not answer in time"]
        with pytest.raises(StoreError):
            await connection.call("PING")
        assert repr(connection) == "<Connection closed calls=0>"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"what\r\n", "its answer is not that of a Redis"),
        (b"+OK\r\n+OK\r\n", "it answers what nobody asked"),
    ],
)
async def test_what_cannot_be_an_answer_ends_the_connection(
    dial: Dial, lost: list[str], answer: bytes, reason: str
) -> None:
    async with await serve(lambda _: answer) as server:
        connection = await dial(port_of(server))
        await asyncio.gather(connection.call("PING"), return_exceptions=True)
        await asyncio.sleep(0.01)
    assert lost == [reason]


async def test_a_server_that_goes_away_is_noticed(dial: Dial, own_redis_server: RedisServer, lost: list[str]) -> None:
    connection = await dial(own_redis_server.port)
    assert await connection.call("PING") == b"PONG"
    own_redis_server.kill()
    await asyncio.sleep(0.05)
    assert lost == ["the connection was lost"]


async def test_a_refusal_is_told_without_its_arguments(dial: Dial, redis_server: RedisServer) -> None:
    connection = await dial(redis_server.port)
    with pytest.raises(StoreError, match=r"Redis refuses a command: ERR$"):
        await connection.call("EVAL", "return redis.error_reply('ERR sk-test-secret')", 0)
    assert error_code(ReplyError("NOSCRIPT no matching script")) == "NOSCRIPT"


async def test_a_call_is_told_of_its_end_once(dial: Dial, redis_server: RedisServer) -> None:
    class Told(Call):
        def __init__(self) -> None:
            self.ends: list[object] = []

        def replied(self, reply: object) -> None:
            self.ends.append(reply)

        def lost(self) -> None:
            self.ends.append("lost")

    connection = await dial(redis_server.port)
    calls = [Told() for _ in range(3)]
    connection.send(pack_command(("PING",)), calls[0])
    await connection.call("PING")
    connection.send(pack_command(("PING",)), calls[1])
    connection.give_up("enough")
    connection.give_up("enough")
    connection.send(pack_command(("PING",)), calls[2])
    assert [call.ends for call in calls] == [[b"PONG"], ["lost"], ["lost"]]
    waiting = Awaited(asyncio.get_running_loop())
    waiting.replied(b"first")
    waiting.replied(b"second")
    waiting.lost()
    assert await waiting.answer == b"first"
