"""`/api/v1/setup` and `/api/v1/session`: the first administrator, signing in and out, one's own password.

A session is a cookie that no script can read and no other site can have sent. What a page needs beside it for changes,
the CSRF token, stands in the answer.
"""

import datetime as dt
from collections.abc import Callable
from typing import Any

import msgspec
from fastapi import Depends, FastAPI, Request, Response

from keyrelay.administration.passwords import Passwords, check_password
from keyrelay.administration.people import changing_person, check_name, check_set_up, setting_up
from keyrelay.administration.service import Administration, Author
from keyrelay.administration.sessions import LASTS_S, SignedIn, csrf_of
from keyrelay.api.access import COOKIE, Access, check_origin
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.policies import ANYBODY, Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.administered import Role, UserEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.moments import utc_time

_TAGS: list[Any] = ["access"]


class SetUpState(msgspec.Struct, frozen=True):
    """Whether the first administrator is still to be made."""

    needed: bool


class SetUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The code that the start has shown, and who the first administrator is to be."""

    code: str
    name: str
    password: str


class SignIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who signs in."""

    name: str
    password: str


class PasswordChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The password so far, and the one from now on."""

    password: str
    new_password: str


class SessionState(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls, and as what. `csrf` is to be sent with every change in the header `x-csrf-token`.

    `csrf` and `expires` are null for those who have not come with a session.
    """

    name: str
    role: Role | None
    csrf: str | None = None
    expires: dt.datetime | None = None


class SignedOut(msgspec.Struct, frozen=True):
    """How many sessions were ended."""

    ended: int


class SessionView:
    """The routes."""

    __slots__ = ("_access", "_administration", "_epoch_s", "_passwords")

    def __init__(
        self, access: Access, administration: Administration, passwords: Passwords, epoch_s: Callable[[], float]
    ) -> None:
        self._access = access
        self._administration = administration
        self._passwords = passwords
        self._epoch_s = epoch_s

    def install(self, app: FastAPI) -> None:
        """Add the routes."""
        self._install_set_up(app)
        self._install_session(app)
        self._install_ends(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(SetUpState, SetUp, SignIn, PasswordChange, SessionState, SignedOut)

    def _install_set_up(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/setup",
            tags=_TAGS,
            summary="Whether the first administrator is still to be made.",
            response_class=Response,
            responses=described(SetUpState, SetUpState(needed=True)),
            dependencies=[Depends(ANYBODY)],
        )
        async def state() -> Response:
            nobody = not (self._access.operated or self._administration.state.all(UserEntry))
            return answer(SetUpState(needed=nobody))

        @app.post(
            "/api/v1/setup",
            tags=_TAGS,
            summary="Make the first administrator.",
            description="Takes the code that the start of Keyrelay has shown; it holds once, for a day, and no longer "
            "than there is nobody and no operator's secret.",
            response_class=Response,
            responses=described(SessionState, _SESSION, 400, 403, 409) | unavailable(),
            openapi_extra=body_of(SetUp, SetUp("krs-0000", "alice", "correct horse battery staple")),
            dependencies=[Depends(ANYBODY)],
        )
        async def set_up(request: Request) -> Response:
            check_origin(request)
            body = await read_body(request, SetUp)
            check_name(body.name)
            check_password(body.password, body.name)
            now_s = self._epoch_s()
            # Hashing costs too much for a guess.
            check_set_up(self._administration.state, body.code, now_s, operated=self._access.operated)
            hashed = await self._passwords.hash(body.password)
            user = UserEntry(name=body.name, role="administrator", password=hashed, created_s=now_s)
            author = Author(f"user:{body.name}", self._access.address(request))
            edit = setting_up(body.code, user, now_s, lambda: self._access.operated)
            await from_store(self._administration.change(edit, author, "set up"))
            return await self._sign_in(request, body.name, body.password)

    def _install_session(self, app: FastAPI) -> None:
        @app.post(
            "/api/v1/session",
            tags=_TAGS,
            summary="Sign in.",
            description="Sets the cookie of the session. After some wrong passwords one has to wait, longer each time.",
            response_class=Response,
            responses=described(SessionState, _SESSION, 400, 403, 429) | unavailable(),
            openapi_extra=body_of(SignIn, SignIn("alice", "correct horse battery staple")),
            dependencies=[Depends(ANYBODY)],
        )
        async def sign_in(request: Request) -> Response:
            check_origin(request)
            body = await read_body(request, SignIn)
            return await self._sign_in(request, body.name, body.password)

        who_asks = Depends(self._access.requires(Permission.CLIENT))

        @app.get(
            "/api/v1/session",
            tags=_TAGS,
            summary="Who calls.",
            response_class=Response,
            responses=described(SessionState, _SESSION) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def session(request: Request, who: Principal = who_asks) -> Response:
            signed_in = await self._session_of(request, who)
            if signed_in is None:
                return answer(SessionState(name=who.name, role=who.role))
            return answer(_state_of(signed_in, request.cookies[COOKIE]))

    def _install_ends(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.VIEWER))

        @app.delete(
            "/api/v1/session",
            tags=_TAGS,
            summary="Sign out.",
            description="With `everywhere`, all sessions of the same person end.",
            response_class=Response,
            responses=described(SignedOut, SignedOut(1), 403) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def sign_out(request: Request, *, everywhere: bool = False, who: Principal = who_asks) -> Response:
            signed_in = await self._session_of(request, who)
            ended = 0
            if signed_in is not None:
                ended = await from_store(self._access.sessions.sign_out(signed_in, everywhere=everywhere))
                await from_store(self._administration.note(author_of(who), "signed out", kind="user"))
            response = answer(SignedOut(ended))
            response.delete_cookie(COOKIE, path="/")
            return response

        @app.post(
            "/api/v1/session/password",
            tags=_TAGS,
            summary="Change one's own password.",
            description="All other sessions of the same person end.",
            response_class=Response,
            responses=described(SessionState, _SESSION, 400, 403, 429) | unavailable(),
            openapi_extra=SECURITY | body_of(PasswordChange, PasswordChange("the old one", "a new one, and longer")),
        )
        async def change_password(request: Request, who: Principal = who_asks) -> Response:
            signed_in = await self._session_of(request, who)
            if signed_in is None:
                raise CallerError(400, "Sign in first: who asks by a secret has no password.", code="no_session")
            body = await read_body(request, PasswordChange)
            name = signed_in.user.name
            check_password(body.new_password, name)
            # The old one is asked for as at signing in, so that guesses are counted here too.
            await from_store(self._access.sessions.sign_in(name, body.password, self._access.address(request)))
            hashed = await self._passwords.hash(body.new_password)
            edit = changing_person(name, self._epoch_s(), password=hashed)
            await from_store(self._administration.change(edit, author_of(who), "change password"))
            return await self._sign_in(request, name, body.new_password)

    async def _sign_in(self, request: Request, name: str, password: str) -> Response:
        signing_in = self._access.sessions.sign_in(name, password, self._access.address(request))
        cookie, signed_in = await from_store(signing_in)
        response = answer(_state_of(signed_in, cookie.reveal()))
        response.set_cookie(
            COOKIE,
            cookie.reveal(),
            max_age=int(LASTS_S),
            path="/",
            secure=self._access.proxies.over_tls(request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def _session_of(self, request: Request, who: Principal) -> SignedIn | None:
        """The session that somebody has come with; None for those who have come with a secret."""
        return await self._access.signed_in(request) if who.name.startswith("user:") else None

    def __repr__(self) -> str:
        return f"<SessionView of {self._access!r}>"


def _state_of(signed_in: SignedIn, cookie: str) -> SessionState:
    return SessionState(
        name=f"user:{signed_in.user.name}",
        role=signed_in.user.role,
        csrf=csrf_of(cookie),
        expires=utc_time(signed_in.session.expires_s),
    )


_SESSION = SessionState(
    name="user:alice",
    role="administrator",
    csrf="f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    expires=dt.datetime(2026, 11, 28, 12, 0, tzinfo=dt.UTC),
)
