"""Signatures, as somebody else checks them."""

import base64
import hashlib

import pytest

from keyrelay.notify.signing import KEY_BYTES, key_of, signature_headers, written_key

# The example of the specification (https://github.com/standard-webhooks/standard-webhooks, its libraries' tests).
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE, MOMENT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def hmac_sha256(key: bytes, content: bytes) -> bytes:
    """RFC 2104, written out."""
    padded = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in padded) + content).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in padded) + inner).digest()


def test_the_example_of_the_specification_comes_out() -> None:
    headers = dict(signature_headers(MESSAGE, MOMENT + 0.9, BODY, SECRET))
    assert headers == {"webhook-id": MESSAGE, "webhook-timestamp": str(MOMENT), "webhook-signature": SIGNATURE}


def test_a_written_out_hmac_agrees() -> None:
    text = written_key(bytes(range(KEY_BYTES)))
    assert key_of(text) == bytes(range(KEY_BYTES))
    headers = dict(signature_headers(MESSAGE, MOMENT, BODY, text))
    expected = hmac_sha256(bytes(range(KEY_BYTES)), f"{MESSAGE}.{MOMENT}.".encode() + BODY)
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


@pytest.mark.parametrize("text", ["a key of another kind", "whsec_not base64 at all"])
def test_a_key_that_is_no_base64_is_its_own_bytes(text: str) -> None:
    assert key_of(text) == text.encode()
