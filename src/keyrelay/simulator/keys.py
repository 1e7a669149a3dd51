"""The keys of one simulated provider and what they are worth."""

from collections import deque

from keyrelay.core.limits import Window, WindowKind
from keyrelay.core.secrets import Secret
from keyrelay.simulator.limits import period
from keyrelay.simulator.scenario import KeyPlan, KeyState, ProviderPlan

MAX_KEYS = 10_000
_FAKE_PREFIX = "sim-"
_RESETS = {"exhausted_day": WindowKind.DAY, "exhausted_month": WindowKind.MONTH}


class Key:
    """One key: its label, its account, its state, and the faults that strike it alone."""

    def __init__(self, secret: str, plan: KeyPlan, *, zone: str, now_s: float) -> None:
        self.label = plan.label or label_of(secret)
        self.account = plan.account or self.label
        self.models = plan.models
        self.faults = plan.faults
        self.script = deque(plan.script)
        self.masked = f"{secret[:8]}{'*' * 8}{secret[-4:]}"
        self._zone = zone
        self.set_state(plan.state, now_s)

    def __repr__(self) -> str:
        return f"Key({self.label}, {self._state})"

    def set_state(self, state: KeyState, now_s: float) -> None:
        """Put the key into a state; exhaustion ends at the next reset in the provider's zone."""
        self._state: KeyState = state
        kind = _RESETS.get(state)
        self.until_s = period(Window(kind, zone=self._zone), now_s)[1] if kind else float("inf")

    def state(self, now_s: float) -> KeyState:
        """What the key is worth now."""
        if now_s >= self.until_s:
            self.set_state("ok", now_s)
        return self._state


class KeyBook:
    """All keys that a provider knows, by secret."""

    def __init__(self, plan: ProviderPlan, *, zone: str, now_s: float) -> None:
        self._zone = zone
        self._accept_unknown = plan.accept_unknown_keys
        self._keys: dict[str, Key] = {}
        for secret, entry in plan.keys.items():
            self._add(secret, entry, now_s)

    def find(self, secret: str, now_s: float) -> Key | None:
        """The key with this secret, made on first sight if the scenario accepts unknown ones; None for a wrong key."""
        key = self._keys.get(secret)
        if key is None and self._accept_unknown and len(self._keys) < MAX_KEYS:
            key = self._add(secret, KeyPlan(), now_s)
        return key

    def change(self, name: str, entry: KeyState | KeyPlan, now_s: float) -> None:
        """Set the state or the plan of the key with this secret or label; a new one is added."""
        for secret, key in self._keys.items():
            if name in (secret, key.label):
                if isinstance(entry, KeyPlan):
                    self._add(secret, entry, now_s)
                else:
                    key.set_state(entry, now_s)
                return
        self._add(name, entry, now_s)

    def states(self, now_s: float) -> dict[str, KeyState]:
        """The state of each key by label."""
        return {key.label: key.state(now_s) for key in self._keys.values()}

    def _add(self, secret: str, entry: KeyState | KeyPlan, now_s: float) -> Key:
        plan = entry if isinstance(entry, KeyPlan) else KeyPlan(state=entry)
        key = Key(secret, plan, zone=self._zone, now_s=now_s)
        self._keys[secret] = key
        return key


def label_of(secret: str) -> str:
    """What may be shown of a key: all of a simulated one, of any other its tail and fingerprint."""
    if secret.startswith(_FAKE_PREFIX):
        return secret
    hidden = Secret(secret)
    return f"{hidden.masked}{hidden.fingerprint}"
