"""Thoughts that nobody signed, in a request that is to pass through.

A client keeps the thoughts of every provider that served its conversation and sends all of them back. Anthropic takes
those that it signed, and refuses the whole request for any other. Here those of others have an empty signature, so
requests that hold such blocks, and only those, lose them on the way.
"""

from collections.abc import Mapping

import msgspec

_MARKS = (b'"signature":""', b'"signature": ""')


class _Message(msgspec.Struct):
    role: str
    content: str | list[msgspec.Raw]


class _Block(msgspec.Struct):
    type: str = ""
    signature: msgspec.Raw = msgspec.Raw()


_messages = msgspec.json.Decoder(list[_Message])
_block = msgspec.json.Decoder(_Block)
_encoder = msgspec.json.Encoder()


def has_unsigned(body: bytes) -> bool:
    """Whether a body may hold such thoughts; found by their bytes, as JSON is written by clients."""
    return any(mark in body for mark in _MARKS)


def without_unsigned(fields: Mapping[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    """The members without such blocks, and without messages that hold nothing else.

    What cannot be read is left as it is: refusing it is the provider's business.
    """
    try:
        messages = _messages.decode(fields["messages"])
        kept = [mended for message in messages if (mended := _mended(message)).content]
    except ValueError:
        return dict(fields)
    return {**fields, "messages": msgspec.Raw(_encoder.encode(kept))}


def _mended(message: _Message) -> _Message:
    if message.role != "assistant" or isinstance(message.content, str):
        return message
    return _Message(message.role, [raw for raw in message.content if not _is_unsigned(raw)])


def _is_unsigned(raw: msgspec.Raw) -> bool:
    block = _block.decode(raw)
    return block.type == "thinking" and bytes(block.signature) in {b"", b'""', b"null"}
