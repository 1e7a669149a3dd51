import msgspec

from keyrelay.core.requests import CallRequest


def test_what_the_caller_did_not_say_has_its_default() -> None:
    body = '{"model":"é"}'.encode()
    request = CallRequest(
        operation="chat", model="é", stream=False, body=body, fields={"model": msgspec.Raw('"é"'.encode())}
    )
    assert (request.needs, request.wants_usage, request.max_output_tokens) == ((), False, None)
