from pathlib import Path
from typing import Any

from tests.api.administration.providing import At, administered
from tests.api.served import MODEL, OPERATOR_SECRET
from tests.e2e.harness import Caller, calls_of, chat

KEYS = {"groq": ["a=sim-groq-a", "b=sim-groq-b", "c=sim-groq-c"], "gemini": ["a=sim-gemini-a"]}


async def asked(at: At, model: str = MODEL, status: int = 200, **question: Any) -> Any:
    return await at.send("POST", "/explain", {"model": model, **question}, status)


def outcomes(answer: Any) -> list[tuple[str, str]]:
    return [(f"{each['provider']}/{each['key']}", each["outcome"]) for each in answer["stages"][0]["candidates"]]


async def test_it_names_who_answers_then_and_takes_nobodys_turn(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as at:
        for _ in range(7):
            foreseen = await asked(at)
            assert await asked(at) == foreseen, "to ask changes nothing"
            first = next(key for key, outcome in outcomes(foreseen) if outcome == "first")
            reply = await at.gateway.ask(chat(MODEL))
            assert f"groq/{reply.headers['x-keyrelay-key']}" == first
        assert len(calls_of(at.simulator)) == 7
        assert foreseen["stages"][0]["candidates"][0]["debit"][0]["used"] in {2, 3}


async def test_what_has_no_room_is_passed_over_with_its_reason(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS, GROQ_RPM="1", GROQ_TIER="paid") as at:
        used = (await at.gateway.ask(chat(MODEL))).headers["x-keyrelay-key"]
        answer = await asked(at)
        out = next(each for each in answer["stages"][0]["candidates"] if each["key"] == used)
        assert (out["outcome"], out["reason"]) == ("passed_over", "limited")
        assert out["detail"].startswith("1 of 1 requests per 60s used, free at 20")
        assert out["until"] is not None
        assert answer["summary"].startswith("It would go to groq's key")
        for _ in range(2):
            await at.gateway.ask(chat(MODEL))
        full = await asked(at)
        assert full["summary"].startswith("Nobody could serve it now: 3 are passed over, the first may be back at 20")
        large = await asked(at, tokens=10**8)
        assert {each["outcome"] for each in large["stages"][0]["candidates"]} == {"passed_over"}


async def test_what_if_keys_failed(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as at:
        answer = await asked(at, without=["groq/a", "groq/b"])
        assert dict(outcomes(answer)) == {"groq/a": "passed_over", "groq/b": "passed_over", "groq/c": "first"}
        answer = await asked(at, "auto", without=["groq"])
        first = [line for stage in answer["stages"] for line in stage["candidates"] if line["outcome"] == "first"]
        assert [line["provider"] for line in first] == ["gemini"]
        assert answer["free_choice"] is True
        preferred = await asked(at, "auto", prefer="gemini")
        assert outcomes(preferred)[0] == ("gemini/a", "first")


async def test_a_route_that_goes_by_priority_says_so(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as at:
        targets = [f"groq/{MODEL}", "gemini"]
        await at.send("PUT", "/routes/mine", {"targets": targets, "policy": "priority"})
        words = [(each["policy"], each["why"]) for each in (await asked(at, "mine"))["stages"]]
        assert words == [("priority", "one target after the other, the keys of each in turn")] * 2


async def test_disabled_keys_and_models_that_cannot(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as at:
        await at.send("POST", "/keys/groq/a/disable")
        answer = await asked(at)
        assert [(line["key"], line["reason"]) for line in answer["withheld"]] == [("a", "disabled")]
        body = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}]}
        seen = await asked(at, "auto", body=body)
        reasons = {line["provider"]: line["reason"] for stage in seen["stages"] for line in stage["candidates"]}
        assert reasons["groq"] == "no_capability"


QUESTIONS: list[dict[str, Any]] = [
    {"dialect": "anthropic", "max_tokens": 99},
    {"dialect": "responses", "max_tokens": 99},
    {"dialect": "gemini", "max_tokens": 99},
    {"dialect": "ollama", "max_tokens": 99},
    {"max_tokens": 99},
    {"operation": "embeddings"},
    {"operation": "completions", "max_tokens": 99},
    {"operation": "moderations"},
]


async def test_every_dialect_and_operation_can_be_asked_about(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as at:
        for question in QUESTIONS:
            answer = await asked(at, **question)
            assert answer["dialect"] == question.get("dialect", "openai")
            assert answer["operation"] == question.get("operation", "chat")
            assert answer["estimate"]["output_tokens"] <= 256


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "no-such-model"}, 404, "model_not_found"),
    ({"client": "nobody"}, 404, "client_not_found"),
    ({"tokens": -1}, 400, "invalid_parameter"),
    ({"operation": "dance"}, 400, "invalid_parameter"),
    ({"dialect": "klingon"}, 400, "invalid_parameter"),
    ({"body": {"messages": []}}, 400, "invalid_value"),
]


async def test_what_cannot_be_asked_is_refused(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as at:
        for question, status, code in REFUSED:
            refused = await asked(at, status=status, **question)
            assert refused["error"]["code"] == code, question


async def test_people_get_text(tmp_path: Path) -> None:
    async with administered(tmp_path, KEYS) as at, Caller(at.gateway.port, OPERATOR_SECRET) as caller:
        headers = {"accept": "text/plain"}
        question = {"model": MODEL, "without": ["groq/a"], "client": "tests", "tokens": 1234}
        reply = await caller.post("/api/v1/explain", question, headers=headers)
        text = reply.body.decode()
        assert f"asked    {MODEL} (chat, openai, for client tests)" in text
        assert "takes    about 1234 tokens in" in text
        assert f"passed over groq/a {MODEL} (disabled): left out for this question" in text
        assert f"first       groq/b {MODEL}: 0 of 30 requests per 60s used" in text
