"""Other shapes that an answer may have, as `/v1/generate` has its own."""

from typing import Protocol

from keyrelay.core.usage import Usage


class WholeShape(Protocol):
    """Turns a whole OpenAI answer into another shape."""

    def __call__(self, body: bytes, *, provider: str, model: str, usage: Usage | None) -> bytes:
        """The answer in its other shape."""
        ...


class StreamShape(Protocol):
    """Turns pieces of an OpenAI stream into another shape; None in its place passes them as they are."""

    def feed(self, chunk: bytes, *, provider: str, model: str, usage: Usage | None) -> bytes:
        """The piece in its other shape, possibly empty."""
        ...

    def end(self, *, provider: str, model: str, usage: Usage | None) -> bytes:
        """What a whole answer ends with, if it has not been fed; possibly empty."""
        ...
