import msgspec

from keyrelay.core.requests import CallRequest


def test_the_size_of_the_body_is_the_base_of_the_estimate() -> None:
    body = '{"model":"é"}'.encode()
    request = CallRequest(
        operation="chat", model="é", stream=False, body=body, fields={"model": msgspec.Raw('"é"'.encode())}
    )
    assert request.input_bytes == 14
    assert (request.needs, request.wants_usage, request.max_output_tokens) == ((), False, None)
