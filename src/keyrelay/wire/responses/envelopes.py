"""Signatures of thoughts on their way through `encrypted_content`, which clients keep and send back unread.

What a provider signed goes out in an envelope that names its dialect, and comes back as what it was, whoever answers
next. What has no envelope is OpenAI's own, which nobody else can read.
"""

import base64

import msgspec

from keyrelay.core.conversation import Thinking
from keyrelay.wire.body import JSON_ERRORS

_MARK = "kr1."


class _Envelope(msgspec.Struct, frozen=True, array_like=True):
    signed_by: str
    signature: str
    redacted: str


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Envelope)


def seal(signature: str, redacted: str, signed_by: str) -> str | None:
    """The `encrypted_content` for a thought; None when nothing has to come back with it."""
    if not signature and not redacted:
        return None
    if signed_by == "responses":
        return signature
    return _MARK + base64.b64encode(_encoder.encode(_Envelope(signed_by, signature, redacted))).decode()


def unseal(text: str, encrypted: str) -> Thinking:
    """The thought that an item with this text and this `encrypted_content` stands for."""
    if not encrypted:
        return Thinking(text=text)
    if encrypted.startswith(_MARK):
        try:
            held = _decoder.decode(base64.b64decode(encrypted.removeprefix(_MARK), validate=True))
        except JSON_ERRORS:
            return Thinking(text=text)  # somebody changed it: a signature that is none would be refused
        return Thinking(text=text, signature=held.signature, redacted=held.redacted, signed_by=held.signed_by)
    return Thinking(text=text, signature=encrypted, signed_by="responses")
