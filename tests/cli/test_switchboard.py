"""Questions between workers over real sockets; what the workers say is said in this process."""

import asyncio
import socket
import subprocess
import sys
import time

import msgspec

from keyrelay.api.siblings import ASK_TIMEOUT_S, MAX_WAITING, Siblings
from keyrelay.api.worker_channel import Answers, AnyMessage, Channel, Farewell, Ready, Scraped
from keyrelay.api.worker_metrics import Family, Sample, decode_sample, encode_sample
from keyrelay.cli.switchboard import Switchboard
from keyrelay.cli.worker_process import WorkerProcess
from tests.e2e.harness import until


def counted(count: float) -> bytes:
    return encode_sample(Sample({"c": Family("counter", "C.", {("c_total", ()): count})}))


def total(scraped: Scraped | None) -> float:
    assert scraped is not None
    return decode_sample(scraped.sample).families["c"].values["c_total", ()]


def idle_process() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


class Rig:
    """A switchboard and some workers."""

    def __init__(self) -> None:
        self.workers: list[WorkerProcess] = []
        self.siblings: list[Siblings] = []
        self.channels: list[Channel] = []
        self.switchboard = Switchboard(lambda: self.workers)

    async def add(self) -> Siblings:
        """A worker that is ready."""
        ours, theirs = socket.socketpair()
        number = len(self.workers) + 1
        process = idle_process()
        worker = WorkerProcess(number, number - 1, process)
        worker._channel = await Channel.over(
            ours, lambda message: worker._take(message, self.switchboard.receive), worker._gone.set
        )
        siblings = Siblings(lambda message: self.say(number, message))
        self.channels.append(await Channel.over(theirs, siblings.receive, lambda: None))
        self.workers.append(worker)
        self.siblings.append(siblings)
        self.channels[-1].send(Ready())
        assert await worker.ready(5)
        return siblings

    def say(self, number: int, message: AnyMessage) -> None:
        self.channels[number - 1].send(message)

    async def end(self, worker: WorkerProcess) -> None:
        worker.kill()
        worker._process.wait()
        worker.reap()
        self.switchboard.ended(worker)

    async def close(self) -> None:
        for worker in self.workers:
            await self.end(worker)
            worker.close()
            assert worker._process.stdin is not None
            worker._process.stdin.close()
        await asyncio.sleep(0.01)


async def rig_of(number: int) -> Rig:
    rig = Rig()
    for _ in range(number):
        await rig.add()
    return rig


class Question(msgspec.Struct):
    request_id: str


async def test_all_others_are_asked_and_those_who_know_answer() -> None:
    rig = await rig_of(3)

    def knows(name: str, request_id: str) -> None:
        async def answer(payload: bytes) -> bytes | None:
            question = msgspec.msgpack.decode(payload, type=Question)
            return name.encode() if question.request_id == request_id else None

        rig.siblings[int(name)].answer("explain", answer)

    knows("0", "req_a")
    knows("1", "req_a")
    knows("2", "req_b")
    ask = msgspec.msgpack.encode
    one, two, three = rig.siblings
    assert await one.ask("explain", ask(Question("req_a"))) == (b"1",)
    assert set(await three.ask("explain", ask(Question("req_a")))) == {b"0", b"1"}
    assert await two.ask("explain", ask(Question("req_c"))) == ()
    assert await two.ask("unheard of") == ()
    many = await asyncio.gather(*(one.ask("explain", ask(Question("req_b"))) for _ in range(100)))
    assert set(many) == {(b"2",)}
    await rig.close()


async def test_who_does_not_answer_in_time_is_left_out() -> None:
    rig = await rig_of(3)
    one, two, three = rig.siblings

    async def never(payload: bytes) -> bytes:
        await asyncio.sleep(60)
        return payload

    async def at_once(payload: bytes) -> bytes:
        return payload

    two.answer("echo", never)
    three.answer("echo", at_once)
    began_at = time.monotonic()
    assert await one.ask("echo", b"!") == (b"!",)
    assert ASK_TIMEOUT_S * 0.9 < time.monotonic() - began_at < ASK_TIMEOUT_S + 0.5
    asked = asyncio.ensure_future(one.ask("echo", b"?"))
    await until(lambda: len(two._answering) == 2, "it has been asked")
    began_at = time.monotonic()
    await rig.end(rig.workers[1])
    assert await asked == (b"?",)
    assert time.monotonic() - began_at < ASK_TIMEOUT_S / 2, "nobody waits for one that has ended"
    for task in two._answering:
        task.cancel()
    await rig.close()


async def test_counts_of_all_are_those_of_ended_ones_too() -> None:
    rig = await rig_of(3)
    for number, siblings in enumerate(rig.siblings):

        async def sample(payload: bytes, number: int = number) -> bytes:
            return counted(10**number)

        siblings.answer("sample", sample)
    one = rig.siblings[0]
    first = await one.scrape(counted(1))
    assert total(first) == 110
    assert first is not None
    assert (first.workers, first.answering) == (3, 3)
    rig.channels[1].send(Farewell(counted(15)))
    await asyncio.sleep(0.02)
    await rig.end(rig.workers[1])
    after = await one.scrape(counted(1))
    assert total(after) == 115, "with what it said last"
    assert after is not None
    assert (after.workers, after.answering) == (2, 2)
    await rig.close()


async def test_alone_nobody_is_asked() -> None:
    siblings = Siblings()
    assert siblings.alone
    assert await siblings.ask("anything") == ()
    assert await siblings.scrape(b"") is None
    assert repr(siblings) == "<Siblings alone>"


async def test_questions_are_bounded_and_a_silent_supervisor_delays_nobody_for_long() -> None:
    sent: list[AnyMessage] = []
    siblings = Siblings(sent.append)
    began_at = time.monotonic()
    answers = await asyncio.gather(*(siblings.ask("anything") for _ in range(MAX_WAITING + 10)))
    assert set(answers) == {()}
    assert len(sent) == MAX_WAITING
    assert time.monotonic() - began_at < 3
    siblings.receive(Answers(1, (b"late",)))
    assert await asyncio.wait_for(answered(siblings, sent), 5) == (b"in time",)


async def answered(siblings: Siblings, sent: list[AnyMessage]) -> tuple[bytes, ...]:
    asked = asyncio.ensure_future(siblings.ask("anything"))
    await asyncio.sleep(0)
    siblings.receive(Answers(len(sent), (b"in time",)))
    return await asked
