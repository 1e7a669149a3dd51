"""Which requests of each dialect may be answered from the cache, as its own clients write them."""

from typing import Any

import msgspec
import pytest

from keyrelay.core.configuration import CacheMode
from keyrelay.core.conversation import Dialect
from keyrelay.core.requests import CallRequest
from keyrelay.wire.cache_keys import MAX_CACHED_BODY_BYTES, may_answer
from keyrelay.wire.cache_rules import STATE, is_deterministic, is_self_contained
from keyrelay.wire.registry import ANTHROPIC, GEMINI_EVENTS, OLLAMA_CHAT, OLLAMA_GENERATE, RESPONSES

TURN = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
CONTENTS = {"contents": [{"parts": [{"text": "hi"}]}]}


def asked(dialect: Dialect, **more: Any) -> CallRequest:
    if dialect == "responses":
        return RESPONSES.request("chat", msgspec.json.encode({"model": "m", "input": "hi", **more}), max_depth=64)
    if dialect == "anthropic":
        return ANTHROPIC.request("chat", msgspec.json.encode({**TURN, "max_tokens": 9, **more}), max_depth=64)
    if dialect == "ollama":
        return OLLAMA_CHAT.request("chat", msgspec.json.encode({**TURN, **more}), max_depth=64)
    return GEMINI_EVENTS.request("chat", msgspec.json.encode({**CONTENTS, **more}), max_depth=64, model="m")


def config(**more: Any) -> dict[str, Any]:
    return {"generationConfig": more}


def options(**more: Any) -> dict[str, Any]:
    return {"options": more}


FUNCTION = {"type": "function", "name": "f", "parameters": {}}
SURE = {"temperature": 0}
GEMINIS = {"functionDeclarations": [{"name": "f"}]}

RULES: tuple[tuple[Dialect, dict[str, Any], bool], ...] = (
    ("responses", {}, False),
    ("responses", {"temperature": 0}, True),
    ("responses", {"temperature": 0.0}, True),
    ("responses", {"temperature": 0.5}, False),
    ("responses", {"seed": 7}, False),  # it has none
    ("responses", {**SURE, "tools": [FUNCTION, {"type": "custom", "name": "g"}]}, True),
    ("responses", {**SURE, "tools": None}, True),
    ("responses", {**SURE, "tools": [FUNCTION, {"type": "web_search"}]}, False),
    ("responses", {**SURE, "tools": "all"}, False),
    ("anthropic", {}, False),
    ("anthropic", {"temperature": 0}, True),
    ("anthropic", {"temperature": 1}, False),
    ("anthropic", {"temperature": 0.5}, False),
    ("anthropic", {**SURE, "tools": [{"name": "f", "input_schema": {}}]}, True),
    ("anthropic", {**SURE, "tools": [{"type": "custom", "name": "f"}, {"type": None, "name": "g"}]}, True),
    ("anthropic", {**SURE, "tools": [{"type": "web_search_20260209", "name": "web_search"}]}, False),
    ("anthropic", {**SURE, "mcp_servers": [{"url": "https://mcp.example"}]}, False),
    ("anthropic", {**SURE, "mcp_servers": []}, True),
    ("gemini", {}, False),
    ("gemini", {"temperature": 0}, False),  # not its place
    ("gemini", config(temperature=0), True),
    ("gemini", config(temperature=0.0, candidateCount=1), True),
    ("gemini", config(seed=3), True),
    ("gemini", config(seed=None), False),
    ("gemini", config(temperature=1), False),
    ("gemini", {"generation_config": {"temperature": 0}}, True),
    ("gemini", {"generationConfig": None}, False),
    ("gemini", {**config(seed=3), "tools": [GEMINIS]}, True),
    ("gemini", {**config(seed=3), "tools": [{"function_declarations": [{"name": "f"}]}]}, True),
    ("gemini", {**config(seed=3), "tools": [GEMINIS, {"googleSearch": {}}]}, False),
    ("gemini", {**config(seed=3), "tools": [{"urlContext": {}}]}, False),
    ("gemini", {**config(seed=3), "tools": [{"somethingNew": {}}]}, False),
    ("ollama", {}, False),
    ("ollama", {"temperature": 0}, False),  # not its place
    ("ollama", options(temperature=0), True),
    ("ollama", options(seed=42), True),
    ("ollama", options(temperature=0.8), False),
    ("ollama", options(temperature=0.8, seed=1), True),
    ("ollama", {"options": None}, False),
)


@pytest.mark.parametrize(("dialect", "more", "deterministic"), RULES)
def test_deterministic_is_said_in_each_dialects_own_place(
    dialect: Dialect, more: dict[str, Any], deterministic: bool
) -> None:
    request = asked(dialect, **more)
    answers: dict[CacheMode, bool] = {"off": False, "deterministic": deterministic, "all": True}
    assert {mode: may_answer(request, mode) for mode in answers} == answers


REFERRING: tuple[tuple[Dialect, dict[str, Any]], ...] = (
    ("responses", {**SURE, "previous_response_id": "resp_1"}),
    ("responses", {**SURE, "conversation": "conv_1"}),
    ("responses", {**SURE, "input": [{"type": "item_reference", "id": "msg_1"}]}),
    ("anthropic", {**SURE, "container": "container_1"}),
    ("gemini", {**config(seed=1), "cachedContent": "cachedContents/1"}),
    ("gemini", {**config(seed=1), "cached_content": "cachedContents/1"}),
    ("gemini", config(seed=1, candidateCount=2)),
    ("gemini", {"generationConfig": {"seed": 1, "candidate_count": 3}}),
)


@pytest.mark.parametrize(("dialect", "more"), REFERRING)
@pytest.mark.parametrize("mode", ["deterministic", "all"])
def test_what_is_only_referred_to_is_never_looked_up(dialect: Dialect, more: dict[str, Any], mode: CacheMode) -> None:
    request = asked(dialect, **more)
    assert is_deterministic(request)
    assert not may_answer(request, mode)


def test_a_request_is_read_in_the_form_that_it_came_in() -> None:
    for more, may in ((SURE, True), ({"seed": 1}, False), ({**SURE, "previous_response_id": "resp_1"}, False)):
        request = msgspec.structs.replace(asked("responses", **more), dialect="openai", reshaped=True)
        assert may_answer(request, "deterministic") is may


@pytest.mark.parametrize(("dialect", "names"), STATE.items())
def test_a_reference_to_nothing_is_none(dialect: Dialect, names: tuple[str, ...]) -> None:
    assert is_self_contained(asked(dialect, **dict.fromkeys(names)))


@pytest.mark.parametrize("codec", [GEMINI_EVENTS, OLLAMA_CHAT, OLLAMA_GENERATE])
def test_embeddings_are_always_deterministic(codec: Any) -> None:
    body = {"model": "m", "input": "hi", "content": {"parts": [{"text": "hi"}]}}
    request = codec.request("embeddings", msgspec.json.encode(body), max_depth=64, model="m")
    assert may_answer(request, "deterministic")
    assert not may_answer(request, "off")


@pytest.mark.parametrize("dialect", ["responses", "anthropic", "gemini", "ollama"])
@pytest.mark.parametrize("mode", ["deterministic", "all"])
def test_a_huge_request_is_never_looked_up(dialect: Dialect, mode: CacheMode) -> None:
    more = {**SURE, **config(seed=1), **options(seed=1)}
    assert may_answer(asked(dialect, **more), mode)
    assert not may_answer(asked(dialect, **more, pad="x" * MAX_CACHED_BODY_BYTES), mode)


@pytest.mark.parametrize("place", ["generationConfig", "tools"])
def test_what_nobody_could_read_is_not_deterministic(place: str) -> None:
    """Bodies that are wrong never come so far; if one does, whoever has to read it says what is wrong."""
    good = asked("gemini", **config(seed=1))
    broken = msgspec.structs.replace(good, fields={**good.fields, place: msgspec.Raw(b'"x"')})
    assert is_deterministic(good)
    assert not is_deterministic(broken)
