"""The members of a Responses request, typed as far as they are understood here.

Items, content parts and tools come in many types that share their members, so each is one struct with all of them:
what a type has no use for is ignored, and a type that nobody knows can still be named.
"""

from typing import Literal

import msgspec

RESOLVED = "previous_response_id (resolved)"
"""Stands in `CallRequest.fields` in place of `previous_response_id` when the items before are in `input`."""

_NOTHING = msgspec.Raw()


class _Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all; unknown members are ignored."""


class Breakpoint(_Shape, frozen=True, kw_only=True):
    """`prompt_cache_breakpoint`: the prompt up to here is worth keeping."""

    ttl: str | None = None


class Sound(_Shape, frozen=True, kw_only=True):
    """`input_audio`: base64, and its format (`wav`, `mp3`)."""

    data: str
    format: str = "wav"


class Content(_Shape, frozen=True, kw_only=True):
    """A part of a message, of an output or of a reasoning item."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: Sound | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class ToolShape(_Shape, frozen=True, kw_only=True):
    """A tool, or a namespace with tools. `function` holds the rest where a client writes it as for chat."""

    type: str = ""
    name: str | None = None
    description: str | None = None
    parameters: msgspec.Raw = _NOTHING
    strict: bool | None = None
    format: msgspec.Raw = _NOTHING
    tools: list["ToolShape"] | None = None
    function: "ToolShape | None" = None
    execution: str | None = None


class Item(_Shape, frozen=True, kw_only=True):
    """An item of `input`. Without a type it is a message if it has a role, else a reference if it has an id."""

    type: str | None = None
    role: str | None = None
    content: str | list[Content] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: msgspec.Raw = _NOTHING
    input: str | None = None
    output: msgspec.Raw = _NOTHING
    result: str | None = None
    summary: list[Content] | None = None
    encrypted_content: str | None = None
    tools: list[ToolShape] | None = None

    @property
    def kind(self) -> str:
        """Its type, as far as it can be told."""
        if self.type:
            return self.type
        return "message" if self.role is not None else "item_reference" if self.id is not None else ""


class FailedOutput(_Shape, frozen=True, kw_only=True):
    """An output as older clients write it when the tool failed."""

    content: str | list[Content] = ""
    success: bool | None = None


class FormatShape(_Shape, frozen=True, kw_only=True):
    """`text.format`."""

    type: str = "text"
    name: str | None = None
    description: str | None = None
    schema: msgspec.Raw = _NOTHING
    strict: bool | None = None


class TextShape(_Shape, frozen=True, kw_only=True):
    """`text`."""

    format: FormatShape | None = None
    verbosity: str | None = None


class ReasoningShape(_Shape, frozen=True, kw_only=True):
    """`reasoning`."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: str | None = None
    generate_summary: str | None = None
    mode: str | None = None


class ChoiceShape(_Shape, frozen=True, kw_only=True):
    """`tool_choice` where it is an object."""

    type: str = ""
    name: str | None = None
    namespace: str | None = None
    mode: Literal["auto", "required"] | None = None
    tools: list["ChoiceShape"] | None = None
    function: "ChoiceShape | None" = None


INPUT: msgspec.json.Decoder[str | list[Item]] = msgspec.json.Decoder(str | list[Item])
ITEMS = msgspec.json.Decoder(list[Item])
TOOLS = msgspec.json.Decoder(list[ToolShape])
CHOICE: msgspec.json.Decoder[Literal["auto", "none", "required"] | ChoiceShape] = msgspec.json.Decoder(
    Literal["auto", "none", "required"] | ChoiceShape
)
OUTPUT: msgspec.json.Decoder[str | list[Content]] = msgspec.json.Decoder(str | list[Content])
FAILED_OUTPUT = msgspec.json.Decoder(FailedOutput)
TEXT = msgspec.json.Decoder(TextShape)
REASONING = msgspec.json.Decoder(ReasoningShape)
STRING = msgspec.json.Decoder(str)
