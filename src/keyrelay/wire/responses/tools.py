"""Tools of a request, and the names under which a model may call them.

Tools come in the request's `tools`, in `additional_tools` items, and in what a tool search of the client's has found. A
tool in a namespace is called by one name that says both, and `ToolNames` finds the way back: Codex refuses a call
whose namespace is not apart from its name.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from keyrelay.core.conversation import Tool
from keyrelay.core.requests import CallRequest
from keyrelay.wire.parts import decode_caller, raw_text
from keyrelay.wire.responses.reading import ABSENT, missing, unsupported, wrong
from keyrelay.wire.responses.shapes import ITEMS, TOOLS, Item, ToolShape

MAX_NAME = 64
"""The longest name of a tool that providers take."""

TOOL_SEARCH = "tool_search"

_TOOL_ITEMS = frozenset({"additional_tools", "tool_search_output"})
_ITEM_MARKS = (b'"additional_tools"', b'"tool_search_output"')
_TOOL_MARKS = (b'"namespace"', b'"custom"', b'"tool_search"')
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST_DIGITS = 8


class Origin(msgspec.Struct, frozen=True, gc=False):
    """What a tool's name stands for: its own, its namespace, and whether it is `function`, `custom`, `tool_search`."""

    name: str
    namespace: str = ""
    kind: str = "function"


class ToolNames:
    """The names of one request's tools, both ways."""

    __slots__ = ("_flat", "_origins")

    def __init__(self, origins: Mapping[str, Origin]) -> None:
        self._origins = origins
        self._flat = {(origin.namespace, origin.name): flat for flat, origin in origins.items()}

    def flat(self, name: str, namespace: str | None) -> str:
        """The one name of a tool, whether or not it was declared."""
        return self._flat.get((namespace or "", name)) or flat_name(name, namespace or "")

    def origin(self, flat: str) -> Origin:
        """What a model's call is about; a name that was not declared stands for itself."""
        return self._origins.get(flat) or Origin(flat)

    def within(self, namespace: str) -> tuple[str, ...]:
        """The names of all tools of a namespace."""
        return tuple(flat for flat, origin in self._origins.items() if origin.namespace == namespace)

    def __contains__(self, flat: str) -> bool:
        return flat in self._origins

    def __repr__(self) -> str:
        return f"<ToolNames {', '.join(self._origins)}>"


class ToolsRead(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of a request, their names, and those that cannot be had here."""

    tools: tuple[Tool, ...]
    names: ToolNames
    left_out: tuple[str, ...]


def flat_name(name: str, namespace: str) -> str:
    """`namespace__name`, shortened to what providers take; a name without namespace stays as it is."""
    if not namespace:
        return name
    flat = _NOT_IN_NAMES.sub("_", namespace + ("" if namespace.endswith("__") else "__") + name)
    return flat if len(flat) <= MAX_NAME else _shortened(flat, namespace, name)


def _shortened(flat: str, namespace: str, name: str) -> str:
    digest = hashlib.blake2s(f"{namespace}\0{name}".encode(), digest_size=_DIGEST_DIGITS // 2).hexdigest()
    return f"{flat[: MAX_NAME - _DIGEST_DIGITS - 1]}_{digest}"


def read_tools(tools: msgspec.Raw, items: Iterable[Item]) -> ToolsRead:
    """All tools of a request. Of two with one name, the later one holds. Raise CallerError (400)."""
    found: dict[str, Tool] = {}
    origins: dict[str, Origin] = {}
    left_out: list[str] = []
    for place, shape in _declared(tools, items):
        origin = _origin(shape, place)
        if origin is None:
            left_out.append(f"{place}: {shape.type}")
            continue
        for inner_place, inner, namespaced in _members(shape, origin, place):
            flat = flat_name(namespaced.name, namespaced.namespace)
            if origins.get(flat, namespaced) != namespaced:  # two tools that differ, of one flat name
                flat = _shortened(flat, namespaced.namespace, namespaced.name)
            origins[flat] = namespaced
            found[flat] = _tool(flat, inner, inner_place)
    return ToolsRead(tools=tuple(found.values()), names=ToolNames(origins), left_out=tuple(left_out))


def names_of(request: CallRequest) -> ToolNames:
    """The names of a request's tools, for its answer; nothing is decoded where each stands for itself."""
    tools = request.fields.get("tools", msgspec.Raw())
    held = bytes(request.fields.get("input", b""))
    in_items = any(mark in held for mark in _ITEM_MARKS)
    if not in_items and not any(mark in bytes(tools) for mark in _TOOL_MARKS):
        return ToolNames({})
    items = decode_caller(ITEMS, held, "input") if in_items else []
    return read_tools(tools, items).names


def _declared(tools: msgspec.Raw, items: Iterable[Item]) -> Iterator[tuple[str, ToolShape]]:
    if bytes(tools) not in ABSENT:
        shapes = decode_caller(TOOLS, tools, "tools")
        for index, shape in enumerate(shapes):
            yield f"tools[{index}]", shape
    for index, item in enumerate(items):
        if item.kind in _TOOL_ITEMS:
            for inner, shape in enumerate(item.tools or ()):
                yield f"input[{index}].tools[{inner}]", shape


def _origin(shape: ToolShape, place: str) -> Origin | None:
    """What a tool is; None for one that runs at OpenAI."""
    if shape.type in {"function", "custom", "namespace"}:
        name = shape.name or (shape.function.name if shape.function is not None else None)
        if not name:
            raise missing(f"{place}.name", "the tool's name")
        return Origin(name, kind=shape.type)
    if shape.type == TOOL_SEARCH and shape.execution == "client":
        return Origin(TOOL_SEARCH, kind=TOOL_SEARCH)
    if not shape.type:
        raise missing(f"{place}.type", "the tool's type")
    return None


def _members(shape: ToolShape, origin: Origin, place: str) -> Iterator[tuple[str, ToolShape, Origin]]:
    """The tools of a namespace, or the one tool itself."""
    if origin.kind != "namespace":
        yield place, shape, origin
        return
    for index, inner in enumerate(shape.tools or ()):
        inner_place = f"{place}.tools[{index}]"
        member = _origin(inner, inner_place)
        if member is None or member.kind not in {"function", "custom"}:
            raise unsupported(inner_place, f"a namespace holds functions and custom tools, not '{inner.type}'")
        yield inner_place, inner, Origin(member.name, origin.name, member.kind)


def _tool(flat: str, shape: ToolShape, place: str) -> Tool:
    if shape.function is not None:
        shape = shape.function
    schema = raw_text(shape.parameters)
    if schema and not schema.startswith("{"):
        raise wrong(f"{place}.parameters", "expected a JSON schema object", code="invalid_type")
    return Tool(
        name=flat,
        description=shape.description or "",
        schema=schema,
        strict=shape.strict,
        custom=shape.type == "custom",
        grammar=raw_text(shape.format) if shape.type == "custom" else "",
    )
