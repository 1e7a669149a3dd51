"""Members of a request that are not there or will not do, and JSON that fits on one line."""

import msgspec

from keyrelay.core.errors import CallerError

ABSENT = frozenset({b"", b"null"})
"""A member that is not there, or is there without a value."""


def wrong(param: str, problem: str, *, code: str = "invalid_value") -> CallerError:
    """The error (400) for a value that will not do."""
    return CallerError(400, f"Invalid value for '{param}': {problem}.", param=param, code=code)


def missing(param: str, shape: str) -> CallerError:
    """The error (400) for a value that is not there."""
    return CallerError(400, f"Missing required field '{param}': {shape}.", param=param, code="missing_field")


def unsupported(param: str, problem: str) -> CallerError:
    """The error (400) for what nobody here can do."""
    return CallerError(400, f"Unsupported: '{param}': {problem}.", param=param, code="unsupported_value")


def one_line(text: bytes) -> msgspec.Raw:
    """JSON without line ends, which would cut an event of a stream in two."""
    if b"\n" in text or b"\r" in text:
        text = msgspec.json.format(text, indent=-1)
    return msgspec.Raw(text)
