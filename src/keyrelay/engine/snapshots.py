"""What was found out, kept over a restart: learned limits, merged accounts, resting keys, calibrations.

All of it is one value in MessagePack behind a version and a checksum, written every SAVE_EVERY_S when it has changed,
and once at the stop. It is a convenience: what is missing, damaged or from another version is found out again, and a
start never fails for it.

A rest that only a person can end is not kept: to start anew is a person's act, and costs one call to find out again.
A key whose secret has changed since is not resting.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from keyrelay.core.errors import StoreError
from keyrelay.core.failures import Failure
from keyrelay.engine.learner import Learner
from keyrelay.engine.merging import regroup_keys
from keyrelay.engine.pool import Pool
from keyrelay.ports import Clock
from keyrelay.quota.accuracy import CalibrationState
from keyrelay.quota.learning import FORGOTTEN, Fact, Merge
from keyrelay.routing.health import KEY_PREFIX, Health

NAME = "findings"
"""Under this name the store keeps it."""

VERSION = 1
SAVE_EVERY_S = 30.0

_VERSION_BYTES = 2
_HEAD_BYTES = 18


class StateStore(Protocol):
    """Keeps a few small values by name, each as a whole."""

    async def read_state(self, name: str) -> bytes | None:
        """The value last written; None when there is none. StoreError when it cannot be read."""
        ...

    async def write_state(self, name: str, value: bytes) -> None:
        """Keep the value in place of the one before. StoreError when that cannot be done."""
        ...


class RestingCell(msgspec.Struct, frozen=True, array_like=True):
    """A scope that rests until `until_s` (epoch); `secret` is the fingerprint of the key that it is about, if it is."""

    name: str
    until_s: float
    failure: Failure
    strikes: int
    secret: str = ""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """All that is kept, as of `at_s` (epoch)."""

    at_s: float = 0.0
    facts: tuple[Fact, ...] = ()
    merges: tuple[Merge, ...] = ()
    cells: tuple[RestingCell, ...] = ()
    calibrations: tuple[CalibrationState, ...] = ()


_decoder = msgspec.msgpack.Decoder(Findings)


def pack(findings: Findings) -> bytes:
    """Findings as they are kept."""
    value = msgspec.msgpack.encode(findings)
    return VERSION.to_bytes(_VERSION_BYTES, "big") + _checksum(value) + value


def unpack(value: bytes) -> Findings:
    """What `pack` has made. ValueError, with a sentence that says what is wrong, for anything else."""
    version = int.from_bytes(value[:_VERSION_BYTES], "big")
    if version != VERSION:
        raise ValueError(f"it is of version {version}, not {VERSION}")
    checksum, packed = value[_VERSION_BYTES:_HEAD_BYTES], value[_HEAD_BYTES:]
    if checksum != _checksum(packed):
        raise ValueError("it is damaged")
    try:
        return _decoder.decode(packed)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError("it says what this version does not know") from error


def _checksum(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=_HEAD_BYTES - _VERSION_BYTES).digest()


class Snapshots:
    """Keeps what one engine has found out. `report` gets a sentence when that does not work.

    At a start `restore` comes first, then the ledger is rebuilt from what was used, then `follow`.
    """

    __slots__ = ("_clock", "_digest", "_failing", "_health", "_learner", "_pool", "_report", "_restored", "_store")

    def __init__(
        self,
        store: StateStore,
        *,
        health: Health,
        learner: Learner,
        pool: Pool,
        clock: Clock,
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._health = health
        self._learner = learner
        self._pool = pool
        self._clock = clock
        self._report = report
        self._digest = b""
        self._failing = False
        self._restored: tuple[Fact, ...] = ()

    def __repr__(self) -> str:
        return f"<Snapshots of {self._learner!r} in {self._store!r}>"

    async def restore(self) -> None:
        """Know what was known at the last stop, as far as it can be read; the ledger is not touched."""
        try:
            value = await self._store.read_state(NAME)
            if value is not None:
                self.put_back(unpack(value))
        except (StoreError, ValueError) as error:
            self._report(f"what was found out before this start is not known: {error}")

    def put_back(self, findings: Findings) -> None:
        """Put findings where they came from."""
        now_s, learner = self._clock.epoch_s(), self._learner
        for merge in findings.merges:
            ours = learner.organisations.take_over(merge)
            if ours is not None:
                regroup_keys(self._pool, ours)
        self._restored = tuple(
            fact for fact in findings.facts if fact.confidence_at(now_s) >= FORGOTTEN and learner.book.take_over(fact)
        )
        secrets = self._secrets()
        for rest in findings.cells:
            if now_s < rest.until_s < math.inf and rest.secret == secrets.get(rest.name, ""):
                self._health.cell(rest.name).take_over(rest.until_s, rest.failure, rest.strikes)
        self._pool.calibrations.restore(findings.calibrations)
        self._health.changes += 1

    def follow(self) -> None:
        """Let the ledger, once it is rebuilt, follow what was learned before."""
        for fact in self._restored:
            self._learner.follow(fact, self._clock.epoch_s())
        self._restored = ()

    def capture(self) -> Findings:
        """What is known now."""
        now_s, secrets = self._clock.epoch_s(), self._secrets()
        return Findings(
            at_s=now_s,
            facts=self._learner.book.noted(now_s),
            merges=self._learner.organisations.merges(),
            cells=tuple(
                RestingCell(cell.name, cell.until_s, cell.failure, cell.strikes, secrets.get(cell.name, ""))
                for cell in self._health.cells()
                if cell.failure is not None and now_s < cell.until_s < math.inf
            ),
            calibrations=self._pool.calibrations.states(),
        )

    async def save(self) -> None:
        """Write what is known, unless it is what was written last. Says once that it fails, and once that it works."""
        findings = self.capture()
        digest = _checksum(msgspec.msgpack.encode(msgspec.structs.replace(findings, at_s=0.0)))
        if digest == self._digest:
            return
        try:
            await self._store.write_state(NAME, pack(findings))
        except StoreError as error:
            if not self._failing:
                self._report(f"what is found out would not survive a restart: {error}")
            self._failing = True
            return
        self._digest = digest
        self._failing = False

    def _secrets(self) -> dict[str, str]:
        """The fingerprint of each key's secret by the name of its cell."""
        keys = self._pool.snapshot.keys
        return {f"{KEY_PREFIX}{key.id}": key.secret.fingerprint for key in keys if key.secret is not None}
