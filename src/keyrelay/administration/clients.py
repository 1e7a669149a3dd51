"""The use cases of clients: who there is, from wherever they come, and changing those that the store keeps."""

import secrets
from collections.abc import Awaitable, Callable, Mapping

from keyrelay.administration.client_edits import (
    LONGEST_GRACE_S,
    Change,
    ClientFields,
    Edit,
    adding_client,
    changing_client,
    never_resets,
    not_found,
    removing_client,
    resetting_client,
    revoking_client,
    rotating_client,
    taken,
    wrong,
)
from keyrelay.administration.service import Administration, Author
from keyrelay.configuration.client_file import FILE_NAME
from keyrelay.configuration.first_run import new_secret
from keyrelay.configuration.stored import STORE
from keyrelay.configuration.values import Configuration
from keyrelay.core.administered import ClientEntry
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret
from keyrelay.quota.values import Amounts

GRACE_S = 86_400.0
_PEPPER_BYTES = 32
_NAMED = "clients."

UsedBefore = Callable[[str], Awaitable[Amounts]]
"""What a client has ever been charged with, by its label. Raise StoreError."""


class Clients:
    """Makes and changes clients. `configuration` is the one in force; `epoch_s` is the present time.

    All that changes something raises CallerError and StoreError, as `Administration.change` does.
    """

    __slots__ = ("_administration", "_configuration", "_epoch_s", "_used_before")

    def __init__(
        self,
        administration: Administration,
        configuration: Callable[[], Configuration],
        used_before: UsedBefore,
        epoch_s: Callable[[], float],
    ) -> None:
        self._administration = administration
        self._configuration = configuration
        self._used_before = used_before
        self._epoch_s = epoch_s

    def entries(self) -> Mapping[str, ClientEntry]:
        """Those that the store keeps, by label."""
        return {entry.label: entry for entry in self._administration.state.all(ClientEntry)}

    def sources(self) -> Mapping[str, str]:
        """Where each client that is let in comes from, by label."""
        named = (value for value in self._configuration().values if value.name.startswith(_NAMED))
        return {value.name.removeprefix(_NAMED): value.source for value in named}

    async def add(self, label: str, fields: ClientFields, author: Author) -> tuple[ClientEntry, Secret]:
        """Make a client; its secret is told this once."""
        source = self.sources().get(label, STORE)
        if source != STORE:
            raise taken(label, source)
        secret, change = new_secret(), await self._change(author, label, new=fields)
        edit = adding_client(label, fields, change, secret=secret, pepper=_new_pepper())
        return await self._do(label, edit, author, "make client"), secret

    async def edit(self, label: str, fields: ClientFields, author: Author) -> ClientEntry:
        """Say something else of a client."""
        self._check(label)
        change = await self._change(author, label, new=fields)
        return await self._do(label, changing_client(label, fields, change), author, "change client")

    async def remove(self, label: str, author: Author) -> None:
        """Forget a client, whose secrets are then refused."""
        self._check(label)
        await self._administration.change(removing_client(label), author, "remove client")

    async def rotate(self, label: str, grace_s: float, author: Author) -> tuple[ClientEntry, Secret]:
        """Give a client another secret; the one that it has holds for `grace_s` more."""
        self._check(label)
        if not 0 <= grace_s <= LONGEST_GRACE_S:
            raise wrong("grace_s", f"is not from 0 to {LONGEST_GRACE_S:.0f}.")
        secret, change = new_secret(), await self._change(author, label)
        edit = rotating_client(label, change, secret=secret, pepper=_new_pepper(), grace_s=grace_s)
        return await self._do(label, edit, author, "rotate client"), secret

    async def revoke(self, label: str, author: Author) -> ClientEntry:
        """Refuse all secrets of a client from now on."""
        self._check(label)
        change = await self._change(author, label)
        return await self._do(label, revoking_client(label, change), author, "revoke client")

    async def reset(self, label: str, limit: str, author: Author) -> ClientEntry:
        """Begin the count of one of a client's limits anew, or of all."""
        entry = self._check(label)
        change = await self._change(author, label, new=ClientFields(limits=entry.limits))
        return await self._do(label, resetting_client(label, change, limit), author, "reset client")

    def _check(self, label: str) -> ClientEntry:
        """The client of the store. Raise CallerError (404, 409)."""
        entry = self._administration.state.get(ClientEntry, label)
        if entry is not None:
            return entry
        source = self.sources().get(label)
        if source is None:
            raise not_found(label)
        how = f"with `keyrelay clients remove {label}`" if source == FILE_NAME else "there"
        message = f"The client {label!r} is of {source}: change it {how}."
        raise CallerError(409, message, param="label", code="not_administered")

    async def _change(self, author: Author, label: str, *, new: ClientFields | None = None) -> Change:
        """When, by whom, and, if a limit never resets, what had been used before."""
        change = Change(now_s=self._epoch_s(), author=author.name)
        limits = None if new is None else new.given.get("limits")
        if isinstance(limits, tuple) and never_resets(ClientEntry(label=label, digest="", limits=limits)):
            return Change(now_s=change.now_s, author=change.author, before=await self._used_before(label))
        return change

    async def _do(self, label: str, edit: Edit, author: Author, action: str) -> ClientEntry:
        state = await self._administration.change(edit, author, action)
        entry = state.get(ClientEntry, label)
        if entry is None:
            raise CallerError(409, f"The client {label!r} is gone meanwhile.", code="conflict")
        return entry

    def __repr__(self) -> str:
        return f"<Clients of {self._administration!r}>"


def _new_pepper() -> Secret:
    return Secret(secrets.token_hex(_PEPPER_BYTES))
