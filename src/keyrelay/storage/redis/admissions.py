"""The hot path of a partition: asking Redis to admit requests, and telling it what became of them.

An admission is asked for and waited for. Whatever follows goes into an outbox: numbered, sent in order without waiting,
kept until Redis has confirmed it, and sent again after a loss; Redis carries out each number once.
"""

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Container, Iterable

import msgspec
from hiredis import ReplyError

from keyrelay.quota.values import Amounts
from keyrelay.storage.redis.connection import Call, Connection
from keyrelay.storage.redis.entries import NO_LEASE, Ask, Entry, Origin, PathPlan
from keyrelay.storage.redis.link import Link
from keyrelay.storage.redis.scripts import bulk
from keyrelay.storage.redis.terms import (
    ADMITTED_WITH_LESS,
    ANOTHER_PERIOD,
    EPOCH_OVER,
    REFUSED,
    State,
    Terms,
)
from keyrelay.storage.redis.window_hold import CONCURRENT, MICROS, WindowHold, packed, six

LISTED = 200
"""Most windows in one command, apart from those that give something back."""

NO_AMOUNTS = [0] * 6

Use = tuple[WindowHold, list[list[object]], list[int], list[int]]
"""What was used of a window without asking: uses, how much of them is in the store, and what is used at least."""


class Admissions(ABC):
    """What a `Partition` does for requests."""

    def __init__(self, provider: str, terms: Terms, link: Link) -> None:
        self.provider = provider
        self.name = name = f"{terms.prefix}:{provider}"
        self.terms = terms
        self.link = link
        self.state = State.DOWN
        self.state_key = f"{{{name}}}:state"
        self.epoch = ""
        self.holds: dict[object, WindowHold] = {}
        self.flying: set[Entry] = set()
        """Requests under way that were admitted."""
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._seq = 0
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._posted = _Posted(self)

    @abstractmethod
    def _epoch_over(self) -> None:
        """Redis has lost the counts, or begun anew."""

    @abstractmethod
    def _refused(self, reply: object) -> None:
        """Redis does not do what it is asked."""

    @property
    def unsent(self) -> int:
        """Commands in the background that Redis has not confirmed."""
        return len(self._outbox)

    def keep_only(self, identities: Container[object]) -> None:
        """Forget the windows that are neither among these nor in use."""
        used = {hold for entry in self.flying for hold in entry.plan.holds}
        self.holds = {
            identity: hold
            for identity, hold in self.holds.items()
            if identity in identities or hold in used or hold.own or any(hold.set_aside)
        }

    # Time

    def now_at(self) -> float:
        """The event loop's clock."""
        return self._loop.time()

    def now_us(self) -> int:
        """Redis's clock, about; from here on the same while it cannot be asked."""
        return int((self._loop.time() + self.link.ahead_s) * MICROS)

    def latest_us(self) -> int:
        """Redis's clock at most."""
        return int((self._loop.time() + self.link.ahead_most_s) * MICROS) + 1

    # The hot path

    def ask(self, entry: Entry) -> asyncio.Future[list[int] | Entry | None]:
        """Ask Redis to admit a request whose plan is made; see `Ask` for the answer."""
        ask = Ask(self, entry, self._loop)
        self._send_ask(ask)
        return ask.answer

    def _send_ask(self, ask: Ask) -> None:
        entry, connection = ask.entry, self._connection
        amounts, plan = entry.amounts, entry.plan
        if plan.leased and entry.lease == NO_LEASE:
            self._name_lease(entry)
        words = b"%d %d %d %d %d %d %b %b" % (
            int((self._loop.time() + self.link.ahead_s + self.terms.timeout_s) * MICROS),
            amounts.requests,
            amounts.input_tokens,
            amounts.output_tokens,
            amounts.usd_micros,
            amounts.units,
            entry.lease,
            entry.probes,
        )
        if connection is None:
            ask.tell(entry)
        else:
            connection.send(b"%b$%d\r\n%b\r\n" % (plan.admit_head, len(words), words), ask)

    def ask_replied(self, ask: Ask, reply: object) -> None:
        """Redis has answered whether a request may be sent."""
        if type(reply) is int:
            self._granted(ask, reply)
        elif not isinstance(reply, list):
            self._refused(reply)
            ask.tell(ask.entry)
        elif reply[0] == ADMITTED_WITH_LESS:
            for place in range(2, len(reply), 3):
                hold, unit, left = ask.entry.plan.holds[reply[place] - 1], reply[place + 1] - 1, reply[place + 2]
                hold.set_aside[unit] = min(hold.set_aside[unit], left)
            self._granted(ask, reply[1])
        elif reply[0] == REFUSED:
            ask.tell(reply)
        elif reply[0] == ANOTHER_PERIOD and not ask.again and self.state is State.SERVING:
            self._ask_again(ask, reply[1])
        else:
            if reply[0] == EPOCH_OVER:
                self._epoch_over()
            ask.tell(ask.entry)

    def _granted(self, ask: Ask, time_us: int) -> None:
        entry = ask.entry
        entry.origin = Origin.REDIS
        entry.bound_us = time_us + self.terms.skew_us
        self.flying.add(entry)
        for hold in entry.plan.leased:
            hold.flying += 1
        if not ask.tell(None):
            self.ended(entry, Amounts(requests=0), arrived=False)

    def _ask_again(self, ask: Ask, time_us: int) -> None:
        """The period has changed between planning and admission."""
        ask.again = True
        for hold in ask.entry.plan.holds:
            hold.turn(time_us)
        ask.entry.plan = self.planned(PathPlan(ask.entry.plan.resolved, ask.entry.plan.holds))
        self._send_ask(ask)

    def ask_lost(self, ask: Ask) -> None:
        """It may have been admitted or not, and so may have taken something of what is set aside."""
        taken = six(packed(ask.entry.amounts))
        for hold in ask.entry.plan.holds:
            hold.set_aside = [max(0, aside - amount) for aside, amount in zip(hold.set_aside, taken, strict=True)]
        ask.tell(ask.entry)

    def planned(self, plan: PathPlan) -> PathPlan:
        """The plan, packed for the present epoch."""
        plan.pack(self.terms.scripts, self.state_key, self.terms.member, self.epoch, self.terms.skew_us)
        return plan

    def _name_lease(self, entry: Entry) -> None:
        self._seq += 1
        entry.lease = b"%b/%d" % (self.terms.member.encode(), self._seq)

    # What happens to requests that were admitted

    def took(self, entry: Entry) -> None:
        """A request is sent on the worker's own word."""
        entry.origin = Origin.OWN
        entry.bound_us = self.latest_us() + self.terms.skew_us
        taken = packed(entry.amounts)
        for hold in entry.plan.holds:
            if hold.kind == CONCURRENT:
                hold.flying += 1
                hold.flying_own += 1
                if entry.lease == NO_LEASE:
                    self._name_lease(entry)
            else:
                hold.own.add(entry.bound_us, taken)
        self.flying.add(entry)

    def arrived(self, entry: Entry) -> None:
        """A request that goes on has arrived by now."""
        arrived_us = min(entry.bound_us, self.latest_us())
        if entry.origin is Origin.OWN:
            self._correct_own(entry, arrived_us, entry.amounts)
        elif entry.plan.tells_at_end:
            entry.arrived_us = arrived_us
            return
        elif arrived_us < entry.bound_us:
            self._settle(entry, arrived_us, entry.amounts, NO_LEASE)
        entry.bound_us = arrived_us

    def ended(self, entry: Entry, amounts: Amounts, *, arrived: bool) -> None:
        """A request has ended and has really used `amounts`."""
        self.flying.discard(entry)
        plan = entry.plan
        new_bound_us = entry.arrived_us or (min(entry.bound_us, self.latest_us()) if arrived else entry.bound_us)
        for hold in plan.leased:
            hold.flying -= 1
            hold.flying_own -= entry.origin is Origin.OWN
        if entry.origin is Origin.OWN:
            self._correct_own(entry, new_bound_us, amounts)
        elif plan.leased or entry.probes or new_bound_us < entry.bound_us or amounts != entry.amounts:
            self._settle(entry, new_bound_us, amounts, entry.lease)

    def _correct_own(self, entry: Entry, new_bound_us: int, amounts: Amounts) -> None:
        taken, used = packed(entry.amounts), packed(amounts)
        for hold in entry.plan.holds:
            hold.own.correct(entry.bound_us, taken, new_bound_us, used, told=False)

    def _settle(self, entry: Entry, new_bound_us: int, amounts: Amounts, lease: bytes) -> None:
        plan, taken = entry.plan, entry.amounts
        if plan.epoch != self.epoch:
            plan = entry.plan = self.planned(PathPlan(plan.resolved, plan.holds))
        self._seq += 1
        words = b"%d %d %d %d %d %d %d %d %d %d %d %d %d %b %b" % (
            self._seq,
            entry.bound_us,
            new_bound_us,
            taken.requests,
            taken.input_tokens,
            taken.output_tokens,
            taken.usd_micros,
            taken.units,
            amounts.requests,
            amounts.input_tokens,
            amounts.output_tokens,
            amounts.usd_micros,
            amounts.units,
            lease,
            entry.probes,
        )
        self._post(self._seq, b"%b$%d\r\n%b\r\n" % (plan.settle_head, len(words), words))

    def observe(self, hold: WindowHold, used: list[int]) -> None:
        """The provider says that so much is used."""
        if self.state is State.SERVING:
            self._count([(hold, [], NO_AMOUNTS, used)])

    # Commands that must not be lost

    def _post(self, seq: int, data: bytes) -> None:
        """Send in the background, in order; kept until Redis has confirmed it, and sent again on the way back."""
        self._outbox.append((seq, data))
        state, connection = self.state, self._connection
        if connection is not None and state is not State.DOWN and state is not State.ATTACHING:
            connection.send(data, self._posted)

    def _post_again(self) -> None:
        for _, data in self._outbox:
            if self._connection is not None:
                self._connection.send(data, self._posted)

    def posted(self, reply: object) -> None:
        """The oldest command in the outbox was carried out, or refused."""
        if isinstance(reply, ReplyError):
            self._refused(reply)
        elif reply == EPOCH_OVER:
            self._epoch_over()
        elif self._outbox:
            self._outbox.popleft()

    def _count(self, uses: Iterable[Use]) -> None:
        base = self.base()
        entries = [
            [base + hold.name, hold.kind, *hold.parameters(), listed, stored, at_least]
            for hold, listed, stored, at_least in uses
        ]
        for first in range(0, len(entries), LISTED):
            self._seq += 1
            self._post(self._seq, self._command("count", b"%d" % self._seq, pack(entries[first : first + LISTED])))

    def base(self) -> str:
        """What the keys of the present epoch begin with."""
        return f"{{{self.name}}}:{self.epoch}:"

    def _command(self, script: str, *words: bytes) -> bytes:
        head = self.terms.scripts[script].head(2 + len(words))
        return head + bulk(self.state_key.encode(), self.terms.member.encode(), self.epoch.encode(), *words)


class _Posted(Call):
    """A command from the outbox."""

    __slots__ = ("_admissions",)

    def __init__(self, admissions: Admissions) -> None:
        self._admissions = admissions

    def replied(self, reply: object) -> None:
        self._admissions.posted(reply)

    def lost(self) -> None:
        """Nothing: it is still in the outbox."""


def pack(value: object) -> bytes:
    """A value as the scripts unpack it."""
    return msgspec.msgpack.encode(value)
