"""What a gateway would answer, read from its store while it does not run.

It is the gateway's own application, with the same views, composed in the process that asks, over a store that is opened
for reading; a question goes to it without a socket. Nothing is listened to, started, sent or written: there is no
journal, no chore, no probe, no Redis, and no vault. What is sealed stays sealed; of a key its entry says which secret
it is, and more is never shown. What the gateway has found out comes from its store as at a start of its own.
"""

import io
import secrets
import socket
from collections.abc import Mapping

import msgspec

from keyrelay.administration.entries import read_entry
from keyrelay.administration.known_keys import known_keys
from keyrelay.api.in_process import ask
from keyrelay.api.request_log import RequestLog
from keyrelay.api.siblings import Siblings
from keyrelay.bootstrap.administering import Administering
from keyrelay.bootstrap.application import Composition
from keyrelay.bootstrap.keeping import Keeping
from keyrelay.bootstrap.last_known import MOST_REQUESTS, believe, remember
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.configuration.values import Configuration
from keyrelay.configuration.watching import Load
from keyrelay.core.administered import Administered, AlertEntry, Entry, KeyEntry, Place
from keyrelay.core.alerts import ChannelSecret
from keyrelay.core.errors import StoreError
from keyrelay.core.identity import WorkerIdentity, instance_name
from keyrelay.core.redaction import Redactor
from keyrelay.core.secrets import SealedSecret, Secret
from keyrelay.core.stored_requests import RequestFilter
from keyrelay.settings import Settings, TokenCounterName
from keyrelay.storage.database import FILE_NAME, Database, open_database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.journal.absent import NoJournal
from keyrelay.storage.journal.recovery import Leftover, look_at
from keyrelay.storage.request_queries import RequestQueries
from keyrelay.storage.standing import last_written_s
from keyrelay.storage.versions import SchemaState, state_of, version_of

MOST_JOURNAL_BYTES = 16 * 1024 * 1024
"""So much of the journals is counted in; more would take longer than anybody waits for a list."""

_COUNTER: TokenCounterName = "heuristic"
_SECRET_BYTES = 32
_SHORT_BYTES = 4


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and how fresh it is.

    `as_of_s` (epoch) is when the store was last written to, 0 when it never was. `rows_waiting` rows are in journals
    and not in the store yet: they count for quotas, and are in no list. `bytes_waiting` of journals were not looked at.
    """

    status: int
    body: bytes
    as_of_s: float
    rows_waiting: int
    bytes_waiting: int


def has_store(settings: Settings) -> bool:
    """Whether there is anything to read: a database elsewhere, or its file in the data directory."""
    return bool(settings.database_url) or (settings.data_dir / FILE_NAME).is_file()


async def ask_store(configuration: Configuration, load: Load, target: str, accept: str) -> StoredAnswer:
    """What GET of a target (path and query) would be answered by the gateway of this configuration.

    `load` reads the configuration with what is administered in it. Raise StoreError when the store cannot be read, and
    ConfigurationError when what it holds is not valid here.
    """
    administered, as_of_s = await _administered(configuration)
    operator = Secret(secrets.token_urlsafe(_SECRET_BYTES))

    def looking(state: Administered) -> Configuration:
        return _looking(load(state), operator)

    composition = _Looking(looking(administered), looking, administered)
    try:
        await composition.learn()
        status, body = await ask(composition.application().control, target, accept, operator)
        return StoredAnswer(
            status=status,
            body=body,
            as_of_s=as_of_s,
            rows_waiting=composition.kept.rows_waiting,
            bytes_waiting=composition.kept.bytes_beyond,
        )
    finally:
        await composition.stop()


def _looking(configuration: Configuration, operator: Secret) -> Configuration:
    """A configuration for a process that only looks, and lets in the one who asks by a secret of this moment."""
    settings = msgspec.structs.replace(
        configuration.settings, operator_secret=operator, redis_url=Secret(""), token_counter=_COUNTER
    )
    return msgspec.structs.replace(configuration, settings=settings)


async def _administered(configuration: Configuration) -> tuple[Administered, float]:
    """What is administered, its secrets sealed, and when the store was last written to. Raise StoreError."""
    database = _open(configuration.settings)
    try:
        _refuse_other_versions(database, await database.read(version_of))
        revision, stored = await SqlEntryStore(database).read()
        as_of_s = await last_written_s(database)
    finally:
        await database.close()
    snapshot = configuration.snapshot
    keys = (*snapshot.keys, *(each.key for each in snapshot.withheld))
    held = {(key.provider_id, key.secret.fingerprint): key.secret for key in keys if key.secret is not None}
    entries, sealed = dict[Place, Entry](), dict[Place, Secret]()
    try:
        for each in stored:
            place, entry = read_entry(each)
            entries[place] = entry
            if each.sealed:
                sealed[place] = _sealed(entry, held)
    except ValueError as error:
        raise StoreError(f"what is administered cannot be read: {error}", lasting=True) from error
    return Administered(revision=revision, entries=entries, secrets=sealed), as_of_s


def _refuse_other_versions(database: Database, version: str) -> None:
    words = {
        SchemaState.EMPTY: "has no tables yet: start the gateway once",
        SchemaState.OLDER: "has tables of an older Keyrelay: start this one, or run `keyrelay db migrate`",
        SchemaState.NEWER: "has tables of a newer Keyrelay: ask with that version",
    }.get(state_of(version))
    if words is not None:
        raise StoreError(f"the database {database.place} {words}", lasting=True)


def _sealed(entry: Entry, held: Mapping[tuple[str, str], Secret]) -> Secret:
    """What stands for the secret of an entry; the secret itself where the environment holds the same."""
    unknown = secrets.token_hex(_SECRET_BYTES)
    if isinstance(entry, KeyEntry):
        text = f"{unknown}{entry.tail}" if entry.tail else secrets.token_hex(_SHORT_BYTES)
        return held.get((entry.provider, entry.fingerprint)) or SealedSecret(text, entry.fingerprint)
    if isinstance(entry, AlertEntry):
        has_password = entry.channel is not None and bool(entry.channel.user)
        return Secret(msgspec.json.encode(ChannelSecret(password=unknown if has_password else "")).decode())
    return Secret(unknown)


def _open(settings: Settings) -> Database:
    return open_database(settings.database_url.reveal(), settings.data_dir, reading=True)


class _KeepingStill(Keeping):
    """The store as it is, and the rows that journals still hold; nothing is moved from the one to the other."""

    def look(self) -> None:
        """Count what is in the journals. Raise StoreError."""
        self._reached = True
        self._left = self._left_over()

    @property
    def rows_waiting(self) -> int:
        """Rows in journals that the store does not have, as far as they were counted."""
        return sum(each.rows_waiting or 0 for each in self._leftovers)

    def _open_database(self, settings: Settings) -> Database:
        return _open(settings)

    def _open_leftovers(self, settings: Settings) -> tuple[Leftover, ...]:
        looked_at = list[Leftover]()
        room = MOST_JOURNAL_BYTES
        self.bytes_beyond = 0
        for journal in look_at(settings.data_dir):
            if journal.bytes_waiting <= room:
                room -= journal.bytes_waiting
                looked_at.append(journal)
            else:
                self.bytes_beyond += journal.bytes_waiting
                journal.close()
        return tuple(looked_at)

    def _open_journal(self, settings: Settings) -> NoJournal:
        del settings
        return NoJournal()


class _AdministeringStill(Administering):
    """What is administered, as it is; nobody else asks here."""

    def _open_local_secret(self, settings: Settings) -> Secret:
        del settings
        return Secret("")


class _Looking(Composition):
    """A gateway that answers questions about what is in its store, and does nothing else."""

    kept: _KeepingStill

    def __init__(self, configuration: Configuration, load: Load, administered: Administered) -> None:
        identity = WorkerIdentity(instance_name(socket.gethostname(), configuration.settings.port))
        super().__init__(configuration, identity, Siblings(), load)
        self.administering.watch.take(administered, None)
        self.administering.administration.unread = False

    async def learn(self) -> None:
        """Know what a gateway would know after its start, and what it has seen of its keys. Raise StoreError."""
        await self.snapshots.restore()
        rows = await RequestQueries(self.keeping.reader).page(RequestFilter(), None, MOST_REQUESTS, attempts=True)
        keys = known_keys(self.configuration, self.administering.administration.state)
        remember(rows, keys, self.keys.history)
        believe(self.keys.history.all(), keys, self.pool.health)
        self.kept.look()
        await self.keeping.tell(self._rebuilding(self.ledger))
        self.snapshots.follow()

    def _open_log(self) -> RequestLog:
        return RequestLog(io.StringIO(), as_json=True, redactor=Redactor(()))

    def _open_keeping(self) -> Keeping:
        self.kept = _KeepingStill(self.configuration, self.clock, self._report, snapshot=self._snapshot)
        return self.kept

    def _open_administering(self, load: Load | None, vault: VaultOpener) -> Administering:
        return self._administering_by(_AdministeringStill, load, vault, quiet=True)

    def _open_files(self) -> None:
        return None
