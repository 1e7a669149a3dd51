"""What a provider quotes goes to the caller alone: rows, rests, evidence and reasons for others are without it."""

from typing import Any

import msgspec
import pytest

from keyrelay.core.quotations import QUOTED
from keyrelay.core.requests import CallRequest, Form
from keyrelay.engine.asked_texts import asked_texts
from keyrelay.engine.wishes import Wishes
from keyrelay.routing.circuit import CircuitSettings
from tests.engine.rig import ListSink, Rig, delta, error, newest_first, providers, stream_of

PROMPT = "My doctor writes that the quokka has to eat less"
SAYS = f"The value '{PROMPT}' will not do here."
MASKED = f"The value '{QUOTED}' will not do here."


def asking(text: str = PROMPT) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("status", [400, 413, 422])
async def test_a_refusal_is_told_to_its_caller_as_it_came_and_kept_without_the_quotation(status: int) -> None:
    rig = Rig(lambda *_: error(status, SAYS, code=PROMPT), providers("acme"))
    refused = await rig.refusal(**asking())
    assert refused.message == SAYS
    (attempt,) = rig.records[0].attempts
    assert attempt.failure is not None
    assert (attempt.failure.message, attempt.failure.code) == (MASKED, QUOTED)
    assert rig.notes.failed == [attempt]
    assert "quokka has" not in str(next(newest_first(rig.gateway.decisions)))
    assert "quokka has" not in msgspec.json.encode(rig.records[0]).decode()


async def test_a_code_for_programs_stays_one_although_the_prompt_speaks_of_it() -> None:
    code = "invalid_request_error"
    rig = Rig(lambda *_: error(400, f"bad: {code}", code=code), providers("acme"))
    refused = await rig.refusal(**asking(f"how do I catch {code} in Python?"))
    assert (refused.code, refused.message) == (code, f"bad: {code}")
    (attempt,) = rig.records[0].attempts
    assert attempt.failure is not None
    assert (attempt.failure.message, attempt.failure.code) == (f"bad: {QUOTED}", code)


async def test_why_a_key_rests_is_told_to_others_without_what_somebody_has_asked() -> None:
    rig = Rig(lambda *_: error(401, SAYS), providers("acme"))
    await rig.refusal(**asking())
    refused = await rig.refusal(**asking("hello"))
    details = [each["detail"] for each in (refused.detail or {})["candidates"]]
    assert details == [f"permission: {MASKED}"]


async def test_what_was_learned_from_a_refusal_is_shown_without_the_quotation() -> None:
    words = f"Rate limit reached: Limit 5 requests per minute for '{PROMPT}'"
    rig = Rig(lambda *_: error(429, words, retry_after="7"), providers("acme"))
    await rig.refusal(**asking(), wishes=Wishes(deadline_s=0.2))
    (fact,) = rig.learner.book.facts(rig.clock.epoch_s())
    assert fact.evidence == f"HTTP 429: Rate limit reached: Limit 5 requests per minute for '{QUOTED}'"


@pytest.mark.parametrize("content", [0, 1])
async def test_an_error_in_a_stream_is_kept_without_the_quotation(content: int) -> None:
    events = [delta("hello")] * content + [{"error": {"message": SAYS, "code": 400}}]
    circuits = CircuitSettings(failures=1)
    rig, sink = Rig(lambda *_: stream_of(*events, done=False), providers("acme"), circuits=circuits), ListSink()
    if content:
        await rig.ask(sink=sink, **asking())
        assert f"broke off: {SAYS} Ask" in sink.text.replace(". Ask", " Ask")
        refused = await rig.refusal(**asking("hello"))
        assert MASKED in (refused.detail or {})["candidates"][0]["detail"]
    else:
        refused = await rig.refusal(sink=sink, **asking())
        assert refused.message == SAYS
    assert "quokka has" not in msgspec.json.encode(rig.records[0]).decode()


async def test_what_keyrelay_asked_for_itself_is_taken_back_although_the_prompt_speaks_of_it() -> None:
    said = "Unrecognized request argument supplied: stream_options"
    answers = [error(400, said), stream_of(delta("hello"))]
    rig, sink = Rig(lambda *_: answers.pop(0), providers("acme")), ListSink()
    await rig.ask(sink=sink, **asking(f"I got '{said}', why?"))
    assert "hello" in sink.text


def test_numbers_are_no_texts_and_are_not_read() -> None:
    fields = {"model": msgspec.Raw(b'"gpt-6"'), "input": msgspec.Raw(b"[1,2,[3]")}  # not even JSON
    request = CallRequest(operation="embeddings", model="m", stream=False, body=b"", fields=fields)
    assert list(asked_texts(request)) == []


def test_the_texts_of_a_request_are_all_that_it_says() -> None:
    fields = {
        "model": msgspec.Raw(b'"gpt-6"'),
        "messages": msgspec.Raw(b'[{"role":"user","content":[{"type":"text","text":"gr\\u00fc\\u00dfe"}]}]'),
        "seed": msgspec.Raw(b"1e999"),
    }
    form = Form(memoryview(b"a file's text"), "multipart/form-data", 0, 0)
    request = CallRequest(operation="chat", model="m", stream=False, body=b"", fields=fields)
    assert [text for text in asked_texts(request) if text != "1e999"] == ["grüße"]
    with_form = msgspec.structs.replace(request, fields={}, form=form)
    assert list(asked_texts(with_form)) == ["a file's text"]
    assert list(asked_texts(msgspec.structs.replace(with_form, form=Form(memoryview(b"\xff\xd8"), "", 0, 0)))) == []
