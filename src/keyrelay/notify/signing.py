"""Signatures of webhooks as https://www.standardwebhooks.com has them: HMAC-SHA-256 of id, time and body.

Who receives one checks the signature and that the time is not long past, and takes the same id only once.
"""

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
"""What signing keys begin with; base64 follows."""

KEY_BYTES = 32


def written_key(key: bytes) -> str:
    """A signing key as it is shown once."""
    return PREFIX + base64.b64encode(key).decode()


def key_of(text: str) -> bytes:
    """The bytes of a signing key: those that the base64 stands for, or of any other text its own."""
    if text.startswith(PREFIX):
        try:
            return base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            return text.encode()
    return text.encode()


def signature_headers(message_id: str, at_s: float, body: bytes, key: str) -> tuple[tuple[str, str], ...]:
    """The headers that go with a body that is sent at a time (epoch seconds)."""
    moment = str(int(at_s))
    content = f"{message_id}.{moment}.".encode() + body
    digest = hmac.new(key_of(key), content, hashlib.sha256).digest()
    return (
        ("webhook-id", message_id),
        ("webhook-timestamp", moment),
        ("webhook-signature", f"v1,{base64.b64encode(digest).decode()}"),
    )
