"""Who calls the control plane: a person with a session, a token, the operator, or a client.

A secret in the head counts before a cookie. Who comes with a cookie has to send the CSRF token with every change, and
has to come from a page of ours: a browser sends cookies along without having been asked to by the person.
"""

import hashlib
from hmac import compare_digest

from fastapi import Request

from keyrelay.administration.people import TOKEN_PREFIX
from keyrelay.administration.service import Administration
from keyrelay.administration.sessions import Sessions, SignedIn, is_csrf
from keyrelay.api.behind_proxies import TrustedProxies
from keyrelay.api.callers import Callers, RequestHead
from keyrelay.api.policies import Permission, Policy, Principal
from keyrelay.api.stored import from_store
from keyrelay.core.administered import ROLES, EntryKind, TokenEntry, UserEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret
from keyrelay.ports import Clock

COOKIE = "keyrelay_session"
CSRF_HEADER = "x-csrf-token"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Access:
    """Says who a request comes from. `callers` knows the clients that are let in now.

    `local` is the secret in the data directory, with which commands of the same user ask.
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
        self._local = _digest(local)
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

    def requires(self, permission: Permission, kind: EntryKind | None = None) -> Policy:
        """What a route declares: who may call it, and which kind of entries it is about."""
        return Policy(permission, self.principal, kind)

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
        if self._local and compare_digest(digest, self._local):
            return Principal(name="local", role="administrator", address=address)
        if head.secret.startswith(TOKEN_PREFIX.encode()):
            return self._token(digest, address)
        client = self._callers.find(head)
        return Principal(name=f"client:{client.label}", client=client.label, trusted=not self.governed, address=address)

    def address(self, request: Request) -> str:
        """Where a request came from, as far as that is known."""
        return self.proxies.address_of(request)

    async def signed_in(self, request: Request) -> SignedIn | None:
        """The session that a request comes with; None without one. Raise CallerError (503)."""
        cookie = request.cookies.get(COOKIE, "")
        return await from_store(self.sessions.find(cookie)) if cookie else None

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

    def _token(self, digest: bytes, address: str) -> Principal:
        state = self._administration.state
        hexed = digest.hex()
        token = next((each for each in state.all(TokenEntry) if compare_digest(each.digest, hexed)), None)
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


def _person(signed_in: SignedIn, address: str) -> Principal:
    return Principal(name=f"user:{signed_in.user.name}", role=signed_in.user.role, address=address)


def _digest(secret: Secret) -> bytes:
    return hashlib.sha256(secret.reveal().encode()).digest() if secret else b""


def _refused(message: str, code: str) -> CallerError:
    headers = (("www-authenticate", "Bearer"), ("x-should-retry", "false"))
    return CallerError(401, message, kind="authentication_error", code=code, headers=headers)
