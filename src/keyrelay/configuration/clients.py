"""The applications that may call Keyrelay, from `CLIENT_API_KEYS_MAP="secret:App,secret:App"`.

An entry is split at its last colon, since a secret may hold colons and a label may not. Of a secret only the
SHA-256 digest is kept.
"""

import hashlib
import ipaddress
import re

import msgspec

from keyrelay.configuration.environment import Environment
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.setting_values import split_list
from keyrelay.configuration.values import EffectiveValue
from keyrelay.core.configuration import Client
from keyrelay.core.secrets import Secret

VARIABLE = "CLIENT_API_KEYS_MAP"
SHORTEST_SECRET = 16
MAX_CLIENTS = 10_000
LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9._@-])?")
LABEL_RULE = "A label is 1 to 64 letters, digits, spaces or `.`, `_`, `@`, `-`."

_USABLE = re.compile(r"[\x21-\x7e]+")
_FINGERPRINT_HEX_DIGITS = 8
# What well-known defaults are made of: "sk-1234", "changeme", "test-secret-key", "your_password_here".
_DEFAULT_PARTS = re.compile(
    r"abc(def)?|admin|api|app|changeme|change|client|default|demo|example|gateway|here|insert|it|keyrelay|key|litellm|"
    r"master|me|my|password|passwd|pass|please|replace|secret|sk|string|test|this|token|user|your|"
    r"0?1234?5?6?7?8?9?0?|[^a-z0-9]"
)
_LONGEST_REST = 3
_FEWEST_CHARACTERS = 5


class SourcedClient(msgspec.Struct, frozen=True):
    """A client and where it came from; `weakness` says why its secret would be guessed, empty for a good one."""

    client: Client
    source: str
    where: str
    weakness: str = ""

    @property
    def shown(self) -> EffectiveValue:
        """Label and the digest's first digits."""
        kind = "keyed digest" if self.client.keyed else "sha256"
        return EffectiveValue(f"clients.{self.client.label}", f"{kind} {fingerprint(self.client)}…", self.source)


def digest_of(secret: str) -> bytes:
    """What is kept of a client's secret: its SHA-256."""
    return hashlib.sha256(secret.encode()).digest()


def fingerprint(client: Client) -> str:
    """Eight hex digits of a client's digest: tells clients apart."""
    return client.digest.hex()[:_FINGERPRINT_HEX_DIGITS]


def read_clients(environment: Environment, findings: Findings) -> tuple[SourcedClient, ...]:
    """The clients that CLIENT_API_KEYS_MAP names, each secret once."""
    if VARIABLE in environment.empty_names:
        findings.warn(VARIABLE, "is empty and therefore ignored.")
    found = environment.find_secret(VARIABLE)
    clients = dict[bytes, SourcedClient]()
    for position, entry in enumerate(split_list(found.text) if found else (), 1):
        where = f"{found.source if found else ''} entry {position}"
        secret, colon, label = entry.rpartition(":")
        if not _is_entry(secret.strip(), label.strip() if colon else "", where=where, findings=findings):
            continue
        client = Client(label.strip(), digest_of(secret.strip()))
        if client.digest in clients:
            findings.problem(where, "the secret stands there already.", "Give each application a secret of its own.")
        source = found.source if found else ""
        clients[client.digest] = SourcedClient(client, source, where, weakness_of(secret.strip()))
    if len(clients) > MAX_CLIENTS:
        findings.problem(VARIABLE, f"names more than {MAX_CLIENTS} clients.", "Remove some.")
    return tuple(clients.values())


def _is_entry(secret: str, label: str, *, where: str, findings: Findings) -> bool:
    """Note what keeps an entry from being `secret:label`. Nothing of it is repeated: either side may be the secret."""
    if not label or not LABEL.fullmatch(label):
        findings.problem(where, "has no label, or not a good one, behind its last colon.", LABEL_RULE)
        return False
    if not secret:
        findings.problem(where, f"has no secret before the label {label}.", "Write secret:label.")
        return False
    if not _USABLE.fullmatch(secret):
        findings.problem(where, "the secret holds spaces or other characters that no header can carry.", "Change it.")
        return False
    return True


def weakness_of(secret: str) -> str:
    """Why a secret would be guessed; empty when it would not."""
    if len(secret) < SHORTEST_SECRET:
        return f"the secret is shorter than {SHORTEST_SECRET} characters"
    rest = _DEFAULT_PARTS.sub("", secret.lower())
    if len(rest) <= _LONGEST_REST or len(set(secret)) < _FEWEST_CHARACTERS:
        return "the secret is a well-known default, or as easily guessed"
    return ""


def check_operator(secret: Secret, clients: tuple[SourcedClient, ...], where: str, findings: Findings) -> None:
    """Refuse an operator's secret that would be guessed, and one that is a client's too."""
    weakness = weakness_of(secret.reveal()) if secret else ""
    if weakness:
        findings.problem(where, f"{weakness}.", "Make a good one with `openssl rand -hex 32`.")
    elif secret and any(each.client.digest == digest_of(secret.reveal()) for each in clients):
        findings.problem(where, "the secret is a client's too.", "Give the operator a secret of its own.")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_exposure(clients: tuple[SourcedClient, ...], *, host: str, where: str, findings: Findings) -> None:
    """Refuse to listen beyond this machine without clients or with weak secrets; on it, warn of weak ones."""
    exposed = not is_loopback(host)
    if exposed and not clients:
        fix = (
            f'Set {VARIABLE}="<secret of {SHORTEST_SECRET} characters or more>:<label>", '
            "or run `keyrelay clients new`, or listen on 127.0.0.1."
        )
        findings.problem(where, f"{host} is reached from other machines, and no client is configured.", fix)
    for each in clients:
        if each.weakness and exposed:
            fix = "Make a good one with `openssl rand -hex 32`, or listen on 127.0.0.1."
            findings.problem(each.where, f"{each.weakness}, and {host} is reached from other machines.", fix)
        elif each.weakness:
            findings.warn(each.where, f"{each.weakness}; that will do on this machine only.")
