"""Asking a running gateway: where it is, with which secret, and what its refusals mean to the shell.

Where nobody has named the gateway it is expected at the port set, and another program may listen there. So it has to
prove first that it is the one of the data directory (`configuration/local_proof.py`), and nothing is sent to another.
"""

import http.client
import secrets
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import typer

from keyrelay.cli import options
from keyrelay.cli.exits import Exit
from keyrelay.cli.output import note
from keyrelay.cli.stored import Store
from keyrelay.cli.words import error_of, message_of

if TYPE_CHECKING:
    from keyrelay.core.secrets import Secret
    from keyrelay.settings import Settings

SecretFileOption = Annotated[
    Path | None,
    typer.Option(
        "--secret-file",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        readable=True,
        help="File with the secret or token to ask with; else KEYRELAY_OPERATOR_SECRET, KEYRELAY_API_KEY, or what "
        "`local.secret` in the data directory signs.",
    ),
]

Details = Callable[[dict[str, Any]], None]
"""Takes what a refusal says beside its message."""

NO_PARAMETERS: Mapping[str, object] = {}

ABOUT_STRANGERS = (
    "See what listens there (`ss -ltnp`). If it is another program, have one of the two use another port. If it is the "
    "gateway of another data directory, name that by --data-dir; if it is an older Keyrelay, start it anew. Behind a "
    "proxy or a container's published port, give --url, and a secret by --secret-file."
)
"""What to do about somebody who listens where the gateway was expected."""

_TIMEOUT_S = 30.0
_MAX_SECRET_BYTES = 4096
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_MAX_PROOF_BYTES = 4096
_NONCE_BYTES = 32
_ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, not listened on
_HERE = frozenset({"127.0.0.1", "::1", "localhost"})
_UNAUTHORISED = frozenset({401, 403})
_FINE = range(200, 300)


class _StrangerError(Exception):
    """Somebody else listens where the gateway was expected; nothing was sent there."""


class Gateway:
    """A running gateway, as the settings say where it is."""

    def __init__(self, overrides: options.Overrides, secret_file: Path | None) -> None:
        from keyrelay.configuration.local_secret import NONE, demo_directory, read_local_secret

        settings = options.settings_of(overrides)
        self.url = _address(settings)
        self._secret = _secret(settings, secret_file)
        here = not settings.url or (not self._secret and urlsplit(self.url).hostname in _HERE)
        self._local = read_local_secret(settings.data_dir) if here else NONE
        demo = demo_directory(settings.data_dir, urlsplit(self.url).port or 0)
        self._of_demo = read_local_secret(demo) if here else NONE
        self._data_dir = settings.data_dir
        self.store = Store(overrides, settings)

    def get(
        self, path: str, parameters: Mapping[str, object] = NO_PARAMETERS, *, accept: str = "application/json"
    ) -> bytes:
        """The body of an answer; parameters that are None are left out. Where no gateway runs, its store answers.

        Raise typer.Exit, after a line that says why, when there is none.
        """
        given = urlencode({name: value for name, value in parameters.items() if value is not None})
        return self._asked("GET", f"{path}?{given}" if given else path, accept=accept)

    def send(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        accept: str = "application/json",
        details: Details | None = None,
    ) -> bytes:
        """The body of the answer to a request that changes something, with a document in JSON if there is one.

        Raise typer.Exit, after a line that says why, when it is refused. What a refusal says beside that (its member
        `keyrelay`) is given to `details` first.
        """
        import msgspec

        data = b"" if document is None else msgspec.json.encode(document)
        return self._asked(method, path, data, accept=accept, details=details)

    def looked_up(self, path: str) -> bytes | None:
        """The body of an answer that would only be nice to have; None, without a word, when there is none."""
        try:
            status, body = self._exchange("GET", path, b"", "application/json")
        except (_StrangerError, OSError, http.client.HTTPException):
            return None
        return body if status in _FINE else None

    def answers(self) -> bool:
        """Whether anybody is there at all, who is sent nothing."""
        try:
            with closing(self._connection()) as connection:
                _exchanged(connection, "GET", "/livez", limit=_MAX_PROOF_BYTES)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def proves(self) -> bool | None:
        """Whether who answers is the gateway of the data directory; None when that cannot be known from here.

        Raise OSError and HTTPException when nobody answers.
        """
        if not (self._local or self._of_demo):
            return None
        with closing(self._connection()) as connection:
            proven = bool(self._proven(connection)[0])
        return proven or (False if self._local else None)  # what a killed demonstration has left proves nothing

    def _asked(
        self,
        method: str,
        target: str,
        data: bytes = b"",
        *,
        accept: str = "application/json",
        details: Details | None = None,
    ) -> bytes:
        try:
            status, body = self._exchange(method, target, data, accept)
        except _StrangerError:
            missing = f"what answers at {self.url} does not prove to be the gateway of {self._data_dir}"
            if method == "GET" and self.store.is_there():
                return self.store.get(target, accept, missing=f"{missing}; nothing was sent there")
            note(f"keyrelay: {missing}; nothing was sent there. {ABOUT_STRANGERS}")
            raise typer.Exit(Exit.UNREACHABLE) from None
        except (OSError, http.client.HTTPException) as error:
            missing = f"no gateway answers at {self.url}"
            if method == "GET" and isinstance(error, ConnectionRefusedError) and self.store.is_there():
                return self.store.get(target, accept, missing=missing)
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            note(f"keyrelay: {missing}: {reason}. {self.store.absence}Start one with `keyrelay up`, or give --url.")
            raise typer.Exit(Exit.UNREACHABLE) from None
        if status in _FINE:
            return body
        refusal = error_of(body)
        if details is not None and isinstance(refusal.get("keyrelay"), dict):
            details(refusal["keyrelay"])
        note(f"keyrelay: {self.url} answered {status}: {message_of(body)}")
        if status in _UNAUTHORISED and not (self._secret or self._local or self._of_demo):
            note("Give a secret or a token by --secret-file, KEYRELAY_OPERATOR_SECRET or KEYRELAY_API_KEY.")
        if status in _UNAUTHORISED:
            raise typer.Exit(Exit.UNAUTHORISED)
        raise typer.Exit(Exit.USAGE if refusal.get("code") == "invalid_parameter" else Exit.FAILED)

    def _exchange(self, method: str, target: str, data: bytes, accept: str) -> tuple[int, bytes]:
        """Status and body. Raise _StrangerError, OSError and HTTPException."""
        try:
            return self._exchanged_once(method, target, data, accept)
        except http.client.NotConnected:  # with its proof the gateway has ended the connection: nothing more was sent
            return self._exchanged_once(method, target, data, accept)

    def _exchanged_once(self, method: str, target: str, data: bytes, accept: str) -> tuple[int, bytes]:
        from keyrelay.configuration.local_proof import SignedRequest, sign

        headers = {"accept": accept} | ({"content-type": "application/json"} if data else {})
        with closing(self._connection()) as connection:
            secret = self._secret
            if self._local or self._of_demo:
                place, local = self._proven(connection)
                if self._local and not place:
                    raise _StrangerError
                if place and local is self._of_demo and method != "GET":
                    note(f"keyrelay: {self.url} is a demonstration, which forgets this when it ends.")
                if place and not secret:
                    sent = urlsplit(self.url).path + target
                    secret = sign(local, SignedRequest(place=place, method=method, target=sent, body=data), time.time())
            if secret:
                headers["authorization"] = f"Bearer {secret}"
            return _exchanged(connection, method, urlsplit(self.url).path + target, data, headers)

    def _connection(self) -> http.client.HTTPConnection:
        """A connection, open, which no other one takes the place of when it is closed. Raise OSError."""
        parts = urlsplit(self.url)
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_S, context=context)
        else:
            connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_S)
        connection.auto_open = 0
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _proven(self, connection: http.client.HTTPConnection) -> "tuple[str, Secret]":
        """The place that the connection leads to, and the secret by which the other side has proved to be the gateway.

        The place is empty when it has not.
        """
        from keyrelay.configuration.local_proof import PATH, is_proof, place_of

        nonce, (host, port, *_) = secrets.token_hex(_NONCE_BYTES), connection.sock.getpeername()
        path, place = urlsplit(self.url).path + PATH, place_of(host, port)
        status, body = _exchanged(connection, "GET", f"{path}?nonce={nonce}", limit=_MAX_PROOF_BYTES)
        proof = _proof(body) if status in _FINE else ""
        for local in (self._local, self._of_demo):
            if local and is_proof(local, nonce, place, proof):
                return place, local
        return "", self._local

    def __repr__(self) -> str:
        how = (
            "with a secret" if self._secret else "by signatures" if self._local or self._of_demo else "without a secret"
        )
        return f"<Gateway at {self.url}, {how}>"


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
    """The secret to ask with, as given or set."""
    if secret_file is None:
        return settings.operator_secret.reveal() or settings.api_key.reveal()
    with secret_file.open("rb") as file:
        text = file.read(_MAX_SECRET_BYTES).decode("ascii", "replace").strip()
    if not text or not text.isascii() or not text.isprintable():
        note(f"keyrelay: {secret_file} does not hold a secret on one line.")
        raise typer.Exit(Exit.USAGE)
    return text


def _exchanged(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    data: bytes = b"",
    headers: Mapping[str, str] = MappingProxyType({}),
    *,
    limit: int = _MAX_ANSWER_BYTES,
) -> tuple[int, bytes]:
    """Status and body of an answer. Raise OSError and HTTPException."""
    connection.request(method, target, body=data or None, headers=dict(headers))
    answer = connection.getresponse()
    notice = answer.getheader("x-keyrelay-notice", "")
    if notice:
        note(f"keyrelay: {''.join(filter(str.isprintable, notice))}")
    return answer.status, answer.read(limit)


def _proof(body: bytes) -> str:
    """The proof in an answer; empty when there is none."""
    import msgspec

    try:
        return str(msgspec.json.decode(body)["proof"])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""


def document_of(body: bytes) -> dict[str, Any]:
    """The document that a gateway has answered."""
    import msgspec

    document: dict[str, Any] = msgspec.json.decode(body)
    return document


def quoted(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")
