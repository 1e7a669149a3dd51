"""The master key in the operating system's keyring: Secret Service, KWallet, Keychain, Windows' Credential Locker.

Each key is an entry of its own, named by its mark, and no entry is ever written over: not every keyring does that in
one step. A ring says by which mark it is wrapped, so old and new key lie there side by side while one takes the other's
place, and whoever is killed in between leaves both. The old one stays: it opens backups made before.

A keyring may wait for somebody who unlocks it, or for a bus that is silent. So it is asked in a thread that nobody has
to wait for, and once for each key: a gateway that runs never asks again for what it has.
"""

import asyncio
import contextlib
import importlib
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from keyrelay.core.errors import MasterKeyError, WrongMasterKeyError
from keyrelay.vault.master_key import MasterKey

SERVICE = "keyrelay"
ANSWER_TIMEOUT_S = 30.0
"""Within it somebody can unlock a keyring; a worker has twice as long to start."""

REST_S = 10.0
"""After a refusal the keyring is left alone for so long: each question may show somebody a prompt."""

_SETTING = "KEYRELAY_MASTER_KEY_SOURCE"
_ELSEWHERE = f"or keep the master key elsewhere: {_SETTING}=file, or KEYRELAY_MASTER_KEY"
_MAX_DETAIL = 200
_Result = TypeVar("_Result")


class Keyring(Protocol):
    """What is used of the library `keyring`."""

    def get_password(self, service: str, username: str, /) -> str | None:
        """What an entry holds; None when there is no such entry."""
        ...

    def set_password(self, service: str, username: str, password: str, /) -> None:
        """Make an entry."""
        ...


def system_keyring() -> Keyring:
    """The keyring that the library finds best. Raise ImportError without the library, and whatever a keyring raises."""
    library: Any = importlib.import_module("keyring")
    found: Keyring = library.get_keyring()
    return found


class KeyringSource:
    """A `KeySource` over a keyring, which `opened` opens and which answers within `timeout_s` or not at all."""

    __slots__ = ("_known", "_opened", "_refusal", "_rest_s", "_rests_until_at", "_silent", "_timeout_s")

    def __init__(
        self,
        opened: Callable[[], Keyring] = system_keyring,
        *,
        timeout_s: float = ANSWER_TIMEOUT_S,
        rest_s: float = REST_S,
    ) -> None:
        self._opened = opened
        self._timeout_s = timeout_s
        self._rest_s = rest_s
        self._rests_until_at = 0.0
        self._refusal = ""
        self._known: dict[str, MasterKey] = {}
        self._silent: threading.Thread | None = None

    @property
    def setting(self) -> str:
        """The setting that says that the key is in the keyring."""
        return _SETTING

    @property
    def place(self) -> str:
        """Where keys are looked for, in words."""
        return "the operating system's keyring"

    def place_of(self, mark: str) -> str:
        """The entry of the key with this mark."""
        return f"{self.place} under {SERVICE} and {entry_of(mark)}"

    def remedy(self, mark: str) -> str:
        """The library's command that puts the key with this mark there."""
        return f"`keyring set {SERVICE} {entry_of(mark)} < FILE` puts it there. "

    async def look(self) -> None:
        """See that the keyring answers. Raise MasterKeyError."""
        await self._text("none")

    async def at_hand(self, mark: str) -> tuple[MasterKey, ...]:
        """The key with this mark; none when there is no such entry. Raise MasterKeyError."""
        if mark not in self._known:
            text = await self._text(mark)
            if text is None:
                return ()
            self._known[mark] = self._read(text, mark)
        return (self._known[mark],)

    async def first(self) -> MasterKey:
        """A fresh key: those that lie there belong to other rings. Raise MasterKeyError."""
        key = MasterKey.new()
        await self._keep(key)
        return key

    async def stand_by(self, old: MasterKey, new: MasterKey) -> str:
        """Keep the new key in an entry of its own. Raise MasterKeyError."""
        if not await self.at_hand(new.mark):
            await self._keep(new)
        return self.place_of(old.mark)

    async def settle(self, new: MasterKey) -> None:
        """The ring itself says which key is the right one."""

    def _read(self, text: str, mark: str) -> MasterKey:
        """The key in an entry. Raise MasterKeyError, and WrongMasterKeyError when it is another one."""
        try:
            key = MasterKey.of_text(text)
        except MasterKeyError as error:
            raise MasterKeyError(f"{self.place_of(mark)}: {error}. Restore it from a backup") from None
        if key.mark != mark:
            raise WrongMasterKeyError(
                f"{self.place_of(mark)}: there is the key {key.mark} (a mark, no key). Put the right one there from "
                "a backup"
            )
        return key

    async def _keep(self, key: MasterKey) -> None:
        """Make an entry, and see that it is there: there are keyrings that take everything and keep nothing."""
        text, entry = key.reveal(), entry_of(key.mark)
        await self._ask(lambda keyring: keyring.set_password(SERVICE, entry, text), telling=False)
        if await self._text(key.mark) != text:
            raise MasterKeyError(
                f"{self.place} has taken a new master key and does not give it back: mend it, {_ELSEWHERE}"
            )
        self._known[key.mark] = key

    async def _text(self, mark: str) -> str | None:
        return await self._ask(lambda keyring: keyring.get_password(SERVICE, entry_of(mark)))

    async def _ask(self, work: Callable[[Keyring], _Result], *, telling: bool = True) -> _Result:
        """What a keyring says. Raise MasterKeyError; `telling`: with the keyring's own words, which hold no secret."""
        if self._silent is not None and self._silent.is_alive():
            raise self._silence()
        if time.monotonic() < self._rests_until_at:
            raise MasterKeyError(self._refusal)
        try:
            return await self._answer(work, telling=telling)
        except MasterKeyError as error:
            self._refusal, self._rests_until_at = str(error), time.monotonic() + self._rest_s
            raise

    async def _answer(self, work: Callable[[Keyring], _Result], *, telling: bool) -> _Result:
        """What a keyring says within the time. Raise MasterKeyError."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Result] = loop.create_future()

        def ask() -> None:
            try:
                result = _asked(lambda: work(self._opened()), telling=telling)
            except MasterKeyError as error:
                _tell(loop, answer, partial(answer.set_exception, error))
            else:
                _tell(loop, answer, partial(answer.set_result, result))

        thread = threading.Thread(target=ask, name="keyring", daemon=True)
        thread.start()
        try:
            return await asyncio.wait_for(answer, self._timeout_s)
        except TimeoutError:
            self._silent = thread
            raise self._silence() from None
        except asyncio.CancelledError:  # nobody waits any more, but whoever it asks to unlock it may still do so
            self._silent = thread
            raise

    def _silence(self) -> MasterKeyError:
        return MasterKeyError(
            f"{self.place} has not answered yet (it has {self._timeout_s:g} s for that), maybe because it waits for "
            f"somebody who unlocks it: unlock it and do this again, {_ELSEWHERE}"
        )

    def __repr__(self) -> str:
        return f"<KeyringSource knows {', '.join(self._known) or 'nothing'}>"


def entry_of(mark: str) -> str:
    """The name of a key's entry."""
    return f"master-key-{mark}"


def _asked(work: Callable[[], _Result], *, telling: bool) -> _Result:
    """What a keyring says. Raise MasterKeyError, whatever it raises: its exceptions are its system's."""
    try:
        return work()
    except ImportError as error:
        if error.name != "keyring":
            raise _refusal(error, telling=telling) from None
        raise MasterKeyError(
            "the library for the operating system's keyring is not installed: `pip install 'keyrelay[keyring]'`, "
            f"{_ELSEWHERE}"
        ) from None
    except Exception as error:  # noqa: BLE001 - each system's keyring has exceptions of its own
        raise _refusal(error, telling=telling) from None


def _refusal(error: Exception, *, telling: bool) -> MasterKeyError:
    name = type(error).__name__
    said = f": {' '.join(str(error).split())[:_MAX_DETAIL]}" if telling and str(error) else ""
    what, remedy = _REFUSALS.get(name, _REFUSED)
    return MasterKeyError(f"{what} ({name}{said}): {remedy}, {_ELSEWHERE}")


_REFUSED = ("the operating system's keyring cannot be used", "see that it runs and lets Keyrelay in")
_REFUSALS = {
    "NoKeyringError": (
        "no keyring of the operating system is in reach, as in a service without a desktop session",
        "start Keyrelay in a session that has one",
    ),
    "KeyringLocked": ("the operating system's keyring is locked", "unlock it and do this again"),
}
"""What is wrong and what to do, by the library's exceptions."""


def _tell(loop: asyncio.AbstractEventLoop, answer: "asyncio.Future[_Result]", settle: Callable[[], None]) -> None:
    """Settle an answer from another thread, if anybody still waits for it."""
    with contextlib.suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(lambda: None if answer.done() else settle())
