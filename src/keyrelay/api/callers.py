"""What the data plane reads from a request's head, and who the caller is."""

import hashlib
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import parse_qs

from starlette.types import Scope

from keyrelay.core.configuration import Client, ClientRules, Snapshot
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import keyed_digest
from keyrelay.quota.fairness import Priority
from keyrelay.wire.cache_wishes import AS_CONFIGURED, CacheWishes, read_cache_wishes

_SPECIAL: Final = frozenset(
    {
        b"cache-control",
        b"content-encoding",
        b"x-keyrelay-cache",
        b"x-keyrelay-deadline-ms",
        b"x-keyrelay-prefer",
        b"x-keyrelay-priority",
    }
)
_LONGEST_SECRET: Final = 512
_PLAIN: Final = frozenset({b"", b"identity"})
_LONGEST_DEADLINE_MS: Final = 3_600_000


class RequestHead:
    """The few headers that matter here; what a caller sends beyond them goes nowhere.

    `plain` says that nothing in it changes what happens to the body, or how the request is served.
    """

    __slots__ = ("_fields", "_pairs", "plain", "secret")

    def __init__(self, scope: Scope) -> None:
        self._pairs: list[tuple[bytes, bytes]] = scope["headers"]
        fields: dict[bytes, bytes] = dict(self._pairs)
        self._fields = fields
        self.plain = _SPECIAL.isdisjoint(fields)
        authorization = fields.get(b"authorization", b"")
        if authorization[:7].lower() == b"bearer ":
            self.secret = authorization[7:].strip()
        else:
            secret = fields.get(b"x-api-key") or fields.get(b"x-goog-api-key") or _secret_in_query(scope)
            self.secret = secret.strip()

    @property
    def content_length(self) -> int:
        """Bytes of the body, 0 when the head does not say; the server has checked that it is a number."""
        return int(self._fields.get(b"content-length") or 0)

    @property
    def content_encoding(self) -> bytes:
        """How the body is compressed, empty when it is not."""
        return self._fields.get(b"content-encoding", b"")

    @property
    def content_type(self) -> str:
        """What the body is said to be, empty when it is not."""
        return self._fields.get(b"content-type", b"").decode("latin-1")

    @property
    def prefer(self) -> bytes:
        """The provider to try first."""
        return self._fields.get(b"x-keyrelay-prefer", b"")

    def deadline_s(self) -> float | None:
        """The caller's deadline in seconds; raise CallerError (400) when it is not a sensible number."""
        deadline_ms = self._fields.get(b"x-keyrelay-deadline-ms", b"")
        if not deadline_ms:
            return None
        if not deadline_ms.isdigit() or not 0 < int(deadline_ms[:9]) <= _LONGEST_DEADLINE_MS:
            message = f"x-keyrelay-deadline-ms must be a whole number from 1 to {_LONGEST_DEADLINE_MS}."
            raise CallerError(400, message, code="invalid_header", param="x-keyrelay-deadline-ms")
        return int(deadline_ms) / 1000

    def forwarded(self, names: tuple[bytes, ...]) -> tuple[tuple[str, str], ...]:
        """Those of these headers, named in lower case, that the caller sent; what came on several lines on one."""
        sent = {name: b", ".join(value for other, value in self._pairs if other == name) for name in names}
        return tuple((name.decode(), value.decode("latin-1")) for name, value in sent.items() if value)

    def cache_wishes(self) -> CacheWishes:
        """What the caller wants of the response cache; raise CallerError (400) for a word that means nothing."""
        own, standard = self._fields.get(b"x-keyrelay-cache", b""), self._fields.get(b"cache-control", b"")
        if not own and not standard:
            return AS_CONFIGURED
        return read_cache_wishes(own.decode("latin-1"), standard.decode("latin-1"))

    def priority(self, usual: Priority = Priority.INTERACTIVE) -> Priority:
        """The class in which the caller waits for quota; raise CallerError (400) for a name that is none."""
        priority_name = self._fields.get(b"x-keyrelay-priority")
        if not priority_name:
            return usual
        try:
            return Priority(priority_name.decode("latin-1").strip().lower())
        except ValueError:
            message = f"x-keyrelay-priority must be one of {', '.join(Priority)}."
            raise CallerError(400, message, code="invalid_header", param="x-keyrelay-priority") from None

    def __repr__(self) -> str:
        return f"<RequestHead {self.content_length} bytes, secret {'given' if self.secret else 'missing'}>"


class Introduced:
    """Who called with a head, by the clients of one `edition` of the configuration."""

    __slots__ = ("client", "edition", "head")

    def __init__(self, edition: object, head: RequestHead, client: Client) -> None:
        self.edition = edition
        self.head = head
        self.client = client

    def with_fields(self, pairs: list[tuple[bytes, bytes]]) -> "Introduced":
        """The same caller with the fields of another request, of which none but its length differs."""
        return Introduced(self.edition, RequestHead({"headers": pairs, "query_string": b""}), self.client)

    def __repr__(self) -> str:
        return f"<Introduced {self.client.label}>"


def check_encoding(head: RequestHead) -> None:
    """Raise CallerError (415) for a body that is compressed."""
    if head.content_encoding not in _PLAIN:
        raise CallerError(415, "Compressed request bodies are not taken: send it as it is.", code="encoding")


def too_large(limit: int, setting: str) -> CallerError:
    """The error for a body of more than `limit` bytes, which that setting bounds."""
    message = f"The body is larger than {limit} bytes (KEYRELAY_{setting.upper()})."
    return CallerError(413, message, code="body_too_large")


def _secret_in_query(scope: Scope) -> bytes:
    if not scope["query_string"]:
        return b""
    keys = parse_qs(scope["query_string"].decode("latin-1"), encoding="latin-1").get("key")  # any bytes may stand there
    return keys[0].encode("latin-1") if keys else b""


class Callers:
    """Says whose secret a request comes with, by the configuration in force.

    Secrets are compared by looking up their SHA-256 digest, so the time taken says nothing about how much of a guess
    was right. Where a keyed digest of that is kept, it is made once for each secret that turns out to be known, and
    remembered until the configuration changes; then `edition` is another object.
    """

    __slots__ = ("_epoch_s", "_keyed", "_known", "_pepper", "edition")

    def __init__(self, snapshot: Snapshot, epoch_s: Callable[[], float]) -> None:
        self._epoch_s = epoch_s
        self.configure(snapshot)

    def configure(self, snapshot: Snapshot) -> None:
        """Go on with the clients of another configuration."""
        clients = snapshot.clients.items()
        self.edition = object()
        self._known = {digest: client for digest, client in clients if not client.keyed}
        self._keyed = {digest: client for digest, client in clients if client.keyed}
        self._pepper = snapshot.pepper

    def find(self, head: RequestHead) -> Client:
        """The client whose secret it is. Raise CallerError (401)."""
        secret = head.secret
        if not secret:
            message = (
                "No client secret was sent. Send 'Authorization: Bearer <secret>' with a secret of a client, or the "
                "one that Keyrelay showed at its first start."
            )
            raise _unauthorized(message, "missing_api_key")
        client = self._known.get(hashlib.sha256(secret).digest()) if len(secret) <= _LONGEST_SECRET else None
        if client is None:
            client = self._find_keyed(secret)
        if client.rules is not None:
            self._check(client.label, client.rules)
        return client

    def _find_keyed(self, secret: bytes) -> Client:
        client, digest = None, b""
        if self._keyed and self._pepper is not None and len(secret) <= _LONGEST_SECRET:
            digest = hashlib.sha256(secret).digest()
            client = self._keyed.get(keyed_digest(self._pepper, digest))
        if client is None:
            message = (
                "The client secret is not known here. Keyrelay takes its own client secrets, not provider keys: "
                "see CLIENT_API_KEYS_MAP, or make one with 'keyrelay clients new'."
            )
            raise _unauthorized(message, "invalid_api_key")
        self._known[digest] = client
        return client

    def _check(self, label: str, rules: ClientRules) -> None:
        """Refuse a client that may not call any more. Raise CallerError (401)."""
        if rules.state:
            how = "has been revoked" if rules.state == "revoked" else "is switched off"
            raise _unauthorized(f"The client '{label}' {how}. Ask whoever runs this Keyrelay.", f"client_{rules.state}")
        if rules.expires_s and self._epoch_s() >= rules.expires_s:
            if rules.replaced:
                raise _unauthorized(f"This secret of the client '{label}' was replaced by another.", "secret_replaced")
            raise _unauthorized(f"The client '{label}' has expired. Ask whoever runs this Keyrelay.", "client_expired")

    def __repr__(self) -> str:
        return f"<Callers {len(self._known)} secrets, {len(self._keyed)} keyed>"


def check_model(client: Client, name: str, providers: Iterable[str]) -> None:
    """Refuse a model or route that the client may not ask for. Raise CallerError (403)."""
    models = client.rules.models if client.rules is not None else None
    if models is not None and not models.allow(name, providers):
        message = f"The client '{client.label}' may not ask for '{name}'; GET /v1/models lists what it may."
        headers = (("x-should-retry", "false"),)
        raise CallerError(
            403, message, kind="permission_error", code="model_not_allowed", param="model", headers=headers
        )


def _unauthorized(message: str, code: str) -> CallerError:
    headers = (("www-authenticate", "Bearer"), ("x-should-retry", "false"))
    return CallerError(401, message, kind="authentication_error", code=code, headers=headers)
