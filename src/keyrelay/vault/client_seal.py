"""What is remembered for one client, sealed before it leaves the process for a place that is not asked to keep secrets.

The key is made of what all processes know of the client and that place does not: the digest of its secret. So hosts
that share nothing but their clients can read what another one has sealed, there is nothing to configure, and what a
client had remembered can be read by nobody once its secret is gone. Names are made with the same key, and say nothing.
"""

import hmac

from keyrelay.vault.sealing import joined, open_sealed, seal, term_of

_KEY = b"keyrelay state of a client"
_NAME = b"keyrelay name of an entry"
_NAME_BYTES = 16
_NO_TERM = 0
_TABLE, _COLUMN = "state", "value"


class ClientSeal:
    """Seals and opens values under one secret of one client; shows none of it."""

    __slots__ = ("_key",)

    def __init__(self, client: str, digest: bytes) -> None:
        self._key = hmac.digest(digest, joined(_KEY, client.encode()), "sha256")

    def name(self, entry_id: str) -> str:
        """The name that stands for an id: 32 hex digits."""
        return hmac.digest(self._key, joined(_NAME, entry_id.encode()), "sha256")[:_NAME_BYTES].hex()

    def seal(self, entry_id: str, value: bytes) -> bytes:
        """The sealed value for this id. Raise VaultError when it is too long."""
        return seal(self._key, _NO_TERM, value, (_TABLE, entry_id, _COLUMN))

    def open(self, entry_id: str, sealed: bytes) -> bytes:
        """What was sealed for this id of this client. Raise SealedValueError for anything else."""
        term_of(sealed)
        return open_sealed(self._key, sealed, (_TABLE, entry_id, _COLUMN))

    def __repr__(self) -> str:
        return "<ClientSeal>"
