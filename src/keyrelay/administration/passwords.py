"""Passwords: Argon2id, and no more than two at a time, since each takes 19 MiB.

The parameters are OWASP's smallest for Argon2id (19 MiB, two passes, one lane), so that two people can sign in at once
on a small machine.
"""

import asyncio
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
    if problem:
        raise CallerError(400, f"The password {problem}.", param="password", code="weak_password")


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
