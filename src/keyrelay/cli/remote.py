"""Asking a running gateway: where it is, with which secret, and what its refusals mean to the shell."""

import http.client
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note

if TYPE_CHECKING:
    from keyrelay.settings import Settings

SecretFileOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="File with the secret or token to ask with; else KEYRELAY_OPERATOR_SECRET, KEYRELAY_API_KEY, or "
        "`local.secret` in the data directory.",
    ),
]

NO_PARAMETERS: Mapping[str, object] = {}

_TIMEOUT_S = 30.0
_MAX_SECRET_BYTES = 4096
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not listened on
_HERE = frozenset({"127.0.0.1", "::1", "localhost"})
_UNAUTHORISED = frozenset({401, 403})
_FINE = range(200, 300)


class Gateway:
    """A running gateway, as the settings say where it is."""

    def __init__(self, overrides: options.Overrides, secret_file: Path | None) -> None:
        settings = options.settings_of(overrides)
        self.url = _address(settings)
        self._secret = _secret(settings, secret_file)

    def get(
        self, path: str, parameters: Mapping[str, object] = NO_PARAMETERS, *, accept: str = "application/json"
    ) -> bytes:
        """The body of an answer; parameters that are None are left out.

        Raise typer.Exit, after a line that says why, when there is none.
        """
        given = urlencode({name: value for name, value in parameters.items() if value is not None})
        return self._asked("GET", f"{path}?{given}" if given else path, accept=accept)

    def send(self, method: str, path: str, document: object = None, *, accept: str = "application/json") -> bytes:
        """The body of the answer to a request that changes something, with a document in JSON if there is one.

        Raise typer.Exit, after a line that says why, when it is refused.
        """
        import msgspec

        return self._asked(method, path, b"" if document is None else msgspec.json.encode(document), accept=accept)

    def answers(self) -> bool:
        """Whether there is a gateway at all."""
        try:
            self._exchange("GET", "/livez", b"", "application/json")
        except (OSError, http.client.HTTPException):
            return False
        return True

    def _asked(self, method: str, target: str, data: bytes = b"", *, accept: str = "application/json") -> bytes:
        try:
            status, body = self._exchange(method, target, data, accept)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            note(f"keyrelay: no gateway answers at {self.url}: {reason}. Start one with `keyrelay up`, or give --url.")
            raise typer.Exit(Exit.UNREACHABLE) from None
        if status in _FINE:
            return body
        note(f"keyrelay: {self.url} answered {status}: {_message(body)}")
        if status in _UNAUTHORISED and not self._secret:
            note("Give a secret or a token by --secret-file, KEYRELAY_OPERATOR_SECRET or KEYRELAY_API_KEY.")
        raise typer.Exit(Exit.UNAUTHORISED if status in _UNAUTHORISED else Exit.FAILED)

    def _exchange(self, method: str, target: str, data: bytes, accept: str) -> tuple[int, bytes]:
        parts = urlsplit(self.url)
        headers = {"accept": accept} | ({"content-type": "application/json"} if data else {})
        if self._secret:
            headers["authorization"] = f"Bearer {self._secret}"
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
        try:
            connection.request(method, parts.path + target, body=data or None, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_ANSWER_BYTES)
        finally:
            connection.close()

    def __repr__(self) -> str:
        return f"<Gateway at {self.url}, {'with' if self._secret else 'without'} a secret>"


def _address(settings: "Settings") -> str:
    """Where the gateway is: as set, else on this machine at the port set."""
    if settings.url:
        return settings.url.removesuffix("/v1")
    if not settings.port:
        note("keyrelay: with port 0 the gateway's port is not known: give --url.")
        raise typer.Exit(Exit.USAGE)
    host = "127.0.0.1" if settings.host in _ANYWHERE else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _secret(settings: "Settings", secret_file: Path | None) -> str:
    """The secret to ask with: as given or set, else that of the gateway of this machine, if it may be read."""
    if secret_file is None:
        from keyrelay.configuration.local_secret import read_local_secret

        given = settings.operator_secret.reveal() or settings.api_key.reveal()
        here = not settings.url or urlsplit(settings.url).hostname in _HERE
        return given or (read_local_secret(settings.data_dir).reveal() if here else "")
    with secret_file.open("rb") as file:
        text = file.read(_MAX_SECRET_BYTES).decode("ascii", "replace").strip()
    if not text or not text.isascii() or not text.isprintable():
        note(f"keyrelay: {secret_file} does not hold a secret on one line.")
        raise typer.Exit(Exit.USAGE)
    return text


def _message(body: bytes) -> str:
    """What an error body says; its beginning when it is of another shape."""
    import msgspec

    try:
        return str(msgspec.json.decode(body)["error"]["message"])
    except (msgspec.DecodeError, LookupError, TypeError):
        return body[:200].decode(errors="replace").strip() or "nothing"


def document_of(body: bytes) -> dict[str, Any]:
    """The document that a gateway has answered."""
    import msgspec

    document: dict[str, Any] = msgspec.json.decode(body)
    return document


def quoted(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")
