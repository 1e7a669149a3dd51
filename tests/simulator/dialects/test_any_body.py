"""Whatever stands in a request's body, it is read or refused, and never a surprise."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.providers import ModelRow
from keyrelay.simulator.asking import Prompt, WrongRequestError
from keyrelay.simulator.dialects import dialect_of
from keyrelay.simulator.http import Request
from keyrelay.simulator.routes import route_of
from tests.simulator.dialects.speakers import PNG, SPEAKERS, Asked, Speaker

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
RICH = [
    Asked(text="call look {}", tools={"look": SCHEMA}, image=PNG, required=True, max_tokens=50, stop=["x"]),
    Asked(exchanged=[("look", "found")], tools={"look": SCHEMA}, thinks=True),
    Asked(schema=SCHEMA, stream=True),
]
NAMES = st.sampled_from(["type", "text", "role", "x"])
SIMPLE = st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=False)
VALUES = st.recursive(
    SIMPLE | st.sampled_from(["", "x", "text", "tool"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
MODEL = ModelRow(id="gemini-3-flash", capabilities=("chat", "reasoning"))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all members and items within a value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, member in items for found in ((*path, name), *places(member, (*path, name)))]


def changed(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the body with another value at the path."""
    made = copy.deepcopy(body)
    holder = made
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = value
    return made


def read(speaker: Speaker, asked: Asked, body: Any) -> Prompt:
    path, _, query = speaker.path(asked).partition("?")
    headers = {name.replace("_", "-"): value for name, value in speaker.headers.items()}
    request = Request("POST", path, query, headers, json.dumps(body).encode(), keep_alive=True)
    route = route_of(path)
    dialect = dialect_of(route.dialect, query)
    prompt = dialect.read(route.operation, request)
    if prompt.wrong is None:
        try:
            dialect.refusal_of(prompt, speaker.name, MODEL)
        except WrongRequestError as error:
            prompt.refuse(error)
    return prompt


@pytest.mark.parametrize("speaker", SPEAKERS, ids=lambda speaker: speaker.name)
@pytest.mark.parametrize("asked", RICH, ids=["tools", "results", "schema"])
@given(st.data())
def test_any_member_may_be_anything(speaker: Speaker, asked: Asked, data: st.DataObject) -> None:
    body = speaker.body(asked)
    for _ in range(data.draw(st.integers(1, 2))):
        body = changed(body, data.draw(st.sampled_from(places(body))), data.draw(VALUES))
    prompt = read(speaker, asked, body)
    assert prompt.wrong is None or all(isinstance(said, str) for said in prompt.wrong)
