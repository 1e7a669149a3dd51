import re
from collections.abc import Mapping

import pytest

from keyrelay.core.configuration import PolicyName
from keyrelay.core.errors import CallerError
from keyrelay.core.ids import request_id
from keyrelay.engine.explanations import MAX_LISTED, Explainer, Explanation, as_text
from keyrelay.engine.pool import Plan
from keyrelay.engine.reasons import Decision
from keyrelay.engine.wishes import Wishes
from keyrelay.ports import UpstreamCall
from keyrelay.routing.policies import Stage
from tests.engine.rig import (
    FakeAnswer,
    ListSink,
    Outcome,
    Rig,
    Script,
    delta,
    error,
    newest_first,
    providers,
    stream_of,
)


def good(_key: str, _call: UpstreamCall) -> Outcome:
    return FakeAnswer()


class Kept:
    """A rig whose decisions can be explained."""

    def __init__(self, environ: Mapping[str, str], script: Script = good) -> None:
        self.rig = Rig(script, environ)
        self.decisions = self.rig.gateway.decisions

        self.explainer = Explainer(self.rig.ledger, lambda text: text.replace("acme-00", "[redacted]"))

    def newest(self) -> Decision:
        return next(newest_first(self.decisions))

    def explain(self) -> Explanation:
        return self.explainer.explain(self.newest(), self.rig.clock.epoch_s())


def outcomes(found: Explanation) -> list[list[tuple[str, str, str]]]:
    return [[(line.key, line.outcome, line.reason) for line in stage.candidates] for stage in found.stages]


async def test_the_first_candidate_answers_at_once() -> None:
    kept = Kept(providers("acme", keys=3, ACME_RPM="15", ACME_TPM="1000"))
    await kept.rig.ask()
    found = kept.explain()
    assert found.summary == "acme's key 'k00' answered with m, at once."
    assert outcomes(found) == [[("k00", "answered", ""), ("k01", "not_reached", ""), ("k02", "not_reached", "")]]
    assert (found.stages[0].policy, found.stages[0].why) == ("round_robin", "round robin from turn 1 of 3")
    assert (found.status, found.category, found.free_choice) == (200, "", False)
    assert (found.input_tokens, found.output_tokens, found.tokens_estimated) == (3, 2, False)
    assert [(line.key, line.kind) for line in found.attempts] == [("k00", "")]
    requests, tokens = found.debit
    assert (requests.limit, requests.bound) == (
        "15 requests per 60s for (account, model)",
        ("acct:acme/k00", "model:m"),
    )
    assert (requests.amount, requests.used, requests.reserved, requests.settled) == (15, 1, 1, 1)
    assert (tokens.amount, tokens.used, tokens.settled) == (1000, 5, 5)
    assert tokens.reserved == found.estimate.input_tokens + found.estimate.output_tokens > 200


async def test_a_round_goes_on_where_the_last_one_began() -> None:
    kept = Kept(providers("acme", keys=3))
    turns = []
    for _ in range(4):
        await kept.rig.ask()
        found = kept.explain()
        turns.append((found.key, found.stages[0].why[-len("turn 1 of 3") :], found.stages[0].candidates[0].key))
    assert turns == [
        ("k00", "turn 1 of 3", "k00"),
        ("k01", "turn 2 of 3", "k01"),
        ("k02", "turn 3 of 3", "k02"),
        ("k00", "turn 1 of 3", "k00"),
    ]


async def test_full_limits_are_told_with_their_numbers_and_times() -> None:
    kept = Kept(providers("acme", keys=2, ACME_RPM="1"))
    await kept.rig.ask()
    kept.newest().plan.stages[0].turn = 0  # as if others had come round in between
    await kept.rig.ask()
    passed, answered = kept.explain().stages[0].candidates
    assert (passed.key, passed.outcome, passed.reason, answered.outcome) == (
        "k00",
        "passed_over",
        "limited",
        "answered",
    )
    assert re.fullmatch(r"1 of 1 requests per 60s used, free at 2027-\S+Z", passed.detail)
    assert passed.until is not None
    assert passed.detail.endswith(passed.until)
    assert kept.explain().stages[0].why == "round robin from turn 1 of 2"
    assert kept.explain().summary.endswith("; 1 candidate was passed over.")


async def test_failed_calls_have_their_kind_time_and_word_without_secrets() -> None:
    def script(key: str, _call: UpstreamCall) -> Outcome:
        return error(429, "slow down, acme-00", retry_after="7") if key == "acme-00" else FakeAnswer()

    kept = Kept(providers("acme", keys=2), script)
    await kept.rig.ask()
    found = kept.explain()
    assert outcomes(found) == [[("k00", "failed", "rate"), ("k01", "answered", "")]]
    first, second = found.attempts
    assert (first.key, first.kind, first.status, first.reached) == ("k00", "rate", 429, True)
    assert first.until is not None
    assert (second.key, second.kind) == ("k01", "")
    assert found.summary == "acme's key 'k01' answered with m; 1 call failed."
    text = as_text(found)
    assert "acme-00" not in text
    assert "1. acme/k00 m, 0 ms: rate (status 429): slow down, [redacted]" in re.sub(r"[\d.]+ ms", "0 ms", text)
    assert "advice: The account's rate limit is reached" in text


async def test_when_nobody_could_serve_every_reason_is_there() -> None:
    kept = Kept(providers("acme", keys=2, ACME_RPM="1"))
    for _ in range(2):
        await kept.rig.ask()
    refused = await kept.rig.refusal(wishes=Wishes(deadline_s=0.2))
    kept.rig.records[-1].status, kept.rig.records[-1].category = refused.status, refused.code or ""
    found = kept.explain()
    assert outcomes(found) == [[("k00", "passed_over", "limited"), ("k01", "passed_over", "limited")]]
    assert found.summary == "Nobody answered (429, rate limit exceeded); 2 candidates were passed over."
    assert (found.provider, found.debit, found.attempts) == ("", (), ())


async def test_a_name_that_nobody_served_is_redacted() -> None:
    kept = Kept(providers("acme"), lambda key, call: error(400, "no"))
    with pytest.raises(CallerError):
        await kept.rig.ask()
    decision = kept.newest()
    decision.record.model_asked = "acme-00"
    assert kept.explain().model_asked == kept.explainer.line(decision).model_asked == "[redacted]"


async def test_a_preferred_provider_and_the_stages_behind_it() -> None:
    kept = Kept(providers("acme", "best", keys=2))
    await kept.rig.ask(wishes=Wishes(prefer="best"))
    first, second = kept.explain().stages
    assert first.why.startswith("first, because the caller preferred best; round robin from turn ")
    assert {line.provider for line in first.candidates} == {"best"}
    assert ({line.provider for line in second.candidates}, second.why) == ({"acme"}, "not reached")


async def test_a_stream_says_when_its_first_content_came() -> None:
    kept = Kept(providers("acme"), lambda key, call: stream_of(delta("a"), delta("b")))
    await kept.rig.ask(sink=ListSink())
    found = kept.explain()
    assert found.stream
    assert found.first_token_ms is not None
    assert found.tokens_estimated
    assert ", streamed)" in as_text(found)
    assert "first content after" in as_text(found)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (PolicyName.PRIORITY, "in the order of configuration"),
        (PolicyName.LEAST_USED, "fewest uses of late first"),
        (PolicyName.WEIGHTED, "drawn at random by weight; who answered has weight 1 of 3"),
    ],
)
async def test_each_policy_says_why(policy: PolicyName, why: str) -> None:
    kept = Kept(providers("acme", keys=3))
    plan = kept.rig.pool.plan("m")
    assert plan is not None
    kept.rig.pool._plans["m"] = Plan(tuple(Stage(stage.candidates, policy) for stage in plan.stages), free_choice=False)
    await kept.rig.ask()
    (stage,) = kept.explain().stages
    assert (stage.policy, stage.why, stage.total) == (policy, why, 3)
    if policy is not PolicyName.PRIORITY:
        assert stage.candidates[0].outcome == "answered", "who was looked at stands first"


async def test_many_candidates_are_counted_and_not_all_listed() -> None:
    kept = Kept(providers("acme", keys=MAX_LISTED + 5))
    await kept.rig.ask()
    (stage,) = kept.explain().stages
    assert (stage.total, len(stage.candidates)) == (MAX_LISTED + 5, MAX_LISTED)
    assert f"{MAX_LISTED + 4} other candidates not reached" in as_text(kept.explain())


async def test_the_text_has_everything_that_the_document_has() -> None:
    kept = Kept(providers("acme", keys=1, ACME_RPM="15"))
    await kept.rig.ask()
    text = as_text(kept.explain())
    assert text.splitlines()[0] == "acme's key 'k00' answered with m, at once."
    assert "  answered    acme/k00 m" in text
    limit = "15 requests per 60s for (account, model)"
    assert f"  {limit}: 1 reserved, settled at 1; 1 of 15 used by now, configured" in text


async def test_the_short_form() -> None:
    kept = Kept(providers("acme"))
    await kept.rig.ask()
    decision = kept.newest()
    decision.record.id = request_id(1_800_000_000_000, 7)
    line = kept.explainer.line(decision)
    assert (line.request_id, line.time) == (decision.record.id, "2027-01-15T08:00:00Z")
    assert (line.provider, line.key, line.model, line.status, line.attempts, line.passed_over) == (
        "acme", "k00", "m", 200, 1, 0,
    )  # fmt: skip


async def test_an_id_of_another_form_has_no_time() -> None:
    kept = Kept(providers("acme"))
    kept.decisions.remember(b'{"event":"request","request_id":"abc","model_asked":"nobodys"}\n', 1)
    found = kept.explain()
    assert (found.time, found.stages) == (None, ())
    assert found.summary == "Nobody answered (0, no answer); there was no candidate."
