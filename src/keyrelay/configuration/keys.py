"""The keys of a provider: `KEY`, `label=KEY` or `account:label=KEY`, several of them separated by commas.

A key without a label gets one from its own digest and has an account of its own. So labels and counts stay with
the key when the list around it changes, which a label by position would not.
"""

import re
from collections.abc import Iterable

import msgspec

from keyrelay.configuration.environment import Environment, numbered
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.setting_values import split_list
from keyrelay.configuration.values import EffectiveValue
from keyrelay.core.configuration import Key, Withheld
from keyrelay.core.providers import ProviderRow
from keyrelay.core.secrets import Secret

MAX_KEYS_PER_PROVIDER = 1000
NO_KEY_LABEL = "no-key"

# No longer than a label is likely to be: a key with `=` in its middle must not be taken for a label and shown.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,31}"
# What follows the label has to hold more than base64 padding, so that `c2VjcmV0==` is one whole key.
_LABELLED = re.compile(rf"(?:(?P<account>{_NAME}):)?(?P<label>{_NAME})=(?P<key>=*[^=].*)", re.DOTALL)
_ONE_NAME = re.compile(_NAME)
_USABLE = re.compile(r"[\x21-\x7e]+")
_PLACEHOLDER = re.compile(r"(your|insert|replace)[-_ ].*|<.*>|changeme|(sk-|gsk_|hf_)?(\.{3,}|x{3,})", re.IGNORECASE)


class ParsedKey(msgspec.Struct, frozen=True):
    """One entry of a key list; label and account empty when the entry does not give them."""

    secret: Secret
    label: str = ""
    account: str = ""


class SourcedKey(msgspec.Struct, frozen=True):
    """A key and the variable that it came from; `weighted` says that it has a weight of its own.

    One that is `withheld` takes no requests.
    """

    key: Key
    source: str
    weighted: bool = False
    withheld: Withheld | None = None

    @property
    def shown(self) -> EffectiveValue:
        """Tail of the secret, and what is out of the ordinary: an account of another name, backup, a rank, limits."""
        key = self.key
        masked = key.secret.masked if key.secret else "none needed"
        unusual = [
            *([self.withheld.reason] if self.withheld else []),
            *([f"account {key.account}"] if key.account != key.label else []),
            *(["backup"] if key.backup else []),
            *([f"priority {key.priority}"] if key.priority else []),
            *([f"weight {key.weight:g}"] if self.weighted else []),
            *map(str, key.limits),
        ]
        text = f"{masked} ({', '.join(unusual)})" if unusual else masked
        return EffectiveValue(f"providers.{key.provider_id}.keys.{key.label}", text, self.source)


def parse_keys(text: str) -> tuple[ParsedKey, ...]:
    """Read a comma list (in a file, line ends separate as well). Nothing is checked here."""
    return tuple(_parse_key(entry) for entry in split_list(text))


def _parse_key(entry: str) -> ParsedKey:
    labelled = _LABELLED.fullmatch(entry)
    if labelled is None:
        return ParsedKey(Secret(entry))
    return ParsedKey(Secret(labelled["key"].strip()), labelled["label"], labelled["account"] or "")


def key_names(row: ProviderRow, prefix: str, *, names: Iterable[str]) -> tuple[str, ...]:
    """Every variable that may hold keys of this provider, in the order in which they are read."""
    stem = f"{prefix}_API_KEY"
    all_names = (stem, *numbered(names, stem), *row.key_env, f"{stem}S")
    return tuple(dict.fromkeys(all_names))


def read_keys(
    row: ProviderRow, names: tuple[str, ...], *, environment: Environment, findings: Findings
) -> tuple[SourcedKey, ...]:
    """All keys in the variables named. A second use of a secret is dropped, a second use of a label refused."""
    _warn_of_empty(names, environment, findings=findings)
    keys = dict[str, SourcedKey]()
    seen = set[Secret]()
    for found in filter(None, map(environment.find_secret, names)):
        for position, parsed in enumerate(parse_keys(found.text), 1):
            where = f"{found.source} entry {position}"
            if parsed.secret in seen:
                findings.warn(where, "this key stands there already; the first one counts.")
            elif _is_usable(parsed.secret, where=where, findings=findings):
                seen.add(parsed.secret)
                _add(keys, SourcedKey(_key(row, parsed), found.source), where=where, findings=findings)
    if len(keys) > MAX_KEYS_PER_PROVIDER:
        findings.problem(row.id, f"has more than {MAX_KEYS_PER_PROVIDER} keys.", "Remove some.")
    return tuple(keys.values())


def _warn_of_empty(names: tuple[str, ...], environment: Environment, *, findings: Findings) -> None:
    for name in sorted(set(names).intersection(environment.empty_names)):
        findings.warn(name, "is empty and therefore ignored.")


def is_usable(secret: Secret) -> bool:
    """Whether it can be sent as a key."""
    return bool(_USABLE.fullmatch(secret.reveal()))


def is_placeholder(secret: Secret) -> bool:
    """Whether it only stands where a key should."""
    return bool(_PLACEHOLDER.fullmatch(secret.reveal()))


def is_name(text: str) -> bool:
    """Whether it can be the label or the account of a key."""
    return bool(_ONE_NAME.fullmatch(text))


def _is_usable(secret: Secret, *, where: str, findings: Findings) -> bool:
    if not is_usable(secret):
        findings.problem(
            where, "holds spaces or characters that cannot stand in an HTTP header.", "Copy the key once more."
        )
        return False
    if is_placeholder(secret):
        findings.warn(where, "is a placeholder, not a key; it is ignored.")
        return False
    return True


def _key(row: ProviderRow, parsed: ParsedKey) -> Key:
    label = parsed.label or parsed.secret.fingerprint
    return Key(provider_id=row.id, label=label, account=parsed.account or label, secret=parsed.secret)


def _add(keys: dict[str, SourcedKey], key: SourcedKey, *, where: str, findings: Findings) -> None:
    label = key.key.label
    if label in keys:
        problem = f"the label {label} is used already, in {keys[label].source}."
        findings.problem(where, problem, "Give each key of a provider its own label.")
        return
    keys[label] = key


def keyless(row: ProviderRow, source: str) -> SourcedKey:
    """The one candidate of a provider that is called without a key."""
    return SourcedKey(Key(provider_id=row.id, label=NO_KEY_LABEL, account=NO_KEY_LABEL, secret=None), source)
