import string
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keyrelay.core.configuration import CacheMode
from keyrelay.core.conversation import Dialect
from keyrelay.core.providers import Operation
from keyrelay.core.requests import CallRequest
from keyrelay.wire.cache_keys import (
    LABELS,
    MAX_CACHED_BODY_BYTES,
    PERSONS,
    cache_key,
    canonical,
    may_answer,
    scope_of,
)
from keyrelay.wire.cache_rules import LIVE
from keyrelay.wire.opaque import decode_opaque
from keyrelay.wire.openai import decode_request

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SCOPE = scope_of("app", shared=False)


def request_of(body: bytes, operation: Operation = "chat") -> CallRequest:
    return decode_request(operation, body, max_depth=64)


def asked(operation: Operation = "chat", **more: Any) -> CallRequest:
    body: dict[str, Any] = {**HELLO, **more} if operation == "chat" else {"model": "m", "input": "hi", **more}
    return request_of(msgspec.json.encode(body), operation)


def key_of(request: CallRequest, **more: Any) -> bytes:
    facts: dict[str, Any] = {"scope": SCOPE, "form": "", "prefer": "", "targets": ("a/m", "b/m"), **more}
    return cache_key(request, **facts)


# Which requests count.


@pytest.mark.parametrize(
    ("more", "deterministic"),
    [
        ({}, False),
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": -0.0}, True),
        ({"temperature": 0.1}, False),
        ({"temperature": 1e-9}, False),
        ({"temperature": None}, False),
        ({"temperature": "0"}, False),
        ({"seed": 7}, True),
        ({"seed": 0}, True),
        ({"seed": None}, False),
        ({"seed": None, "temperature": 0}, True),
        ({"seed": 7, "temperature": 1}, True),
        ({"temperature": 0, "n": 1}, True),
        ({"temperature": 0, "n": None}, True),
        ({"temperature": 0, "n": 2}, False),
        ({"temperature": 0, "web_search_options": {}}, False),
        ({"temperature": 0, "plugins": [{"id": "web"}]}, False),
        ({"temperature": 0, "search_parameters": None}, True),
    ],
)
def test_deterministic_is_temperature_zero_or_a_seed(more: dict[str, Any], deterministic: bool) -> None:
    request = asked(**more)
    answers: dict[CacheMode, bool] = {"off": False, "deterministic": deterministic, "all": True}
    assert {mode: may_answer(request, mode) for mode in answers} == answers


@pytest.mark.parametrize("zero", [b"0", b"0.00", b"-0", b"0e5", b"0.0E-3"])
def test_a_zero_may_be_written_in_many_ways(zero: bytes) -> None:
    assert may_answer(request_of(b'{"model":"m","messages":[{}],"temperature":' + zero + b"}"), "deterministic")


@pytest.mark.parametrize("more", [{}, {"temperature": 1}, {"seed": None}])
def test_embeddings_are_always_deterministic(more: dict[str, Any]) -> None:
    request = asked("embeddings", **more)
    assert may_answer(request, "deterministic")
    assert not may_answer(request, "off")


@pytest.mark.parametrize("mode", ["deterministic", "all"])
def test_what_only_goes_through_is_never_looked_up(mode: CacheMode) -> None:
    request = decode_opaque("images", b'{"model": "m", "prompt": "a", "seed": 1}', max_depth=8)
    assert not may_answer(request, mode)


@pytest.mark.parametrize("operation", ["chat", "embeddings"])
@pytest.mark.parametrize("mode", ["deterministic", "all"])
@pytest.mark.parametrize("more", [{}, {"temperature": 0}])
def test_a_huge_request_is_never_looked_up(operation: Operation, mode: CacheMode, more: dict[str, Any]) -> None:
    assert not may_answer(asked(operation, pad="x" * MAX_CACHED_BODY_BYTES, **more), mode)


# Scopes.


@given(st.text(), st.text())
def test_no_two_clients_share_a_scope(one: str, other: str) -> None:
    assert (scope_of(one, shared=False) == scope_of(other, shared=False)) == (one == other)
    assert scope_of(one, shared=False) != scope_of(one, shared=True) == scope_of(other, shared=True)


# What is in a key.


def test_a_key_is_a_digest() -> None:
    assert len(key_of(asked())) == 32
    assert key_of(asked()) == key_of(asked())


@pytest.mark.parametrize(
    "fact",
    [
        {"scope": scope_of("other", shared=False)},
        {"scope": scope_of("app", shared=True)},
        {"form": "generate"},
        {"prefer": "groq"},
        {"targets": ("b/m", "a/m")},
        {"targets": ("a/m",)},
        {"targets": ()},
    ],
)
def test_each_fact_beside_the_body_counts(fact: dict[str, Any]) -> None:
    assert key_of(asked(), **fact) != key_of(asked())


def test_facts_do_not_run_together() -> None:
    assert key_of(asked(), prefer="a", targets=("b",)) != key_of(asked(), prefer="", targets=("a", "b"))
    assert key_of(asked(), prefer='a","b', targets=()) != key_of(asked(), prefer="a", targets=("b",))


def test_the_operation_counts() -> None:
    body = b'{"model":"m","prompt":"x","input":"x"}'
    assert key_of(request_of(body, "completions")) != key_of(request_of(body, "embeddings"))


SHAPING: tuple[dict[str, Any], ...] = (
    {"model": "m2"},
    {"messages": [{"role": "user", "content": "hi "}]},
    {"messages": [{"role": "system", "content": "hi"}]},
    {"messages": [{"role": "user", "content": "hi", "name": "x"}]},
    {"messages": [*HELLO["messages"], *HELLO["messages"]]},
    {"stream": True},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"temperature": 0},
    {"temperature": 0.0},
    {"temperature": 1},
    {"temperature": "1"},
    {"temperature": None},
    {"top_p": 1},
    {"seed": 1},
    {"max_tokens": 10},
    {"max_completion_tokens": 10},
    {"stop": "x"},
    {"stop": ["x"]},
    {"n": 1},
    {"logprobs": True},
    {"logit_bias": {"5": 1}},
    {"response_format": {"type": "json_object"}},
    {"tools": [{"type": "function", "function": {"name": "f"}}]},
    {"tool_choice": "none"},
    {"reasoning_effort": "low"},
    {"service_tier": "flex"},
    {"store": True},
    {"anything": 1},
    {"anything": True},
    *({name: "x"} for name in PERSONS["openai"]),
    *({name: "x"} for name in LIVE),
)


def test_every_member_that_shapes_the_answer_counts() -> None:
    keys = {key_of(asked(**more)) for more in ({}, *SHAPING)}
    assert len(keys) == len(SHAPING) + 1


@pytest.mark.parametrize("name", LABELS["openai"])
def test_members_that_say_nothing_to_the_model_do_not_count(name: str) -> None:
    labelled: dict[str, Any] = {name: {"a": "b"}}
    assert key_of(asked(**labelled)) == key_of(asked())


@pytest.mark.parametrize("name", PERSONS["openai"])
def test_a_person_behind_the_client_counts_unless_all_share_anyway(name: str) -> None:
    shared = scope_of("", shared=True)
    persons: tuple[dict[str, Any], ...] = ({name: "alice"}, {name: "bob"})
    one, other = (asked(**person) for person in persons)
    assert key_of(one) != key_of(other)
    assert key_of(one, scope=shared) == key_of(other, scope=shared)


# What is in the key of other dialects.


def in_dialect(dialect: Dialect, **more: Any) -> CallRequest:
    body = msgspec.json.encode({**HELLO, **more})
    return msgspec.structs.replace(request_of(body), dialect=dialect)


def test_the_dialect_counts() -> None:
    dialects: tuple[Dialect, ...] = ("openai", "responses", "anthropic", "gemini", "ollama")
    assert len({key_of(in_dialect(dialect)) for dialect in dialects}) == len(dialects)


def test_headers_that_go_on_to_a_provider_count() -> None:
    plain = in_dialect("anthropic")
    one, other = (
        msgspec.structs.replace(plain, headers=(("anthropic-beta", beta),)) for beta in ("context-1m", "fast-mode")
    )
    assert len({key_of(each) for each in (plain, one, other)}) == 3


@pytest.mark.parametrize("name", [*LABELS["openai"], *PERSONS["openai"]])
@pytest.mark.parametrize("shared", [False, True])
def test_the_responses_dialect_gives_labels_and_persons_back_so_they_count(name: str, shared: bool) -> None:
    scope = scope_of("app", shared=shared)
    labelled: dict[str, Any] = {name: "x"}
    one, other = in_dialect("responses", **labelled), in_dialect("responses")
    assert key_of(one, scope=scope) != key_of(other, scope=scope)


def test_anthropics_metadata_names_a_person() -> None:
    one, other = (in_dialect("anthropic", metadata={"user_id": name}) for name in ("alice", "bob"))
    shared = scope_of("", shared=True)
    assert key_of(one) != key_of(other)
    assert key_of(one, scope=shared) == key_of(other, scope=shared)


# One meaning, one form.

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)
BODIES = st.dictionaries(st.text(string.ascii_lowercase, min_size=1, max_size=5), JSON, max_size=5)


def written(value: object, draw: st.DrawFn) -> str:
    """A value in JSON, written in one of the many ways that mean the same."""
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        members = (f"{written(name, draw)}{space}:{space}{written(value[name], draw)}" for name in names)
        return "{" + space + f"{space},".join(members) + space + "}"
    if isinstance(value, list):
        return "[" + space + f",{space}".join(written(item, draw) for item in value) + space + "]"
    if isinstance(value, str):
        return '"' + "".join(_sign(sign, draw) for sign in value) + '"'
    return msgspec.json.encode(value).decode()


def _sign(sign: str, draw: st.DrawFn) -> str:
    must = sign in '"\\' or sign < " "
    if not must and not draw(st.booleans()):
        return sign
    units = sign.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2))


@st.composite
def two_writings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    body = draw(BODIES)
    return written(body, draw).encode(), written(body, draw).encode()


@given(two_writings())
def test_what_means_the_same_has_one_form(texts: tuple[bytes, bytes]) -> None:
    one, other = texts
    assert canonical(one) == canonical(other) == canonical(canonical(one))


def _same(one: object, other: object) -> bool:
    """Equal, and of the same type at every depth: 1, 1.0 and True are equal to Python."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return repr(one) == repr(other)  # -0.0 is not 0.0


@given(BODIES, BODIES)
def test_what_means_something_else_has_another_form(one: dict[str, object], other: dict[str, object]) -> None:
    assume(not _same(one, other))
    assert canonical(msgspec.json.encode(one)) != canonical(msgspec.json.encode(other))


@given(BODIES, st.text(string.ascii_lowercase, min_size=1, max_size=5), JSON)
def test_any_changed_member_makes_another_form(body: dict[str, object], name: str, value: object) -> None:
    assume(name not in body or not _same(body[name], value))
    assert canonical(msgspec.json.encode(body)) != canonical(msgspec.json.encode({**body, name: value}))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1}', b'{"a":1.0}'),
        (b'{"a":1}', b'{"a":"1"}'),
        (b'{"a":1}', b'{"a":true}'),
        (b'{"a":0}', b'{"a":false}'),
        (b'{"a":null}', b"{}"),
        (b'{"a":""}', b'{"a":null}'),
        (b'{"a":[]}', b'{"a":{}}'),
        (b'{"a":9007199254740993}', b'{"a":9007199254740992}'),
        (b'{"a":123456789012345678901234567890}', b'{"a":123456789012345678901234567891}'),
        (b'{"a":"e\xcc\x81"}', b'{"a":"\xc3\xa9"}'),
        (b'{"a":1,"a":2}', b'{"a":2}'),
        (b'{"a":1,"a":2}', b'{"a":2,"a":1}'),
        (b'{"a":{"b":1,"b":2}}', b'{"a":{"b":2}}'),
        (b'{"a":1e400}', b'{"a":1e401}'),
        (b'{"a":1e400}', b'{"a":null}'),
    ],
)
def test_values_that_differ_stay_apart(one: bytes, other: bytes) -> None:
    assert canonical(one) != canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":1,"b":2}', b' { "b" : 2 , "a" : 1 } '),
        (b'{"a":{"x":1,"y":[1,2]}}', b'{"a":{"y":[1, 2],"x":1}}'),
        (b'{"a":"\\u0041\\/"}', b'{"a":"A/"}'),
        (b'{"\\u0061":1}', b'{"a":1}'),
        (b'{"a":"\\ud83d\\ude00"}', '{"a":"😀"}'.encode()),
        (b'{"a":1.50}', b'{"a":15e-1}'),
        (b'{"a":"x:\\":{y"}', b'{"a": "x:\\u0022:{y"}'),
    ],
)
def test_ways_of_writing_do_not_matter(one: bytes, other: bytes) -> None:
    assert canonical(one) == canonical(other)


def test_the_order_of_a_list_matters() -> None:
    assert canonical(b'{"a":[1,2]}') != canonical(b'{"a":[2,1]}')


def test_members_set_aside_are_left_out_at_the_top_alone() -> None:
    aside = frozenset({"user"})
    assert canonical(b'{"user":"x","a":{"user":"y"}}', without=aside) == b'{"a":{"user":"y"}}'
    assert canonical(b'{"user":"x","user":"y"}', without=aside) == b'{"user":"x","user":"y"}'
