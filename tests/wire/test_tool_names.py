"""Names of tools in the letters of each dialect, and back: in the tools, the choice, the history and the answer."""

import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyrelay.core.conversation import (
    Answer,
    Begun,
    CallBegun,
    Conversation,
    Dialect,
    Event,
    Message,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from keyrelay.wire.tool_names import RenamingReader, fitting_tool_name, renamed, with_fitting_names, with_own_names

EXAMPLES = int(os.environ.get("HYPOTHESIS_MAX_EXAMPLES", "250"))
ALLOWED: dict[Dialect, str] = {
    "openai": r"[a-zA-Z0-9_-]{1,64}",
    "anthropic": r"[a-zA-Z0-9_-]{1,128}",
    "gemini": r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}",
}
NAMES = st.one_of(st.text(max_size=200), st.from_regex(r"[a-zA-Z0-9_.:/-]{0,140}", fullmatch=True))
CALL = ToolCall(id="c", name="files.read", arguments="{}")
HISTORY = Conversation(
    messages=(
        Message(role="user", parts=(Text("a"),)),
        Message(role="assistant", parts=(CALL, ToolCall(id="d", name="old.tool", arguments="{}"))),
        Message(role="user", parts=(ToolResult(call_id="c", parts=(), name="files.read"),)),
    ),
    tools=(Tool(name="files.read"), Tool(name="plain")),
    tool_choice=ToolChoice(mode="required", names=("files.read",)),
)


@pytest.mark.parametrize(
    ("name", "dialect", "kept"),
    [
        ("read_file", "openai", True),
        ("files.read", "openai", False),
        ("files.read", "anthropic", False),
        ("files.read", "gemini", True),
        ("2fa-code", "openai", True),
        ("2fa-code", "gemini", False),
        ("a" * 100, "openai", False),
        ("a" * 100, "anthropic", True),
        ("a" * 129, "anthropic", False),
        ("", "anthropic", False),
        ("what/ever it is", "ollama", True),
        ("what/ever it is", "cohere", True),
    ],
)
def test_a_name_that_fits_stays(name: str, dialect: Dialect, *, kept: bool) -> None:
    assert (fitting_tool_name(name, dialect) == name) is kept


@settings(max_examples=EXAMPLES)
@given(names=st.lists(NAMES, min_size=1, max_size=6, unique=True), dialect=st.sampled_from(sorted(ALLOWED)))
def test_every_name_fits_is_told_apart_and_comes_back(names: list[str], dialect: Dialect) -> None:
    conversation = Conversation(messages=(), tools=tuple(Tool(name=name) for name in names))
    own = renamed(conversation, dialect)
    fitted = [tool.name for tool in with_fitting_names(conversation, own).tools]
    assert len(set(fitted)) == len(names)
    assert all(re.fullmatch(ALLOWED[dialect], name) for name in fitted)
    assert [fitting_tool_name(name, dialect) for name in fitted] == fitted
    calls = tuple(ToolCall(id="c", name=name, arguments="") for name in fitted)
    assert [part.name for part in with_own_names(Answer(parts=calls), own).parts if isinstance(part, ToolCall)] == names


def test_the_same_name_stands_everywhere() -> None:
    own = renamed(HISTORY, "anthropic")
    assert set(own.values()) == {"files.read", "old.tool"}
    there = fitting_tool_name("files.read", "anthropic")
    assert there.startswith("files_read_")
    fitted = with_fitting_names(HISTORY, own)
    assert [tool.name for tool in fitted.tools] == [there, "plain"]
    assert fitted.tool_choice == ToolChoice(mode="required", names=(there,))
    _, said, results = fitted.messages
    assert [part.name for part in said.parts if isinstance(part, ToolCall)] == [
        there,
        fitting_tool_name("old.tool", "anthropic"),
    ]
    assert [part.name for part in results.parts if isinstance(part, ToolResult)] == [there]
    assert with_fitting_names(HISTORY, renamed(HISTORY, "gemini")) is HISTORY
    assert renamed(HISTORY, "ollama") == {}


class Reads:
    def __init__(self, *events: Event) -> None:
        self.events = events

    def read(self, event: bytes) -> list[Event]:
        return list(self.events)


def test_an_answer_has_the_callers_names_whole_and_streamed() -> None:
    own = renamed(HISTORY, "openai")
    (there,) = (fitted for fitted, name in own.items() if name == "files.read")
    words, other = Text("a"), ToolCall(id="e", name="other", arguments="")
    answer = Answer(parts=(words, ToolCall(id="c", name=there, arguments="{}"), other))
    assert with_own_names(answer, own).parts == (words, CALL, other)
    assert with_own_names(answer, {}) is answer
    reader = RenamingReader(Reads(Begun(), CallBegun("c", there), CallBegun("e", "other")), own)
    assert reader.read(b"") == [Begun(), CallBegun("c", "files.read"), CallBegun("e", "other")]
    assert repr(reader).endswith("2 names>")


def test_without_a_choice_there_is_none() -> None:
    conversation = Conversation(messages=(), tools=(Tool(name="a.b"),))
    assert with_fitting_names(conversation, renamed(conversation, "openai")).tool_choice is None
