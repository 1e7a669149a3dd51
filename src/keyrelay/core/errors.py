"""The one exception tree.

Broad bases to catch, leaves to recover:

    KeyrelayError
    ├── ConfigurationError      the operator has to change something: file, setting, what would be right
    │   └── OccupiedError       another gateway has what this one needs, and has to be stopped first
    ├── CallerError             the request cannot be served as it stands; answered in the caller's dialect
    ├── StoreError              a store, database or shared memory cannot be reached or does not take what it is given
    │   └── RevisionError       somebody else has changed meanwhile what was to be changed
    ├── VaultError              what is sealed cannot be had, or nothing can be sealed; never half done
    │   ├── MasterKeyError      there is no master key to work with: none found, unreadable, or others may read it
    │   │   └── WrongMasterKeyError   it is not the one that the key ring was made with
    │   ├── RingError           the key ring is damaged, or does not take this change
    │   └── SealedValueError    a sealed value is damaged, cut short, or from another place or another ring
    ├── HostBindingError        a credential was about to leave for a host that is not its own
    └── AddressDeniedError      a host leads to an address that may not be connected to

Inside the engine a failed attempt at a provider is a value (`core.failures.Failure`), not an exception.
"""

from typing import Any


class KeyrelayError(Exception):
    """Base of everything that Keyrelay raises on purpose."""


class ConfigurationError(KeyrelayError):
    """A setting, file or row is wrong, and the process must not start with it.

    `where` names file, row and field; `problem` says what is wrong there; `fix` what would be right.
    None of the three ever holds a secret.
    """

    def __init__(self, where: str, problem: str, fix: str = "") -> None:
        self.where = where
        self.problem = problem
        self.fix = fix
        super().__init__(f"{where}: {problem}" + (f" {fix}" if fix else ""))


class OccupiedError(ConfigurationError):
    """Another gateway has what this one needs: it may start once that one has ended."""


class CallerError(KeyrelayError):
    """An answer with a 4xx or 5xx status that the caller's dialect will express.

    `status` is the HTTP status, `kind` the `type` of OpenAI's error body, `code` its machine-readable
    code, `param` the field at fault. `headers` are extra answer headers (`retry-after` …), `detail` the
    `keyrelay` member of the body.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        detail: dict[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.headers = headers
        self.detail = detail
        super().__init__(message)


class StoreError(KeyrelayError):
    """A store cannot do now what was asked of it; nothing was half done. The message holds no secret.

    `lasting` says that trying again will not help until a person acts (no such database, no permission, wrong schema).
    """

    def __init__(self, message: str, *, lasting: bool = False) -> None:
        self.lasting = lasting
        super().__init__(message)


class RevisionError(StoreError):
    """What was to be changed is not as it was read: somebody else was first. Read it again and try once more."""


class VaultError(KeyrelayError):
    """Sealing or opening is not possible. The message holds no key and no text, and says what to do next."""


class MasterKeyError(VaultError):
    """There is no master key that can be worked with."""


class WrongMasterKeyError(MasterKeyError):
    """The master key is not the one that the key ring was made with."""


class RingError(VaultError):
    """The key ring is damaged, or does not take a change."""


class SealedValueError(VaultError):
    """A sealed value is damaged, cut short, or from another row, column, table or ring: it cannot be opened here."""


class HostBindingError(KeyrelayError):
    """A credential was about to be sent to an origin other than the one it is bound to."""


class AddressDeniedError(KeyrelayError):
    """A host leads to an address that may not be connected to. The text says which one, and which setting allows it."""
