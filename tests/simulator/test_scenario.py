"""Scenarios from files, latencies, clocks, and the values that providers print."""

import random
import time
from pathlib import Path

import msgspec
import pytest

from keyrelay.simulator import KeyPlan, Latency, RealClock, Scenario, VirtualClock, load_scenario
from keyrelay.simulator.delivery import pace_of
from keyrelay.simulator.schemas import instance_of
from keyrelay.simulator.spans import go_duration
from keyrelay.simulator.texts import Corpus, count_messages, count_text

TOML = """
seed = 7
[latency]
first_token_ms = [120, 400]
[providers.gemini]
limits = [{ unit = "requests", amount = 5, window = "60s" }]
script = ["", "429:5"]
[providers.gemini.keys]
sim-gemini-a = "ok"
sim-gemini-b = { state = "exhausted_day", account = "project-2" }
"""


def test_a_scenario_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(TOML)
    scenario = load_scenario(path)
    plan = scenario.providers["gemini"]
    assert plan.keys["sim-gemini-a"] == "ok"
    assert plan.keys["sim-gemini-b"] == KeyPlan(state="exhausted_day", account="project-2")
    assert plan.limits
    assert plan.limits[0].amount == 5
    again = tmp_path / "scenario.json"
    again.write_bytes(msgspec.json.encode(scenario))
    assert load_scenario(again) == scenario


@pytest.mark.parametrize("text", ["sede = 1", "[providers.x.keys]\na = 'fine'"])
def test_a_wrong_scenario_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    with pytest.raises(msgspec.ValidationError):
        load_scenario(path)


def test_latencies_lie_in_their_range_nine_times_of_ten() -> None:
    source = random.Random(1)
    draws = [pace_of(Latency(first_token_ms=(100, 400)), source).first_s for _ in range(2000)]
    assert 0.87 < sum(0.1 <= d <= 0.4 for d in draws) / 2000 < 0.93
    assert max(draws) <= 1.6
    assert pace_of(Latency(first_token_ms=(70, 70), tokens_per_s=50), source) == msgspec.convert(
        {"first_s": 0.07, "gap_s": 0.02}, type(pace_of(Latency(), source))
    )
    assert pace_of(Latency(), source).instant
    assert 0 <= pace_of(Latency(first_token_ms=(0, 50)), source).first_s <= 0.05


def test_clocks() -> None:
    clock = VirtualClock(100)
    assert clock.advance(5) == clock.now() == 105
    with pytest.raises(ValueError, match="forward"):
        clock.advance(-1)
    fast = RealClock(scale=1000)
    began = fast.now()
    time.sleep(0.01)
    assert fast.now() - began >= 10
    assert abs(RealClock().now() - time.time()) < 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0171, "18ms"), (0, "0ms"), (1, "1s"), (3.89, "3.89s"), (86.4, "1m26.4s"), (360, "6m0s"), (7201, "2h0m1s")],
)
def test_go_durations(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


def test_texts() -> None:
    corpus = Corpus(1)
    assert corpus.sentences(5, 30) == Corpus(1).sentences(5, 30)
    assert corpus.sentences(5, 30) != Corpus(2).sentences(5, 30)
    for number in range(3000):
        tokens = corpus.sentences(number, 40)
        assert 40 <= len(tokens) <= 60
        text = "".join(tokens)
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text.split()) == len(tokens)
    assert len(corpus.exactly(699, 50_000)) == 50_000
    assert len({"".join(corpus.sentences(n, 30)) for n in range(700)}) > 690


def test_prompt_tokens() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    parts = [{"type": "text", "text": "12345678"}, image]
    assert count_text("12345") == 2
    assert count_messages([{"role": "user", "content": "12345678"}, {"role": "user", "content": parts}]) == 12 + 258


@pytest.mark.parametrize(
    ("schema", "check"),
    [
        ({"type": "integer", "minimum": 3, "maximum": 3}, lambda v: v == 3),
        ({"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 5}, lambda v: v == 4),
        ({"type": "number", "multipleOf": 0.25, "minimum": 1, "maximum": 2}, lambda v: 1 <= v <= 2 and v * 4 % 1 == 0),
        ({"type": ["null", "boolean"]}, lambda v: v in (True, False)),
        ({"type": "array", "items": {"const": 1}, "minItems": 3}, lambda v: v == [1, 1, 1]),
        ({"type": "array", "items": {}, "maxItems": 0}, lambda v: v == []),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, lambda v: v is None),
        ({"allOf": [{"properties": {n: {"const": 1}}} for n in "ab"]}, lambda v: v == {"a": 1, "b": 1}),
        ({"type": "string", "format": "date"}, lambda v: v == "2026-03-14"),
        ({"type": "string", "minLength": 30, "maxLength": 31}, lambda v: 30 <= len(v) <= 31),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"next": {"$ref": "#/$defs/n"}}}}}, lambda v: "next" in v),
        ("nonsense", lambda v: v is None),
    ],
)  # fmt: skip
def test_instances_of_schemas(schema: object, check: object) -> None:
    assert callable(check)
    for seed in range(20):
        assert check(instance_of(schema, random.Random(seed)))


def test_a_scenario_is_a_value() -> None:
    assert Scenario() == Scenario()
    with pytest.raises(AttributeError):
        Scenario().seed = 3  # type: ignore[misc]
