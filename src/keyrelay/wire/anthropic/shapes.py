"""The blocks of Anthropic's messages, as they stand on the wire; the same both ways.

Blocks are told apart by `type`. New types come with each beta, so lists of blocks are read one by one: what is not
known is no error, what is known and malformed is.
"""

from typing import TypeAlias

import msgspec

from keyrelay.core.conversation import Unheld

_NOTHING = msgspec.Raw()


class CacheControl(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A mark that the prompt up to here is worth keeping; `ttl` is `5m` (when unsaid) or `1h`."""

    type: str = ""
    ttl: str | None = None


class _Shape(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """Base of what is told apart by `type`."""


class Base64Source(_Shape, frozen=True, tag="base64", gc=False):
    """Base64 data."""

    media_type: str
    data: str


class UrlSource(_Shape, frozen=True, tag="url", gc=False):
    """Somewhere on the web."""

    url: str


class FileSource(_Shape, frozen=True, tag="file", gc=False):
    """A file that was uploaded before."""

    file_id: str


class TextSource(_Shape, frozen=True, tag="text", gc=False):
    """Words, as they are."""

    data: str
    media_type: str = ""


class ContentSource(_Shape, frozen=True, tag="content"):
    """Words, or blocks of text and images."""

    content: str | list[msgspec.Raw]


class Citations(msgspec.Struct, frozen=True, gc=False):
    """Whether the model is to say where in a document it found something."""

    enabled: bool | None = None


class TextBlock(_Shape, frozen=True, tag="text", gc=False):
    """Words."""

    text: str
    cache_control: CacheControl | None = None


class ImageBlock(_Shape, frozen=True, tag="image"):
    """A picture."""

    source: Base64Source | UrlSource | FileSource
    cache_control: CacheControl | None = None


class DocumentBlock(_Shape, frozen=True, tag="document"):
    """A PDF or a text."""

    source: Base64Source | UrlSource | FileSource | TextSource | ContentSource
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None
    cache_control: CacheControl | None = None


class SearchResultBlock(_Shape, frozen=True, tag="search_result"):
    """What the caller's own search found: `source` says where."""

    source: str
    title: str
    content: list[TextBlock]
    cache_control: CacheControl | None = None


class ThinkingBlock(_Shape, frozen=True, tag="thinking", gc=False, omit_defaults=False):
    """Thoughts; an empty `signature` is nobody's."""

    thinking: str
    signature: str = ""


class RedactedThinkingBlock(_Shape, frozen=True, tag="redacted_thinking", gc=False):
    """Thoughts that are not shown."""

    data: str


class ToolUseBlock(_Shape, frozen=True, tag="tool_use", gc=False):
    """A call; `input` is a JSON object."""

    id: str
    name: str
    input: msgspec.Raw
    cache_control: CacheControl | None = None


class ToolResultBlock(_Shape, frozen=True, tag="tool_result"):
    """What came of a call, as it is read."""

    tool_use_id: str
    content: str | list[msgspec.Raw] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class WrittenResultBlock(_Shape, frozen=True, tag="tool_result"):
    """The same as it is written."""

    tool_use_id: str
    content: list[TextBlock | ImageBlock | DocumentBlock] = []
    is_error: bool = False
    cache_control: CacheControl | None = None


class ToolReferenceBlock(_Shape, frozen=True, tag="tool_reference", gc=False):
    """A tool that a search for tools found."""

    tool_name: str


class CompactionBlock(_Shape, frozen=True, tag="compaction", gc=False):
    """A summary that stands for what was said before."""

    content: str | None = None


Block: TypeAlias = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ToolReferenceBlock
    | CompactionBlock
)
WrittenBlock: TypeAlias = (
    TextBlock | ImageBlock | DocumentBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | WrittenResultBlock
)

CITATIONS = Unheld("citations")
_LONGEST_NAME = 64

KNOWN_BLOCKS = frozenset(
    {
        "text",
        "image",
        "document",
        "search_result",
        "thinking",
        "redacted_thinking",
        "tool_use",
        "tool_result",
        "tool_reference",
        "compaction",
    }
)


class _Typed(msgspec.Struct, frozen=True, gc=False):
    type: str


class _Cited(msgspec.Struct, frozen=True, gc=False):
    citations: msgspec.Raw = _NOTHING


_NONE = frozenset({b"", b"null", b"[]"})
_cited = msgspec.json.Decoder(_Cited)
blocks = msgspec.json.Decoder(Block)
_typed = msgspec.json.Decoder(_Typed)


def type_of(raw: bytes | msgspec.Raw) -> str:
    """The type of a block; empty for what is none."""
    try:
        return _typed.decode(raw).type
    except ValueError:
        return ""


def unknown_type(raw: bytes | msgspec.Raw) -> str:
    """The type of a block that nobody here knows; empty for one that is known, or is no block."""
    name = type_of(raw)
    return "" if name in KNOWN_BLOCKS else name


def is_cited(raw: msgspec.Raw) -> bool:
    """Whether a block says where its words were found."""
    return b'"citations"' in bytes(raw) and bytes(_cited.decode(raw).citations) not in _NONE


def unheld(name: str) -> Unheld:
    """A block of an answer that the canonical form cannot hold, by its type."""
    return Unheld(name[:_LONGEST_NAME])


def marked(cache: str) -> CacheControl | None:
    """The mark of a part's `cache`."""
    return CacheControl("ephemeral", "1h" if cache == "1h" else None) if cache else None


def mark_of(control: CacheControl | None) -> str:
    """The `cache` of a mark."""
    return "" if control is None else "1h" if control.ttl == "1h" else "5m"
