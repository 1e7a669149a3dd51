"""Every fault does on the wire what it says."""

import asyncio
import gzip
import json
import time
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from keyrelay.simulator import FAULTS, Change, KeyPlan, ProviderPlan, Scenario, Simulator
from tests.simulator.helpers import NOON, Answer, Bench, chat, dechunk, parse, per, raw, request_bytes, row

STATUSES = {
    "401": 401, "403_key": 403, "403_model": 403, "402": 402, "429": 429, "429_http_date": 429, "429_ms": 429,
    "429_reset": 429, "429_gemini": 429, "429_zero": 429, "429_negative": 429, "429_huge": 429, "429_garbage": 429,
    "429_past": 429, "429_none": 429, "429_day": 429, "500": 500, "502": 502, "503": 503, "504": 504, "529": 529,
    "redirect": 307, "204": 204,
}  # fmt: skip
BOUNDED = {
    "half_head": "0.2", "stall_body": "0.2", "stall_mid_stream": "0.2", "slow_head": "0.1", "slow_body": "0.01",
    "huge_body": "3", "endless_line": "3", "gzip_bomb": "4", "tiny_events": "2000",
}  # fmt: skip
SILENT = {"only_pings"}


async def strike(
    bench: Bench, fault: str, *, stream: bool = False, seconds: float = 5.0, **fields: Any
) -> tuple[bytes, str]:
    body = chat(stream=stream, **fields)
    headers = {"authorization": "Bearer sim-a", "x-sim-fault": fault, "x-sim-events": "20", "connection": "close"}
    return await raw(bench.port, request_bytes("/openai/v1/chat/completions", body, headers=headers), seconds=seconds)


async def answer(bench: Bench, fault: str, *, stream: bool = False) -> Answer:
    data, end = await strike(bench, fault, stream=stream)
    return parse(data, clean=end == "fin")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(set(FAULTS) - SILENT))
async def test_every_fault_strikes_comes_to_an_end_and_is_written_down(name: str, stream: bool) -> None:
    async with Bench(row("openai")) as bench:
        fault = FAULTS[name]
        _, end = await strike(bench, f"{name}:{BOUNDED.get(name, '')}", stream=stream)
        assert end in ("fin", "rst")
        await asyncio.sleep(0.01)
        call = bench.judge.calls[0]
        assert call.fault == (name if fault.applies(stream=stream) else "")
        assert call.ended_s is not None
        assert call.disconnected_s is None
        assert (await bench.ask("openai")).status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", sorted(name for name, fault in FAULTS.items() if fault.strikes == "harmless"))
async def test_a_harmless_fault_leaves_a_whole_answer(name: str, stream: bool) -> None:
    async with Bench(row("openai")) as bench:
        data, end = await strike(bench, f"{name}:{BOUNDED.get(name, '')}", stream=stream)
        data = data.partition(b"preload\r\n\r\n")[2] if name == "1xx" else data
        struck = parse(data, clean=end == "fin")
        assert (struck.status, end) == (200, "fin")
        if not stream or name == "json_instead_of_stream":
            assert struck.json["choices"][0]["finish_reason"] == "stop"
            return
        assert struck.text
        assert struck.body.rstrip().endswith(b"data: [DONE]")


@pytest.mark.parametrize("name", sorted(name for name, fault in FAULTS.items() if fault.strikes == "before"))
async def test_a_fault_before_the_first_byte_gives_a_stream_no_content(name: str) -> None:
    if name in ("slow_head", "slow_body", "encoding_lie"):  # late or lying, but all there
        return
    async with Bench(row("openai")) as bench:
        data, _ = await strike(bench, f"{name}:{BOUNDED.get(name, '')}", stream=True, seconds=0.5)
        body = data.partition(b"\r\n\r\n")[2]
        assert b'"delta":{"content":"' not in body.replace(b"\xff\xfe\xc3(", b"").replace(b'"content":""', b"")


@pytest.mark.parametrize("name", sorted(name for name, fault in FAULTS.items() if fault.strikes == "after"))
async def test_a_fault_after_the_first_byte_comes_after_content(name: str) -> None:
    async with Bench(row("openai")) as bench:
        data, _ = await strike(bench, f"{name}:{BOUNDED.get(name, '')}", stream=True)
        assert data.count(b'"content":') > 5
        assert b"[DONE]" not in data


@pytest.mark.parametrize(("name", "status"), STATUSES.items())
async def test_status(name: str, status: int) -> None:
    async with Bench(row("openai", limits=(per(1, "60s"),))) as bench:
        struck = await answer(bench, name)
        assert struck.status == status
        if status >= 400:
            assert "message" in (struck.json[0]["error"] if name == "429_gemini" else struck.json["error"])
        assert (await bench.ask("openai")).status == 200, "a fault uses up no quota"


async def test_hints_when_to_come_back() -> None:
    async with Bench(row("openai")) as bench:
        hints = {name: (await answer(bench, name)).headers for name in STATUSES if name.startswith("429")}
        assert (await answer(bench, "429:7")).headers["retry-after"] == "7"
        assert hints["429"]["retry-after"] == "2"
        assert hints["429_zero"]["retry-after"] == "0"
        assert hints["429_negative"]["retry-after"] == "-1"
        assert hints["429_huge"]["retry-after"] == "1000000000000"
        assert hints["429_garbage"]["retry-after"] == "soon"
        assert hints["429_ms"]["retry-after-ms"] == "1500"
        assert hints["429_reset"]["x-ratelimit-reset-requests"] == "2s"
        assert parsedate_to_datetime(hints["429_http_date"]["retry-after"]).timestamp() == NOON + 2
        assert parsedate_to_datetime(hints["429_past"]["retry-after"]).timestamp() == NOON - 3600
        assert not [name for name in hints["429_none"] if "retry" in name or "reset" in name]
        none = await answer(bench, "429_none")
        assert "try again in" not in none.body.decode()
        assert (await answer(bench, "429_gemini:9")).json[0]["error"]["details"][2]["retryDelay"] == "9s"


async def test_a_redirect_names_another_host() -> None:
    async with Bench(row("openai")) as bench:
        assert (await answer(bench, "redirect:http://127.0.0.1:1/x")).headers["location"] == "http://127.0.0.1:1/x"


async def test_an_early_hint_comes_before_the_answer() -> None:
    async with Bench(row("openai")) as bench:
        data, _ = await strike(bench, "1xx")
        assert data.startswith(b"HTTP/1.1 103 Early Hints\r\n")
        assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in data


@pytest.mark.parametrize(
    ("name", "end", "check"),
    [
        ("refuse", "fin", lambda d: d == b""),
        ("rst_before_head", "rst", lambda d: d == b""),
        ("half_head:0.1", "fin", lambda d: d.startswith(b"HTTP/1.1 200") and b"\r\n\r\n" not in d),
        ("rst_mid_body", "rst", lambda d: 0 < body_bytes(d) < length(d)),
        ("short_content_length", "fin", lambda d: 0 < body_bytes(d) < length(d)),
        ("stall_body:0.1", "fin", lambda d: 0 < body_bytes(d) < length(d)),
        ("truncated_chunk", "fin", lambda d: not d.endswith(b"0\r\n\r\n")),
        ("bad_chunk", "fin", lambda d: b"\r\nzz\r\n" in d),
    ],
)
async def test_connection(name: str, end: str, check: Any) -> None:
    async with Bench(row("openai")) as bench:
        data, ended = await strike(bench, name)
        assert ended == end
        assert check(data)


def body_bytes(data: bytes) -> int:
    return len(data.partition(b"\r\n\r\n")[2])


def length(data: bytes) -> int:
    return int(parse(data).headers["content-length"])


@pytest.mark.parametrize("name", ["half_head", "stall_body", "only_pings"])
async def test_silence_lasts(name: str) -> None:
    async with Bench(row("openai")) as bench:
        data, end = await strike(bench, f"{name}:50" if name == "only_pings" else name, stream=True, seconds=0.4)
        assert end == "silence"
        if name == "only_pings":
            assert set(dechunk(data.partition(b"\r\n\r\n")[2] + b"0\r\n\r\n").split(b"\n\n")) == {b": ping", b""}


async def test_a_drip_takes_its_time() -> None:
    async with Bench(row("openai")) as bench:
        began = time.monotonic()
        struck = await answer(bench, "slow_head:2")
        assert time.monotonic() - began > 0.2
        assert struck.json["choices"]


async def test_connections_are_refused_right_after_accepting() -> None:
    async with Bench(row("openai")) as bench:
        bench.simulator.change(Change(refuse_connections=2))
        for _ in range(2):
            assert (await raw(bench.port, b""))[1] in ("fin", "rst")
        assert (await bench.ask("openai")).status == 200
        assert bench.judge.total == 1


async def test_broken_bodies() -> None:
    async with Bench(row("openai")) as bench:
        for name in ("malformed_json", "truncated_json", "empty_200"):
            with pytest.raises(json.JSONDecodeError):
                _ = (await answer(bench, name)).json
        assert (await answer(bench, "html_200")).headers["content-type"] == "text/html"
        assert "error" in (await answer(bench, "error_in_200")).json
        assert (await answer(bench, "empty_choices")).json["choices"] == []
        with pytest.raises(UnicodeDecodeError):
            (await answer(bench, "invalid_utf8")).body.decode()


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("null_usage", None),
        ("negative_usage", {"prompt_tokens": -5, "completion_tokens": -7, "total_tokens": -5}),
        ("string_usage", {"prompt_tokens": "many", "completion_tokens": "12", "total_tokens": "many"}),
        ("huge_usage", dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), 2**63)),
    ],
)
async def test_usage_that_is_none(name: str, usage: Any) -> None:
    async with Bench(row("openai")) as bench:
        assert (await answer(bench, name)).json["usage"] == usage
        assert (await answer(bench, name, stream=True)).events[-1]["usage"] == usage


async def test_bombs_and_floods() -> None:
    async with Bench(row("openai")) as bench:
        bomb = await answer(bench, "gzip_bomb:8")
        assert len(gzip.decompress(bomb.body)) > 8 * 1024 * 1024 > 500 * len(bomb.body)
        lie = await answer(bench, "encoding_lie")
        assert (lie.headers["content-encoding"], lie.json["object"]) == ("gzip", "chat.completion")
        huge, _ = await strike(bench, "huge_body:5")
        assert 5 * 1024 * 1024 < len(huge) < 5.1 * 1024 * 1024
        line, _ = await strike(bench, "endless_line:2", stream=True)
        assert len(line) > 2 * 1024 * 1024
        tiny = await answer(bench, "tiny_events:3000", stream=True)
        assert tiny.text == "a" * 3000


async def test_streams_that_break() -> None:
    async with Bench(row("openai")) as bench:
        cut, end = await strike(bench, "rst_mid_stream", stream=True)
        assert end == "rst"
        assert cut.count(b'"content":') == 11  # the role's empty one and half of twenty
        ended = await answer(bench, "eof_mid_stream", stream=True)
        assert (ended.clean, len(ended.events)) == (True, 11)
        undone = await answer(bench, "no_done", stream=True)
        assert undone.events[-1]["choices"][0]["finish_reason"] == "stop"
        assert "error" in (await answer(bench, "error_event_first", stream=True)).events[0]
        assert "error" in (await answer(bench, "error_event_mid", stream=True)).events[-1]
        assert bench.judge.calls[0].output_tokens == 10


async def test_streams_written_in_other_ways() -> None:
    async with Bench(row("openai")) as bench:
        plain = (await answer(bench, "", stream=True)).body
        assert (await answer(bench, "crlf", stream=True)).body.count(b"\r\n\r\n") == plain.count(b"\n\n")
        assert b"\n" not in (await answer(bench, "cr_only", stream=True)).body
        assert (await answer(bench, "bom", stream=True)).body.startswith(b"\xef\xbb\xbfdata: ")
        assert (await answer(bench, "comments_between", stream=True)).body.startswith(b": keep-alive\n\ndata: ")
        assert "\u2028" in (await answer(bench, "u2028", stream=True)).text
        split, _ = await strike(bench, "split_everywhere", stream=True)
        assert b"\r\n1\r\nd\r\n1\r\na\r\n1\r\nt\r\n" in split
        whole = await answer(bench, "json_instead_of_stream", stream=True)
        assert (whole.headers["content-type"], whole.json["object"]) == ("application/json", "chat.completion")


async def test_a_fault_for_another_provider_does_not_strike() -> None:
    async with Bench(row("openai"), row("groq")) as bench:
        assert (await bench.ask("groq", x_sim_fault="500@openai")).status == 200
        assert (await bench.ask("openai", x_sim_fault="500@openai")).status == 500
        assert (await bench.ask("openai", x_sim_fault="no_such_fault")).status == 400


async def test_scripts_strike_the_nth_call() -> None:
    plan = ProviderPlan(
        script=("", "500", "429:9"), keys={"sim-b": KeyPlan(script=("503",)), "sim-c": KeyPlan(faults={"502": 1})}
    )
    async with Bench(row("openai"), openai=plan) as bench:
        assert [(await bench.ask("openai")).status for _ in range(4)] == [200, 500, 429, 200]
        assert [(await bench.ask("openai", key="sim-b")).status for _ in range(2)] == [503, 200]
        assert (await bench.ask("openai", key="sim-c")).status == 502


async def test_probabilities_repeat_with_the_seed() -> None:
    async def statuses(seed: int) -> list[int]:
        async with Bench(row("openai"), seed=seed, openai=ProviderPlan(faults={"500": 0.3, "503": 0.2})) as bench:
            return [(await bench.ask("openai")).status for _ in range(60)]

    first = await statuses(1)
    assert first == await statuses(1)
    assert first != await statuses(2)
    assert 9 <= first.count(500) <= 27
    assert 4 <= first.count(503) <= 21


def test_a_scenario_with_an_unknown_fault_is_refused() -> None:
    for plan in (
        ProviderPlan(faults={"5OO": 1}),
        ProviderPlan(script=("5OO",)),
        ProviderPlan(keys={"k": KeyPlan(script=("x",))}),
    ):
        with pytest.raises(ValueError, match="no such fault"):
            Simulator(Scenario(providers={"openai": plan}), {"openai": row("openai")})
