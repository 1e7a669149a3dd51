import asyncio
import time
from collections import Counter
from typing import ClassVar

import pytest

from keyrelay.engine.settings import EngineSettings
from keyrelay.engine.waiting_room import WaitingSettings
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import Fault, UpstreamCall
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.retries import RetrySettings
from tests.engine.rig import FakeAnswer, ListSink, Outcome, Rig, delta, error, providers, stream_of

PATIENT = CircuitSettings(failures=1000)
GENEROUS = EngineSettings(retry=RetrySettings(floor=1000, backoff_s=0.001))
DOWN = Fault(kind="network", message="cannot connect", reached=False)


class TestRotation:
    async def test_fifty_limited_keys_are_tried_if_need_be(self) -> None:
        rig = Rig(lambda key, _: FakeAnswer() if key == "acme-49" else error(429), providers("acme", keys=50))
        assert await rig.ask()
        assert sorted(rig.upstream.calls) == [f"acme-{n:02}" for n in range(50)]
        assert len(rig.records[0].attempts) == 50
        assert await rig.ask(), "and from now on the one that works is known"
        assert rig.upstream.calls[50:] == ["acme-49"]

    async def test_dead_keys_are_never_called_again(self) -> None:
        rig = Rig(
            lambda key, _: FakeAnswer() if key == "acme-02" else error(401, "invalid api key"),
            providers("acme", keys=3),
        )
        for _ in range(10):
            await rig.ask()
        assert Counter(rig.upstream.calls) == {"acme-00": 1, "acme-01": 1, "acme-02": 10}

    async def test_spent_keys_are_parked_and_looked_at_all_the_same_when_nobody_else_can_serve(self) -> None:
        rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=40, ACME_RPM="1"))
        for _ in range(40):
            await rig.ask()
        for _ in range(2):
            refused = await rig.refusal()
            detail = refused.detail or {}
            assert {line["reason"] for line in detail["candidates"]} == {"limited"}
            assert detail["candidates_total"] == 40
        plan = rig.pool.plan("m")
        assert plan is not None
        assert len(plan.stages[0].parked) == 40
        rig.clock.moved_s += 61
        assert await rig.ask()

    async def test_who_was_parked_is_explained(self) -> None:
        rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=2, ACME_RPM="3") | {"KEYRELAY_POLICY": "priority"})
        for _ in range(5):
            await rig.ask()
        last = rig.gateway.decisions.find(rig.records[-1].id)
        assert last is not None
        assert last.drops == {}
        assert [next(iter(parked.values())).text for parked in last.parked] == ["3 of 3 requests per 60s used"]

    async def test_a_limit_that_is_full_costs_no_call(self) -> None:
        rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=2, ACME_RPM="2"))
        for _ in range(4):
            await rig.ask()
        refused = await rig.refusal()
        assert refused.status == 429
        assert len(rig.upstream.calls) == 4
        rig.clock.moved_s += 62
        assert await rig.ask()

    async def test_a_key_that_rests_comes_back_by_itself(self) -> None:
        outcomes = [error(429, retry_after="7"), FakeAnswer()]
        rig = Rig(lambda *_: outcomes.pop(0), providers("acme"))
        refused = await rig.refusal()
        assert refused.status == 429
        rig.clock.moved_s += 6
        assert (await rig.refusal()).status == 429
        rig.clock.moved_s += 3
        assert await rig.ask()
        assert len(rig.upstream.calls) == 2


class TestRetries:
    async def test_three_attempts_at_most(self) -> None:
        rig = Rig(lambda *_: error(500), providers("acme", "best", "cosy", "dear", "easy"), GENEROUS, PATIENT)
        refused = await rig.refusal()
        assert refused.status == 502
        assert len(rig.upstream.calls) == 3
        assert len(set(rig.upstream.calls)) == 3, "each at another provider"

    async def test_going_on_from_providers_that_were_never_reached_is_not_counted_among_the_attempts(self) -> None:
        names = ("acme", "best", "cosy", "dear", "easy", "fine")
        rig = Rig(
            lambda key, _: {"acme": error(503), "fine": FakeAnswer()}.get(key[:4], DOWN),
            providers(*names) | {f"{name.upper()}_PRIORITY": str(place) for place, name in enumerate(names)},
            EngineSettings(retry=RetrySettings(floor=0, percent=0)),
        )
        assert await rig.ask()
        assert [key[:4] for key in rig.upstream.calls] == list(names)

    async def test_who_cannot_be_reached_is_asked_once_and_again_only_as_a_retry(self) -> None:
        environ = providers("acme", "best", BEST_RPM="1", ACME_PRIORITY="1", BEST_PRIORITY="2")
        rig = Rig(lambda key, _: DOWN if key.startswith("acme") else FakeAnswer(), environ, GENEROUS, PATIENT)
        assert await rig.ask()
        assert (await rig.refusal()).status == 503, "one is limited"
        assert [key[:4] for key in rig.upstream.calls] == ["acme", "best", *["acme"] * 4]

    async def test_nobody_is_reached_anywhere(self) -> None:
        names = ("acme", "best", "cosy", "dear", "easy", "fine")
        rig = Rig(lambda *_: DOWN, providers(*names), GENEROUS, PATIENT)
        refused = await rig.refusal()
        assert (refused.status, (refused.detail or {})["candidates_total"]) == (502, 6)
        assert Counter(rig.upstream.calls[:6]) == {f"{name}-00": 1 for name in names}
        assert len(rig.upstream.calls) == 8, "the last of them, and again, are three attempts"

    @pytest.mark.parametrize(
        ("retry", "calls", "stopped"),
        [
            (RetrySettings(), 3, "after 3 calls to failing providers (KEYRELAY_RETRY_ATTEMPTS)"),
            (RetrySettings(attempts=1), 1, "after 1 call to failing providers (KEYRELAY_RETRY_ATTEMPTS)"),
        ],
    )
    async def test_those_that_were_not_tried_are_listed_with_the_reason(
        self, retry: RetrySettings, calls: int, stopped: str
    ) -> None:
        environ = providers("acme", "best", "cosy", "dear", "easy")
        rig = Rig(lambda *_: error(500), environ, EngineSettings(retry=retry))
        refused = await rig.refusal()
        detail = refused.detail or {}
        texts = [each["detail"] for each in detail["candidates"] if each["reason"] == "not_reached"]
        left = 5 - calls
        assert texts == [f"not tried: stopped {stopped}"] * left
        assert detail["candidates_total"] == len({each["provider"] for each in detail["candidates"]}) == 5
        assert (refused.status, refused.code, dict(refused.headers)["retry-after"]) == (502, "upstream_failed", "5")
        assert refused.message == (
            f"Nothing can serve 'm' right now. Of its 5 candidates: {calls} failed, {left} not reached. "
            f"Keyrelay stopped {stopped}. Try again shortly."
        )

    async def test_other_keys_of_a_failing_provider_are_listed_when_the_budget_is_spent(self) -> None:
        settings = EngineSettings(retry=RetrySettings(floor=0, percent=0))
        rig = Rig(lambda *_: error(500), providers("acme", keys=3), settings, PATIENT)
        refused = await rig.refusal()
        reasons = Counter((each["reason"], each["detail"]) for each in (refused.detail or {})["candidates"])
        assert reasons == {("failed", "service: no"): 1, ("not_reached", "not tried: its provider had just failed"): 2}
        assert "with the retry budget spent (KEYRELAY_RETRY_BUDGET_PERCENT)" in refused.message

    async def test_a_provider_that_failed_is_asked_again_when_there_is_no_other(self) -> None:
        outcomes: list[Outcome] = [error(500), error(500), FakeAnswer()]
        rig = Rig(lambda *_: outcomes.pop(0), providers("acme"), GENEROUS, PATIENT)
        assert await rig.ask()
        assert len(rig.upstream.calls) == 3

    async def test_the_budget_bounds_what_an_outage_costs(self) -> None:
        settings = EngineSettings(retry=RetrySettings(floor=3, backoff_s=0.001))
        rig = Rig(lambda *_: error(500), providers("acme", keys=50), settings, PATIENT)
        for _ in range(18):  # fewer than make a fair share of failures, which would open the circuit
            assert (await rig.refusal()).status == 502
            rig.pool.health.circuit("provider:acme").succeeded()
        assert len(rig.upstream.calls) == 18 + 3

    async def test_a_healthy_provider_costs_no_budget(self) -> None:
        settings = EngineSettings(retry=RetrySettings(floor=0, percent=0))
        environ = providers("acme", "best", ACME_PRIORITY="1", BEST_PRIORITY="2")
        rig = Rig(lambda key, _: error(500) if key.startswith("acme") else FakeAnswer(), environ, settings)
        for _ in range(20):
            assert await rig.ask()
        calls = Counter(key[:4] for key in rig.upstream.calls)
        assert calls == {"acme": 3, "best": 20}, "a key is left alone after three failures"

    async def test_a_candidate_that_somebody_is_trying_counts_as_healthy(self) -> None:
        # A bug that the fault matrix found: at the start every key is untried, so each one that another request was
        # trying was taken for unfit, the retry for one without hope, and with the budget spent callers got 502.
        tried = asyncio.Event()

        async def slow() -> Outcome:
            await tried.wait()
            return FakeAnswer()

        def script(key: str, _: UpstreamCall) -> Outcome | object:
            return error(500) if key.startswith("acme") else slow()

        settings = EngineSettings(retry=RetrySettings(floor=0, percent=0))
        environ = providers("acme", "best", ACME_PRIORITY="1", BEST_PRIORITY="2")
        rig = Rig(script, environ, settings, PATIENT)  # type: ignore[arg-type]
        asking = [asyncio.ensure_future(rig.ask()) for _ in range(5)]
        await asyncio.sleep(0.05)
        tried.set()
        assert all(await asyncio.gather(*asking))

    async def test_what_the_caller_has_to_mend_is_not_tried_elsewhere(self) -> None:
        rig = Rig(lambda *_: error(400, "temperature is too hot"), providers("acme", "best", keys=3))
        refused = await rig.refusal()
        assert (refused.status, refused.message) == (400, "temperature is too hot")
        assert len(rig.upstream.calls) == 1
        assert rig.notes.ended[0].category == "request"


class TestProofs:
    async def test_sixty_four_at_once_call_an_untried_key_once_until_it_has_answered(self) -> None:
        async def slowly() -> Outcome:
            await asyncio.sleep(0.05)
            return error(401, "invalid api key")

        rig = Rig(lambda *_: slowly(), providers("acme"))
        refused = await asyncio.gather(*(rig.refusal() for _ in range(64)))
        assert {one.status for one in refused} == {503}
        assert rig.upstream.calls == ["acme-00"]

    async def test_once_it_has_answered_everybody_goes_at_once(self) -> None:
        async def slowly() -> Outcome:
            await asyncio.sleep(0.05)
            return FakeAnswer()

        rig = Rig(lambda *_: slowly(), providers("acme"))
        assert all(await asyncio.gather(*(rig.ask() for _ in range(64))))
        assert len(rig.upstream.calls) == 64
        assert rig.upstream.most_running == 63

    async def test_the_wait_for_a_proof_ends_at_the_deadline(self) -> None:
        async def never() -> Outcome:
            await asyncio.sleep(30)
            return FakeAnswer()

        rig = Rig(lambda *_: never(), providers("acme"))
        first = asyncio.ensure_future(rig.ask())
        await asyncio.sleep(0)
        began_at = time.monotonic()
        refused = await rig.refusal(wishes=Wishes(deadline_s=0.2))
        assert refused.status == 504
        assert 0.15 < time.monotonic() - began_at < 1
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first


class TestBeliefs:
    """Of a key of unknown tier the catalogue's limits are believed, not known: Gemini's 15 per minute here."""

    ENVIRON: ClassVar = {"GEMINI_API_KEYS": "a=gem-a"}
    MODEL = "gemini-3.1-flash-lite"

    async def test_a_paid_key_is_found_out(self) -> None:
        rig = Rig(lambda *_: FakeAnswer(), self.ENVIRON)
        for _ in range(60):
            assert await rig.ask(self.MODEL)
        assert len(rig.upstream.calls) == 60

    async def test_a_refusal_settles_it(self) -> None:
        rig = Rig(
            lambda *_: FakeAnswer() if len(rig.upstream.calls) <= 15 else error(429, retry_after="5"), self.ENVIRON
        )
        for _ in range(15):
            assert await rig.ask(self.MODEL)
        assert (await rig.refusal(self.MODEL)).status == 429
        assert len(rig.upstream.calls) == 16, "one finds out"
        rig.clock.moved_s += 10
        assert (await rig.refusal(self.MODEL)).status == 429
        assert len(rig.upstream.calls) == 16, "and for the rest of the window it is known"

    async def test_a_free_key_is_never_pushed(self) -> None:
        rig = Rig(lambda *_: FakeAnswer(), self.ENVIRON | {"GEMINI_TIER": "free"})
        for _ in range(15):
            assert await rig.ask(self.MODEL)
        assert (await rig.refusal(self.MODEL)).status == 429
        assert len(rig.upstream.calls) == 15


class TestOrder:
    async def test_a_preferred_provider_goes_first(self) -> None:
        environ = providers("acme", "best", ACME_PRIORITY="1", BEST_PRIORITY="2")
        rig = Rig(lambda *_: FakeAnswer(), environ)
        await rig.ask()
        await rig.ask(wishes=Wishes(prefer="best"))
        await rig.ask(wishes=Wishes(prefer="nobody"))
        assert [key[:4] for key in rig.upstream.calls] == ["acme", "best", "acme"]

    async def test_the_fallback_comes_last(self) -> None:
        environ = providers("acme", "best", BEST_MODELS="other", KEYRELAY_FALLBACK="best/other")
        rig = Rig(lambda key, _: error(503) if key.startswith("acme") else FakeAnswer(), environ)
        assert await rig.ask()
        assert [key[:4] for key in rig.upstream.calls] == ["acme", "best"]
        assert rig.records[0].model == "other"

    async def test_keys_take_turns(self) -> None:
        rig = Rig(lambda *_: FakeAnswer(), providers("acme", keys=4))
        for _ in range(12):
            await rig.ask()
        assert set(Counter(rig.upstream.calls).values()) == {3}


class TestDeadline:
    async def test_the_callers_deadline_reaches_the_upstream(self) -> None:
        seen: list[float] = []

        def script(_: str, call: UpstreamCall) -> Outcome:
            seen.append(call.total_at - asyncio.get_running_loop().time())
            return FakeAnswer()

        rig = Rig(script, providers("acme"))
        await rig.ask(wishes=Wishes(deadline_s=2.0))
        assert 1.5 < seen[0] <= 2.0

    async def test_no_further_attempt_behind_it(self) -> None:
        async def late() -> Outcome:
            await asyncio.sleep(0.1)
            return error(429)

        rig = Rig(lambda *_: late(), providers("acme", keys=5))
        refused = await rig.refusal(wishes=Wishes(deadline_s=0.05))
        assert refused.status == 504
        assert len(rig.upstream.calls) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("outcome", "status", "code", "retry"),
        [
            (error(429, retry_after="30"), 429, "rate_limit_exceeded", "true"),
            (error(429, retry_after="4000"), 429, "rate_limit_exceeded", "false"),
            (error(402), 503, "no_candidate_available", "false"),
            (error(401, "invalid api key"), 503, "no_candidate_available", "false"),
            (error(500), 502, "upstream_failed", "true"),
            (DOWN, 502, "upstream_failed", "true"),
            (error(404, "The model does not exist", code="model_not_found"), 404, "model_not_found", None),
            (error(400, "maximum context length is 8"), 400, "context_length_exceeded", "false"),
            (error(400, "content policy"), 400, "content_policy_violation", "false"),
        ],
    )
    async def test_status_and_headers(self, outcome: Outcome, status: int, code: str, retry: str | None) -> None:
        settings = EngineSettings(retry=RetrySettings(attempts=1), waiting=WaitingSettings(wait_s=0.0))
        rig = Rig(lambda *_: outcome, providers("acme"), settings)
        refused = await rig.refusal()
        assert (refused.status, refused.code) == (status, code)
        headers = dict(refused.headers)
        assert headers.get("x-should-retry") == retry
        if status == 429:
            assert int(headers["retry-after"]) * 1000 >= int(headers["retry-after-ms"]) > 0
            assert refused.detail is not None
            assert refused.detail["candidates"][0]["wait_s"] == pytest.approx(
                int(headers["retry-after-ms"]) / 1000, abs=0.1
            )

    async def test_the_wait_is_that_of_the_first_to_come_back(self) -> None:
        rig = Rig(lambda key, _: error(429, retry_after="50" if key == "acme-00" else "20"), providers("acme", keys=2))
        refused = await rig.refusal()
        assert 20 <= int(dict(refused.headers)["retry-after"]) <= 22

    async def test_the_providers_words_are_redacted(self) -> None:
        rig = Rig(lambda *_: error(400, "bad acme-00 and acme-00", code="ACME-00"), providers("acme"))
        refused = await rig.refusal()
        assert "acme-00" not in f"{refused.message} {refused.code} {refused.detail}".lower().replace("[redacted]", "")

    async def test_an_unknown_name_has_near_matches(self) -> None:
        rig = Rig(lambda *_: FakeAnswer(), {"GEMINI_API_KEYS": "a=gem-a"})
        refused = await rig.refusal("gemma-4-foo")
        assert refused.status == 404


class TestStreams:
    async def test_a_stream_passes_and_is_settled_before_its_last_byte(self) -> None:
        rig = Rig(lambda *_: stream_of(delta("a"), delta("b")), providers("acme"))
        sink = ListSink()
        assert await rig.ask(sink=sink) is None
        assert sink.ended
        assert sink.text.count("data: ") == 3
        assert [record.status for record in rig.notes.ended] == [200]

    async def test_failover_before_the_first_content_only(self) -> None:
        outcomes = [stream_of({"error": {"message": "overloaded", "code": 503}}), stream_of(delta("b"))]
        rig = Rig(lambda *_: outcomes.pop(0), providers("acme", keys=2), GENEROUS)
        sink = ListSink()
        await rig.ask(sink=sink)
        assert "overloaded" not in sink.text
        assert "[DONE]" in sink.text

    async def test_a_break_after_it_is_an_error_event(self) -> None:
        broken = stream_of(delta("a"), done=False, fault=Fault(kind="network", message="reset"))
        rig = Rig(lambda *_: broken, providers("acme", keys=2))
        sink = ListSink()
        await rig.ask(sink=sink)
        assert "[DONE]" not in sink.text
        assert '"upstream_incomplete"' in sink.text
        assert len(rig.upstream.calls) == 1
        assert broken.closed
        assert rig.notes.ended[0].category == "network"

    async def test_a_caller_who_leaves_lets_go_of_the_provider_and_of_what_was_reserved(self) -> None:
        async def never() -> Outcome:
            await asyncio.sleep(30)
            return FakeAnswer()

        rig = Rig(lambda *_: never(), providers("acme", ACME_RPM="1"))
        asking = asyncio.ensure_future(rig.ask())
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert rig.upstream.running == 0
        assert "in flight" not in repr(rig.ledger)
        assert (await rig.refusal()).status == 429, "the call may have arrived, so it counts"
