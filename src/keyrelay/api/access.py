"""Who calls the control plane: a person with a session, a token, the operator, or a client.

A secret in the head counts before a cookie. Who comes with a cookie has to send the CSRF token with every change, and
has to come from a page of ours: a browser sends cookies along without having been asked to by the person.
"""

import hashlib
from collections.abc import Mapping
from hmac import compare_digest
from types import MappingProxyType

from fastapi import Request

from keyrelay.administration.people import TOKEN_PREFIX
from keyrelay.administration.service import Administration
from keyrelay.administration.sessions import Sessions, SignedIn, is_csrf
from keyrelay.api.administration.bodies import MAX_BODY_BYTES
from keyrelay.api.behind_proxies import TrustedProxies
from keyrelay.api.callers import Callers, RequestHead
from keyrelay.api.policies import Permission, Policy, Principal
from keyrelay.api.stored import from_store
from keyrelay.configuration.local_proof import SIGNATURE_PREFIX, SignedRequest, is_signed, place_of, proof_of
from keyrelay.core.administered import ROLES, Administered, EntryKind, TokenEntry, UserEntry
from keyrelay.core.configuration import Client
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret
from keyrelay.ports import Clock

COOKIE = "keyrelay_session"
CSRF_HEADER = "x-csrf-token"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

_WAYS = (
    "the operator's (KEYRELAY_OPERATOR_SECRET), a token's (krt-…), a client's, or, on this machine, that of "
    "`local.secret` in the data directory"
)
_NOBODY: Mapping[str, str] = MappingProxyType(
    {
        "missing_api_key": f"No secret was sent. Sign in, or send 'Authorization: Bearer <secret>' with one: {_WAYS}.",
        "invalid_api_key": f"The secret is not known here. It has to be one of these: {_WAYS}. Or sign in.",
    }
)
"""What the control plane says in place of the data plane's words, which are about clients alone."""


class Access:
    """Says who a request comes from. `callers` knows the clients that are let in now.

    `local` is the secret in the data directory, with which commands of the same user sign what they ask for; what else
    that user has written may send it as it is.
    """

    __slots__ = ("_administration", "_callers", "_clock", "_local", "_operator", "proxies", "sessions")

    def __init__(
        self,
        callers: Callers,
        administration: Administration,
        sessions: Sessions,
        clock: Clock,
        *,
        operator_secret: Secret,
        local: Secret,
        proxies: TrustedProxies,
    ) -> None:
        self._callers = callers
        self._administration = administration
        self._clock = clock
        self.sessions = sessions
        self._local = local
        self.configure(operator_secret, proxies)

    def configure(self, operator_secret: Secret, proxies: TrustedProxies) -> None:
        """Let in the operator by this secret from now on, nobody by an empty one, and believe these proxies."""
        self._operator = _digest(operator_secret)
        self.proxies = proxies

    @property
    def governed(self) -> bool:
        """Whether anybody has a role, or may have: until then clients are trusted with what is not secret."""
        administration = self._administration
        return bool(self._operator or administration.unread or administration.state.all(UserEntry))

    @property
    def operated(self) -> bool:
        """Whether there is an operator's secret."""
        return bool(self._operator)

    def requires(self, permission: Permission, kind: EntryKind | None = None) -> Policy:
        """What a route declares: who may call it, and which kind of entries it is about."""
        return Policy(permission, self.principal, kind, self._administration.catch_up)

    async def principal(self, request: Request) -> Principal:
        """Who calls. Raise CallerError (401, 403, 503)."""
        head = RequestHead(request.scope)
        address = self.address(request)
        cookie = request.cookies.get(COOKIE, "")
        if cookie and not head.secret:
            return _person(await self._signed_in(request, cookie), address)
        digest = hashlib.sha256(head.secret).digest()
        if self._operator and compare_digest(digest, self._operator):
            return Principal(name="operator", role="administrator", address=address)
        if self._local and compare_digest(digest, _digest(self._local)):
            return _local(address)
        if head.secret.startswith(SIGNATURE_PREFIX.encode()):
            return await self._signed(request, head, address)
        if head.secret.startswith(TOKEN_PREFIX.encode()):
            return await self._token(digest, address)
        client = self._client(head)
        return Principal(name=f"client:{client.label}", client=client.label, trusted=not self.governed, address=address)

    def address(self, request: Request) -> str:
        """Where a request came from, as far as that is known."""
        return self.proxies.address_of(request)

    async def signed_in(self, request: Request) -> SignedIn | None:
        """The session that a request comes with; None without one. Raise CallerError (503)."""
        cookie = request.cookies.get(COOKIE, "")
        return await from_store(self.sessions.find(cookie)) if cookie else None

    def proof(self, request: Request, nonce: str) -> str:
        """What shows a command of this machine that this is the gateway of its data directory.

        Raise CallerError (404) where there is no secret to show it by.
        """
        place = _place(request)
        if not self._local or not place:
            raise CallerError(404, "There is no secret of this machine's own here.", code="no_local_secret")
        return proof_of(self._local, nonce, place)

    async def _signed(self, request: Request, head: RequestHead, address: str) -> Principal:
        if head.content_length > MAX_BODY_BYTES or "transfer-encoding" in request.headers:
            message = f"What is signed says how long it is, and has at most {MAX_BODY_BYTES} bytes."
            raise CallerError(413, message, code="body_too_large")
        query = request.scope["query_string"]
        target = request.scope.get("raw_path", b"") + (b"?" + query if query else b"")
        signed = SignedRequest(
            place=_place(request), method=request.method, target=target.decode("latin-1"), body=await request.body()
        )
        if not is_signed(self._local, signed, head.secret.decode("latin-1"), self._clock.epoch_s()):
            message = "The signature is not of this request at this address, of this data directory, or not of now."
            raise _refused(message, "invalid_signature")
        return _local(address)

    def _client(self, head: RequestHead) -> Client:
        """The client that calls. Raise CallerError (401), which names everything else that would let somebody in."""
        try:
            return self._callers.find(head)
        except CallerError as error:
            words = _NOBODY.get(error.code or "")
            if words is None:
                raise
            raise _refused(words, error.code or "") from None

    async def _signed_in(self, request: Request, cookie: str) -> SignedIn:
        check_origin(request)
        signed_in = await self.signed_in(request)
        if signed_in is None:
            raise CallerError(
                401, "The session has ended. Sign in again.", kind="authentication_error", code="session_ended"
            )
        if request.method not in _SAFE and not is_csrf(cookie, request.headers.get(CSRF_HEADER, "")):
            message = f"Send what GET /api/v1/session gives as `csrf` in the header {CSRF_HEADER}."
            raise CallerError(403, message, kind="permission_error", code="csrf")
        return signed_in

    async def _token(self, digest: bytes, address: str) -> Principal:
        token = _token_of(self._administration.state, digest.hex())
        if token is None:  # another worker may have made it a moment ago
            await self._administration.catch_up()
            token = _token_of(self._administration.state, digest.hex())
        state = self._administration.state
        if token is None:
            raise _refused("The token is not known here, or was revoked.", "invalid_token")
        if token.expires_s and self._clock.epoch_s() >= token.expires_s:
            raise _refused("The token has expired.", "expired_token")
        owner = state.get(UserEntry, token.user) if token.user else None
        if token.user and (owner is None or not owner.enabled):
            raise _refused("The token's owner is not there any more, or is switched off.", "invalid_token")
        role = token.role if owner is None else min(token.role, owner.role, key=ROLES.index)
        return Principal(name=f"token:{token.name}", role=role, scopes=token.scopes, address=address)

    def __repr__(self) -> str:
        return f"<Access of clients{', an operator' if self._operator else ''} and people>"


def check_origin(request: Request) -> None:
    """Refuse (CallerError 403) what a page of somebody else's has a browser send."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    foreign = site not in {"same-origin", "none"}
    if origin is not None:
        named = origin.partition("://")[2].lower()
        foreign = foreign or not named or named != request.headers.get("host", "").lower()
    if foreign:
        message = "This comes from a page of another site. Open Keyrelay's own page."
        raise CallerError(403, message, kind="permission_error", code="foreign_origin")


def _token_of(state: Administered, digest: str) -> TokenEntry | None:
    return next((each for each in state.all(TokenEntry) if compare_digest(each.digest, digest)), None)


def _person(signed_in: SignedIn, address: str) -> Principal:
    return Principal(name=f"user:{signed_in.user.name}", role=signed_in.user.role, address=address)


def _local(address: str) -> Principal:
    return Principal(name="local", role="administrator", address=address)


def _place(request: Request) -> str:
    """Where the request's connection has arrived; empty where that is no address."""
    host, port = request.scope.get("server") or ("", None)
    try:
        return place_of(host, port or 0)
    except ValueError:
        return ""


def _digest(secret: Secret) -> bytes:
    return hashlib.sha256(secret.reveal().encode()).digest() if secret else b""


def _refused(message: str, code: str) -> CallerError:
    headers = (("www-authenticate", "Bearer"), ("x-should-retry", "false"))
    return CallerError(401, message, kind="authentication_error", code=code, headers=headers)
