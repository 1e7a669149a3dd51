"""Keys as people look at them: in which state each one is, what became of its calls, and what a test says of it."""

import math
from collections.abc import Iterable, Mapping

from keyrelay.core.configuration import Key, Provider, Withheld
from keyrelay.core.failures import FailureKind, FailureScope
from keyrelay.core.probes import Probed, ProbeOutcome
from keyrelay.engine.key_history import KeyHistory
from keyrelay.engine.pool import Pool
from keyrelay.engine.strangers import Strangers
from keyrelay.ports import Clock, Ledger
from keyrelay.quota.limits import limits_on_path
from keyrelay.quota.values import Standing
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.health import cell_names
from keyrelay.routing.key_states import KeyCondition, KeyFacts, key_condition, model_conditions

_REFUSED_KINDS = frozenset({FailureKind.AUTH, FailureKind.PERMISSION})
_BAD = frozenset({ProbeOutcome.INVALID, ProbeOutcome.OUT_OF_CREDIT})


class KeyHealth:
    """Looks keys up in the pool, the ledger and `history`, and changes what is known of them."""

    __slots__ = ("_clock", "_ledger", "_pool", "_strangers", "history")

    def __init__(self, pool: Pool, ledger: Ledger, history: KeyHistory, clock: Clock, *, strangers: Strangers) -> None:
        self._strangers = strangers
        self._pool = pool
        self._ledger = ledger
        self._clock = clock
        self.history = history

    def candidates(self) -> dict[str, list[Candidate]]:
        """The candidates so far by their keys' ids, for looking up many keys."""
        found = dict[str, list[Candidate]]()
        for candidate in self._pool.candidates():
            found.setdefault(candidate.key.id, []).append(candidate)
        return found

    def condition(
        self,
        key: Key,
        withheld: Withheld | None,
        candidates: Iterable[Candidate] | None = None,
        *,
        expires_s: float = 0.0,
    ) -> tuple[KeyCondition, dict[str, KeyCondition]]:
        """The state of a key now, and of those models that it cannot serve; `candidates` are those of the key."""
        if candidates is None:
            candidates = self.candidates().get(key.id, ())
        now_s = self._clock.epoch_s()
        facts = KeyFacts(
            provider_id=key.provider_id,
            account=key.account,
            label=key.label,
            enabled=withheld is None or withheld.reason != "disabled",
            keyless=key.secret is None,
            expires_s=expires_s,
            set_by="" if withheld is None else withheld.set_by,
            elsewhere="" if withheld is None else withheld.detail,
            standings=self._standings(key, candidates, now_s),
        )
        health = self._pool.health
        return key_condition(health, facts, now_s), model_conditions(health, facts, now_s)

    def tested(self, provider: Provider, key: Key, probed: Probed) -> None:
        """Note what a test found: a bad key takes no more requests, a good one that was refused takes them again."""
        health = self._pool.health
        names = cell_names(key.provider_id, key.account, key.label, "")
        of_key, of_account = health.cell(names[FailureScope.KEY]), health.cell(names[FailureScope.ACCOUNT])
        failure = probed.failure
        health.changes += 1
        if probed.outcome in _BAD and failure is not None:
            cell = of_key if probed.outcome is ProbeOutcome.INVALID else of_account
            cell.rest(math.inf if failure.until_s is None else failure.until_s, failure)
        elif probed.outcome is ProbeOutcome.VALID:
            if of_key.failure is not None and of_key.failure.kind in _REFUSED_KINDS:
                of_key.wake()
            told_of_credit = bool(provider.row.probe.credit)
            if told_of_credit and of_account.failure is not None and of_account.failure.kind is FailureKind.BILLING:
                of_account.wake()
            health.proof(f"key:{key.id}").settle(proven=True)
        self.history.tested(key.id, probed, self._clock.epoch_s())

    def contradictions(self, key: Key) -> int:
        """How often the provider was found to count more than was sent from here."""
        return self._strangers.times(f"{key.provider_id}/{key.account}", self._clock.epoch_s())

    def wake(self, key: Key) -> None:
        """End every rest that keeps a key back."""
        self._pool.health.wake(provider_id=key.provider_id, account=key.account, label=key.label)

    def _standings(self, key: Key, candidates: Iterable[Candidate], now_s: float) -> Mapping[str, tuple[Standing, ...]]:
        """How the counts of the key stand, by the models that it was used for; without a name where it was for none."""
        found = {candidate.model: self._ledger.peek(candidate.path, now_s) for candidate in candidates}
        provider = self._pool.snapshot.providers.get(key.provider_id)
        if found or provider is None:
            return found
        path = limits_on_path(
            (*provider.limits, *key.limits),
            provider_id=provider.id,
            account=key.account,
            key_label=key.label,
            model=provider.default_model,
        )
        return {"": self._ledger.peek(path, now_s)}

    def __repr__(self) -> str:
        return f"<KeyHealth of {self._pool!r}>"
