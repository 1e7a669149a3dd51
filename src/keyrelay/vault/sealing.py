"""A sealed value: AES-256-GCM, bound to the place where it is kept.

    version (1 byte) | term (4 bytes, big-endian) | nonce (12 bytes) | ciphertext and tag (16 bytes)

Associated data are the version, the term, and table, row and column, each behind its length, so that no two places
have the same. A key together with random nonces is good for some 2³² values, of which busy gateways write more than
that in a year: so each place has a key of its own, HMAC-SHA-256 of the same data under the term's key (NIST SP 800-108
says how keys are derived, SP 800-38D §8.3 how often a key may be used). A nonce then has to be new for its place alone.
"""

import hmac
import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyrelay.core.errors import SealedValueError, VaultError

FORMAT = 1
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16

MAX_PLAINTEXT_BYTES = 64 * 1024 * 1024
"""Longest value that is sealed: it is worked on in memory, and in one piece."""

MAX_TERM = 2**32 - 1

_HEAD = struct.Struct(">BI")
_LENGTH = struct.Struct(">I")
_LEAST_BYTES = _HEAD.size + NONCE_BYTES + TAG_BYTES
OVERHEAD_BYTES = _LEAST_BYTES
"""By how much a sealed value is longer than what is in it."""

_PURPOSE = b"keyrelay sealed value"

Place = tuple[str, str, str]
"""Table, row and column of a value."""


def seal(key: bytes, term: int, plaintext: bytes, place: Place) -> bytes:
    """The sealed value under a term's key. Raise VaultError for one that is too long."""
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise VaultError(f"a value of {len(plaintext)} bytes is not sealed: at most {MAX_PLAINTEXT_BYTES} are")
    head = _HEAD.pack(FORMAT, term)
    data, nonce = joined(_PURPOSE, head, *map(str.encode, place)), os.urandom(NONCE_BYTES)
    return head + nonce + _cipher(key, data).encrypt(nonce, plaintext, data)


def open_sealed(key: bytes, sealed: bytes, place: Place) -> bytes:
    """What was sealed under this key for this place; `term_of` says which key. Raise SealedValueError."""
    head, nonce = sealed[: _HEAD.size], sealed[_HEAD.size : _HEAD.size + NONCE_BYTES]
    data = joined(_PURPOSE, head, *map(str.encode, place))
    try:
        return _cipher(key, data).decrypt(nonce, sealed[_HEAD.size + NONCE_BYTES :], data)
    except InvalidTag:
        raise SealedValueError(
            f"the sealed {place[2]} of a row in {place[0]} cannot be opened: it was changed, or put there from "
            "elsewhere. Restore that row from a backup, or delete it"
        ) from None


def term_of(sealed: bytes) -> int:
    """The term under which a value was sealed. Raise SealedValueError for what cannot be a sealed value."""
    if len(sealed) < _LEAST_BYTES:
        raise SealedValueError(
            f"a sealed value has {len(sealed)} bytes, less than the {_LEAST_BYTES} of an empty one: it was cut short. "
            "Restore its row from a backup, or delete it"
        )
    version, term = _HEAD.unpack_from(sealed)
    if version != FORMAT:
        raise SealedValueError(
            f"a sealed value has format {version}, and this Keyrelay knows {FORMAT}: it was changed, or a newer "
            "Keyrelay wrote it. Install that one, or restore the row from a backup"
        )
    return int(term)


def joined(*parts: bytes) -> bytes:
    """Parts with their lengths before them: no other parts give the same."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def _cipher(key: bytes, data: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, data, "sha256"))
