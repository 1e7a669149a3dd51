"""Watches the files of the configuration while Keyrelay runs: a valid change is taken, an invalid one refused.

The few files are looked at four times a second (`stat`, a few microseconds each). To be notified by the system would
be a little sooner, and miss what is written on another host, or behind a symbolic link or a directory that is exchanged
(as Kubernetes does it). A file that is being written is left alone until two looks in a row find it the same.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from keyrelay.configuration.shutting_out import curtailed, only_shuts_out
from keyrelay.configuration.values import Configuration
from keyrelay.core.administered import NOTHING, Administered
from keyrelay.core.errors import ConfigurationError

POLL_S = 0.25
SETTLE_S = 0.1
RETRY_S = 5.0
"""How often a refused configuration is tried again: what it misses may be in a file that it could not name."""

_MOST_NAMES = 20

AFTER_RESTART = frozenset(
    {
        "host",
        "port",
        "data_dir",
        "drain_timeout_s",
        "max_body_depth",
        "circuit_failures",
        "circuit_open_s",
        "circuit_open_max_s",
        "completion_percentile",
        "connect_timeout_s",
        "max_connections_per_provider",
        "upstream_proxy",
        "no_proxy",
        "allow_private_addresses",
        "allowed_networks",
        "database_url",
        "keep_requests_days",
        "keep_minutes_days",
        "keep_hours_days",
        "keep_audit_days",
        "keep_alerts_days",
        "alert_interval_s",
        "keep_texts",
        "keep_texts_days",
        "keep_texts_max_bytes",
        "master_key",
        "master_key_file",
        "master_key_source",
        "journal_max_bytes",
        "journal_fsync",
        "workers",
        "redis_url",
        "redis_prefix",
        "redis_timeout_s",
        "worker_expiry_s",
        "cache",
        "cache_generate",
        "cache_scope",
        "cache_tools",
        "cache_ttl_s",
        "cache_max_bytes",
        "cache_max_answer_bytes",
        "state_ttl_s",
        "state_max_bytes",
        "token_counter",
    }
)
"""Settings whose change is only noticed at the next start."""

Print = tuple[int, int, int] | None
"""What tells one state of a file from another: time of change, size, inode; None when there is no file."""


class Changes(msgspec.Struct, frozen=True):
    """What differs between two configurations, by the names of values: taken at once, or after a restart."""

    taken: tuple[str, ...]
    after_restart: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.taken or self.after_restart)

    def __str__(self) -> str:
        parts = [f"configuration changed: {_listed(self.taken)}"] if self.taken else []
        if self.after_restart:
            parts.append(f"in force after a restart: {_listed(self.after_restart)}")
        return "; ".join(parts)


def changes_between(old: Configuration, new: Configuration) -> Changes:
    """What differs, in the order of names."""
    names = _differing(_shown(old), _shown(new)) | _differing(_secrets(old), _secrets(new))
    names |= {f"settings.{name}" for name in _differing(_settings(old), _settings(new))}
    later = {name for name in names if name.removeprefix("settings.") in AFTER_RESTART}
    return Changes(tuple(sorted(names - later)), tuple(sorted(later)))


def _shown(configuration: Configuration) -> dict[str, object]:
    return {each.name: each.value for each in configuration.values}


def _secrets(configuration: Configuration) -> dict[str, object]:
    """What is not shown whole: a key may change behind the four characters that are."""
    snapshot = configuration.snapshot
    every = (*snapshot.keys, *(each.key for each in snapshot.withheld))
    keys = {f"providers.{key.provider_id}.keys.{key.label}": key.secret for key in every}
    clients: dict[str, object] = {}
    for client in snapshot.clients.values():
        name = f"clients.{client.label}"
        clients[name] = (clients.get(name), client)  # one may have several secrets
    return {**keys, **clients}


def _settings(configuration: Configuration) -> dict[str, object]:
    return msgspec.structs.asdict(configuration.settings)


def _differing(old: Mapping[str, object], new: Mapping[str, object]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


Load = Callable[[Administered], Configuration]
"""Reads the configuration anew, with what is administered in it. Raise ConfigurationError when it is not valid."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that can be taken, and what is administered in it.

    `ignored` says why the files as they are now are left out of account; empty when they are not. The configuration
    then has what they held when they were valid last.
    """

    configuration: Configuration
    administered: Administered
    ignored: str = ""


class Watch:
    """Holds the configuration in force, and looks at its files.

    `load` is called in a thread; `take` gets each configuration that is valid and differs, with what differs; `refuse`
    gets a text, once, when one is not valid: then it goes on with what the files held before, and `ignored` says why.
    Neither may raise. Who puts what is `administered` into it holds the `lock` meanwhile. While it is `hushed`, what
    changes belongs to a start, and is nothing to tell anybody of.
    """

    def __init__(
        self,
        configuration: Configuration,
        load: Load,
        *,
        take: Callable[[Configuration, Changes], None],
        refuse: Callable[[str], None],
    ) -> None:
        self.configuration = configuration
        self.administered = self._in_force = NOTHING
        self.lock = asyncio.Lock()
        self._load = load
        self._take = take
        self._refuse = refuse
        self._prints = self._look()
        self.ignored = ""
        self.hushed = False
        self._retry_at = 0.0

    @property
    def behind(self) -> bool:
        """Whether the configuration in force has not all of what is administered: with the files it is not valid."""
        return self._in_force is not self.administered

    async def run(self) -> None:
        """Watch until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(POLL_S)
            prints = self._look()
            if prints != self._prints:
                await self._settled(prints)
                await self.look_again()
            elif self.ignored and loop.time() >= self._retry_at:
                await self.look_again()

    async def look_again(self) -> bool:
        """Read the configuration whether a file has changed or not; False when it is refused."""
        async with self.lock:
            return await self._read_anew()

    async def read_with(self, administered: Administered) -> Reading:
        """What the configuration would be with this administered. Raise ConfigurationError when that is not valid.

        It is read with what the files held before when they are not valid now, with or without this. And who is only
        shut out by it, is so even when nothing else of what is administered can be taken.
        """
        try:
            return Reading(configuration=await asyncio.to_thread(self._load, administered), administered=administered)
        except ConfigurationError as error:
            fault = error
        again = self.configuration.again
        standing = fault if administered is self.administered else await self._fault()
        if again is None or standing is None:
            raise fault
        try:
            configuration = await asyncio.to_thread(again, administered)
        except ConfigurationError:
            if administered is not self.administered and not only_shuts_out(self.administered, administered):
                raise
            administered = curtailed(self._in_force, administered)
            configuration = await asyncio.to_thread(again, administered)
        return Reading(configuration=configuration, administered=administered, ignored=str(standing))

    async def _fault(self) -> ConfigurationError | None:
        """What is wrong with the files as they are now, with what is administered now."""
        try:
            await asyncio.to_thread(self._load, self.administered)
        except ConfigurationError as error:
            return error
        return None

    def take(self, administered: Administered, reading: Reading | None) -> None:
        """Go on with what `read_with` has given; None: with the one in force, which has none of what is another now."""
        if reading is None:
            self._in_force = self._in_force if self.behind else administered
            self.administered = administered
            return
        whole = reading.administered.entries == administered.entries
        self.administered = administered
        self._note(reading.ignored)
        self._go_on(msgspec.structs.replace(reading, administered=administered) if whole else reading)

    async def take_administered(self, administered: Administered) -> bool:
        """Go on with what another process has changed; False when that is refused here."""
        before, self.administered = self.administered, administered
        try:
            return await self._read_anew()
        except BaseException:  # cancelled: it is not in force, and so is to be looked for once more
            self.administered = before
            raise

    async def _read_anew(self) -> bool:
        self._prints = prints = self._look()
        try:
            new = await self.read_with(self.administered)
        except ConfigurationError as error:
            self._note(str(error))
            return False
        self._note(new.ignored)
        self._go_on(new, prints)
        return not new.ignored

    def _note(self, ignored: str) -> None:
        """Remember why the files are left out of account, and say so once."""
        if ignored:
            self._retry_at = asyncio.get_running_loop().time() + RETRY_S
            if ignored != self.ignored:
                self._refuse(ignored)
        self.ignored = ignored

    def _go_on(self, reading: Reading, prints: Mapping[Path, Print] = MappingProxyType({})) -> None:
        self._in_force, new = reading.administered, reading.configuration
        changes = changes_between(self.configuration, new)
        if reading.ignored and not changes:
            return
        known = {**self._prints, **prints}
        self.configuration = new
        self._prints = {path: known[path] if path in known else _print_of(path) for path in new.files}
        if changes:
            self._take(new, changes)

    async def _settled(self, prints: dict[Path, Print]) -> None:
        """Return once the files are as they were a moment before."""
        while True:
            await asyncio.sleep(SETTLE_S)
            last, prints = prints, self._look()
            if prints == last:
                return

    def _look(self) -> dict[Path, Print]:
        return {path: _print_of(path) for path in self.configuration.files}

    def __repr__(self) -> str:
        return f"<Watch of {len(self._prints)} files{', the last change refused' if self.ignored else ''}>"


def _print_of(path: Path) -> Print:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
