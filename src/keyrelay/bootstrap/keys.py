"""Keys as people administer them, joined with the engine, the transport, the store and the vault."""

import contextlib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from keyrelay.administration.kept_tasks import KEEP_EVERY_S, KeptTasks
from keyrelay.administration.key_tests import KeyTests
from keyrelay.administration.key_timer import LOOK_EVERY_S, KeyTimer
from keyrelay.administration.keys import Keys
from keyrelay.administration.service import Administration
from keyrelay.administration.tasks import Tasks
from keyrelay.api.access import Access
from keyrelay.api.administration.key_adding import KeyAddingView
from keyrelay.api.administration.key_lines import KeyLister, Usage
from keyrelay.api.administration.key_testing import KeyTestingView
from keyrelay.api.administration.keys import KeysView
from keyrelay.api.administration.old_keys import OldKeysView
from keyrelay.api.administration.public_key import PublicKeyView
from keyrelay.api.administration.tasks import TasksView
from keyrelay.api.siblings import Siblings
from keyrelay.api.stored import Range, UsageReader
from keyrelay.api.usage import UsageOptions, UsagePlanner
from keyrelay.api.views import View
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.core.errors import CallerError, SealedValueError, StoreError, VaultError
from keyrelay.core.parcels import EncryptedSecret, PublicKey
from keyrelay.core.secrets import Secret
from keyrelay.core.usage_sums import Sums, SumsRow
from keyrelay.core.usage_views import Dimension, Group, UsageFilter
from keyrelay.engine.gateway import Gateway
from keyrelay.engine.housekeeping import Chore
from keyrelay.engine.key_health import KeyHealth
from keyrelay.engine.key_history import KeyHistory
from keyrelay.engine.probing import Prober
from keyrelay.ports import Ports
from keyrelay.storage.database import Database
from keyrelay.storage.error_queries import ErrorQueries
from keyrelay.storage.task_store import SqlTaskStore
from keyrelay.upstream.catalogue import load_catalogue

if TYPE_CHECKING:
    from keyrelay.vault.parcels import Parcels

MAX_KEYS_USED = 10_000
_USAGE_OF = Range("24h", None)
_ALL_TOGETHER = UsageOptions(None, "none")


class KeyAdministration:
    """Everything about keys, made of the parts of one gateway."""

    __slots__ = (
        "_access",
        "_clock",
        "_kept_tasks",
        "_keys",
        "_lister",
        "_tasks",
        "_timer",
        "_unsealer",
        "_usage",
        "health",
        "history",
        "tests",
    )

    def __init__(
        self,
        administration: Administration,
        access: Access,
        *,
        gateway: Gateway,
        ports: Ports,
        usage: "UsageOfKeys",
        vault: VaultOpener,
        database: Database,
        siblings: Siblings,
    ) -> None:
        self._access = access
        self._clock = clock = ports.clock
        self.history = KeyHistory()
        self.health = health = KeyHealth(
            gateway.pool, ports.ledger, self.history, clock, strangers=gateway.learner.strangers
        )
        prober = Prober(ports.upstream, clock)
        catalogue = load_catalogue()
        self._keys = Keys(administration, catalogue, prober=prober, health=health, epoch_s=clock.epoch_s)
        self._lister = KeyLister(self._keys, health, siblings=siblings, usage=usage, epoch_s=clock.epoch_s)
        self._tasks = Tasks(clock.epoch_s)
        self._kept_tasks = KeptTasks(self._tasks, SqlTaskStore(database), clock.epoch_s)
        self.tests = KeyTests(self._keys, self._tasks)
        self._timer = KeyTimer(administration, clock.epoch_s)
        self._unsealer = Unsealer(vault)
        self._usage = usage

    def views(self, siblings: Siblings) -> tuple[View, ...]:
        """The routes."""
        access, keys, lister, now = self._access, self._keys, self._lister, self._clock.epoch_s
        unseal = self._unsealer.open
        return (
            KeyAddingView(access, keys, lister, unseal=unseal, epoch_s=now),
            KeyTestingView(access, keys, lister, tests=self.tests, unseal=unseal, epoch_s=now),
            KeysView(access, keys, lister, now),
            OldKeysView(access, keys, lister, unseal=unseal, usage=self._usage.since),
            PublicKeyView(access, self._unsealer.public_key),
            TasksView(access, self._tasks, self._kept_tasks, siblings),
        )

    def chores(self) -> tuple[Chore, ...]:
        """What becomes of keys by the time alone, and of tasks."""
        return (
            Chore("looking at the times of keys", LOOK_EVERY_S, self._timer.look),
            Chore("writing down how far tasks are", KEEP_EVERY_S, self._kept_tasks.keep),
        )

    async def stop(self) -> None:
        """End the tasks."""
        await self._kept_tasks.close()

    def __repr__(self) -> str:
        return f"<KeyAdministration of {self._keys!r}>"


class UsageOfKeys:
    """What was used of each key; None while the store does not answer.

    Sums are by who answered. Calls that failed, after which another key was tried, are added to those of the key that
    they were made with; what was answered without a call is left out.
    """

    __slots__ = ("_epoch_s", "_failures", "_planner", "_reader")

    def __init__(
        self, reader: UsageReader, planner: UsagePlanner, failures: ErrorQueries, epoch_s: Callable[[], float]
    ) -> None:
        self._epoch_s = epoch_s
        self._failures = failures
        self._reader = reader
        self._planner = planner

    async def __call__(self) -> Usage | None:
        """Ask the store for the last 24 hours."""
        return await self._of(_USAGE_OF)

    async def since(self, from_s: float) -> Usage | None:
        """Ask the store for all since a time (epoch seconds); nothing since one that is to come."""
        return {} if from_s >= self._epoch_s() else await self._of(Range(f"{from_s:.0f}", None))

    async def _of(self, asked: Range) -> Usage | None:
        try:
            plan = await self._planner.plan(asked, _ALL_TOGETHER, bounded=True)
            sums = await self._reader.report(plan.query(UsageFilter(), Dimension.KEY), MAX_KEYS_USED)
            failed = await self._failures.failed_calls(plan.span.from_s)
        except (CallerError, StoreError):
            return None
        found = {(row.group.provider, row.group.name or ""): row for row in sums.groups}
        places = dict.fromkeys((*found, *failed))
        return {place: _with_calls(found.get(place), place, failed.get(place, 0)) for place in places}

    def __repr__(self) -> str:
        return f"<UsageOfKeys in {self._reader!r}>"


def _with_calls(row: SumsRow | None, place: tuple[str, str], failed: int) -> SumsRow:
    """The sums of a key by its calls, so many of which failed and are not among those of requests."""
    provider, label = place
    row = row or SumsRow(0, Group(label, provider), Sums())
    sums = row.sums
    calls = msgspec.structs.replace(sums, requests=sums.requests - sums.cached + failed, failed=sums.failed + failed)
    return msgspec.structs.replace(row, sums=calls)


class Unsealer:
    """Opens what browsers have encrypted; the vault is opened when that is first asked for."""

    __slots__ = ("_vault",)

    def __init__(self, vault: VaultOpener) -> None:
        self._vault = vault

    async def public_key(self) -> PublicKey:
        """The vault's public key. Raise StoreError and VaultError."""
        return (await self._parcels()).public_key()

    async def open(self, parcel: EncryptedSecret) -> Secret:
        """What is in a parcel. Raise CallerError (400, 503)."""
        try:
            parcels = await self._parcels()
        except StoreError:
            message = "The store does not answer, and so nothing that is encrypted can be opened."
            raise CallerError(
                503,
                message,
                kind="service_unavailable_error",
                code="store_unavailable",
                headers=(("retry-after", "2"),),
            ) from None
        try:
            return await self._opened(parcels, parcel)
        except SealedValueError as error:
            message = f"encrypted: {error}."
            raise CallerError(400, message, param="encrypted", code="not_opened") from None

    async def _opened(self, parcels: "Parcels", parcel: EncryptedSecret) -> Secret:
        """What is in a parcel, which may be for a term that the ring has only now. Raise SealedValueError."""
        try:
            return parcels.open(parcel)
        except SealedValueError:
            with contextlib.suppress(StoreError, VaultError):
                await self._vault.refresh()
            return parcels.open(parcel)

    async def _parcels(self) -> "Parcels":
        vault = await self._vault()
        made: Parcels = importlib.import_module("keyrelay.vault.parcels").Parcels(vault)
        return made

    def __repr__(self) -> str:
        return f"<Unsealer over {self._vault!r}>"
