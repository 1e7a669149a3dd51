"""Requests that wait for quota, through the whole engine, on a loop whose clock jumps."""

import asyncio
from collections import Counter
from typing import Any

import msgspec
import pytest

from keyrelay.core.errors import CallerError
from keyrelay.core.records import RequestRecord
from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.waiting_room import WaitingSettings
from keyrelay.engine.wishes import Wishes
from keyrelay.quota.fairness import Priority
from keyrelay.wire.dialects import CallerCodec
from keyrelay.wire.registry import ANTHROPIC, GEMINI_ARRAY, GEMINI_EVENTS, OLLAMA_CHAT, OPENAI, RESPONSES
from tests.engine.rig import START_S, FakeAnswer, FakeClock, ListSink, Rig, delta, error, providers, stream_of
from tests.engine.test_waiting_room import run

PATIENT = EngineSettings(waiting=WaitingSettings(wait_s=500))


class SteadyClock(FakeClock):
    """Wall time that goes on with the loop's."""

    def epoch_s(self) -> float:
        return START_S + self.monotonic_s()


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.engine.rig.FakeClock", SteadyClock)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_minute_is_waited_for_and_each_window_is_used_to_the_last_request() -> None:
    async def main() -> None:
        rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=2, ACME_RPM="2"), PATIENT)
        await asyncio.gather(*(rig.ask() for _ in range(20)))
        assert Counter(rig.upstream.calls) == {"acme-00": 10, "acme-01": 10}
        assert 240 <= now() < 245, "five windows of four, one after another"
        view = rig.gateway.waiting()
        assert (view.waiting, view.bytes, view.served) == (0, 0, 16)

    run(main())


def test_what_the_provider_asks_for_is_waited_for_and_told_apart_from_our_own_time() -> None:
    async def main() -> None:
        outcomes = [error(429, retry_after="7"), FakeAnswer()]
        rig = Rig(lambda *_: outcomes.pop(0), providers("acme"), PATIENT)
        assert await rig.ask()
        (record,) = rig.records
        assert 7000 <= record.waited_ms < 9000
        assert len(record.attempts) == 2
        assert record.ms - record.waited_ms - record.upstream_ms < 1

    run(main())


def test_a_deadline_before_the_slot_is_answered_at_once_with_the_time() -> None:
    async def main() -> None:
        rig = Rig(lambda *_: error(429, retry_after="30"), providers("acme"), PATIENT)
        refused = await rig.refusal(wishes=Wishes(deadline_s=5))
        assert now() < 1
        assert refused.status == 429
        assert 30 <= float(dict(refused.headers)["retry-after"]) <= 33

    run(main())


def test_a_stream_is_told_that_it_waits_and_by_whom_it_is_answered() -> None:
    async def main() -> None:
        outcomes = [error(429, retry_after="25"), stream_of(delta("hi"))]
        rig = Rig(lambda *_: outcomes.pop(0), providers("acme"), PATIENT)
        sink = ListSink()
        await rig.ask(sink=sink)
        assert sink.text.startswith(": waiting for quota\n\n: waiting for quota\n\n: x-keyrelay-provider: acme")
        assert sink.text.rstrip().endswith("data: [DONE]")
        assert sink.head.count(b"content-type: text/event-stream") == 1

    run(main())


TURN = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
BODIES: dict[str, tuple[CallerCodec, dict[str, Any]]] = {
    "openai": (OPENAI, TURN),
    "responses": (RESPONSES, {"input": "hi"}),
    "anthropic": (ANTHROPIC, TURN),
    "ollama": (OLLAMA_CHAT, TURN),
    "gemini": (GEMINI_EVENTS, {"contents": [{"parts": [{"text": "hi"}]}]}),
    "gemini array": (GEMINI_ARRAY, {"contents": [{"parts": [{"text": "hi"}]}]}),
}


async def asking(rig: Rig, dialect: str, sink: ListSink) -> None:
    """A stream for a caller of a dialect."""
    codec, body = BODIES[dialect]
    named = {"model": "m"} if codec in (GEMINI_EVENTS, GEMINI_ARRAY) else {}
    data = msgspec.json.encode({**body, **({} if named else {"model": "m", "stream": True})})
    request = codec.request("chat", data, max_depth=64, stream=True, **named)
    record = RequestRecord(f"req_{len(rig.records):032x}", rig.clock.monotonic_s())
    rig.records.append(record)
    await rig.gateway.serve(request, record, sink, Wishes(caller=codec))


@pytest.mark.parametrize("dialect", BODIES)
def test_only_clients_that_skip_comments_are_told_that_they_wait(dialect: str) -> None:
    """Google's and Ollama's take each line for JSON: until there is an answer they hear nothing, not even a head."""

    async def main() -> None:
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        outcomes = [error(429, retry_after="25"), stream_of(delta("hi"), end)]
        rig = Rig(lambda *_: outcomes.pop(0), providers("acme"), PATIENT)
        sink = ListSink()
        answering = asyncio.create_task(asking(rig, dialect, sink))
        await asyncio.sleep(24)
        told = dialect in {"openai", "responses", "anthropic"}
        assert sink.text == (": waiting for quota\n\n" * 2 if told else "")
        assert bool(sink.head) == told
        await answering
        assert "hi" in sink.text
        assert sink.ended
        if told:
            return
        assert b"x-keyrelay-provider: acme" in sink.head
        if dialect == "gemini array":
            assert isinstance(msgspec.json.decode(sink.text), list)
        else:
            lines = [line.removeprefix("data: ") for line in sink.text.splitlines() if line.strip()]
            assert all(isinstance(msgspec.json.decode(line), dict) for line in lines), sink.text

    run(main())


def test_a_full_room_is_said_and_nobody_overtakes() -> None:
    async def main() -> None:
        settings = EngineSettings(total_s=5_000, waiting=WaitingSettings(wait_s=5_000, max_waiting=50))
        rig = Rig(lambda *_: FakeAnswer(), providers("acme", ACME_RPM="1"), settings)
        outcomes = await asyncio.gather(*(rig.ask() for _ in range(60)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, CallerError)]
        assert {error.code for error in refused} == {"waiting_room_full"}
        answered = [isinstance(outcome, bytes) for outcome in outcomes]
        assert answered == sorted(answered, reverse=True), "who came first was served"
        assert 40 <= sum(answered) - 1 <= 41, "one at once, and of the room four fifths for one client"

    run(main())


def test_a_daily_quota_is_released_after_midnight_and_not_all_at_one_moment() -> None:
    async def main() -> None:
        settings = EngineSettings(total_s=90_000, waiting=WaitingSettings(wait_s=90_000))
        rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=20, ACME_RPD="10"), settings)

        async def ask() -> float:
            await rig.ask()
            return now()

        ends = await asyncio.gather(*(ask() for _ in range(300)))
        midnight = 86_400 - START_S % 86_400
        at_once = [at for at in ends if at < 1]
        later = [at for at in ends if at >= 1]
        assert (len(at_once), len(later)) == (200, 100)
        assert all(0 <= at - midnight < 5 for at in later)

    run(main())


def test_interactive_requests_go_before_batch_ones_and_these_do_not_starve() -> None:
    async def main() -> None:
        rig = Rig(
            lambda *_: FakeAnswer(),
            providers("acme", ACME_RPM="1"),
            EngineSettings(total_s=5_000, waiting=WaitingSettings(wait_s=5_000)),
        )
        order: list[str] = []

        async def ask(priority: Priority) -> None:
            await rig.ask(wishes=Wishes(priority=priority))
            order.append(priority)

        await rig.ask()
        await asyncio.gather(*(ask(Priority.BATCH) for _ in range(12)), *(ask(Priority.INTERACTIVE) for _ in range(12)))
        assert order[:12].count("interactive") >= 10
        assert "batch" in order[:12]

    run(main())
