"""A kept answer, sealed so that it can be told from any other when it comes back.

Wherever it has been meanwhile, three things have to be right before it is given to anybody: its bytes are those that
were kept (a digest), it was kept under the key that is asked for, and for the scope of the one who asks. Redis clients
have been known to hand out the reply to somebody else's question.
"""

import hashlib
from enum import StrEnum

import msgspec

from keyrelay.core.usage import Usage

_DIGEST_BYTES = 16
_PERSON = b"keyrelay-kept-2"


class Kept(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An answer as its caller got it, and who gave it.

    `body` is all of it, of a stream the events. Times are epoch seconds. `cost_usd` is what it cost, None without a
    known price. `left_out` is as in the record of the request for which it was made, `made_for` that request's id.
    """

    key: bytes
    scope: str
    provider: str
    label: str
    model: str
    stream: bool
    body: bytes
    usage: Usage | None
    cost_usd: float | None
    created_s: float
    expires_s: float
    left_out: tuple[str, ...]
    made_for: str

    def __repr__(self) -> str:
        return f"<Kept {self.provider} {self.model} {len(self.body)} bytes for {self.scope}>"


class Wrong(StrEnum):
    """What is wrong with a value that came back."""

    DAMAGED = "damaged"
    OTHER_KEY = "other_key"
    OTHER_SCOPE = "other_scope"


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Kept)


def seal(kept: Kept) -> bytes:
    """The value to be put away: a digest, and the answer in MessagePack."""
    content = _encoder.encode(kept)
    return _digest(content) + content


def unseal(value: bytes, *, key: bytes, scope: str) -> Kept | Wrong:
    """The answer in a value, if it is the one that is asked for."""
    content = value[_DIGEST_BYTES:]
    if value[:_DIGEST_BYTES] != _digest(content):
        return Wrong.DAMAGED
    try:
        kept = _decoder.decode(content)
    except msgspec.DecodeError:  # of another version of Keyrelay
        return Wrong.DAMAGED
    if kept.key != key:
        return Wrong.OTHER_KEY
    return kept if kept.scope == scope else Wrong.OTHER_SCOPE


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES, person=_PERSON).digest()
