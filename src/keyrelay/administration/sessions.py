"""Signing in and what comes of it: sessions that are kept in the store, and end.

The cookie holds 256 random bits, the store their SHA-256. The CSRF token is made of the same bits, so it needs no place
of its own: a page of ours is told it, one of somebody else's can read neither.
"""

import hashlib
import secrets
from collections.abc import Callable
from functools import partial
from hmac import compare_digest

import msgspec

from keyrelay.administration.lockouts import Guesses, Rule, counts_of, free_at_s, network_of
from keyrelay.administration.passwords import LONGEST_BYTES, Passwords
from keyrelay.administration.service import Administration, Author
from keyrelay.core.administered import UserEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret
from keyrelay.ports import Clock, Session, SessionStore

LASTS_S = 7 * 86_400.0
"""Longest time from signing in until one has to do so again."""

IDLE_S = 12 * 3_600.0
"""A session that nobody uses for so long ends."""

_SEEN_EVERY_S = 60.0
_SECRET_BYTES = 32


class SignedIn(msgspec.Struct, frozen=True):
    """A session that holds, and whose it is."""

    session: Session
    user: UserEntry


class Sessions:
    """Signs people in and out, and says who a cookie belongs to."""

    __slots__ = ("_administration", "_clock", "_passwords", "_store")

    def __init__(self, store: SessionStore, administration: Administration, passwords: Passwords, clock: Clock) -> None:
        self._store = store
        self._administration = administration
        self._passwords = passwords
        self._clock = clock

    async def sign_in(self, name: str, password: str, address: str) -> tuple[Secret, SignedIn]:
        """What the cookie is to hold, and the session. Raise CallerError (401, 429, 503), StoreError.

        A name that nobody has is refused in the same words, and after the same work, as a wrong password.
        """
        now_s = self._clock.epoch_s()
        user = self._administration.state.get(UserEntry, name)
        before = await self._store.of_user("" if user is None else name)  # asked for either way: it takes as long
        counts = counts_of(
            name, address, at_home=any(network_of(each.address) == network_of(address) for each in before)
        )
        free_s = await self._store.guess({each: _free_at(rule, now_s) for each, rule in counts.items()}, now_s)
        if free_s > now_s:
            raise _locked_out(free_s - now_s)
        right = len(password.encode()) <= LONGEST_BYTES and await self._passwords.matches(
            password, user.password if user is not None else None
        )
        # A password that was typed into the wrong field is no name, and must not stand in the log of changes.
        known = name if user is not None else ""
        author = Author(f"user:{known}" if known else "unknown", address)
        if user is None or not right or not user.enabled:
            await self._administration.note(author, "failed to sign in", kind="user", entry=known)
            raise CallerError(401, "The name or the password is wrong.", kind="authentication_error", code="sign_in")
        await self._store.forgive(list(counts))
        cookie = Secret(secrets.token_urlsafe(_SECRET_BYTES))
        session = Session(
            digest=digest_of(cookie.reveal()),
            user=name,
            created_s=now_s,
            seen_s=now_s,
            expires_s=now_s + LASTS_S,
            address=address,
        )
        await self._store.add(session)
        await self._administration.note(author, "signed in", kind="user", entry=name)
        return cookie, SignedIn(session, user)

    async def find(self, cookie: str) -> SignedIn | None:
        """Whose cookie it is; None when it holds no session any more. Raise StoreError."""
        digest = digest_of(cookie)
        session = await self._store.find(digest)
        now_s = self._clock.epoch_s()
        if session is None or now_s >= min(session.expires_s, session.seen_s + IDLE_S):
            return None
        user = self._administration.state.get(UserEntry, session.user)
        if user is None:  # another worker may have heard of that person a moment ago
            await self._administration.follow()
            user = self._administration.state.get(UserEntry, session.user)
        # One who was removed and is there again is somebody new.
        if user is None or not user.enabled or session.created_s < max(user.created_s, user.changed_s):
            return None
        if now_s - session.seen_s >= _SEEN_EVERY_S:
            await self._store.seen(digest, now_s)
        return SignedIn(session, user)

    async def sign_out(self, signed_in: SignedIn, *, everywhere: bool) -> int:
        """End a session, or all of that person; how many those were. Raise StoreError."""
        if everywhere:
            return await self._store.remove(user=signed_in.user.name)
        return await self._store.remove(digest=signed_in.session.digest)

    async def of_user(self, name: str) -> tuple[Session, ...]:
        """A person's sessions, those that have ended among them. Raise StoreError."""
        return await self._store.of_user(name)

    def __repr__(self) -> str:
        return f"<Sessions in {self._store!r}>"


def digest_of(cookie: str) -> bytes:
    """What the store keeps of a cookie."""
    return hashlib.sha256(cookie.encode()).digest()


def csrf_of(cookie: str) -> str:
    """What a page has to send along with each change, in the header `x-csrf-token`."""
    return hashlib.sha256(b"csrf\0" + cookie.encode()).hexdigest()


def is_csrf(cookie: str, sent: str) -> bool:
    """Whether that was sent."""
    return compare_digest(csrf_of(cookie).encode(), sent.encode())


def _free_at(rule: Rule, now_s: float) -> Callable[[int, float], float]:
    return partial(_next_guess_s, rule, now_s)


def _next_guess_s(rule: Rule, now_s: float, wrong: int, last_s: float) -> float:
    return free_at_s(Guesses(wrong, last_s), rule, now_s)


def _locked_out(wait_s: float) -> CallerError:
    seconds = max(1, round(wait_s + 0.5))
    return CallerError(
        429,
        f"Too many wrong passwords. Try again in {seconds} s.",
        kind="authentication_error",
        code="locked_out",
        headers=(("retry-after", str(seconds)),),
    )
