"""`/api/v1/people` and `/api/v1/tokens`: who may administer, and the tokens with which programs do."""

import datetime as dt
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, Path, Request, Response

from keyrelay.administration.passwords import Passwords, check_password
from keyrelay.administration.people import (
    SET_UP,
    adding_person,
    adding_token,
    changing_person,
    check_name,
    new_token,
    removing_person,
    removing_token,
)
from keyrelay.administration.service import Administration
from keyrelay.api.access import Access
from keyrelay.api.administration.bodies import body_of, read_body
from keyrelay.api.policies import Permission, Principal, author_of
from keyrelay.api.stored import from_store, unavailable
from keyrelay.api.views import SECURITY, answer, described, schemas_of
from keyrelay.core.administered import ENTRY_KINDS, ROLES, Role, TokenEntry, UserEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.moments import utc_time

LONGEST_LIFE_DAYS = 3_650
_LIFE_DAYS = 90
_DAY_S = 86_400.0
_CREATED = 201

PersonName = Annotated[str, Path(alias="name", description="The name that the person signs in with.")]
TokenName = Annotated[str, Path(alias="name", description="The token's name.")]


class NewPerson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A person to be added."""

    name: str
    password: str
    role: Role = "viewer"


class PersonChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be another from now on; whoever it is has to sign in again."""

    role: Role | None = None
    enabled: bool | None = None
    password: str | None = None


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who may sign in."""

    name: str
    role: Role
    enabled: bool
    created: dt.datetime


class People(msgspec.Struct, frozen=True):
    """Everybody, in the order of names."""

    items: tuple[Person, ...]


class NewToken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to be made. `scopes` are the kinds of entries that it is for; none: all that its role may."""

    name: str
    role: Role = "viewer"
    scopes: tuple[str, ...] = ()
    days: int = _LIFE_DAYS


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret, of which `tail` are the last four characters."""

    name: str
    role: Role
    owner: str
    scopes: tuple[str, ...]
    tail: str
    created: dt.datetime
    expires: dt.datetime | None


class MadeToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that was just made; its secret is shown this once."""

    secret: str
    token: Token


class Tokens(msgspec.Struct, frozen=True):
    """All tokens that may be seen, in the order of names."""

    items: tuple[Token, ...]


class Removed(msgspec.Struct, frozen=True):
    """What is not there any more."""

    removed: str


class PeopleView:
    """The routes of people and of tokens."""

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
        self._install_people(app)
        self._install_person(app)
        self._install_tokens(app)

    def schemas(self) -> dict[str, Any]:
        """Those of the documents."""
        return schemas_of(NewPerson, PersonChange, Person, People, NewToken, MadeToken, Tokens, Removed)

    def _install_people(self, app: FastAPI) -> None:
        @app.get(
            "/api/v1/people",
            tags=["access"],
            summary="Who may sign in.",
            response_class=Response,
            responses=described(People, People((_PERSON,)), 403),
            openapi_extra=SECURITY,
            dependencies=[Depends(self._access.requires(Permission.ADMINISTRATOR, "user"))],
        )
        async def people() -> Response:
            return answer(People(tuple(map(_person, self._administration.state.all(UserEntry)))))

        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "user"))

        @app.post(
            "/api/v1/people",
            tags=["access"],
            summary="Add a person.",
            status_code=_CREATED,
            response_class=Response,
            responses=described(Person, _PERSON, 400, 403, 409, status=_CREATED) | unavailable(),
            openapi_extra=SECURITY | body_of(NewPerson, NewPerson("bob", "correct horse battery staple", "operator")),
        )
        async def add(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, NewPerson)
            check_name(body.name)
            check_password(body.password, body.name)
            hashed = await self._passwords.hash(body.password)
            user = UserEntry(name=body.name, role=body.role, password=hashed, created_s=self._epoch_s())
            await from_store(self._administration.change(adding_person(user), author_of(who), "add person"))
            return answer(_person(user), _CREATED)

    def _install_person(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.ADMINISTRATOR, "user"))

        @app.patch(
            "/api/v1/people/{name}",
            tags=["access"],
            summary="Change a person's role or password, or switch them off.",
            response_class=Response,
            responses=described(Person, _PERSON, 400, 403, 404, 409) | unavailable(),
            openapi_extra=SECURITY | body_of(PersonChange, PersonChange(role="operator")),
        )
        async def change(request: Request, name: PersonName, who: Principal = who_asks) -> Response:
            body = await read_body(request, PersonChange)
            hashed = None
            if body.password is not None:
                check_password(body.password, name)
                hashed = await self._passwords.hash(body.password)
            edit = changing_person(name, self._epoch_s(), role=body.role, enabled=body.enabled, password=hashed)
            state = await from_store(self._administration.change(edit, author_of(who), "change person"))
            changed = state.get(UserEntry, name)
            if changed is None:
                raise CallerError(409, f"{name} is gone meanwhile.", code="conflict")
            return answer(_person(changed))

        @app.delete(
            "/api/v1/people/{name}",
            tags=["access"],
            summary="Remove a person and their tokens.",
            response_class=Response,
            responses=described(Removed, Removed("bob"), 403, 404, 409) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def remove(name: PersonName, who: Principal = who_asks) -> Response:
            await from_store(self._administration.change(removing_person(name), author_of(who), "remove person"))
            return answer(Removed(name))

    def _install_tokens(self, app: FastAPI) -> None:
        who_asks = Depends(self._access.requires(Permission.VIEWER, "token"))

        @app.get(
            "/api/v1/tokens",
            tags=["access"],
            summary="The tokens of who asks; an administrator sees all.",
            response_class=Response,
            responses=described(Tokens, Tokens((_TOKEN,)), 403),
            openapi_extra=SECURITY,
        )
        async def tokens(who: Principal = who_asks) -> Response:
            owner = _owner(who)
            found = (each for each in self._administration.state.all(TokenEntry) if each.name != SET_UP)
            return answer(Tokens(tuple(_token(each) for each in found if owner is None or each.user == owner)))

        @app.post(
            "/api/v1/tokens",
            tags=["access"],
            summary="Make a token.",
            description="Its role is at most that of who makes it. The secret is in this answer and nowhere else.",
            status_code=_CREATED,
            response_class=Response,
            responses=described(MadeToken, MadeToken(secret="krt-0000", token=_TOKEN), 400, 403, 409, status=_CREATED)  # noqa: S106 - an example
            | unavailable(),
            openapi_extra=SECURITY | body_of(NewToken, NewToken("ci", "operator", ("key",), 30)),
        )
        async def make(request: Request, who: Principal = who_asks) -> Response:
            body = await read_body(request, NewToken)
            _check_token(body, who)
            now_s = self._epoch_s()
            user = who.name.removeprefix("user:") if who.name.startswith("user:") else ""
            expires_s = now_s + body.days * _DAY_S
            secret, entry = new_token(body.name, body.role, now_s, user=user, scopes=body.scopes, expires_s=expires_s)
            await from_store(self._administration.change(adding_token(entry), author_of(who), "make token"))
            return answer(MadeToken(secret=secret.reveal(), token=_token(entry)), _CREATED)

        @app.delete(
            "/api/v1/tokens/{name}",
            tags=["access"],
            summary="Revoke a token.",
            response_class=Response,
            responses=described(Removed, Removed("ci"), 403, 404) | unavailable(),
            openapi_extra=SECURITY,
        )
        async def revoke(name: TokenName, who: Principal = who_asks) -> Response:
            edit = removing_token(name, _owner(who))
            await from_store(self._administration.change(edit, author_of(who), "revoke token"))
            return answer(Removed(name))

    def __repr__(self) -> str:
        return f"<PeopleView of {self._administration!r}>"


def _check_token(body: NewToken, who: Principal) -> None:
    """Raise CallerError for a token that may not be made: one can do no more than who makes it, and not for ever."""
    if who.name.startswith("token:"):
        raise CallerError(403, "A token makes no tokens.", kind="permission_error", code="not_permitted")
    if body.name == SET_UP:
        raise CallerError(400, f"{SET_UP} is the set-up code's name.", param="name", code="invalid_name")
    if who.role is None or ROLES.index(body.role) > ROLES.index(who.role):
        message = f"A {who.role} makes no token for the role {body.role}."
        raise CallerError(403, message, kind="permission_error", param="role", code="not_permitted")
    if not 1 <= body.days <= LONGEST_LIFE_DAYS:
        raise CallerError(400, f"days: from 1 to {LONGEST_LIFE_DAYS}.", param="days", code="invalid_parameter")
    unknown = [scope for scope in body.scopes if scope not in ENTRY_KINDS]
    if unknown:
        message = f"scopes: {unknown[0][:64]!a} is not one of {', '.join(ENTRY_KINDS)}."
        raise CallerError(400, message, param="scopes", code="invalid_parameter")


def _owner(who: Principal) -> str | None:
    """Whose tokens may be seen; None: everybody's."""
    return None if who.role == "administrator" else who.name.removeprefix("user:")


def _person(user: UserEntry) -> Person:
    return Person(name=user.name, role=user.role, enabled=user.enabled, created=utc_time(user.created_s))


def _token(token: TokenEntry) -> Token:
    return Token(
        name=token.name,
        role=token.role,
        owner=token.user,
        scopes=token.scopes,
        tail=token.tail,
        created=utc_time(token.created_s),
        expires=utc_time(token.expires_s) if token.expires_s else None,
    )


_PERSON = Person(name="bob", role="operator", enabled=True, created=dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC))
_TOKEN = Token(
    name="ci",
    role="operator",
    owner="alice",
    scopes=("key",),
    tail="f00d",
    created=dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC),
    expires=dt.datetime(2026, 12, 21, 12, 0, tzinfo=dt.UTC),
)
