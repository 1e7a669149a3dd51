from typing import Any

from keyrelay.api.callers import RequestHead


def head(*fields: tuple[bytes, bytes]) -> RequestHead:
    scope: dict[str, Any] = {"headers": list(fields), "query_string": b""}
    return RequestHead(scope)


def test_a_list_on_several_lines_goes_on_as_one() -> None:
    asked = head((b"anthropic-beta", b"a-1"), (b"x-other", b"y"), (b"anthropic-beta", b"b-2,c-3"))
    assert asked.forwarded((b"anthropic-version", b"anthropic-beta")) == (("anthropic-beta", "a-1, b-2,c-3"),)


def test_nothing_goes_on_that_was_not_sent() -> None:
    assert head((b"anthropic-beta", b"")).forwarded((b"anthropic-version", b"anthropic-beta")) == ()
