"""Importing: what the files hold, what would become of it, and the one change that does it, all of it or nothing."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from keyrelay.administration.importing.found import Found, ImportFile, Known, Read, shortened
from keyrelay.administration.importing.plan import ImportLine, Plan, Surroundings, planned
from keyrelay.administration.service import Administration, Author
from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.administered import Administered
from keyrelay.core.errors import CallerError, StoreError
from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret

MAX_FILES = 20
_PEPPER_BYTES = 32


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be imported. `variables` are those that a LiteLLM configuration may name.

    `revision` is that of the state in which it was looked at before; None: any.
    """

    files: tuple[ImportFile, ...]
    variables: Mapping[str, str] = {}
    revision: int | None = None


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of each thing, as of a revision. `uncounted` says why what was used does not count yet."""

    lines: tuple[ImportLine, ...]
    revision: int
    uncounted: str = ""


class Importer:
    """Imports into what is administered. `generic` is the row of providers that the catalogue does not have.

    `read` reads one file, in a thread. `count` has the ledger count what was used before; it raises StoreError.
    """

    __slots__ = ("_addresses", "_administration", "_catalogue", "_count", "_epoch_s", "_generic", "_reader")

    def __init__(
        self,
        administration: Administration,
        catalogue: Mapping[str, ProviderRow],
        generic: str,
        *,
        read: Read,
        addresses: AddressPolicy,
        epoch_s: Callable[[], float],
        count: Callable[[], Awaitable[object]],
    ) -> None:
        self._administration = administration
        self._generic = catalogue[generic]
        self._catalogue = {name: row for name, row in catalogue.items() if name != generic}
        self._reader = read
        self._addresses = addresses
        self._epoch_s = epoch_s
        self._count = count

    async def look(self, wanted: Wanted, author: Author) -> Imported:
        """What would become of everything; nothing is changed. Raise as `do` does."""
        return await self._run(wanted, author, dry_run=True)

    async def do(self, wanted: Wanted, author: Author) -> Imported:
        """Import, all of it or nothing.

        Raise CallerError (409) when the state is not the one that was looked at, (422) when a whole file cannot be read
        or the configuration would not be valid, and StoreError.
        """
        return await self._run(wanted, author, dry_run=False)

    async def _run(self, wanted: Wanted, author: Author, *, dry_run: bool) -> Imported:
        files = await asyncio.to_thread(self._read, wanted)
        if not dry_run:
            _check_readable(files)
        pepper = Secret(os.urandom(_PEPPER_BYTES).hex())
        plans = list[tuple[int, Plan]]()

        def edit(state: Administered) -> Administered:
            if wanted.revision is not None and wanted.revision != state.revision:
                message = "Something was changed since this was looked at: look at it once more."
                raise CallerError(409, message, code="changed_meanwhile")
            plan = planned(files, state, self._around(author, pepper))
            plans.append((state.revision, plan))
            return plan.state

        if dry_run:
            await self._administration.preview(edit)
            revision, plan = plans[-1]
            return Imported(lines=plan.lines, revision=revision)
        state = await self._administration.change(edit, author, "import")
        _, plan = plans[-1]
        counts = any(line.kind == "usage" and line.outcome in {"new", "changed"} for line in plan.lines)
        return Imported(lines=plan.lines, revision=state.revision, uncounted=await self._counted() if counts else "")

    async def _counted(self) -> str:
        try:
            await self._count()
        except StoreError as error:
            return f"What was used counts from the next start on: {error}."
        return ""

    def _read(self, wanted: Wanted) -> list[Found]:
        own = frozenset(self._administration.configuration.snapshot.providers.keys() - self._catalogue.keys())
        known, now_s = Known(self._catalogue, self._generic, own), self._epoch_s()
        return [self._reader(each, known, wanted.variables, now_s) for each in wanted.files]

    def _around(self, author: Author, pepper: Secret) -> Surroundings:
        return Surroundings(
            snapshot=self._administration.configuration.snapshot,
            catalogue=self._catalogue,
            addresses=self._addresses,
            author=author.name,
            now_s=self._epoch_s(),
            pepper=pepper,
        )

    def __repr__(self) -> str:
        return f"<Importer into {self._administration!r}>"


def _check_readable(files: list[Found]) -> None:
    """Raise CallerError (422) for files of which nothing can be read: the rest is not imported without them."""
    told = [f"{shortened(each.name)}: {each.unreadable}" for each in files if each.unreadable]
    if told:
        message = f"Nothing was imported, because a file cannot be read. {' '.join(told)}"
        raise CallerError(422, message, param="files", code="unreadable_file")
