"""Secrets as values that cannot be printed by accident."""

import hashlib
import hmac

_VISIBLE_TAIL = 4
_SHORTEST_WITH_TAIL = 12


class Secret:
    """A credential. `reveal()` is the only way to its text; every other view is masked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself. Only the transport, the vault and authentication have business here."""
        return self._text

    @property
    def masked(self) -> str:
        """The last four characters behind an ellipsis; nothing at all of a short secret."""
        if len(self._text) < _SHORTEST_WITH_TAIL:
            return "…"
        return f"…{self._text[-_VISIBLE_TAIL:]}"

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of the SHA-256 digest: tells keys apart without telling what they are."""
        return hashlib.sha256(self._text.encode()).hexdigest()[:8]

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __repr__(self) -> str:
        return f"Secret({self.masked})"

    __str__ = __repr__


class HiddenSecret(Secret):
    """A secret of which nothing is shown, because every character of it counts."""

    __slots__ = ()

    @property
    def masked(self) -> str:
        """An ellipsis."""
        return "…"


class SealedSecret(Secret):
    """What stands for a secret that stays sealed: only what is known of it can be shown.

    Its text is of use nowhere, and no other's; it ends as the secret does.
    """

    __slots__ = ("_fingerprint",)

    def __init__(self, text: str, fingerprint: str) -> None:
        super().__init__(text)
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """The secret's."""
        return self._fingerprint


def keyed_digest(pepper: Secret, digest: bytes) -> bytes:
    """What is kept of a secret of which `digest` is the SHA-256: whoever has no pepper cannot test guesses."""
    return hmac.digest(pepper.reveal().encode(), digest, "sha256")
