"""The one exception tree.

Broad bases to catch, leaves to recover:

    KeyrelayError
    ├── ConfigurationError      the operator has to change something: file, setting, what would be right
    ├── CallerError             the request cannot be served as it stands; answered in the caller's dialect
    ├── StoreError              a store, database or shared memory cannot be reached or does not take what it is given
    └── HostBindingError        a credential was about to leave for a host that is not its own

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


class HostBindingError(KeyrelayError):
    """A credential was about to be sent to an origin other than the one it is bound to."""
