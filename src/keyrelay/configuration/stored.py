"""What is administered, as a part of the configuration: above `keyrelay.toml`, below the environment.

What is said of providers and settings becomes variables of a layer of its own, so that it is read, checked and shown
like any other. Keys, routes and clients join those of the other places.
"""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from keyrelay.configuration.environment import Layer
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.keys import SourcedKey
from keyrelay.configuration.operator_limits import parse_limit
from keyrelay.configuration.setting_values import BY_NAME, LOCATORS
from keyrelay.configuration.toml_file import RouteText
from keyrelay.core.administered import Administered, KeyEntry, ProviderEntry, RouteEntry, SettingEntry
from keyrelay.core.configuration import Key, PolicyName, Withheld
from keyrelay.core.limits import Limit, ScopePart
from keyrelay.core.origins import parse_base_url
from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret
from keyrelay.quota.limits import limit_problems
from keyrelay.settings import PREFIX, Setting

STORE = "store"
"""Source of what is administered."""

_MOST_LABELS = 20

_OF_THE_MACHINE = frozenset(
    {
        *LOCATORS,
        "allow_private_addresses",
        "allowed_networks",
        "data_dir",
        "host",
        "keep_audit_days",
        "master_key_file",
        "master_key_source",
        "no_proxy",
        "port",
        "redis_prefix",
        "trusted_proxies",
        "url",
        "workers",
    }
)
"""Settings that are up to whoever runs the machine."""


def layer_of(administered: Administered, prefix_of: Callable[[str], str]) -> Layer:
    """Providers' and Keyrelay's own settings as variables; `prefix_of` says what those of a provider begin with."""
    variables = dict[str, str]()
    for provider in administered.all(ProviderEntry):
        prefix = prefix_of(provider.id)
        variables |= {f"{prefix}_{name}": text for name, text in _texts(provider).items() if text}
    for setting in administered.all(SettingEntry):
        variables[f"{PREFIX}{setting.name.upper()}"] = setting.text
    return Layer(STORE, variables)


def _texts(entry: ProviderEntry) -> Mapping[str, str]:
    """What an entry says, by the end of the variable that says the same; empty where it says nothing."""
    return {
        "BASE_URL": entry.base_url,
        "DIALECT": entry.dialect,
        "ENABLED": "" if entry.enabled is None else str(entry.enabled).lower(),
        "PRIORITY": "" if entry.priority is None else str(entry.priority),
        "TIER": entry.tier,
        "MARGIN": "" if entry.margin is None else f"{entry.margin:g}",
        "MODELS": ",".join(entry.models),
        "LIMITS": ";".join(entry.limits),
    }


def is_administered(setting: Setting) -> bool:
    """Whether a setting can be administered at all: none that holds a secret, or that says where things are."""
    return not setting.secret and setting.name not in _OF_THE_MACHINE


def refuse_wrong_settings(administered: Administered, findings: Findings) -> None:
    """Note a problem for each setting that cannot be administered."""
    for entry in administered.all(SettingEntry):
        setting = BY_NAME.get(entry.name)
        if setting is None:
            findings.problem(f"{STORE} {entry.name}", "Keyrelay has no such setting.")
        elif not is_administered(setting):
            findings.problem(f"{STORE} {entry.name}", "can only be set in the environment.")


def routes_of(administered: Administered, file: Iterable[RouteText], findings: Findings) -> tuple[RouteText, ...]:
    """The file's routes and those administered, which win."""
    own = {entry.name: _route(entry, findings) for entry in administered.all(RouteEntry)}
    return (*(route for route in file if route.name not in own), *own.values())


def _route(entry: RouteEntry, findings: Findings) -> RouteText:
    where = f"{STORE} route {entry.name}"
    policy = next((policy for policy in PolicyName if policy == entry.policy), None)
    if entry.policy is not None and policy is None:
        findings.problem(f"{where} policy", f"is not one of {', '.join(PolicyName)}.")
    if not entry.targets:
        findings.problem(f"{where} targets", "names no target.", "Name at least one, as provider/model.")
    return RouteText(
        name=entry.name,
        where=where,
        targets=entry.targets,
        policy=policy,
        fallback=entry.fallback,
        cache=entry.cache,
    )


class StoredKeys:
    """The administered keys of all providers, as of a time (epoch seconds)."""

    def __init__(self, administered: Administered, now_s: float) -> None:
        self._now_s = now_s
        self._keys: dict[str, list[KeyEntry]] = {}
        for entry in administered.all(KeyEntry):
            self._keys.setdefault(entry.provider, []).append(entry)
        self._secrets = {name: secret for (kind, name), secret in administered.secrets.items() if kind == "key"}

    def has(self, provider_id: str) -> bool:
        """Whether the provider has keys here."""
        return any(entry.id in self._secrets for entry in self._keys.get(provider_id, ()))

    def join(self, row: ProviderRow, keys: Iterable[SourcedKey], findings: Findings) -> tuple[SourcedKey, ...]:
        """A provider's keys of other places with what is said of them here, and those that are here alone.

        Those that are not to serve say so (`SourcedKey.withheld`).
        """
        entries = {entry.label: entry for entry in self._keys.get(row.id, ())}
        joined = dict[str, SourcedKey]()
        for each in keys:
            entry = entries.get(each.key.label)
            joined[each.key.label] = each if entry is None else _said_of(each, entry, findings)
        secrets = {each.key.secret for each in joined.values()}
        for label, entry in entries.items():
            secret = self._secrets.get(entry.id)
            if secret is None:
                continue
            where = f"{STORE} key {entry.id}"
            if label in joined or secret in secrets:
                findings.warn(where, "the environment holds this label or key too, and wins.")
                continue
            joined[label] = _said_of(_own(entry, secret), entry, findings)
        return tuple(self._judged(each, entries.get(label)) for label, each in joined.items())

    def placed(
        self, provider_id: str, keys: Iterable[SourcedKey], *, address: str, own: str, findings: Findings
    ) -> tuple[SourcedKey, ...]:
        """The keys of a provider at this address, those that were entered for another one withheld.

        `own` is the address that the catalogue gives the provider, empty for none; keys of the environment belong
        there, whatever is said of them here.
        """
        entries = {entry.label: entry for entry in self._keys.get(provider_id, ())}
        placed, elsewhere = list[SourcedKey](), list[str]()
        for each in keys:
            entry = entries.get(each.key.label)
            entered_for = entry.origin if entry is not None and each.source == STORE else ""
            bound_to = entered_for or own
            if each.key.secret is not None and bound_to != address:
                elsewhere.append(each.key.label)
                each = _elsewhere(each, bound_to, address)  # noqa: PLW2901 - the same key, judged
            placed.append(each)
        if elsewhere:
            count = f"{len(elsewhere)} {'key was' if len(elsewhere) == 1 else 'keys were'}"
            findings.warn(
                f"{STORE} provider {provider_id}",
                f"{count} entered for another address, and not sent to {address}: {_few(elsewhere)}. "
                "Enter them again, or confirm the address.",
            )
        return tuple(placed)

    def _judged(self, each: SourcedKey, entry: KeyEntry | None) -> SourcedKey:
        if entry is None:
            return each
        if not entry.enabled:
            return msgspec.structs.replace(each, withheld=Withheld(each.key, "disabled", entry.set_by))
        if 0.0 < entry.expires_s <= self._now_s:
            return msgspec.structs.replace(each, withheld=Withheld(each.key, "expired"))
        return each


def bound(before: Administered, after: Administered, held: frozenset[Secret] = frozenset()) -> Administered:
    """The second state, in which each key whose secret was given anew belongs to its provider's address of then.

    So a key goes to no other host than the one that was to be seen when it was entered. A secret that is only moved to
    another label stays bound as it was, and so does a copy of one that is `held` by the environment: nobody has entered
    that.
    """
    # A secret that is given once more is another object, though it may be the same text.
    known = {id(secret): place for place, secret in before.secrets.items()}
    for place, secret in after.secrets.items():
        entry = after.get(KeyEntry, place[1]) if place[0] == "key" else None
        if entry is None or known.get(id(secret)) == place or secret in held:
            continue
        moved = before.entries.get(known[id(secret)]) if id(secret) in known else None
        origin = moved.origin if isinstance(moved, KeyEntry) else address_of(after, entry.provider)
        after = after.put(msgspec.structs.replace(entry, origin=origin))
    return after


def address_of(administered: Administered, provider_id: str) -> str:
    """The origin that is administered for a provider, as text; empty where none is."""
    entry = administered.get(ProviderEntry, provider_id)
    try:
        return str(parse_base_url(entry.base_url)[0]) if entry is not None else ""
    except ValueError:
        return ""


def _elsewhere(each: SourcedKey, bound_to: str, address: str) -> SourcedKey:
    """A key that stays where it belongs. The reason that a person has given for it to be out comes first."""
    if each.source != STORE:
        detail = f"it stands in {each.source}, and goes to addresses of the environment and the catalogue alone"
    else:
        entered = f"it was entered for {bound_to}" if bound_to else "it belongs to no address that is administered"
        detail = f"{entered}, and its provider is at {address} now: enter it again, or confirm the address"
    withheld = each.withheld or Withheld(each.key, "other_host")
    return msgspec.structs.replace(each, withheld=msgspec.structs.replace(withheld, detail=detail))


def _few(labels: list[str]) -> str:
    more = len(labels) - _MOST_LABELS
    return ", ".join(labels[:_MOST_LABELS]) + (f" and {more} more" if more > 0 else "")


def _own(entry: KeyEntry, secret: Secret) -> SourcedKey:
    key = Key(provider_id=entry.provider, label=entry.label, account=entry.account or entry.label, secret=secret)
    return SourcedKey(key, STORE)


def _said_of(each: SourcedKey, entry: KeyEntry, findings: Findings) -> SourcedKey:
    """A key with what an entry says of it."""
    key = msgspec.structs.replace(
        each.key,
        account=entry.account or each.key.account,
        priority=entry.priority,
        backup=entry.backup,
        limits=_limits(entry, findings),
        weight=entry.weight or 1.0,
    )
    return SourcedKey(key, each.source, weighted=entry.weight is not None)


def _limits(entry: KeyEntry, findings: Findings) -> tuple[Limit, ...]:
    limits = list[Limit]()
    where = f"{STORE} key {entry.id} limits"
    for text in entry.limits:
        try:
            limits.append(parse_limit(text, scope=ScopePart.KEY))
        except ValueError as error:
            findings.problem(where, f"{text!r}: {error}.", "Write, for example, 100 requests per day@UTC.")
    for problem in limit_problems(limits):
        findings.problem(where, f"{problem}.")
    for limit in limits:
        if ScopePart.KEY not in limit.scope:
            findings.problem(where, f"{limit} is not for the key.", "Say so at its provider, or leave the scope out.")
    return tuple(limits)
