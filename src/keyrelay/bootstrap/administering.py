"""What is administered, joined with the configuration in force, the store and the vault."""

from collections.abc import Callable

import msgspec

from keyrelay.administration.passwords import Passwords
from keyrelay.administration.people import (
    SET_UP,
    SET_UP_LASTS_S,
    is_set_up_void,
    new_token,
    offering_set_up,
    voiding_set_up,
)
from keyrelay.administration.service import FOLLOW_EVERY_S, KEYRELAY, Administration
from keyrelay.administration.sessions import Sessions
from keyrelay.api.access import Access
from keyrelay.api.administration.audit import AuditView
from keyrelay.api.administration.local_proof import LocalProofView
from keyrelay.api.administration.people import PeopleView
from keyrelay.api.administration.session import SessionView
from keyrelay.api.callers import Callers
from keyrelay.api.health import Check
from keyrelay.api.views import View
from keyrelay.bootstrap.parts import trusted_proxies
from keyrelay.bootstrap.vault import VaultOpener
from keyrelay.configuration.local_secret import ensure_local_secret
from keyrelay.configuration.values import Configuration
from keyrelay.configuration.watching import Changes, Load, Watch
from keyrelay.core.administered import Administered, TokenEntry
from keyrelay.core.errors import CallerError, ConfigurationError, StoreError, VaultError
from keyrelay.core.moments import rfc3339
from keyrelay.core.secrets import Secret
from keyrelay.engine.events import Events, Topic
from keyrelay.engine.housekeeping import Chore
from keyrelay.ports import Clock
from keyrelay.settings import Settings
from keyrelay.storage.database import Database
from keyrelay.storage.entry_store import SqlEntryStore
from keyrelay.storage.session_store import SqlSessionStore

_OF_THE_CONFIGURATION = frozenset({"key", "provider", "route", "client", "setting"})
_SOURCE = "keyrelay.configuration"

IGNORED = "what the files hold now is not valid, and is left out of account until that is mended"
"""Said of `.env`, `keyrelay.toml` and files of secrets."""

BEHIND = "what is administered does not fit the files here, and is not all in force until either is mended"
"""Said of what the store has."""


class Administering:
    """The watch over the configuration, and the administration that changes it.

    `apply` has the application go on with another configuration; `report` takes level, text and source. `quiet`: it is
    not this process that says what has changed.
    """

    def __init__(
        self,
        configuration: Configuration,
        load: Load | None,
        database: Database,
        *,
        vault: VaultOpener,
        clock: Clock,
        apply: Callable[[Configuration], None],
        report: Callable[[str, str, str], None],
        quiet: bool,
    ) -> None:
        self._apply = apply
        self._report = report
        self._quiet = quiet
        self._vault = vault
        self.events: Events | None = None
        if load is None:
            configuration, load = msgspec.structs.replace(configuration, again=None), _unchangeable(configuration)
        self.watch = Watch(configuration, load, take=self._take, refuse=self._refuse)
        self.administration = Administration(
            SqlEntryStore(database), self.watch, vault=vault, clock=clock, refresh=vault.refresh
        )
        self._clock = clock
        self._passwords = Passwords()
        self.callers = Callers(configuration.snapshot, clock.epoch_s)
        self.access = Access(
            self.callers,
            self.administration,
            Sessions(SqlSessionStore(database), self.administration, self._passwords, clock),
            clock,
            operator_secret=configuration.settings.operator_secret,
            local=self._open_local_secret(configuration.settings),
            proxies=trusted_proxies(configuration.settings),
        )

    def views(self) -> tuple[View, ...]:
        """The routes by which people administer."""
        access, administration, now = self.access, self.administration, self._clock.epoch_s
        return (
            AuditView(administration, access),
            LocalProofView(access),
            SessionView(access, administration, self._passwords, now),
            PeopleView(access, administration, self._passwords, now),
        )

    def chore(self) -> Chore:
        """Following what other processes change."""
        return Chore("following what is administered", FOLLOW_EVERY_S, self._follow)

    async def _follow(self) -> None:
        """Follow, and take the set-up code away as soon as it is of no use."""
        await self.administration.follow()
        if is_set_up_void(self.administration.state, operated=self.access.operated):
            await self.administration.change(voiding_set_up, KEYRELAY, "end set-up")

    async def open(self) -> None:
        """Take what is administered before the first request is served.

        A store that does not answer is done without until it does. Raise ConfigurationError for what a person has to
        mend first: secrets that the master key at hand does not open.
        """
        self.watch.hushed = True
        try:
            await self.administration.follow()
        except VaultError as error:
            raise ConfigurationError(self._vault.setting, f"{error}.") from None
        except StoreError as error:
            if error.lasting:
                raise ConfigurationError("KEYRELAY_DATABASE_URL", str(error)) from None
            self._report("warning", f"what is administered is not known yet: {error}", _SOURCE)
        finally:
            self.watch.hushed = False

    async def offer_set_up(self) -> Secret:
        """A code with which the first administrator can be made; empty when there is somebody with a role already."""
        if self.access.governed:
            return Secret("")
        now_s = self._clock.epoch_s()
        code, token = new_token(SET_UP, "administrator", now_s, expires_s=now_s + SET_UP_LASTS_S)
        try:
            state = await self.administration.change(offering_set_up(token), KEYRELAY, "offer set-up")
        except (StoreError, VaultError, CallerError):  # nobody can be made now; all else can be served
            return Secret("")
        return code if state.get(TokenEntry, SET_UP) == token else Secret("")

    def check(self) -> Check:
        """Whether files and store are in force as they are, for readiness; the log has what is wrong."""
        if not self.watch.ignored:
            return Check("configuration", ok=True, detail="in force as it is")
        return Check("configuration", ok=True, detail=self._left_out, degraded=True)

    def notice(self) -> str:
        """What who changes something has to be told; empty for nothing."""
        return f"{self._left_out}: {self.watch.ignored}" if self.watch.ignored else ""

    @property
    def _left_out(self) -> str:
        return BEHIND if self.watch.behind else IGNORED

    def close(self) -> None:
        """Let go of threads."""
        self._passwords.close()

    def _open_local_secret(self, settings: Settings) -> Secret:
        """By which commands of this machine are known."""
        return ensure_local_secret(settings.data_dir)

    def _take(self, configuration: Configuration, changes: Changes) -> None:
        self.callers.configure(configuration.snapshot)
        self._apply(configuration)
        if not (self._quiet or self.watch.hushed):
            self._report("info", str(changes), _SOURCE)
        if self.events is not None and self.events.wants(Topic.CONFIGURATION):
            document = {"time": rfc3339(self._clock.epoch_s()), "message": str(changes)}
            self.events.publish(Topic.CONFIGURATION, msgspec.json.encode(document))

    def _refuse(self, text: str) -> None:
        self._report("error", f"the change is refused, all stays as it is: {text}", _SOURCE)

    def __repr__(self) -> str:
        return f"<Administering {self.administration!r}>"


def _unchangeable(configuration: Configuration) -> Load:
    """What reads the configuration where nobody has said how that is done."""

    def load(administered: Administered) -> Configuration:
        if any(kind in _OF_THE_CONFIGURATION for kind, _ in administered.entries):
            raise ConfigurationError("store", "what is administered cannot be taken by this process.")
        return configuration

    return load
