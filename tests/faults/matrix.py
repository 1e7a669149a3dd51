"""The fault matrix of the simulator against the gateway: three keys at each of two providers, some of them faulty."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

import msgspec

from keyrelay.simulator import FAULTS, Fault, KeyPlan, ProviderPlan, Scenario, Simulator
from tests.e2e.harness import Embedded, Reply, calls_of, chat_bytes, embedded, environment, load, simulated

Where = Literal["key", "provider"]

FAULTY, HEALTHY = "groq", "openai"
FAULTY_KEY = "f1"
TIMEOUT_S = 0.5
DEADLINE_S = 3.0
CALLERS_FAULT = frozenset({"malformed", "blocked", "quotes_code", "quotes_cut", "quotes_value"})
"""What the provider finds wrong with the request is told to the caller, not tried elsewhere."""

NOTHING_LEARNED = frozenset({"context", "too_large"})
"""These say something of one request and one model, so each request finds out anew."""

BEFORE = sorted(
    fault.name for fault in FAULTS.values() if fault.strikes == "before" and fault.name not in CALLERS_FAULT
)
AFTER = sorted(fault.name for fault in FAULTS.values() if fault.strikes == "after")
HARMLESS = sorted(fault.name for fault in FAULTS.values() if fault.strikes == "harmless")

FAST = {
    "KEYRELAY_CONNECT_TIMEOUT_S": str(TIMEOUT_S),
    "KEYRELAY_FIRST_BYTE_TIMEOUT_S": str(TIMEOUT_S),
    "KEYRELAY_ANSWER_TIMEOUT_S": str(TIMEOUT_S),
    "KEYRELAY_CONTENT_GAP_TIMEOUT_S": str(TIMEOUT_S),
    "KEYRELAY_TOTAL_TIMEOUT_S": str(DEADLINE_S),
    "KEYRELAY_MAX_ANSWER_BYTES": "1048576",
    "KEYRELAY_MAX_EVENT_BYTES": "262144",
}
PRICES = {"GROQ_TIER": "paid", "GROQ_PRIORITY": "1", "OPENAI_PRIORITY": "1"}
KEYS = {FAULTY: [f"f{n}=sim-groq-{n}" for n in range(3)], HEALTHY: [f"h{n}=sim-openai-{n}" for n in range(3)]}


def scenario(fault: str, where: Where) -> Scenario:
    """One key or all keys of the first provider have the fault, always."""
    faults = {fault: 1.0}
    keys = {
        f"sim-groq-{n}": KeyPlan(label=f"f{n}", faults=faults if where == "key" and f"f{n}" == FAULTY_KEY else {})
        for n in range(3)
    }
    return Scenario(
        providers={
            FAULTY: ProviderPlan(
                limits=(), keys=dict(keys), faults=faults if where == "provider" else {}, answer_tokens=(8, 16)
            ),
            HEALTHY: ProviderPlan(answer_tokens=(8, 16)),
        }
    )


@contextlib.asynccontextmanager
async def faulty(fault: str, where: Where, directory: Path, **more: str) -> AsyncIterator[tuple[Simulator, Embedded]]:
    async with simulated(scenario(fault, where)) as simulator:
        environ = environment(simulator, KEYS, **FAST, **PRICES) | more
        async with embedded(environ, directory) as gateway:
            yield simulator, gateway


class Row(msgspec.Struct, frozen=True):
    """What one row of the matrix came to."""

    fault: str
    where: Where
    requests: int
    good: int
    calls: int
    faulty_calls: int
    slowest_s: float
    bad: list[Reply]

    @property
    def allowed_calls(self) -> float:
        """A tenth more than requests, and a floor of three."""
        return 1.10 * self.requests + 3

    def __str__(self) -> str:
        share = 100 * self.good / self.requests
        return (
            f"{self.fault:22} {self.where:9} {self.requests:6} {share:8.2f} % {self.calls / self.requests:7.3f} "
            f"{self.faulty_calls:6} {self.slowest_s:7.3f} s"
        )


HEADING = f"{'fault':22} {'where':9} {'sent':>6} {'good':>10} {'calls/r':>7} {'faulty':>6} {'slowest':>9}"


def streams(fault: Fault, number: int) -> bool:
    """Every second request streams; all do where only streams can have the fault."""
    return fault.only == "stream" or number % 2 == 1


async def run_row(fault: str, where: Where, directory: Path, *, requests: int, concurrency: int = 8) -> Row:
    """Send requests to a gateway of its own, and look at what came back and at what the simulator saw."""
    async with faulty(fault, where, directory) as (simulator, gateway):
        bodies = (chat_bytes(stream=streams(FAULTS[fault], n), text=f"Request {n}") for n in range(requests))
        replies = await load(gateway.port, bodies, concurrency=concurrency)
        calls = calls_of(simulator)
        bad = [reply for reply in replies if not reply.is_good()]
        return Row(
            fault=fault,
            where=where,
            requests=requests,
            good=len(replies) - len(bad),
            calls=len(calls),
            faulty_calls=sum(call.fault == fault for call in calls),
            slowest_s=max(reply.seconds for reply in replies),
            bad=bad,
        )
