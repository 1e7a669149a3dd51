"""Where changes of keys are cut off: a home and a database that can be put back, and what there is in them."""

import contextlib
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from keyrelay.administration.entries import read_all
from keyrelay.bootstrap.engine import SystemClock
from keyrelay.bootstrap.secret_keeping import SecretKeeping
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.configuration import load_settings
from keyrelay.core.administered import KeyEntry
from keyrelay.settings import Settings
from keyrelay.simulator import Simulator
from keyrelay.storage.database import Database, open_database
from keyrelay.storage.entry_store import SqlEntryStore
from tests.api.served import OPERATOR_SECRET
from tests.e2e.harness import environment
from tests.faults.key_operations import ENV, Standing
from tests.servers.postgres_server import PostgresServer

DATA = Path(".local/share/keyrelay")

_PATIENCE_S = 20.0
_MOST_AUDITED = 1_000


class Ground:
    """A home and, with a server, a database in it, which can be put back to how they were kept."""

    def __init__(self, directory: Path, simulator: Simulator, server: PostgresServer | None) -> None:
        self.home = directory / "home"
        self.scratch = directory
        self.simulator = simulator
        self._kept = directory / "kept"
        self._server = server
        self._work, self._copy = f"work_{directory.name}", f"kept_{directory.name}"
        more = {"KEYRELAY_OPERATOR_SECRET": OPERATOR_SECRET, "KEYRELAY_LOG_LEVEL": "error"}
        if server is not None:
            more["KEYRELAY_DATABASE_URL"] = server.url(self._work)
        self.environ = environment(simulator, {"groq": (), "openai": ()}, **more)

    @property
    def settings(self) -> Settings:
        return load_settings({"HOME": str(self.home), **self.environ}, directory=self.home, overrides={})

    def clear(self) -> None:
        """Have nothing there."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        (self.home / "old.env").write_text(ENV)
        self._database(self._work, "template0")

    def keep(self) -> None:
        """Keep what is there."""
        shutil.rmtree(self._kept, ignore_errors=True)
        shutil.copytree(self.home, self._kept)
        self._database(self._copy, self._work)

    def restore(self) -> None:
        """Have what was kept."""
        shutil.rmtree(self.home)
        shutil.copytree(self._kept, self.home)
        self._database(self._work, self._copy)

    def _database(self, name: str, template: str) -> None:
        if self._server is not None:
            self.settle()
            self._server.execute("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self._server.execute("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")

    def settle(self) -> None:
        """Wait until a server has noticed that a client is dead: until then it may do what it was told last."""
        asked = f"SELECT count(*) FROM pg_stat_activity WHERE datname IN ('{self._work}', '{self._copy}')"
        deadline_at = time.monotonic() + _PATIENCE_S
        while self._server is not None and self._server.execute("postgres", asked) != "0":
            assert time.monotonic() < deadline_at, "PostgreSQL keeps the connections of a process that is dead"
            time.sleep(0.02)

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Database]:
        opened = open_database(self.settings.database_url.reveal(), self.settings.data_dir)
        try:
            yield opened
        finally:
            await opened.close()

    async def standing(self) -> Standing:
        """Everything that a change may change, every secret opened."""
        self.settle()
        async with self.database() as database:
            store = SqlEntryStore(database)
            _, stored = await store.read()
            audit = await store.audit(limit=_MOST_AUDITED)
            keeping = await SecretKeeping(database, self.settings).standing()
            opener = VaultOpener(self.settings, database, SystemClock())
            vault = await opener() if any(each.sealed for each in stored) else None
            entries, secrets = read_all(stored, vault)
        shown = {}
        for place, entry in entries.items():
            document = _timeless(msgspec.to_builtins(entry))
            secret = secrets.get(place)
            if isinstance(entry, KeyEntry) and entry.fingerprint != (secret and secret.fingerprint):
                document = f"{document}, whose secret is another one"
            mark = f"{secret is not None}" if place[0] != "key" or secret is None else secret.fingerprint
            shown["/".join(place)] = f"{document} {mark}"
        lines = [(each.at_ms, f"{each.action}: {each.kind} {each.entry}".strip()) for each in audit]
        return Standing(
            entries=shown,
            audit=tuple(text for _, text in sorted(lines)),  # those of one change have one time
            master=keeping.master,
            known=len(keeping.known),
            terms=tuple((term.number, term.values) for term in keeping.terms),
            files=tuple(sorted(path.name for path in (self.home / DATA).glob("*master.key*"))),
            problem=keeping.problem,
            secrets={
                entry.id: secrets[place].reveal()
                for place, entry in entries.items()
                if isinstance(entry, KeyEntry) and entry.enabled
            },
        )


def _timeless(document: dict[str, Any]) -> str:
    """A document in which times and digests only say that they are there."""
    hidden = {"digest", "previous"}
    shown = {name: bool(value) if name in hidden or name.endswith("_s") else value for name, value in document.items()}
    return msgspec.json.encode(shown, order="deterministic").decode()
