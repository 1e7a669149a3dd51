"""What the monitor asks, when, and what becomes known by it."""

import asyncio
import math
from collections.abc import Mapping

from keyrelay.core.configuration import Key, Provider
from keyrelay.core.failures import Failure, FailureKind, FailureScope
from keyrelay.core.probes import Probed, ProbeOutcome
from keyrelay.core.records import RequestRecord
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.key_history import KeyHistory
from keyrelay.engine.monitor import Monitor
from keyrelay.engine.pasts import Past
from keyrelay.engine.pool import Pool
from keyrelay.engine.strangers import Strangers
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health
from keyrelay.routing.probing import RECOVERY_MAX_S, ProbeRules
from keyrelay.storage.memory_ledger import MemoryLedger
from tests.engine.rig import FakeClock, snapshot_of

GOOD = Probed(outcome=ProbeOutcome.VALID, message="It accepts it.", ms=3.0)
DOWN = Failure(kind=FailureKind.SERVICE, scope=FailureScope.PROVIDER, message="it answered 503", status=503)
FAILED = Probed(outcome=ProbeOutcome.UNKNOWN, message="It answered 503.", fault=DOWN)
REFUSED = Failure(kind=FailureKind.AUTH, scope=FailureScope.KEY, message="no such key", until_s=math.inf)
BAD = Probed(outcome=ProbeOutcome.INVALID, message="It does not accept it.", failure=REFUSED)


class Still(FakeClock):
    """A clock that a test alone moves on."""

    def monotonic_s(self) -> float:
        return self.moved_s

    def epoch_s(self) -> float:
        return 1_800_000_000.0 + self.moved_s


class Asked:
    """A prober that answers as it is told to, and remembers."""

    def __init__(self) -> None:
        self.result = GOOD
        self.keys: list[str] = []
        self.at_once: dict[str, int] = {}
        self.most_at_once = 0
        self.waits: asyncio.Event | None = None

    async def probe(self, provider: Provider, key: Key) -> Probed:
        self.keys.append(key.id)
        self.at_once[provider.id] = self.at_once.get(provider.id, 0) + 1
        self.most_at_once = max(self.most_at_once, *self.at_once.values())
        await (self.waits.wait() if self.waits is not None else asyncio.sleep(0))
        self.at_once[provider.id] -= 1
        return self.result


class Watched:
    """A monitor over a real pool and health."""

    def __init__(self, **rules: float) -> None:
        environ = {"GROQ_API_KEYS": "a=sim-groq-a,b=sim-groq-b", "MISTRAL_API_KEYS": "c=sim-mistral-c"}
        self.clock, self.asked, self.elsewhere, self.found = Still(), Asked(), dict[str, Past](), 0
        self.pool = Pool(snapshot_of(**environ), Health(CircuitSettings(failures=2, open_s=600)))
        self.history = KeyHistory()
        ledger = MemoryLedger()
        self.monitor = Monitor(
            self.pool,
            self.asked,
            KeyHealth(self.pool, ledger, self.history, self.clock, strangers=Strangers(ledger)),
            rules=ProbeRules(**{"per_day": 100, **rules}),  # type: ignore[arg-type]
            clock=self.clock,
            random=lambda: 0.5,
            pasts=self._pasts,
            found=self._found,
        )
        self.circuit = self.pool.health.circuit("provider:groq")

    async def _pasts(self) -> Mapping[str, Past]:
        return self.history.all() | self.elsewhere

    def _found(self) -> None:
        self.found += 1

    async def after(self, seconds: float) -> list[str]:
        """What was asked when so much time had passed."""
        self.clock.moved_s += seconds
        self.asked.keys.clear()
        await self.monitor.look()
        for _ in range(5):
            await asyncio.sleep(0)
        return sorted(self.asked.keys)

    def fails(self) -> None:
        for _ in range(2):
            self.circuit.failed(self.clock.epoch_s(), "service: down", lambda: 0.5)

    def answers(self, key: str) -> None:
        record = RequestRecord(id="req", provider="groq", key=key, model="m", status=200, upstream_ms=12.0)
        self.history.answered(record, self.clock.epoch_s())


async def test_idle_keys_are_asked_one_of_a_provider_at_a_time() -> None:
    watched = Watched(every_s=300)
    assert await watched.after(1) == []
    assert await watched.after(298) == []
    assert await watched.after(2) == ["groq/a", "mistral/c"]
    assert await watched.after(1) == ["groq/b"]
    assert await watched.after(1) == []
    assert watched.asked.most_at_once == 1
    past = watched.history.all()["groq/a"]
    assert past.test is not None
    assert (past.test.outcome, watched.found) == (ProbeOutcome.VALID, 3)
    assert watched.pool.health.proof("key:groq/a").proven


async def test_a_probe_under_way_keeps_its_provider_busy() -> None:
    watched = Watched(every_s=300)
    watched.asked.waits = asyncio.Event()
    await watched.after(0)
    assert await watched.after(301) == ["groq/a", "mistral/c"]
    assert await watched.after(100) == []
    await watched.monitor.stop()
    watched.asked.waits = None
    assert len(await watched.after(1)) == 2


async def test_traffic_says_enough_here_and_elsewhere() -> None:
    watched = Watched(every_s=300)
    await watched.after(0)
    watched.clock.moved_s = 200
    watched.answers("a")
    watched.elsewhere["groq/b"] = Past(success_s=watched.clock.epoch_s())
    assert await watched.after(101) == ["mistral/c"]
    assert await watched.after(200) == ["groq/a"]


async def test_no_more_than_the_day_allows() -> None:
    watched = Watched(every_s=10, per_day=2)
    asked = [each for _ in range(20) for each in await watched.after(11)]
    assert {key: asked.count(key) for key in asked} == {"groq/a": 2, "groq/b": 2, "mistral/c": 2}
    plan = watched.monitor.plans(watched.history.all())["groq/a"]
    assert (plan.today, plan.per_day, plan.next_s) == (2, 2, None)
    assert "groq/a" in await watched.after(86_400)


async def test_by_default_nothing_is_asked_while_all_is_well() -> None:
    watched = Watched(recovery_s=5)
    assert [await watched.after(1000) for _ in range(3)] == [[], [], []]


async def test_a_provider_that_fails_is_asked_until_it_is_back() -> None:
    watched = Watched(recovery_s=5)
    watched.fails()
    watched.asked.result = FAILED
    assert await watched.after(0) == []
    assert await watched.after(5) == ["groq/a"]
    assert await watched.after(9) == []
    assert await watched.after(1) == ["groq/b"]
    until_s = watched.circuit.open_until_s
    assert await watched.after(20) == ["groq/a"]
    assert (watched.circuit.closed, watched.circuit.open_until_s) == (False, until_s)
    watched.asked.result = GOOD
    assert await watched.after(40) == ["groq/b"]
    assert watched.circuit.closed
    assert await watched.after(10) == []


async def test_a_failing_probe_never_keeps_a_circuit_open() -> None:
    watched = Watched(recovery_s=5)
    watched.fails()
    watched.asked.result = FAILED
    await watched.after(0)
    await watched.after(700)
    assert watched.circuit.admits(watched.clock.epoch_s())
    assert await watched.after(RECOVERY_MAX_S) == ["groq/b"]
    assert watched.circuit.admits(watched.clock.epoch_s())


async def test_a_probe_is_not_believed_when_calls_fail_all_the_same() -> None:
    watched = Watched(recovery_s=5)
    watched.fails()
    await watched.after(0)
    await watched.after(5)
    assert watched.circuit.closed
    watched.fails()
    assert [await watched.after(100) for _ in range(5)] == [[]] * 5
    assert len(await watched.after(100)) == 1


async def test_failing_probes_open_a_circuit() -> None:
    watched = Watched(every_s=10)
    watched.asked.result = FAILED
    for _ in range(6):
        await watched.after(11)
    assert not watched.circuit.closed
    assert "it answered 503" in watched.circuit.reason


async def test_a_key_that_is_refused_rests_and_is_asked_less_often() -> None:
    watched = Watched(every_s=100)
    watched.asked.result = BAD
    await watched.after(0)
    await watched.after(101)
    await watched.after(1)
    cell = watched.pool.health.cell("key:groq/a")
    assert (cell.failure, cell.until_s) == (REFUSED, math.inf)
    assert watched.circuit.closed
    assert await watched.after(101) == []
    watched.asked.result = GOOD
    assert "groq/a" in await watched.after(100)
    assert cell.failure is None


async def test_what_is_found_of_a_key_that_is_gone_is_forgotten() -> None:
    watched = Watched(every_s=100)
    watched.asked.waits = asyncio.Event()
    await watched.after(0)
    assert "groq/a" in await watched.after(101)
    watched.asked.result = BAD
    watched.pool.replace(snapshot_of(GROQ_API_KEYS="b=sim-groq-b"))
    watched.asked.waits.set()
    await asyncio.sleep(0.01)
    assert watched.pool.health.cell("key:groq/a").failure is None
    assert watched.found == 0
