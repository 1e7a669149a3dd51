"""The master key: 32 random bytes that wrap the data keys of a ring, and do nothing else.

It is no passphrase: what a person can remember, a machine can guess. Two keys are derived from it, one that wraps and
one that makes its mark, by which a ring tells whether a key is its own without giving anything of it away.
"""

import base64
import hmac
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyrelay.core.errors import MasterKeyError, RingError
from keyrelay.vault.sealing import KEY_BYTES, NONCE_BYTES, joined

HOW_TO_MAKE = "`head -c 32 /dev/urandom | base64` makes one"

_HEX = re.compile(r"[0-9a-fA-F]{64}")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
_STANDARD = str.maketrans("-_", "+/")
_FEWEST_DIFFERENT_BYTES = 16
"""Of 32 random bytes about 30 differ; fewer than this many are what somebody typed."""

_WRAPS = b"keyrelay master key wraps"
_MARK = b"keyrelay master key mark"
_MARK_BYTES = 8


class MasterKey:
    """A master key; nothing that shows it shows more than its mark."""

    __slots__ = ("_key", "_wraps", "mark")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES or len(set(key)) < _FEWEST_DIFFERENT_BYTES:
            raise MasterKeyError(f"a master key is {KEY_BYTES} random bytes, and this is something else: {HOW_TO_MAKE}")
        self._key = key
        self._wraps = AESGCM(hmac.digest(key, _WRAPS, "sha256"))
        self.mark = hmac.digest(key, _MARK, "sha256")[:_MARK_BYTES].hex()

    @classmethod
    def of_text(cls, text: str) -> "MasterKey":
        """The key that is written there in base64 (43 characters and maybe `=`) or hex (64). Raise MasterKeyError."""
        text = text.strip()
        if _HEX.fullmatch(text):
            return cls(bytes.fromhex(text))
        if not _BASE64.fullmatch(text):
            raise MasterKeyError(
                f"the master key must be {KEY_BYTES} random bytes in base64 or hex, and no passphrase: {HOW_TO_MAKE}"
            )
        return cls(base64.b64decode(text.rstrip("=").translate(_STANDARD) + "="))

    @classmethod
    def new(cls) -> "MasterKey":
        """A fresh one."""
        return cls(os.urandom(KEY_BYTES))

    def reveal(self) -> str:
        """The key in base64, to be written into its file and nowhere else."""
        return base64.b64encode(self._key).decode("ascii")

    def wrap(self, data_key: bytes, ring_id: str, term: int) -> bytes:
        """A data key as the ring keeps it, bound to the ring and its term."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wraps.encrypt(nonce, data_key, _bound(ring_id, term))

    def unwrap(self, wrapped: bytes, ring_id: str, term: int) -> bytes:
        """The data key. Raise RingError when this was not wrapped by this key for this ring and term."""
        try:
            return self._wraps.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], _bound(ring_id, term))
        except (InvalidTag, ValueError):  # the latter for one that is cut short
            raise RingError(
                f"the key of term {term} in the vault's key ring is damaged: restore the table vault_ring from a backup"
            ) from None

    def __repr__(self) -> str:
        return f"<MasterKey {self.mark}>"


def _bound(ring_id: str, term: int) -> bytes:
    return joined(b"keyrelay data key", ring_id.encode(), str(term).encode())
