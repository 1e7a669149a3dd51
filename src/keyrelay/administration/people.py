"""People and their tokens: pure changes of what is administered, with the rules that hold for them."""

import hashlib
import re
import secrets
from collections.abc import Callable

import msgspec

from keyrelay.administration.service import Edit
from keyrelay.core.administered import Administered, Role, TokenEntry, UserEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret

TOKEN_PREFIX = "krt-"  # noqa: S105 - what tokens begin with
SET_UP = "set-up"
"""The token that makes the first administrator, and does nothing else: what it begins with is no token's."""

_SET_UP_PREFIX = "krs-"

SET_UP_LASTS_S = 86_400.0
MAX_PEOPLE = 1_000
MAX_TOKENS = 1_000

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")
_NAME_RULE = "A name is 1 to 64 letters, digits or `.`, `_`, `@`, `-`."
_SECRET_BYTES = 32
_TAIL = 4


def check_name(name: str) -> None:
    """Raise CallerError (400) for a name that will not do."""
    if not _NAME.fullmatch(name):
        raise CallerError(400, f"{name[:64]!a} will not do. {_NAME_RULE}", param="name", code="invalid_name")


def adding_person(user: UserEntry) -> Edit:
    """Adds a person whose name nobody has. With the first one the set-up code ends, whoever makes them."""
    check_name(user.name)

    def edit(state: Administered) -> Administered:
        if state.get(UserEntry, user.name) is not None:
            raise CallerError(409, f"There is a person {user.name} already.", param="name", code="name_taken")
        if len(state.all(UserEntry)) >= MAX_PEOPLE:
            raise CallerError(409, f"There are {MAX_PEOPLE} people already.", code="too_many")
        return voiding_set_up(state).put(user)

    return edit


def changing_person(
    name: str, now_s: float, *, role: Role | None = None, enabled: bool | None = None, password: str | None = None
) -> Edit:
    """Changes what is given; whoever has signed in before has to do so again. The last administrator stays one."""

    def edit(state: Administered) -> Administered:
        user = person(state, name)
        changed = msgspec.structs.replace(
            user,
            role=role or user.role,
            enabled=user.enabled if enabled is None else enabled,
            password=password or user.password,
        )
        if changed == user:
            return state
        return _governed(state.put(msgspec.structs.replace(changed, changed_s=now_s)), state)

    return edit


def removing_person(name: str) -> Edit:
    """Removes a person with their tokens. The last administrator stays."""

    def edit(state: Administered) -> Administered:
        person(state, name)
        after = state.without("user", name)
        for token in state.all(TokenEntry):
            if token.user == name:
                after = after.without("token", token.name)
        return _governed(after, state)

    return edit


def person(state: Administered, name: str) -> UserEntry:
    """The person of a name. Raise CallerError (404)."""
    user = state.get(UserEntry, name)
    if user is None:
        raise CallerError(404, f"There is no person {name[:64]!a}.", param="name", code="person_not_found")
    return user


def _governed(after: Administered, before: Administered) -> Administered:
    def administrators(state: Administered) -> bool:
        return any(user.enabled and user.role == "administrator" for user in state.all(UserEntry))

    if administrators(before) and not administrators(after):
        raise CallerError(409, "This is the last administrator. Make another one first.", code="last_administrator")
    return after


def new_token(
    name: str, role: Role, now_s: float, *, user: str = "", scopes: tuple[str, ...] = (), expires_s: float = 0.0
) -> tuple[Secret, TokenEntry]:
    """A token and its secret, which is kept nowhere. Raise CallerError (400)."""
    check_name(name)
    prefix = _SET_UP_PREFIX if name == SET_UP else TOKEN_PREFIX
    secret = Secret(f"{prefix}{secrets.token_urlsafe(_SECRET_BYTES)}")
    text = secret.reveal()
    entry = TokenEntry(
        name=name,
        role=role,
        digest=hashlib.sha256(text.encode()).hexdigest(),
        user=user,
        scopes=scopes,
        tail=text[-_TAIL:],
        created_s=now_s,
        expires_s=expires_s,
    )
    return secret, entry


def adding_token(token: TokenEntry) -> Edit:
    """Adds a token whose name no other one has, and forgets those that have expired."""

    def edit(state: Administered) -> Administered:
        for each in state.all(TokenEntry):
            if 0.0 < each.expires_s <= token.created_s:
                state = state.without("token", each.name)
        if state.get(TokenEntry, token.name) is not None:
            raise CallerError(409, f"There is a token {token.name} already.", param="name", code="name_taken")
        if token.user and state.get(UserEntry, token.user) is None:
            raise CallerError(409, f"{token.user} is gone meanwhile.", code="conflict")
        if len(state.all(TokenEntry)) >= MAX_TOKENS:
            raise CallerError(409, f"There are {MAX_TOKENS} tokens already.", code="too_many")
        return state.put(token)

    return edit


def removing_token(name: str, owner: str | None) -> Edit:
    """Revokes a token: one's own, or anybody's for `owner` None."""

    def edit(state: Administered) -> Administered:
        token = state.get(TokenEntry, name)
        if token is None or owner not in {None, token.user}:
            raise CallerError(404, f"There is no token {name[:64]!a}.", param="name", code="token_not_found")
        return state.without("token", name)

    return edit


def offering_set_up(token: TokenEntry) -> Edit:
    """Puts a new set-up token in place of the one before, as long as there is nobody who administers."""

    def edit(state: Administered) -> Administered:
        return state if state.all(UserEntry) else state.put(token)

    return edit


def voiding_set_up(state: Administered) -> Administered:
    """Takes the set-up token away."""
    return state.without("token", SET_UP)


def is_set_up_void(state: Administered, *, operated: bool) -> bool:
    """Whether there is a set-up token of no use: somebody has a role already, or there is an operator's secret."""
    return state.get(TokenEntry, SET_UP) is not None and (operated or bool(state.all(UserEntry)))


def check_set_up(state: Administered, secret: str, now_s: float, *, operated: bool) -> None:
    """Raise CallerError (403) unless this is the set-up token, in its time, and there is nobody yet.

    With an operator's secret there is somebody: then it is of no use, also before it is taken away.
    """
    token, digest = state.get(TokenEntry, SET_UP), hashlib.sha256(secret.encode()).hexdigest()
    right = token is not None and secrets.compare_digest(token.digest, digest) and now_s < token.expires_s
    if operated or state.all(UserEntry):
        way = "Call with the operator's secret." if operated else "Sign in, or ask an administrator for an account."
        raise CallerError(
            403,
            f"Keyrelay is set up already, so its set-up code is of no use any more. {way}",
            kind="permission_error",
            code="set_up_code",
        )
    if not right:
        raise CallerError(
            403,
            "The set-up code is wrong or out of date. Each start shows another one, as long as there is nobody.",
            kind="permission_error",
            code="set_up_code",
        )


def setting_up(secret: str, user: UserEntry, now_s: float, operated: Callable[[], bool] = bool) -> Edit:
    """Makes the first administrator for whoever has the set-up token, which is gone then."""
    check_name(user.name)

    def edit(state: Administered) -> Administered:
        check_set_up(state, secret, now_s, operated=operated())
        return adding_person(user)(state)

    return edit
