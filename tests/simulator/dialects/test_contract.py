"""What a prompt makes a simulated model do, the same in every dialect, whole and streamed."""

import json
from typing import Any

import pytest

from keyrelay.simulator import FAULTS, ProviderPlan
from tests.simulator.dialects.speakers import NATIVE, PNG, SPEAKERS, Asked, Gemini, Said, Speaker
from tests.simulator.helpers import Answer, Bench, per

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city"],
}
TOOLS = {"get_weather": CITY, "get_time": CITY}

HARMLESS = sorted(
    name
    for name, fault in FAULTS.items()
    if fault.strikes == "harmless"
    and fault.only == "stream"
    and name not in ("json_instead_of_stream", "split_everywhere")
)
"""`split_everywhere` takes a second for each dialect and is the same for all."""

every = pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


async def send(bench: Bench, speaker: Speaker, asked: Asked, **headers: str) -> Answer:
    return await bench.send(speaker.name, speaker.body(asked), path=speaker.path(asked), **(speaker.headers | headers))


async def ask(bench: Bench, speaker: Speaker, **fields: Any) -> Said:
    asked = Asked(**fields)
    answer = await send(bench, speaker, asked)
    assert answer.status == 200, answer.body
    return speaker.read_stream(answer.body) if asked.stream else speaker.read(answer.json)


@both
@every
async def test_an_answer_repeats_what_was_said_and_is_counted(speaker: Speaker, stream: bool) -> None:
    async with Bench(speaker.row) as bench:
        said = await ask(bench, speaker, text="a  red\nkite", stream=stream)
        assert said.text.startswith('You said "a red kite". ')
        assert (said.finish, said.thoughts, said.calls) == (speaker.finishes["stop"], "", [])
        call = bench.judge.calls[0]
        assert (said.input, said.output) == (call.input_tokens, call.output_tokens) == (7, len(said.text.split()))
        assert (call.operation, call.stream, call.status, call.model) == ("chat", stream, 200, "plain")
        assert bench.judge.calls_per_key() == {"sim-a": 1}


@both
@every
async def test_calls_that_the_prompt_spells_out_are_made(speaker: Speaker, stream: bool) -> None:
    async with Bench(speaker.row) as bench:
        text = 'Please\ncall get_weather {"city": "Ås", "days": 2}\ncall nothing {}\n call get_time {"city":"Rome"}'
        said = await ask(bench, speaker, text=text, tools=TOOLS, stream=stream)
        assert said.calls == [("get_weather", {"city": "Ås", "days": 2}), ("get_time", {"city": "Rome"})]
        assert said.finish == speaker.finishes["calls"]
        assert said.text == ""
        assert said.output == bench.judge.calls[0].output_tokens > 10


@every
async def test_a_named_or_required_tool_gets_arguments_that_fit(speaker: Speaker) -> None:
    async with Bench(speaker.row) as bench:
        said = await ask(bench, speaker, text="use get_time", tools=TOOLS)
        assert [(name, set(arguments)) for name, arguments in said.calls] == [("get_time", {"city", "days"})]
        if speaker.name != "ollama":  # which cannot require one
            said = await ask(bench, speaker, tools=TOOLS, required=True)
            assert [name for name, _ in said.calls] == ["get_weather"]
        assert (await ask(bench, speaker, tools=TOOLS)).calls == []


@both
@every
async def test_results_of_tools_are_quoted(speaker: Speaker, stream: bool) -> None:
    async with Bench(speaker.row) as bench:
        exchanged = [("get_weather", "sunny, 21°"), ("get_time", "noon")]
        said = await ask(bench, speaker, text="call get_weather", tools=TOOLS, exchanged=exchanged, stream=stream)
        assert said.text.startswith('The tool said "sunny, 21°". The tool said "noon". ')
        assert said.calls == []


@every
async def test_a_schema_is_kept(speaker: Speaker) -> None:
    async with Bench(speaker.row) as bench:
        answer = json.loads((await ask(bench, speaker, schema=CITY)).text)
        assert set(answer) == {"city", "days"}
        assert 1 <= answer["days"] <= 7


@every
async def test_a_picture_is_described(speaker: Speaker) -> None:
    async with Bench(speaker.row) as bench:
        assert "I got image/png of 72 bytes." in (await ask(bench, speaker, text="what?", image=PNG)).text
        assert bench.judge.calls[0].input_tokens == 4 + 2 + 258


@both
@every
@pytest.mark.parametrize("fields", [{"text": "think of a number"}, {"thinks": True}], ids=["word", "asked"])
async def test_thoughts_come_before_the_answer(speaker: Speaker, stream: bool, fields: dict[str, Any]) -> None:
    async with Bench(speaker.row) as bench:
        said = await ask(bench, speaker, **fields, stream=stream)
        assert len(said.thoughts.split()) == (0 if speaker.name == "openai" else 16)
        assert said.output == 16 + len(said.text.split())
        called = await ask(bench, speaker, text="think\ncall get_time", tools=TOOLS, stream=stream)
        assert [name for name, _ in called.calls] == ["get_time"]
        assert bool(called.thoughts) == (speaker.name != "openai")


@both
@every
async def test_bounds_are_kept(speaker: Speaker, stream: bool) -> None:
    async with Bench(speaker.row) as bench:
        short = await ask(bench, speaker, max_tokens=5, stream=stream)
        assert (len(short.text.split()), short.finish) == (5, speaker.finishes["length"])
        stopped = await ask(bench, speaker, text="stop here", stop=["here", "said"], stream=stream)
        assert (stopped.text, stopped.finish) == ("You ", speaker.finishes["sequence"])


@every
async def test_limits_count_calls_and_tokens(speaker: Speaker) -> None:
    limits = (per(2, "60s"), per(150, "60s", "tokens"))
    plans: dict[str, Any] = {speaker.name: ProviderPlan(limits=limits, answer_tokens=(80, 80))}
    async with Bench(speaker.row, **plans) as bench:
        assert [(await send(bench, speaker, Asked())).status for _ in range(3)] == [200, 200, 429]
        assert bench.judge.calls_per_key() == {"sim-a": 3}
        assert bench.judge.calls[2].refused_by is not None
        bench.clock.advance(61)
        assert (await send(bench, speaker, Asked())).status == 200
        assert (await send(bench, speaker, Asked(text="long " * 200))).status in (413, 429)


@every
@pytest.mark.parametrize(("fault", "status"), [("invalid_key", (400, 401)), ("rate", (429,)), ("500", (500,))])
async def test_refusals_have_the_dialects_shape(speaker: Speaker, fault: str, status: tuple[int, ...]) -> None:
    async with Bench(speaker.row) as bench:
        answer = await send(bench, speaker, Asked(), x_sim_fault=fault)
        assert answer.status in status
        shape = {
            "anthropic": {"type", "error", "request_id"},
            "cohere": {"id", "message"},
        }.get(speaker.name, {"error"})
        assert shape <= set(answer.json)
        if speaker.name == "ollama":
            assert isinstance(answer.json["error"], str)
        if speaker.name == "gemini":
            assert answer.json["error"]["code"] == answer.status


@every
async def test_a_stream_can_break_off_with_an_error(speaker: Speaker) -> None:
    async with Bench(speaker.row) as bench:
        answer = await send(bench, speaker, Asked(stream=True), x_sim_fault="error_event_mid")
        assert answer.status == 200
        assert b"said" in answer.body
        last = {
            "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"',
            "gemini": b'\n{\n  "error": {\n    "code": 503,',
            "cohere": b'{"type":"message-end","delta":{"finish_reason":"ERROR","error":"service unavailable',
            "ollama": b'\n{"error":"server busy',
        }.get(speaker.name, b'data: {"error":{')
        assert last in answer.body


@every
@pytest.mark.parametrize("name", HARMLESS)
async def test_a_harmless_fault_leaves_a_whole_answer(speaker: Speaker, name: str) -> None:
    async with Bench(speaker.row) as bench:
        asked = Asked(stream=True)
        fault = f"{name}:50" if name == "tiny_events" else name
        answer = await send(bench, speaker, asked, x_sim_fault=fault)
        body = answer.body.removeprefix(b"\xef\xbb\xbf")
        if name == "cr_only" and b"\n" not in body:
            body = body.replace(b"\r", b"\n")
        said = speaker.read_stream(body)
        assert said.finish == speaker.finishes["stop"]
        assert said.text == "a" * 50 if name == "tiny_events" else "hello" in said.text


@every
@pytest.mark.parametrize("name", ["null_usage", "negative_usage", "string_usage", "huge_usage"])
async def test_usage_can_be_nonsense(speaker: Speaker, name: str) -> None:
    async with Bench(speaker.row) as bench:
        for stream in (False, True):
            answer = await send(bench, speaker, Asked(stream=stream), x_sim_fault=name)
            told = {"null_usage": b"", "negative_usage": b"-7", "string_usage": b'"12"', "huge_usage": b"9.22"}[name]
            assert told in answer.body or (name == "huge_usage" and str(2**63).encode() in answer.body)
            assert (b'"usage":null' in answer.body) <= (name == "null_usage" or speaker.name in ("openai", "groq"))


async def test_a_stream_of_gemini_without_events_is_one_array() -> None:
    gemini = Gemini()
    async with Bench(gemini.row) as bench:
        path = "/v1beta/models/plain:streamGenerateContent"
        answer = await bench.send("gemini", gemini.body(Asked()), path=path)
        assert answer.headers["content-type"].startswith("application/json")
        assert 'You said "hello".' in gemini.read_all(answer.json).text
        broken = await bench.send("gemini", gemini.body(Asked()), path=path, x_sim_fault="error_event_mid")
        assert json.loads(broken.body + b"]")[-1]["error"]["status"] == "UNAVAILABLE"


@pytest.mark.parametrize("speaker", NATIVE + SPEAKERS[:1], ids=lambda speaker: speaker.name)
async def test_a_dialect_is_spoken_by_its_own_providers_only(speaker: Speaker) -> None:
    others = [other for other in NATIVE if other is not speaker]
    async with Bench(speaker.row) as bench:
        for other in others:
            answer = await bench.send(speaker.name, other.body(Asked()), path=other.path(Asked()), **other.headers)
            assert answer.status == 404, other.name
