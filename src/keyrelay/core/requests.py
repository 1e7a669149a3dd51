"""A caller's request as far as routing has to know it; everything else stays the bytes that came."""

import msgspec

from keyrelay.core.providers import Capability, Operation


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One decoded request.

    `fields` are the members of the body, values untouched. `needs` are the capabilities that a model must
    have. `wants_usage` says that the caller asked for usage in the stream. `max_output_tokens` is the caller's
    own bound.
    """

    operation: Operation
    model: str
    stream: bool
    body: bytes
    fields: dict[str, msgspec.Raw]
    needs: tuple[Capability, ...] = ()
    wants_usage: bool = False
    max_output_tokens: int | None = None
