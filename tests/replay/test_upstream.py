import asyncio
from typing import Any

import msgspec
import pytest

from keyrelay.core.configuration import Credential
from keyrelay.core.failures import FailureKind, FailureScope
from keyrelay.core.limits import Unit
from keyrelay.core.origins import Origin
from keyrelay.core.secrets import Secret
from keyrelay.ports import Fault, UpstreamAnswer, UpstreamCall
from keyrelay.replay.bodies import request_body
from keyrelay.replay.plan import ProviderEntry
from keyrelay.replay.provider import SimulatedProvider, limits_told, secret_of
from keyrelay.replay.trace import TraceRequest
from keyrelay.replay.upstream import SimulatedUpstream, host_of
from keyrelay.replay.virtual_time import BEGINNING_S, VirtualClock
from keyrelay.routing.classify import Classifier, Moment
from keyrelay.simulator.limits import Scope
from keyrelay.upstream.catalogue import load_catalogue
from keyrelay.wire.errors import read_error
from tests.replay.helpers import START_S, per_minute, run

ROWS = load_catalogue()
LATENCY = {"first_token_ms": [1000, 1000], "tokens_per_s": 10}
MODELS = {"groq": "openai/gpt-oss-120b", "gemini": "gemini-3.1-flash-lite", "mistral": "mistral-small-2603"}


class Bench:
    """One simulated provider behind the port, on the running loop."""

    def __init__(self, provider_id: str = "groq", **fields: Any) -> None:
        entry = msgspec.convert({"keys": 1, "transit_ms": [0, 0], "latency": LATENCY, **fields}, ProviderEntry)
        row = ROWS[provider_id]
        self.id = provider_id
        clock = VirtualClock(asyncio.get_running_loop(), START_S)
        self.provider = SimulatedProvider(row, entry, seed=1, clock=clock, told=limits_told(row, entry))
        self.upstream = SimulatedUpstream({provider_id: self.provider})

    async def send(
        self, *, key: str = "k1", deadline_s: float = 100.0, tokens: tuple[int, int] = (100, 20), **fields: Any
    ) -> UpstreamAnswer | Fault:
        request = TraceRequest(
            at_s=0, input_tokens=tokens[0], output_tokens=tokens[1], **{"model": MODELS[self.id], **fields}
        )
        origin = Origin("https", host_of(self.id), 443)
        return await self.upstream.send(
            UpstreamCall(
                origin=origin,
                target=f"/v1{'/embeddings' if request.operation == 'embeddings' else '/chat/completions'}",
                credential=Credential(origin, "authorization", "Bearer ", Secret(secret_of(self.id, key))),
                body=request_body(request, 0),
                first_byte_at=now_s() + BEGINNING_S + deadline_s,
                total_at=now_s() + BEGINNING_S + deadline_s,
            )
        )

    async def answer(self, **fields: Any) -> UpstreamAnswer:
        answer = await self.send(**fields)
        assert not isinstance(answer, Fault)
        return answer

    def used(self, unit: Unit, label: str = "k1") -> int:
        scope = Scope(self.id, label, label, MODELS[self.id])
        standings = self.provider._enforcer.standings(scope, START_S + now_s())
        return next(standing.used for standing in standings if standing.limit.unit is unit)


def now_s() -> float:
    return asyncio.get_running_loop().time() - BEGINNING_S


def test_a_whole_answer_comes_when_it_is_generated_and_counts_then() -> None:
    async def work() -> None:
        bench = Bench()
        answer = await bench.answer()
        assert (answer.status, answer.streaming) == (200, False)
        assert now_s() == pytest.approx(3.0)  # a second to the first token, 20 tokens at ten a second
        assert bench.used(Unit.REQUESTS) == 1
        assert bench.used(Unit.TOKENS) == 120
        assert "x-ratelimit-limit-requests" in answer.headers

    run(work())


def test_a_stream_begins_with_its_first_token_and_counts_when_it_ends() -> None:
    async def work() -> None:
        bench = Bench()
        answer = await bench.answer(stream=True)
        assert answer.streaming
        assert now_s() == pytest.approx(1.0)
        assert b"abc" in await answer.read()
        assert now_s() == pytest.approx(1.0)
        assert bench.used(Unit.TOKENS) == 100
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        assert now_s() == pytest.approx(3.0)
        assert bench.used(Unit.TOKENS) == 120
        assert await answer.read() == b""
        answer.release()
        assert bench.used(Unit.TOKENS) == 120

    run(work())


@pytest.mark.parametrize(("leave_after_s", "generated"), [(0.55, 5), (1.05, 10), (2.0, 20), (9.0, 20)])
def test_of_a_stream_that_is_left_what_was_generated_counts(leave_after_s: float, generated: int) -> None:
    async def work() -> None:
        bench = Bench()
        answer = await bench.answer(stream=True, tokens=(100, 20))
        await answer.read()
        await asyncio.sleep(leave_after_s)
        answer.close()
        assert bench.used(Unit.TOKENS) == 100 + generated

    run(work())


def test_what_takes_too_long_is_a_timeout_at_the_deadline() -> None:
    async def work() -> None:
        bench = Bench()
        outcome = await bench.send(deadline_s=2.0)
        assert isinstance(outcome, Fault)
        assert outcome.kind == "timeout"
        assert now_s() == pytest.approx(2.0)
        assert bench.used(Unit.TOKENS) == 110  # half of the answer had been generated
        stream = await bench.answer(deadline_s=2.0, stream=True)
        await stream.read()
        assert await stream.read() == b""
        assert stream.fault is not None
        assert now_s() == pytest.approx(4.0)

    run(work())


def test_a_call_that_is_cancelled_counts_what_was_generated() -> None:
    async def work() -> None:
        bench = Bench()
        task = asyncio.create_task(bench.send())
        await asyncio.sleep(2.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.used(Unit.TOKENS) == 110

    run(work())


@pytest.mark.parametrize("provider", ["groq", "gemini", "mistral"])
def test_a_limit_is_kept_and_refused_in_the_providers_words(provider: str) -> None:
    async def work() -> None:
        bench = Bench(provider, limits=[per_minute(2)], true_limits=[per_minute(2)])
        answers = [await bench.answer() for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        failure = Classifier(ROWS[provider].failures).classify(
            read_error(429, answers[2].body, answers[2].headers, START_S),
            Moment(now_s=START_S, zone=ROWS[provider].day_zone, strikes=0, random=0.5),
        )
        assert failure.kind is FailureKind.RATE
        tally = bench.provider.tally
        assert (tally.calls, tally.too_many, tally.limited) == (3, 1, 1)

    run(work())


def test_a_limit_that_nobody_told_is_not_the_gateways_fault() -> None:
    async def work() -> None:
        bench = Bench(true_limits=[per_minute(1)])
        assert [(await bench.answer()).status for _ in range(2)] == [200, 429]
        assert (bench.provider.tally.too_many, bench.provider.tally.limited) == (1, 0)

    run(work())


@pytest.mark.parametrize(
    ("state", "kind", "scope"),
    [
        ("invalid", FailureKind.AUTH, FailureScope.KEY),
        ("exhausted_day", FailureKind.QUOTA, FailureScope.PAIR),
        ("restricted_model", FailureKind.MODEL, FailureScope.PAIR),
    ],
)
def test_a_key_is_worth_what_its_state_says(state: str, kind: FailureKind, scope: FailureScope) -> None:
    async def work() -> None:
        bench = Bench(keys=[{"label": "k1", "state": state}, "k2"])
        answer = await bench.answer()
        failure = Classifier(ROWS["groq"].failures).classify(
            read_error(answer.status, answer.body, answer.headers, START_S),
            Moment(now_s=START_S, zone="UTC", strikes=0, random=0.5),
        )
        assert (failure.kind, failure.scope) == (kind, scope)
        assert (await bench.answer(key="k2")).status == 200
        assert (await bench.answer(key="lost")).status == 401
        caller = Scope("groq", "k1", "k1", MODELS["groq"])
        assert bench.provider.works_from_s(caller) > START_S
        assert bench.provider.works_from_s(Scope("groq", "k2", "k2", MODELS["groq"])) == 0

    run(work())


def test_an_exhausted_key_comes_back_at_the_providers_midnight() -> None:
    async def work() -> None:
        bench = Bench("gemini", keys=[{"label": "k1", "state": "exhausted_day"}])
        assert (await bench.answer()).status == 429
        reset_s = bench.provider.works_from_s(Scope("gemini", "k1", "k1", MODELS["gemini"]))
        assert reset_s == START_S + 86_400  # the trace begins at midnight in Los Angeles
        await asyncio.sleep(86_401 - now_s())
        assert (await bench.answer()).status == 200

    run(work())


def test_unknown_models_long_prompts_and_faults_are_refused() -> None:
    async def work() -> None:
        bench = Bench()
        assert (await bench.answer(model="gpt-1")).status == 404
        assert (await bench.answer(tokens=(200_000, 1))).status in {400, 413}
        assert (await Bench(faults={"overloaded": 1.0}).answer()).status == 498  # as Groq says it
        assert (await Bench(faults={"overloaded": 0.0}).answer()).status == 200

    run(work())


def test_the_same_request_takes_the_same_time_again() -> None:
    async def work() -> float:
        drawn: dict[str, Any] = {"latency": {"first_token_ms": [100, 900], "tokens_per_s": 50}, "transit_ms": [10, 500]}
        bench = Bench(**drawn)
        await bench.answer()
        first_s = now_s()
        await bench.answer()
        assert now_s() == pytest.approx(2 * first_s)
        return first_s

    assert run(work()) == run(work())
