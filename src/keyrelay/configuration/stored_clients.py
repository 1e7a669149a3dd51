"""The clients that are administered, beside those of the environment and of the data directory, which win."""

from collections.abc import Iterable, Iterator

import msgspec

from keyrelay.configuration.clients import LABEL, LABEL_RULE, SourcedClient
from keyrelay.configuration.findings import Findings
from keyrelay.configuration.operator_limits import parse_limit
from keyrelay.configuration.stored import STORE
from keyrelay.core.administered import Administered, ClientEntry
from keyrelay.core.configuration import Client, ClientLimit, ClientRules
from keyrelay.core.limits import Limit, ScopePart, WindowKind
from keyrelay.core.model_names import ModelNames
from keyrelay.core.secrets import Secret
from keyrelay.quota.client_limits import count_name
from keyrelay.quota.fairness import Priority
from keyrelay.quota.limits import limit_problems

PEPPER = "clients"
"""The pepper that digests of clients' secrets are made with."""

MAX_LIMITS = 32
MAX_MODELS = 200

_FOR_CLIENT = (ScopePart.CLIENT,)
_AS_WRITTEN = "Write, for example, 60 requests per minute, 5 usd per month@Europe/Berlin or 4 requests concurrent."


_ALL = ClientRules()
"""What is said of a client that may do everything: nothing has to be looked at when it calls."""


def pepper_of(administered: Administered) -> Secret | None:
    """What digests are made with; None before there are any."""
    return administered.secrets.get(("pepper", PEPPER))


def parse_client_limit(text: str) -> Limit:
    """Read a limit or budget of a client. Raise ValueError that says what is wrong, without the text."""
    limit = parse_limit(text, scope=ScopePart.CLIENT)
    if limit.scope != _FOR_CLIENT:
        raise ValueError("it is for the client and for nothing else: leave its scope out")
    if limit.models:
        raise ValueError("limits of a client count all models")
    return limit


def limits_of(entry: ClientEntry) -> Iterator[Limit | str]:
    """A client's limits, or what is wrong with them: a sentence each."""
    limits = list[Limit]()
    for text in entry.limits:
        try:
            limits.append(parse_client_limit(text))
        except ValueError as error:
            yield f"{text!r}: {error}."
    yield from (f"{problem}." for problem in limit_problems(limits))
    names = [count_name(limit) for limit in limits]
    if len(set(names)) < len(names):
        yield "two of them count the same."
    if len(limits) > MAX_LIMITS:
        yield f"there are more than {MAX_LIMITS}."
    yield from limits


def join_clients(
    administered: Administered, others: Iterable[SourcedClient], *, now_s: float, findings: Findings
) -> tuple[SourcedClient, ...]:
    """All clients: those of other places, then those administered, each once for each of its secrets."""
    known = tuple(others)
    labels = {each.client.label for each in known}
    joined = list(known)
    for entry in administered.all(ClientEntry):
        where = f"{STORE} client {entry.label}"
        found = tuple(_clients(entry, now_s, where=where, findings=findings))
        if entry.label in labels:
            source = next(each.source for each in known if each.client.label == entry.label)
            findings.warn(where, f"{source} has a client of this label too, and wins: this one is not let in.")
        elif pepper_of(administered) is None:
            findings.warn(where, "cannot be let in: what its digest was made with is not there. Rotate its secret.")
        else:
            joined += (SourcedClient(client, STORE, where) for client in found)
    return tuple(joined)


def _clients(entry: ClientEntry, now_s: float, *, where: str, findings: Findings) -> Iterator[Client]:
    rules = _rules(entry, where=where, findings=findings)
    digests = {entry.digest: rules}
    if entry.previous and now_s < entry.previous_until_s:
        until_s = min(filter(None, (entry.previous_until_s, entry.expires_s)))
        digests[entry.previous] = msgspec.structs.replace(rules, expires_s=until_s, replaced=True)
    for digest, said in digests.items():
        try:
            yield Client(entry.label, bytes.fromhex(digest), None if said == _ALL else said, keyed=True)
        except ValueError:
            findings.problem(where, "its digest is none.", "Rotate its secret.")


def _rules(entry: ClientEntry, *, where: str, findings: Findings) -> ClientRules:
    if not LABEL.fullmatch(entry.label):
        findings.problem(where, "its label will not do.", LABEL_RULE)
    if entry.priority and entry.priority not in set(Priority):
        findings.problem(f"{where} priority", f"is not one of {', '.join(Priority)}.")
    if len(entry.models) > MAX_MODELS or not all(map(str.strip, entry.models)):
        findings.problem(f"{where} models", f"are more than {MAX_MODELS}, or one of them is empty.")
    limits = list[ClientLimit]()
    for found in limits_of(entry):
        if isinstance(found, Limit):
            limits.append(_counted(entry, found))
        else:
            findings.problem(f"{where} limits", found, _AS_WRITTEN)
    return ClientRules(
        state="revoked" if entry.revoked_s else "" if entry.enabled else "disabled",
        expires_s=entry.expires_s,
        models=ModelNames(entry.models) if entry.models else None,
        limits=tuple(limits),
        priority=entry.priority,
    )


def _counted(entry: ClientEntry, limit: Limit) -> ClientLimit:
    mark = entry.marks.get(count_name(limit))
    if mark is None or limit.window.kind is WindowKind.CONCURRENT:
        return ClientLimit(limit)
    return ClientLimit(limit, mark.since_s, mark.before)
