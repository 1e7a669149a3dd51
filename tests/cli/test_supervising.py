"""The supervisor over workers that only pretend: real processes that start fast and fail when they are told to."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyrelay.api.worker_channel import Orders, Ready
from keyrelay.cli import supervising
from keyrelay.cli.loads import LOADS_BYTES, Loads
from keyrelay.cli.supervising import Supervisor, refuse_alone
from keyrelay.configuration import Configuration, load_configuration
from keyrelay.core.errors import ConfigurationError
from keyrelay.core.secrets import Secret
from tests.e2e.harness import until

PRETENDER = """
import socket, sys, time
from pathlib import Path
from keyrelay.api.worker_channel import *
end = socket.socket(fileno=int(sys.argv[-1]))
orders = receive_first(end)
how = Path(sys.argv[1]).read_text().split()
Path(sys.argv[2]).open("a").write(f"{orders.slot}\\n")
if how[0] == "fail":
    sys.exit(int(how[1]))
end.sendall(encode(Ready(lacks_client=how[0] == "lonely")))
frames = Frames()
while data := end.recv(65536):
    for message in frames.feed(data):
        if isinstance(message, Reload):
            end.sendall(encode(Ready(clients=1)))
        if isinstance(message, Drain) and how[0] != "deaf":
            sys.exit(0)
"""


class Rig:
    """A supervisor at work. `how` says how workers that start from now on behave, `slots` which have started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.workers = 2
        self.broken = False
        self.clients_made = 0
        self.greeted: list[tuple[int, str]] = []
        self.ready = asyncio.Event()
        self._shared = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._shared.truncate(LOADS_BYTES)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.how("serve")
        (directory / "slots").write_text("")
        loads = Loads(self._shared.fileno())
        loads.clear()
        command = [sys.executable, "-c", PRETENDER, str(directory / "how"), str(directory / "slots")]
        self.supervisor = Supervisor(
            self.configuration(),
            self.configuration,
            orders=lambda slot: Orders({}, self._listener.fileno(), self._shared.fileno(), "here", slot),
            close=self._listener.close,
            loads=loads,
            report=lambda level, text: self.said.append(f"{level} {text}"),
            command=command,
            make_client=self.make_client,
        )

    def make_client(self) -> Secret:
        self.clients_made += 1
        return Secret("kr-test-first")

    def configuration(self) -> Configuration:
        if self.broken:
            raise ConfigurationError(".env", "is broken.")
        environ = {
            "HOME": str(self.directory),
            "KEYRELAY_WORKERS": str(self.workers),
            "KEYRELAY_DRAIN_TIMEOUT_S": "1",
            "GROQ_API_KEY": "sim-groq-a",
        }
        return load_configuration(environ, directory=self.directory, overrides={})

    def how(self, text: str) -> None:
        (self.directory / "how").write_text(text)

    @property
    def slots(self) -> list[int]:
        return [int(line) for line in (self.directory / "slots").read_text().splitlines()]

    def pids(self) -> list[int]:
        return [worker._process.pid for worker in self.supervisor._serving()]

    async def run(self) -> int:
        return await self.supervisor.run(self.greet)

    def greet(self, ready: Ready, secret: Secret) -> None:
        self.greeted.append((ready.clients, secret.reveal()))
        self.ready.set()

    def close(self) -> None:
        self._listener.close()
        self._shared.close()


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(supervising, "_FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(supervising, "STOP_MARGIN_S", 0.2)
    monkeypatch.setattr(supervising, "HURRY_S", 0.2)
    return Rig(tmp_path)


@contextlib.asynccontextmanager
async def running(rig: Rig) -> AsyncIterator["asyncio.Task[int]"]:
    task = asyncio.create_task(rig.run())
    try:
        await asyncio.wait({task, asyncio.ensure_future(rig.ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 10)
        rig.close()


async def renewed(rig: Rig, until_said: str) -> None:
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: any(until_said in text for text in rig.said), until_said)


async def test_a_worker_that_cannot_start_ends_it_all_with_its_code(rig: Rig) -> None:
    rig.how("fail 2")
    async with running(rig) as task:
        assert await task == 2
    assert not rig.ready.is_set()
    assert rig.slots == [0], "the first one finds out for all"


async def test_any_other_code_is_a_failure(rig: Rig) -> None:
    rig.how("fail 7")
    async with running(rig) as task:
        assert await task == 1


async def test_a_dead_worker_is_replaced_in_its_slot(rig: Rig) -> None:
    async with running(rig) as task:
        dead = rig.pids()[1]
        os.kill(dead, signal.SIGKILL)
        await until(lambda: dead not in rig.pids() and len(rig.pids()) == 2, "another takes its place")
        assert rig.slots == [0, 1, 1]
        assert rig.said == [f"error worker 1 (process {dead}) was ended by SIGKILL; another takes its place"]
        assert repr(rig.supervisor) == "<Supervisor 2 of 2 workers serving>"
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0


async def test_when_none_is_left_and_none_can_start_it_gives_up(rig: Rig) -> None:
    async with running(rig) as task:
        rig.how("fail 1")
        for pid in rig.pids():
            os.kill(pid, signal.SIGKILL)
        assert await asyncio.wait_for(task, 10) == 1
        assert rig.said[-1].endswith("workers in a row ended before they were ready: giving up")


async def test_while_one_is_left_it_goes_on_trying(rig: Rig) -> None:
    async with running(rig):
        rig.how("fail 1")
        left, dead = rig.pids()
        os.kill(dead, signal.SIGKILL)
        await until(lambda: len(rig.slots) >= 2 + 4, "some have been tried")
        assert rig.pids() == [left]
        rig.how("serve")
        await until(lambda: len(rig.pids()) == 2, "one of them stays")


async def test_no_two_live_workers_have_the_same_slot(rig: Rig) -> None:
    async with running(rig):
        before = rig.pids()
        await renewed(rig, "info all workers have been replaced")
        assert set(before).isdisjoint(rig.pids())
        assert rig.slots == [0, 1, 2, 0], "the new one takes the free slot, and then the old one's is free"


async def test_after_each_restart_somebody_has_the_first_slot(rig: Rig) -> None:
    """Who has it does what one of them has to do: alerts, probes, deleting what is old."""
    async with running(rig):
        for workers in (2, 2, 1, 1):
            rig.workers = workers
            rig.said.clear()
            await renewed(rig, "info all workers have been replaced")
            assert 0 in [worker.slot for worker in rig.supervisor._serving()], rig.slots


async def test_more_or_fewer_workers_after_a_change(rig: Rig) -> None:
    async with running(rig):
        rig.workers = 4
        await renewed(rig, "info all workers have been replaced")
        assert len(rig.pids()) == 4
        rig.said.clear()
        rig.workers = 1
        await renewed(rig, "info all workers have been replaced")
        assert len(rig.pids()) == 1
        assert "in force after a restart: settings.workers" in rig.said[0]


async def test_a_wrong_configuration_changes_nothing(rig: Rig) -> None:
    async with running(rig):
        before = rig.pids()
        rig.broken = True
        await renewed(rig, "the workers stay as they are")
        assert rig.pids() == before
        assert any(".env: is broken." in text for text in rig.said)


async def test_when_the_new_one_does_not_get_ready_the_old_ones_stay(rig: Rig) -> None:
    async with running(rig):
        before = rig.pids()
        rig.how("fail 1")
        await renewed(rig, "no new worker gets ready")
        assert rig.pids() == before


async def test_a_worker_that_does_not_end_is_ended(rig: Rig) -> None:
    rig.how("deaf")
    async with running(rig) as task:
        pids = rig.pids()
        began_at = asyncio.get_running_loop().time()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
        assert 1.0 < asyncio.get_running_loop().time() - began_at < 5
        assert not [pid for pid in pids if exists(pid)]


async def test_the_second_signal_does_not_wait(rig: Rig) -> None:
    rig.how("deaf")
    async with running(rig) as task:
        began_at = asyncio.get_running_loop().time()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task == 0
        assert asyncio.get_running_loop().time() - began_at < 1.0


async def test_the_first_client_is_made_once_all_workers_serve_and_known_to_all_before_it_is_shown(rig: Rig) -> None:
    rig.how("lonely")
    async with running(rig):
        assert rig.greeted == [(1, "kr-test-first")]
        assert not any(worker.serves_with.lacks_client for worker in rig.supervisor._serving())
    assert rig.clients_made == 1


async def test_workers_that_fail_to_start_leave_no_client_behind(rig: Rig) -> None:
    rig.how("fail 1")
    async with running(rig) as task:
        assert await task == 1
    assert (rig.clients_made, rig.greeted) == (0, [])


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("workers", "redis_url"), [("1", ""), ("1", "redis://127.0.0.1/0"), ("2", "redis://127.0.0.1/0")]
)
def test_who_need_not_share_or_can_is_let_through(tmp_path: Path, workers: str, redis_url: str) -> None:
    refuse_alone(configured(tmp_path, KEYRELAY_WORKERS=workers, REDIS_URL=redis_url))


def test_several_without_redis_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        refuse_alone(configured(tmp_path, KEYRELAY_WORKERS="4"))
    assert str(caught.value).startswith("workers: 4 workers need Redis: each of them alone would count the quotas")
    assert "KEYRELAY_REDIS_URL=redis://127.0.0.1:6379/0" in caught.value.fix


def configured(directory: Path, **environ: str) -> Configuration:
    return load_configuration({"HOME": str(directory), **environ}, directory=directory, overrides={})
