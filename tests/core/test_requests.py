import msgspec
import pytest

from keyrelay.core.conversation import Dialect
from keyrelay.core.requests import CallRequest


def test_what_the_caller_did_not_say_has_its_default() -> None:
    body = '{"model":"é"}'.encode()
    request = CallRequest(
        operation="chat", model="é", stream=False, body=body, fields={"model": msgspec.Raw('"é"'.encode())}
    )
    assert (request.needs, request.wants_usage, request.max_output_tokens) == ((), False, None)


@pytest.mark.parametrize(
    ("dialect", "opaque", "plain"), [("openai", False, True), ("openai", True, False), ("gemini", False, False)]
)
def test_only_what_is_read_in_the_dialect_of_openai_is_plain(dialect: Dialect, opaque: bool, plain: bool) -> None:
    request = CallRequest(
        operation="chat", model="m", stream=False, body=b"", fields={}, dialect=dialect, opaque=opaque
    )
    assert request.plain is plain
