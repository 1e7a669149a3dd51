"""What one worker shares of one provider's limits: a partition of the keys, all in one hash slot.

The states, and by whose word requests are admitted in each:

    DOWN ──► ATTACHING ──► APART ──► RETURNING ──► SERVING      any loss leads back to DOWN,
      the worker's own word          nobody's      Redis's      another epoch to ATTACHING

How the limit holds, whoever can reach Redis. At any time, for every limit N, in Redis: what was admitted and still
counts, plus what all workers have *set aside*, is at most N; an admission that would break this is refused, and one
that needs what the worker itself has set aside lowers that. A worker that gets no answer goes by its own word at once,
with no more than it had set aside, less the requests whose answer it did not get. What it uses so, it reports on its
return, before Redis forgets that it was set aside.

A worker that stays away may use its fixed *share* instead: floor or ceil of N / workers by rank (see `lua/beat.lua`),
which is never less than it has set aside. Redis holds the whole share of a worker free from a while (SILENT_S) after
its last sign of life; the worker waits for that while, and then until nothing counts any more that was admitted before
it: a window's length, or the next period. A sign of life that arrives late is void, so both count from the same one.

Counts that were lost (another epoch) are made up from what all workers upload and the store knows; until that is done
Redis admits nobody, and holds everybody's share.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable

import msgspec
from hiredis import ReplyError

from keyrelay.storage.redis.admissions import LISTED, NO_AMOUNTS, Admissions, Use, pack
from keyrelay.storage.redis.connection import Awaited, Call, Connection, error_code
from keyrelay.storage.redis.entries import Origin
from keyrelay.storage.redis.link import Link
from keyrelay.storage.redis.scripts import bulk
from keyrelay.storage.redis.terms import BY_OWN_WORD, BY_REDIS_WORD, EPOCH_OVER, TOO_LATE, Beat, Member, State, Terms
from keyrelay.storage.redis.window_hold import LEASE_S, MICROS, WindowHold, six

BARRIER_S = 2.0
"""Longest wait for the uploads of workers, after counts were lost."""

UNOPENED_BEAT_S = 0.1
"""Signs of life follow each other so fast while counts are being made up."""

IDLE_S = 600.0
"""What was not used for so long is not set aside any more."""

RELIST_S = 60.0
"""What is set aside is mentioned at least so often, lest Redis forget it."""

ASK_MORE_S = 5.0
"""Where nothing is set aside, it is asked for again after so long."""

RENEW_LEASES_S = 10.0
FORMER_KEPT = 1000
_OF_THE_SERVER = frozenset({"CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOAUTH", "NOSCRIPT", "READONLY"})


Listed = tuple[WindowHold, str, list[int], int]
"""A window in a sign of life: its key, what is set aside, whether more is wanted."""


class Partition(Admissions):
    """One provider's. `build` is called when this worker is to open it, `moved` when a cluster has it elsewhere.

    `uploaded` says what was used of a window, as a list for the script and how much of that is in the store;
    `inherited` what predecessors used since a time (seconds ago), likewise. They are asked when Redis has to be told.
    """

    def __init__(
        self,
        provider: str,
        terms: Terms,
        link: Link,
        *,
        build: Callable[["Partition"], None],
        uploaded: Callable[["Partition", WindowHold], tuple[list[list[object]], list[int]]],
        inherited: Callable[["Partition", float], list[Use]],
        moved: Callable[["Partition", str], None],
    ) -> None:
        super().__init__(provider, terms, link)
        self.workers = self.rank = 0
        self.members: list[Member] = []
        self.former: deque[tuple[int, int, int]] = deque(maxlen=FORMER_KEPT)
        """Shares that this worker had, each as workers, rank, and until when at the latest by Redis's clock."""
        self.alone_since_us: int | None = None
        """Since when, at the latest, Redis has had no sign that this worker goes by its word; None: it never did."""
        self.opening = False
        """Whether this worker is about to open it."""
        self._build = build
        self._uploaded = uploaded
        self._inherited = inherited
        self._moved = moved
        self._beating = False
        self._leases_at = 0.0
        self._returned: asyncio.Future[None] | None = None
        self._served: asyncio.Future[None] | None = None
        self._tight: set[str] = set()
        self.refusals = 0
        """How often Redis has refused a command, other than a request."""
        self.link_changed(link.connection)
        link.listeners.append(self.link_changed)

    def __repr__(self) -> str:
        return (
            f"<Partition {self.name} {self.state.name.lower()} windows={len(self.holds)} flying={len(self.flying)}"
            f" share={self.rank}/{self.workers} unsent={len(self._outbox)}>"
        )

    # To and from Redis

    def link_changed(self, connection: Connection | None) -> None:
        """The link is up or down."""
        self._connection = connection
        self._beating = self.opening = False
        self._enter(State.DOWN)
        if connection is not None:
            self._attach()

    def follow_to(self, link: Link) -> None:
        """The keys are at another server."""
        if link is not self.link:
            self.link.listeners.remove(self.link_changed)
            self.link = link
            link.listeners.append(self.link_changed)
        self.link_changed(link.connection)

    def _enter(self, state: State) -> None:
        self.state = state
        returned = self._returned
        if returned is not None and state is not State.RETURNING:
            self._returned = None
            if not returned.done():
                returned.set_result(None)

    async def returned(self) -> None:
        """Return once it is known whether Redis's word counts again: at once, unless that is being settled now."""
        if self.state is State.RETURNING:
            if self._returned is None:
                self._returned = self._loop.create_future()
            await asyncio.shield(self._returned)

    def _valid_until(self) -> bytes:
        return b"%d" % int((self._loop.time() + self.link.ahead_s + self.terms.timeout_s) * MICROS)

    def _attach(self) -> None:
        terms, connection = self.terms, self._connection
        if connection is None or self.state is State.ATTACHING:
            return
        self._enter(State.ATTACHING)
        known = pack([[member.id, member.workers, member.rank] for member in self.members])
        words = (
            terms.member.encode(),
            self.link.run.encode(),
            terms.new_epoch().encode(),
            *(b"%d" % int(seconds * MICROS) for seconds in (terms.silent_s, terms.expiry_s)),
            self.epoch.encode(),
            b"%d" % self.workers,
            b"%d" % self.rank,
            b"1" if terms.predecessor_told else b"0",
            terms.slot.encode(),
            known,
            self._valid_until(),
        )
        connection.send(
            terms.scripts["attach"].head(12) + bulk(self.state_key.encode(), *words), _Replied(self._attached)
        )

    def _attached(self, reply: object) -> None:
        if not isinstance(reply, list) or reply[0] == TOO_LATE:
            self._refused(reply)
            return
        epoch = reply[0].decode()
        anew, self.epoch = epoch != self.epoch, epoch
        self._enter(State.APART)
        if anew:
            self._outbox.clear()
            self._upload()
        else:
            self._post_again()
            self._tell()
        if reply[3]:  # a predecessor was there, until then; it is forgotten with the next sign of life
            self._count(self._inherited(self, (reply[1] - reply[3]) / MICROS))
        self.beat()

    def _upload(self) -> None:
        """Counts were lost: say everything that this worker used and that still counts."""
        now_us = self.now_us()
        uses: list[Use] = []
        for entry in self.flying:
            entry.origin = Origin.REDIS
        for hold in self.holds.values():
            hold.turn(now_us)
            hold.own.take_untold()
            hold.flying_own = 0
            used, stored = self._uploaded(self, hold)
            if used:
                uses.append((hold, used, stored, []))
        self._count(uses)

    def _tell(self) -> None:
        """Say what was used on the worker's own word; from here on Redis counts it."""
        now_us = self.now_us()
        uses: list[Use] = []
        leases: dict[WindowHold, list[list[object]]] = {}
        for entry in self.flying:
            if entry.origin is Origin.OWN:
                entry.origin = Origin.REDIS
                for hold in entry.plan.leased:
                    leases.setdefault(hold, []).append([now_us + int(LEASE_S * MICROS), entry.lease.decode()])
        for hold in self.holds.values():
            hold.turn(now_us)
            hold.flying_own = 0
            hold.own.used(hold.since_us(now_us))
            told = leases.get(hold) or [[bound_us, six(amount)] for bound_us, amount in hold.own.take_untold()]
            if told:
                uses.append((hold, told, NO_AMOUNTS, []))
        if uses:
            self._count(uses)

    def _epoch_over(self) -> None:
        if self.state in {State.APART, State.RETURNING, State.SERVING}:
            self._enter(State.DOWN)
            self._attach()

    def _refused(self, reply: object) -> None:
        """Redis does not do what it is asked: go by the own word, and come back."""
        code = error_code(reply) if isinstance(reply, ReplyError) else ""
        if self.state is State.DOWN:
            return
        self._enter(State.DOWN)
        self.refusals += 1
        if code == "MOVED":
            self._moved(self, str(reply))
        elif not code or code in _OF_THE_SERVER:
            self.link.drop(f"it answers {code or 'too late'}", hurry=code == "NOSCRIPT")
        elif self.refusals == 1:
            self.terms.report(f"Redis refuses what sharing the limits of {self.provider} takes: {code}")

    # Signs of life

    def beat(self) -> None:
        """Give a sign of life, unless the last one is still under way."""
        connection = self._connection
        if connection is None or self._beating or self.state in {State.DOWN, State.ATTACHING}:
            if connection is not None and self.state is State.DOWN:
                self._attach()
            return
        self._beating = True
        word = BY_REDIS_WORD if self.state in {State.RETURNING, State.SERVING} else BY_OWN_WORD
        if word == BY_REDIS_WORD:
            self.alone_since_us = self.latest_us() + int(self.terms.timeout_s * MICROS)
        listed = self._listed(self.now_at())
        base = self.base()
        windows = [
            [base + name, hold.kind, *hold.parameters(), aside, hold.limits, wants]
            for hold, name, aside, wants in listed
        ]
        sent_at = self.now_at()
        words = (
            b"%d" % self.workers,
            b"%d" % self.rank,
            b"%d" % word,
            b"%d" % int(self.terms.barrier_s * MICROS),
            pack(windows),
            pack(self._leases(base, sent_at)),
            self._valid_until(),
            self.terms.slot.encode() if self.terms.predecessor_told and self.state is State.RETURNING else b"",
        )
        sign = _Sign(word, listed, sent_at, self.epoch)
        connection.send(self._command("beat", *words), _Replied(lambda reply: self._beaten(reply, sign)))

    def _listed(self, now_at: float) -> list[Listed]:
        """The windows to mention: each with its key, what is set aside there, and whether more is wanted."""
        listed: list[Listed] = []
        serving, now_us = self.state is State.SERVING, self.now_us()
        tight, self._tight = self._tight, set()
        for hold in self.holds.values():
            hold.turn(now_us)
            if hold.released is not None:
                listed.append((hold, hold.released, NO_AMOUNTS, 0))
                hold.released = None
            holding = any(hold.set_aside)
            idle = hold.touched_at < now_at - IDLE_S
            if self.state is State.RETURNING or (holding and (idle or hold.name in tight)):
                hold.set_aside = [0] * 6
                listed.append((hold, hold.name, hold.set_aside, 0))
            elif len(listed) < LISTED and (
                hold.touched_at > hold.listed_at
                or (not idle and hold.listed_at < now_at - (RELIST_S if holding else ASK_MORE_S))
            ):
                listed.append((hold, hold.name, hold.set_aside, int(serving)))
            else:
                continue
            hold.listed_at = now_at
        return listed

    def _leases(self, base: str, now_at: float) -> list[list[object]]:
        if now_at - self._leases_at < RENEW_LEASES_S:
            return []
        self._leases_at = now_at
        leases: dict[str, list[str]] = {}
        for entry in self.flying:
            if entry.origin is Origin.REDIS:
                for hold in entry.plan.leased:
                    leases.setdefault(base + hold.name, []).append(entry.lease.decode())
        return [[key, int(LEASE_S * MICROS), ids] for key, ids in leases.items()]

    def _beaten(self, reply: object, sign: "_Sign") -> None:
        """The answer to a sign of life."""
        self._beating = False
        if sign.epoch != self.epoch:
            return
        if not isinstance(reply, bytes):
            if reply == EPOCH_OVER:
                self._epoch_over()
            else:
                self._refused(reply)
            return
        beat = msgspec.msgpack.decode(reply, type=Beat)
        self._learn(beat, sign)
        if beat.build and not self.opening:
            self.opening = True
            self._build(self)
        if not beat.open:
            self._loop.call_later(UNOPENED_BEAT_S, self.beat)
        self._go_on(beat, sign.word)

    def _learn(self, beat: Beat, sign: "_Sign") -> None:
        """Note the time, the share, what is used by all, and what is set aside."""
        now_at = self.now_at()
        self.link.told_time(beat.time_us, sign.sent_at, now_at)
        if (self.workers, self.rank) != (beat.workers, beat.rank):
            self.former.append((self.workers, self.rank, self.latest_us()))
            for hold in self.holds.values():
                hold.listed_at = -math.inf  # more or less of it may be set aside
        self.workers, self.rank, self.members = beat.workers, beat.rank, beat.members
        for (hold, name, _, _), (used, set_aside) in zip(sign.listed, beat.windows, strict=True):
            if hold.name == name:
                hold.shared, hold.shared_at = used, now_at
                if sign.word == BY_REDIS_WORD:
                    hold.set_aside = set_aside

    def _go_on(self, beat: Beat, word: int) -> None:
        """Come back to Redis's word, or give back what others need."""
        if self.state is State.APART and beat.open:
            self._tell()
            self._enter(State.RETURNING)
            self.beat()
        elif self.state is State.RETURNING and word == BY_REDIS_WORD:
            self._serve()
        elif self.state is State.SERVING:
            base = self.base()
            keys = {key.removeprefix(base) for key in beat.tight}
            self._tight = {hold.name for hold in self.holds.values() if any(hold.set_aside) and hold.name in keys}
            if self._tight:
                self.beat()

    def _serve(self) -> None:
        """Redis counts everything and holds nothing for this worker any more but what it has set aside."""
        for hold in self.holds.values():
            hold.own.forget()
        self._enter(State.SERVING)
        served, self._served = self._served, None
        if served is not None and not served.done():
            served.set_result(None)

    async def served(self) -> None:
        """Return once Redis's word counts."""
        if self.state is not State.SERVING:
            if self._served is None:
                self._served = self._loop.create_future()
            await asyncio.shield(self._served)

    def open_with(self, used: Iterable[tuple[WindowHold, int]]) -> None:
        """Open the partition: `used` is what the store knows of each window, packed."""
        base, connection = self.base(), self._connection
        entries = [[base + hold.name, hold.kind, *hold.parameters(), six(amount)] for hold, amount in used]
        chunks = [entries[first : first + LISTED] for first in range(0, len(entries), LISTED)] or [[]]
        for number, chunk in enumerate(chunks, 1):
            if connection is not None:
                last = b"1" if number == len(chunks) else b"0"
                connection.send(self._command("open", pack(chunk), last), _Replied(self._opened))

    def _opened(self, reply: object) -> None:
        self.opening = False
        if isinstance(reply, ReplyError):
            self._refused(reply)
        else:
            self.beat()

    def leave(self) -> Awaited | None:
        """Leave for good, once everything before is carried out; None when Redis cannot be told."""
        connection, serving = self._connection, self.state is State.SERVING
        self._enter(State.DOWN)
        self._connection = None
        if connection is None or not serving:
            return None
        call = _Left(self._loop)
        connection.send(self._command("leave"), call)
        return call


class _Sign(msgspec.Struct, frozen=True):
    """A sign of life that was sent: by whose word, what it listed, when, in which epoch."""

    word: int
    listed: list[Listed]
    sent_at: float
    epoch: str


class _Replied(Call):
    """A call whose answer goes to a function; a loss is known from the link."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[object], None]) -> None:
        self._then = then

    def replied(self, reply: object) -> None:
        self._then(reply)

    def lost(self) -> None:
        """Nothing: the partition has been told by the link."""


class _Left(Awaited):
    """The call that leaves; whether it is answered makes no difference."""

    __slots__ = ()

    def lost(self) -> None:
        self.replied(None)
