"""What becomes of keys by the time alone: one that has expired goes out of service, an old one is retired."""

from collections.abc import Callable

from keyrelay.administration.service import KEYRELAY, Administration
from keyrelay.core.administered import Administered, KeyEntry

LOOK_EVERY_S = 1.0


class KeyTimer:
    """Looks at the keys' times once a second; each process for itself, since each has a configuration of its own."""

    __slots__ = ("_administration", "_epoch_s", "_looked_s")

    def __init__(self, administration: Administration, epoch_s: Callable[[], float]) -> None:
        self._administration = administration
        self._epoch_s = epoch_s
        self._looked_s = epoch_s()

    async def look(self) -> None:
        """Do what is due. Raise StoreError when it cannot be kept."""
        now_s, last_s = self._epoch_s(), self._looked_s
        entries = self._administration.state.all(KeyEntry)
        if any(0.0 < entry.retire_s <= now_s for entry in entries):
            await self._administration.change(retiring_due(now_s), KEYRELAY, "retire key")
        if any(last_s < entry.expires_s <= now_s for entry in entries):
            await self._administration.reread()
        self._looked_s = now_s

    def __repr__(self) -> str:
        return f"<KeyTimer of {self._administration!r}>"


def retiring_due(now_s: float) -> Callable[[Administered], Administered]:
    """Forget all keys whose time to be retired has come; nothing where another process has done so."""

    def edit(state: Administered) -> Administered:
        for entry in state.all(KeyEntry):
            if 0.0 < entry.retire_s <= now_s:
                state = state.without("key", entry.id)
        return state

    return edit
