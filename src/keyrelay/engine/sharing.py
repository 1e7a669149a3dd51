"""What one worker finds out, all know: resting keys, proofs, circuits, learned limits, merged accounts.

`Sharing` watches the health and the learner of its worker and puts each change on the bulletin; what it reads there
goes into health and learner as if it had been found here, and is not told again. Nothing is asked on the way of a
request, and what changes nothing is not told: without failures and refusals there is no traffic.

**Half-open circuits.** The worker that opened a circuit may probe when its time has come; the others' time comes up to
SPREAD_S later, at random, and by then they usually know of the probe. Two probes at once are possible, a herd is not.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from keyrelay.core.configuration import Snapshot
from keyrelay.engine.learner import Learner
from keyrelay.engine.merging import regroup_keys
from keyrelay.engine.notices import (
    AccountsMerged,
    CellAwake,
    CellRests,
    CircuitStands,
    FactForgotten,
    FactLearned,
    Notice,
    ProofStands,
    decode,
    lasts_s,
    subject_of,
)
from keyrelay.engine.pool import Pool
from keyrelay.ports import Clock
from keyrelay.quota.learning import MAX_FACTS, Fact, FactSource, Identity, Merge
from keyrelay.routing.circuit import Circuit
from keyrelay.routing.health import KEY_PREFIX, Cell, Health, Proof

SPREAD_S = 1.0
"""Within so many seconds after a circuit becomes half open the other workers follow."""

EARLY_S = 60.0
"""For so long a word about a key is kept that is not known here, or has another secret: its change may be coming."""

MAX_EARLY = 1_000

REFRESH_S = 3600.0
"""A fact that is learned again and again is told again so often, so that it does not fade elsewhere."""


_OfHealth = CellRests | CellAwake | ProofStands | CircuitStands


class Post(msgspec.Struct, frozen=True):
    """One entry of the bulletin: `value` is the newest word about `subject`, of use for `lasts_s` seconds.

    With a `lasts_s` of 0 it is told to those who are there and not kept.
    """

    subject: str
    value: bytes
    lasts_s: float


class Bulletin(Protocol):
    """Tells the other workers what this one has found out, and this one what they have."""

    def publish(self, post: Post) -> None:
        """Tell everyone else. Neither waits nor raises: what cannot be told now is told later."""
        ...

    def subscribe(self, receive: Callable[[str, bytes, float], None], present: Callable[[], Iterator[Post]]) -> None:
        """Call `receive(subject, value, age_s)` for each word of another worker, said `age_s` seconds ago.

        `present` lists all that this worker has to say, for a bulletin that has lost what it held.
        """
        ...


class Sharing:
    """Joins a worker's health and learner to the bulletin; `start` it once.

    `applied` is called after each change from elsewhere: who waits for a key may look again.
    """

    __slots__ = (
        "_applied",
        "_bulletin",
        "_clock",
        "_early",
        "_fingerprints",
        "_health",
        "_learner",
        "_pool",
        "_random",
        "_snapshot",
        "_told",
        "received",
    )

    def __init__(
        self,
        bulletin: Bulletin,
        *,
        health: Health,
        learner: Learner,
        pool: Pool,
        clock: Clock,
        random: Callable[[], float],
        applied: Callable[[], None],
    ) -> None:
        self._bulletin = bulletin
        self._health = health
        self._learner = learner
        self._pool = pool
        self._clock = clock
        self._random = random
        self._applied = applied
        self._told: dict[Identity, FactLearned] = {}
        self._early: dict[str, tuple[_OfHealth, float]] = {}
        self._snapshot: Snapshot | None = None
        self._fingerprints: dict[str, str] = {}
        self.received = 0
        """Notices of others that were understood and taken over."""

    def __repr__(self) -> str:
        return f"<Sharing over {self._bulletin!r}, {self.received} received>"

    def start(self) -> None:
        """Tell of every change from now on, and hear of those elsewhere."""
        self._health.watch(self)
        self._learner.watcher = self
        self._bulletin.subscribe(self.receive, self.present)

    # What this worker finds out.

    def cell_changed(self, cell: Cell) -> None:
        """Tell of a scope that rests or is awake again."""
        self._publish(self._cell(cell, self._clock.epoch_s()))

    def proof_changed(self, proof: Proof) -> None:
        """Tell of a key that is being tried, or has been."""
        self._publish(self._proof(proof))

    def circuit_changed(self, circuit: Circuit) -> None:
        """Tell of a circuit that has opened or closed, or of its probe."""
        self._publish(self._circuit(circuit, self._clock.epoch_s()))

    def learned(self, fact: Fact, *, firm: bool = False) -> None:
        """Tell of a fact that says something new."""
        notice = FactLearned(fact=fact, firm=firm)
        if _is_news(self._told.get(fact.identity), notice):
            self._remember(notice)
            self._publish(notice)

    def forgot(self, facts: tuple[Fact, ...]) -> None:
        """Tell of facts that a person has cleared."""
        for fact in facts:
            self._told.pop(fact.identity, None)
            bound, unit, window = fact.identity
            self._publish(FactForgotten(bound=bound, unit=unit, window=window))

    def merged(self, merge: Merge) -> None:
        """Tell of two accounts that are one."""
        self._publish(AccountsMerged(merge=merge))

    def present(self) -> Iterator[Post]:
        """All that this worker knows and others may want to."""
        now_s = self._clock.epoch_s()
        for cell in tuple(self._health.cells()):
            if cell.until_s > now_s:
                yield _post(self._cell(cell, now_s), now_s)
        for proof in tuple(self._health.proofs()):
            if proof.proven:
                yield _post(self._proof(proof), now_s)
        for circuit in tuple(self._health.circuits()):
            if not circuit.closed:
                yield _post(self._circuit(circuit, now_s), now_s)
        for fact in self._learner.book.noted(now_s):
            told = self._told.get(fact.identity)
            yield _post(FactLearned(fact=fact, firm=told is not None and told.firm), now_s)
        for merge in self._learner.organisations.merges():
            yield _post(AccountsMerged(merge=merge), now_s)

    def _cell(self, cell: Cell, now_s: float) -> CellRests | CellAwake:
        secret = self._secret_of(cell.name)
        if cell.failure is None:
            return CellAwake(name=cell.name, secret=secret)
        return CellRests(
            name=cell.name,
            rest_s=max(0.0, cell.until_s - now_s),
            failure=cell.failure,
            strikes=cell.strikes,
            secret=secret,
        )

    def _proof(self, proof: Proof) -> ProofStands:
        trying = proof.trying_since_s is not None
        key_id = proof.name.split(":", 2)[1]  # `key:<key>` or `pair:<key>:<model>`
        return ProofStands(
            name=proof.name, proven=proof.proven, trying=trying, secret=self._secret_of(KEY_PREFIX + key_id)
        )

    def _circuit(self, circuit: Circuit, now_s: float) -> CircuitStands:
        return CircuitStands(name=circuit.name, state=circuit.state(now_s), secret=self._secret_of(circuit.name))

    def _publish(self, notice: Notice) -> None:
        self._bulletin.publish(_post(notice, self._clock.epoch_s()))

    def _remember(self, notice: FactLearned) -> None:
        if len(self._told) >= MAX_FACTS:
            self._told.clear()
        self._told[notice.fact.identity] = notice

    def _secret_of(self, name: str) -> str:
        """The fingerprint of the key that `key:<key>` names; empty for what is about no single key."""
        if not name.startswith(KEY_PREFIX):
            return ""
        snapshot = self._pool.snapshot
        if snapshot is not self._snapshot:
            self._snapshot = snapshot
            self._fingerprints = {key.id: key.secret.fingerprint for key in snapshot.keys if key.secret is not None}
        return self._fingerprints.get(name.removeprefix(KEY_PREFIX), "")

    # What the others find out.

    def receive(self, subject: str, value: bytes, age_s: float) -> None:
        """Take over what another worker said `age_s` seconds ago; what cannot be understood is passed over."""
        notice = decode(value)
        if notice is None or subject_of(notice) != subject:
            return
        now_s = self._clock.epoch_s()
        if isinstance(notice, CellRests | CellAwake | ProofStands | CircuitStands):
            self._take_over_health(notice, now_s - age_s, now_s)
        elif isinstance(notice, FactLearned):
            self._remember(notice)
            self._learner.take_over(notice.fact, now_s, firm=notice.firm)
        elif isinstance(notice, FactForgotten):
            identity = (notice.bound, notice.unit, notice.window)
            self._told.pop(identity, None)
            self._learner.forget(identity, now_s)
        else:
            merge = self._learner.organisations.take_over(notice.merge)
            if merge is not None:
                regroup_keys(self._pool, merge)
        self.received += 1
        self._applied()

    def configured(self) -> None:
        """Other keys are configured now: what was heard of them too early is taken over."""
        now_s = self._clock.epoch_s()
        early, self._early = self._early, {}
        for notice, at_s in early.values():
            if now_s - at_s < EARLY_S:
                self._take_over_health(notice, at_s, now_s)
        if early:
            self._applied()

    def _take_over_health(self, notice: _OfHealth, at_s: float, now_s: float) -> None:
        """Put into the health what was so at `at_s`, unless it is about another secret of the same key."""
        health, name = self._health, notice.name
        of_key = KEY_PREFIX + name.split(":", 2)[1] if isinstance(notice, ProofStands) else name
        self._early.pop(subject_of(notice), None)
        if notice.secret != self._secret_of(of_key):
            if len(self._early) >= MAX_EARLY:
                del self._early[next(iter(self._early))]
            self._early[subject_of(notice)] = (notice, at_s)
            return
        health.changes += 1
        if isinstance(notice, ProofStands):
            health.proof(name).take_over(proven=notice.proven, trying_since_s=at_s if notice.trying else None)
            return
        if isinstance(notice, CellAwake):
            health.cell(name).forget()
        elif isinstance(notice, CellRests):
            until_s = at_s + notice.rest_s
            if until_s > now_s:
                failure = msgspec.structs.replace(notice.failure, until_s=until_s)
                health.cell(name).take_over(until_s, failure, notice.strikes)
        else:
            state = notice.state
            if state is not None:
                later_s = state.open_for_s + SPREAD_S * self._random()
                state = msgspec.structs.replace(state, open_for_s=later_s)
            health.circuit(name).take_over(state, at_s)


def _post(notice: Notice, now_s: float) -> Post:
    return Post(subject_of(notice), msgspec.msgpack.encode(notice), lasts_s(notice, now_s))


def _is_news(told: FactLearned | None, notice: FactLearned) -> bool:
    """Whether a fact says other than what was told, or has not been told for long."""
    if told is None:
        return True
    old, fact = told.fact, notice.fact
    confirmed = fact.source is FactSource.INFERRED and (fact.times > 1) is not (old.times > 1)
    return (
        (fact.key, fact.amount, fact.source, fact.followed) != (old.key, old.amount, old.source, old.followed)
        or confirmed
        or (notice.firm and not told.firm)
        or abs(fact.seen_s - old.seen_s) >= REFRESH_S
    )
