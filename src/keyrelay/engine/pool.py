"""The pool: candidates for every name that callers use, made once per configuration.

A plan is made when a name is first asked for and kept until the configuration changes. What is known of keys,
accounts and providers lives in `Health`, that of models in `Calibrations`, by name, and so outlives the plans.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from keyrelay.core.configuration import Key, Snapshot, Target, Withheld
from keyrelay.engine.allowances import allowances_of
from keyrelay.quota.calibration import Calibrations
from keyrelay.quota.estimates import TokenCounter, estimate_raw, with_exact
from keyrelay.quota.values import RawEstimate
from keyrelay.routing.candidates import Candidate
from keyrelay.routing.classify import Classifier
from keyrelay.routing.health import Health
from keyrelay.routing.policies import Stage
from keyrelay.routing.resolve import StageTargets, resolve
from keyrelay.routing.ways import KeyWays, ways_of

MAX_PLANS: Final = 10_000


class Plan:
    """The stages of one name. `free_choice`: which models serve is Keyrelay's choice.

    `count` is given when some of the models have a vocabulary that counts exactly. `withheld` are targets with keys
    that take no requests, for explanations alone.
    """

    __slots__ = ("_count", "_of_models", "_one_each", "_vocabularies", "free_choice", "stages", "withheld")

    def __init__(
        self,
        stages: tuple[Stage, ...],
        *,
        free_choice: bool,
        count: TokenCounter | None = None,
        withheld: tuple[tuple[Target, Withheld], ...] = (),
    ) -> None:
        self.stages = stages
        self.withheld = withheld
        self.free_choice = free_choice
        self._count = count
        self._one_each: tuple[Candidate, ...] | None = None
        self._of_models: tuple[Candidate, ...] | None = None
        self._vocabularies = tuple({each.tokeniser for each in self.candidates() if each.tokeniser} if count else ())

    def estimate(self, body: bytes) -> RawEstimate:
        """The measure of a request's prompt, counted exactly for those models for which that is possible."""
        raw = estimate_raw(body)
        if self._count is None or not self._vocabularies:
            return raw
        return with_exact(raw, body, self._vocabularies, self._count)

    def candidates(self) -> Iterable[Candidate]:
        """All candidates in the order of the stages."""
        return (candidate for stage in self.stages for candidate in stage.candidates)

    def one_of_each_provider(self) -> tuple[Candidate, ...]:
        """A candidate of each provider, for what is the same for all of its keys."""
        if self._one_each is None:
            self._one_each = tuple({each.provider_id: each for each in self.candidates()}.values())
        return self._one_each

    def one_of_each_model(self) -> tuple[Candidate, ...]:
        """A candidate of each model at each provider."""
        if self._of_models is None:
            self._of_models = tuple({(each.provider_id, each.model): each for each in self.candidates()}.values())
        return self._of_models

    def only(self, is_wanted: Callable[[Candidate], bool], random: Callable[[], float]) -> "Plan":
        """The same plan without all other candidates."""
        kept = ([each for each in stage.candidates if is_wanted(each)] for stage in self.stages)
        stages = (
            stage if len(wanted) == len(stage.candidates) else stage.subset(wanted, random)
            for stage, wanted in zip(self.stages, kept, strict=True)
            if wanted
        )
        return Plan(tuple(stages), free_choice=self.free_choice, count=self._count, withheld=self.withheld)

    def preferring(self, is_wanted: Callable[[Candidate], bool], random: Callable[[], float]) -> "Plan":
        """The same plan with some candidates in front."""
        first = []
        rest = []
        for stage in self.stages:
            wanted = [candidate for candidate in stage.candidates if is_wanted(candidate)]
            if wanted:
                first.append(stage.subset(wanted, random))
                others = [candidate for candidate in stage.candidates if not is_wanted(candidate)]
                if others:
                    rest.append(stage.subset(others, random))
            else:
                rest.append(stage)
        return Plan((*first, *rest), free_choice=self.free_choice, count=self._count, withheld=self.withheld)

    def __repr__(self) -> str:
        return f"<Plan {len(self.stages)} stages, {sum(len(stage.candidates) for stage in self.stages)} candidates>"


class Pool:
    """Plans by name for the present snapshot.

    `vocabulary_of` names the vocabulary of a model, empty when none is at hand; `count` counts by it. Both are given or
    neither is.
    """

    __slots__ = (
        "_candidates",
        "_classifiers",
        "_count",
        "_keys",
        "_plans",
        "_vocabulary_of",
        "_ways",
        "allowances",
        "calibrations",
        "health",
        "snapshot",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        health: Health,
        calibrations: Calibrations | None = None,
        *,
        vocabulary_of: Callable[[str], str] | None = None,
        count: TokenCounter | None = None,
    ) -> None:
        self.health = health
        self._vocabulary_of = vocabulary_of
        self._count = count
        self.calibrations = calibrations or Calibrations()
        self.snapshot = snapshot
        self.replace(snapshot)

    def replace(self, snapshot: Snapshot) -> None:
        """Take another configuration; requests under way finish with the plan that they have."""
        keys: dict[str, list[Key]] = {}
        for key in snapshot.keys:
            keys.setdefault(key.provider_id, []).append(key)
        there = {(key.id, key.secret) for key in _all_keys(snapshot)}  # one whose account has merged is the same key
        for gone in (key for key in _all_keys(self.snapshot) if (key.id, key.secret) not in there):
            self.health.forget(provider_id=gone.provider_id, account=gone.account, label=gone.label)
        self.snapshot = snapshot
        self.allowances = allowances_of(snapshot)
        self._keys = keys
        self._plans: dict[str, Plan] = {}
        self._candidates: dict[str, Candidate] = {}
        self._ways: dict[str, KeyWays] = {}
        self._classifiers = {provider.id: Classifier(provider.row.failures) for provider in snapshot.providers.values()}

    def plan(self, name: str) -> Plan | None:
        """The plan for a model name; None when nothing configured answers to it."""
        plan = self._plans.get(name)
        if plan is not None:
            return plan
        resolution = resolve(self.snapshot, name)
        if resolution is None:
            return None
        stages, free_choice = resolution.stages, resolution.free_choice
        withheld = tuple(self._withheld(stages))
        return self._keep(
            name, Plan(self._stages(stages), free_choice=free_choice, count=self._count, withheld=withheld)
        )

    def plan_made(self, name: str, make: Callable[[], Plan]) -> Plan:
        """A plan that no model's name stands for, made when it is first asked for: `name` is one that no caller has."""
        return self._plans.get(name) or self._keep(name, make())

    def _keep(self, name: str, plan: Plan) -> Plan:
        if len(self._plans) >= MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[name] = plan
        return plan

    def candidate_of(self, provider_id: str, label: str, model: str) -> Candidate | None:
        """A key with a model, whether or not a plan has needed them; None for a key that is not configured."""
        key = next((key for key in self._keys.get(provider_id, ()) if key.label == label), None)
        return None if key is None else self._candidate(key, Target(provider_id, model))

    def candidates(self) -> list[Candidate]:
        """Every candidate that a plan has needed so far."""
        return list(self._candidates.values())

    def classifier(self, provider_id: str) -> Classifier:
        """The failure table of a provider of the present snapshot, else the generic one."""
        return self._classifiers.get(provider_id) or Classifier()

    def _withheld(self, resolved: Iterable[StageTargets]) -> Iterator[tuple[Target, Withheld]]:
        for target in dict.fromkeys(target for targets in resolved for target in targets.targets):
            yield from ((target, key) for key in self.snapshot.withheld if key.key.provider_id == target.provider_id)

    def _stages(self, resolved: Iterable[StageTargets]) -> tuple[Stage, ...]:
        """The stages, those of each split by the keys' ranks; keys in reserve come before the last resort."""
        first, reserve, last = list[Stage](), list[Stage](), list[Stage]()
        for targets in resolved:
            ranks: dict[tuple[bool, int], list[Candidate]] = {}
            for target in targets.targets:
                for key in self._keys.get(target.provider_id, ()):
                    ranks.setdefault((key.backup, key.priority), []).append(self._candidate(key, target))
            for backup, priority in sorted(ranks):
                stages = last if targets.last_resort else reserve if backup else first
                stages.append(Stage(ranks[backup, priority], targets.policy))
        return (*first, *reserve, *last)

    def _candidate(self, key: Key, target: Target) -> Candidate:
        name = f"{key.id}:{target.model}"
        candidate = self._candidates.get(name)
        if candidate is None:
            if len(self._candidates) >= MAX_PLANS:
                del self._candidates[next(iter(self._candidates))]
            provider = self.snapshot.providers[target.provider_id]
            calibration = self.calibrations.of(provider.id, target.model)
            ways = self._ways.get(key.id)
            if ways is None:
                ways = self._ways[key.id] = ways_of(provider, key)
            candidate = Candidate(provider, key, target.model, self.health, calibration, ways=ways)
            self._candidates[name] = candidate
            if self._vocabulary_of is not None:
                candidate.tokeniser = self._vocabulary_of(target.model)
        return candidate

    def __repr__(self) -> str:
        keys = sum(map(len, self._keys.values()))
        return f"<Pool {len(self.snapshot.providers)} providers, {keys} keys, {len(self._plans)} plans>"


def _all_keys(snapshot: Snapshot) -> Iterator[Key]:
    """Keys that serve and keys that are withheld: of both is known what they are worth."""
    yield from snapshot.keys
    yield from (each.key for each in snapshot.withheld)
