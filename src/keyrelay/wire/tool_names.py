"""Names of tools in the letters that a provider's dialect allows, and back.

    openai      letters, digits, `_` and `-`, at most 64 of them
    anthropic   the same, at most 128
    gemini      also `.` and `:`, but a letter or `_` first, at most 64

A name that fits stays as it is. Any other becomes one of allowed letters that ends with a digest of it, always the same
one, wherever it stands: in the tools, in the choice among them, in calls and results. The caller gets its own name
again, which is found among those in its request. Cohere's codec has a way of its own (`cohere.names`), and Ollama takes
any name.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import msgspec

from keyrelay.core.conversation import (
    Answer,
    CallBegun,
    Conversation,
    Dialect,
    Event,
    Message,
    Part,
    Tool,
    ToolCall,
    ToolResult,
)
from keyrelay.wire.dialects import EventReader, StreamEnded, StreamFailure

_ALLOWED: Mapping[Dialect, tuple[re.Pattern[str], int]] = {
    "openai": (re.compile(r"[A-Za-z0-9_-]{1,64}"), 64),
    "anthropic": (re.compile(r"[A-Za-z0-9_-]{1,128}"), 128),
    "gemini": (re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}"), 64),
}
_Named = TypeVar("_Named", Tool, ToolCall, ToolResult, CallBegun)
_OTHER = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_BYTES = 5


def fitting_tool_name(name: str, dialect: Dialect) -> str:
    """The name as the dialect takes it."""
    rule = _ALLOWED.get(dialect)
    if rule is None or rule[0].fullmatch(name):
        return name
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()
    start = _OTHER.sub("_", name)[: rule[1] - len(digest) - 2]
    return f"{start}_{digest}" if start[:1].isalpha() else f"_{start}_{digest}"


def renamed(conversation: Conversation, dialect: Dialect) -> Mapping[str, str]:
    """The caller's names of the tools that are called otherwise in this dialect, by what they are called there."""
    if dialect not in _ALLOWED:
        return {}
    names = dict.fromkeys(tool.name for tool in conversation.tools)
    for message in conversation.messages:
        names |= dict.fromkeys(part.name for part in message.parts if isinstance(part, ToolCall))
    fitting = ((fitting_tool_name(name, dialect), name) for name in names)
    return {fitted: name for fitted, name in fitting if fitted != name}


def with_fitting_names(conversation: Conversation, own: Mapping[str, str]) -> Conversation:
    """The conversation with the names of `renamed` in place of the caller's; the same object when there are none."""
    if not own:
        return conversation
    fitted = {name: there for there, name in own.items()}
    choice = conversation.tool_choice
    if choice is not None:
        choice = msgspec.structs.replace(choice, names=tuple(fitted.get(name, name) for name in choice.names))
    return msgspec.structs.replace(
        conversation,
        tools=tuple(_named(tool, fitted) for tool in conversation.tools),
        tool_choice=choice,
        messages=tuple(
            Message(role=message.role, parts=tuple(_part(part, fitted) for part in message.parts))
            for message in conversation.messages
        ),
    )


def with_own_names(answer: Answer, own: Mapping[str, str]) -> Answer:
    """The answer with the caller's names; the same object when there are none to give back."""
    if not own:
        return answer
    return msgspec.structs.replace(
        answer, parts=tuple(_named(part, own) if isinstance(part, ToolCall) else part for part in answer.parts)
    )


class RenamingReader:
    """Implements `EventReader`: what another reads, with the caller's names."""

    __slots__ = ("_own", "_reader")

    def __init__(self, reader: EventReader, own: Mapping[str, str]) -> None:
        self._reader = reader
        self._own = own

    def read(self, event: bytes) -> Sequence[Event | StreamEnded | StreamFailure]:
        """What an event says. Never raises."""
        items = self._reader.read(event)
        return [_named(item, self._own) if isinstance(item, CallBegun) else item for item in items]

    def __repr__(self) -> str:
        return f"<RenamingReader of {self._reader!r}, {len(self._own)} names>"


def _part(part: Part, names: Mapping[str, str]) -> Part:
    if isinstance(part, ToolCall):
        return _named(part, names)
    return _named(part, names) if isinstance(part, ToolResult) else part


def _named(value: _Named, names: Mapping[str, str]) -> _Named:
    """The same under another name, if there is one."""
    name = names.get(value.name)
    return value if name is None else msgspec.structs.replace(value, name=name)
