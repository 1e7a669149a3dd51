"""`tool_choice`: whether tools are called, and which."""

from collections.abc import Iterator

import msgspec

from keyrelay.core.conversation import ToolChoice
from keyrelay.wire.parts import decode_caller
from keyrelay.wire.responses.reading import ABSENT, missing
from keyrelay.wire.responses.shapes import CHOICE, ChoiceShape
from keyrelay.wire.responses.tools import TOOL_SEARCH, ToolNames

_PLACE = "tool_choice"
_NAMED = frozenset({"function", "custom"})


class ChoiceRead(msgspec.Struct, frozen=True, kw_only=True):
    """What a `tool_choice` asks for, and what of it is about tools that cannot be had here."""

    choice: ToolChoice | None = None
    left_out: tuple[str, ...] = ()


def read_choice(raw: msgspec.Raw, names: ToolNames, *, parallel: bool | None) -> ChoiceRead:
    """Read a `tool_choice`; `parallel` is `parallel_tool_calls`. Raise CallerError (400)."""
    anyhow = None if parallel is None else ToolChoice(parallel=parallel)
    if bytes(raw) in ABSENT:
        return ChoiceRead(choice=anyhow)
    said = decode_caller(CHOICE, raw, _PLACE)
    if isinstance(said, str):
        return ChoiceRead(choice=ToolChoice(mode=said, parallel=parallel))
    if said.type == "allowed_tools":
        return _allowed(said, names, parallel=parallel)
    chosen = tuple(_names(said, names, _PLACE))
    if not chosen:
        return ChoiceRead(choice=anyhow, left_out=(f"{_PLACE}: {said.type}",))
    return ChoiceRead(choice=ToolChoice(mode="required", names=chosen, parallel=parallel))


def _allowed(said: ChoiceShape, names: ToolNames, *, parallel: bool | None) -> ChoiceRead:
    """Some of the tools, from which the model may choose."""
    chosen: list[str] = []
    left_out: list[str] = []
    for index, tool in enumerate(said.tools or ()):
        place = f"{_PLACE}.tools[{index}]"
        found = tuple(_names(tool, names, place))
        chosen += found
        left_out += [] if found else [f"{place}: {tool.type}"]
    mode = said.mode or "auto"
    if not chosen:  # none of those that are left may be called
        return ChoiceRead(choice=ToolChoice(mode="none"), left_out=tuple(left_out))
    return ChoiceRead(choice=ToolChoice(mode=mode, names=tuple(chosen), parallel=parallel), left_out=tuple(left_out))


def _names(said: ChoiceShape, names: ToolNames, place: str) -> Iterator[str]:
    """The names of the tools that an object means; none for a tool that runs at OpenAI."""
    if said.type == TOOL_SEARCH and TOOL_SEARCH in names:
        yield TOOL_SEARCH
    if said.type != "namespace" and said.type not in _NAMED:
        return
    name = said.name or (said.function.name if said.function is not None else None)
    if not name:
        raise missing(f"{place}.name", "the tool's name")
    if said.type == "namespace":
        yield from names.within(name)
    else:
        yield names.flat(name, said.namespace)
