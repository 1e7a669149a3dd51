"""Sealing and opening with the keys of a ring that has been opened."""

import hmac

from keyrelay.core.errors import SealedValueError
from keyrelay.vault.ring import DataKeys
from keyrelay.vault.sealing import joined, open_sealed, seal, term_of


class Vault:
    """Implements `ports.Vault`. It holds data keys, and shows none."""

    __slots__ = ("_keys",)

    def __init__(self, keys: DataKeys) -> None:
        self._keys = keys

    def adopt(self, keys: DataKeys) -> None:
        """Go on with the keys of a ring that has changed."""
        self._keys = keys

    def seal(self, plaintext: bytes, *, table: str, row: str, column: str) -> bytes:
        """The sealed value, under the current term. Raise VaultError when it is too long."""
        keys = self._keys
        return seal(keys.by_term[keys.current], keys.current, plaintext, (table, row, column))

    def open(self, sealed: bytes, *, table: str, row: str, column: str) -> bytes:
        """What was sealed for this place, under whatever term. Raise SealedValueError."""
        term = term_of(sealed)
        key = self._keys.by_term.get(term)
        if key is None:
            raise SealedValueError(
                f"the sealed {column} of a row in {table} is of term {term}, which the key ring does not have: the row "
                "was changed, comes from another ring, or the term was retired. Restore it together with vault_ring"
            )
        return open_sealed(key, sealed, (table, row, column))

    def knows(self, sealed: bytes) -> bool:
        """Whether the term of a value is among those known here; else the ring may have changed since it was read.

        Raise SealedValueError for what cannot be a sealed value.
        """
        return term_of(sealed) in self._keys.by_term

    def needs_reseal(self, sealed: bytes) -> bool:
        """Whether a value is of another term than the current one. Raise SealedValueError."""
        return term_of(sealed) != self._keys.current

    @property
    def current_term(self) -> int:
        """The term under which is sealed."""
        return self._keys.current

    def has_term(self, term: int) -> bool:
        """Whether the ring has it."""
        return term in self._keys.by_term

    def derived(self, purpose: bytes, term: int) -> bytes:
        """A key for another purpose, made of that of a term that is there (`has_term`)."""
        return hmac.digest(self._keys.by_term[term], joined(b"keyrelay derived key", purpose), "sha256")

    def reseal(self, sealed: bytes, *, table: str, row: str, column: str) -> bytes:
        """The value under the current term; one that is already stays as it is. Raise SealedValueError."""
        plaintext = self.open(sealed, table=table, row=row, column=column)
        return self.seal(plaintext, table=table, row=row, column=column) if self.needs_reseal(sealed) else sealed

    def __repr__(self) -> str:
        return f"<Vault with {self._keys!r}>"
