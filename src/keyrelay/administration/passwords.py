"""Passwords: Argon2id, and no more than two at a time, since each takes 19 MiB.

The parameters are OWASP's smallest for Argon2id (19 MiB, two passes, one lane), so that two people can sign in at once
on a small machine.
"""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from keyrelay.core.errors import CallerError

AT_ONCE = 2
MAX_WAITING = 32
SHORTEST = 12
LONGEST_BYTES = 1_024

_OWN_CHARACTERS = 5
"""So many letters and digits a password needs beside what the commonest ones are made of."""

_DISGUISES = str.maketrans("@0$5!3", "aossie")
"""What stands for a letter in `P@ssw0rd`."""

_COMMON = re.compile(
    "administrator|1q2w3e4r5t6y|qwertyuiop|asdfghjkl|1q2w3e4r|1qaz2wsx|password|passwort|baseball|changeme|football"
    "|iloveyou|keyrelay|princess|starwars|sunshine|superman|trustno1|whatever|letmein|welcome|zxcvbnm|batman|dragon|gateway"
    "|hello|master|monkey|qazwsx|qwertz|qwerty|secret|shadow|abcdef|azerty|access|admin|login|abc|pass|root|test|user"
    "|0123456789|9876543210|1234567890|123456789|987654321|12345678|87654321|1234567|123456|654321|12345|1234|4321|123"
    "|(?:19|20)[0-9]{2}"
)
"""Words, runs of keys and years; of those that begin alike the longest first."""

_MEMORY_KIB = 19 * 1024
_PASSES = 2

_Result = TypeVar("_Result")


def check_password(password: str, name: str) -> None:
    """Raise CallerError (400) for a password that would be guessed, or is too long to be one."""
    problem = ""
    if len(password) < SHORTEST:
        problem = f"has fewer than {SHORTEST} characters"
    elif len(password.encode()) > LONGEST_BYTES:
        problem = f"has more than {LONGEST_BYTES} bytes"
    elif name.lower() in password.lower() and len(password) < SHORTEST + len(name):
        problem = "is made of the name"
    elif len(set(password)) < SHORTEST // 2:
        problem = "repeats a few characters"
    elif _is_common(password):
        problem = "is one of the first that are tried: take some words that nobody would put together"
    if problem:
        raise CallerError(400, f"The password {problem}.", param="password", code="weak_password")


def _is_common(password: str) -> bool:
    """Whether little is left of it without the words and runs that the commonest passwords are made of."""
    rest, found = _COMMON.subn("", password.casefold())
    rest, disguised = _COMMON.subn("", rest.translate(_DISGUISES))  # runs of digits are out by now
    return found + disguised > 0 and sum(map(str.isalnum, rest)) < _OWN_CHARACTERS


class Passwords:
    """Hashes and checks passwords in threads of its own."""

    __slots__ = ("_executor", "_hasher", "_nobody", "_slots", "_waiting")

    def __init__(self) -> None:
        self._hasher = PasswordHasher(time_cost=_PASSES, memory_cost=_MEMORY_KIB, parallelism=1, type=Type.ID)
        self._executor = ThreadPoolExecutor(AT_ONCE, "keyrelay-password")
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobody = ""

    async def hash(self, password: str) -> str:
        """A hash in PHC form. Raise CallerError (503) when too many others wait."""
        return await self._run(self._hasher.hash, password)

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Whether it is the password of a hash; None, for a name that nobody has, takes as long. Raise CallerError."""
        return await self._run(self._matches, password, hashed)

    def close(self) -> None:
        """Let go of the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., _Result], *arguments: object) -> _Result:
        if self._waiting >= MAX_WAITING:
            raise CallerError(
                503,
                "Too many people sign in at once. Try again in a moment.",
                kind="service_unavailable_error",
                code="busy",
                headers=(("retry-after", "2"),),
            )
        self._waiting += 1
        try:
            async with self._slots:
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._executor, work, *arguments)
        finally:
            self._waiting -= 1

    def _matches(self, password: str, hashed: str | None) -> bool:
        if hashed is None and not self._nobody:
            self._nobody = self._hasher.hash("nobody has this password")
        try:
            self._hasher.verify(self._nobody if hashed is None else hashed, password)
        except (VerificationError, InvalidHashError):  # another password, or a hash that is none
            return False
        return hashed is not None

    def __repr__(self) -> str:
        return f"<Passwords {self._waiting} waiting>"
