"""Changes of providers, each a pure function from one state of what is administered to the next."""

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET, UnsetType

from keyrelay.administration.service import Edit
from keyrelay.configuration.operator_limits import parse_limit
from keyrelay.configuration.providers import HIGHEST_PRIORITY_NUMBER, prefix_of
from keyrelay.configuration.stored import address_of
from keyrelay.core.addresses import AddressPolicy
from keyrelay.core.administered import Administered, KeyEntry, ProviderEntry
from keyrelay.core.configuration import Tier
from keyrelay.core.errors import CallerError
from keyrelay.core.origins import Origin, parse_base_url
from keyrelay.core.providers import PROVIDER_DIALECTS, ProviderRow
from keyrelay.settings import PREFIX

ORDER = "order"
PREVIEW = "preview"
RESERVED = frozenset({ORDER, PREVIEW})
"""Words that stand in paths where a provider's id does."""

PRIORITY_STEP = 10
"""Between the priorities of two providers that are put in order, so that one can be put between them."""

MAX_MODELS = 1_000
MAX_LIMITS = 50
MAX_NOTES = 2_000
_LONGEST_LIMIT = 200
_ID = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MODEL = re.compile(r"[!-+\--~]{1,256}")  # no spaces, no commas: a comma list holds them

_SUFFIXES: Mapping[str, str] = {
    "base_url": "BASE_URL",
    "dialect": "DIALECT",
    "enabled": "ENABLED",
    "priority": "PRIORITY",
    "tier": "TIER",
    "margin": "MARGIN",
    "models": "MODELS",
    "limits": "LIMITS",
}
"""What the variable ends in that says the same, by field."""


class ProviderFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be said of a provider.

    What is left out stays as it is, null says nothing any more. `margin` is the percentage, from 0 to 1, of the
    provider's own limits that is left unused.
    """

    base_url: str | UnsetType | None = UNSET
    dialect: str | UnsetType | None = UNSET
    enabled: bool | UnsetType | None = UNSET
    priority: int | UnsetType | None = UNSET
    tier: str | UnsetType | None = UNSET
    margin: float | UnsetType | None = UNSET
    models: tuple[str, ...] | UnsetType | None = UNSET
    limits: tuple[str, ...] | UnsetType | None = UNSET
    notes: str | UnsetType | None = UNSET


def wrong(param: str, problem: str, status: int = 400) -> CallerError:
    """The answer to a field that is wrong; `problem` goes on from its name."""
    return CallerError(status, f"{param}: {problem}.", param=param, code="invalid_parameter")


def check_id(provider_id: str, catalogue: Mapping[str, ProviderRow]) -> None:
    """Raise CallerError (400) for what cannot be the id of a provider, of the catalogue or not."""
    if provider_id in catalogue:
        return
    if not _ID.fullmatch(provider_id) or provider_id in RESERVED or f"{prefix_of(provider_id)}_".startswith(PREFIX):
        raise wrong("id", "a provider of your own is called by 1 to 32 small letters, digits and _, such as my_llm")
    taken = next((known for known in catalogue if prefix_of(known) == prefix_of(provider_id)), None)
    if taken is not None:
        raise wrong("id", f"its variables would be those of {taken}")


def check_fields(fields: ProviderFields, policy: AddressPolicy) -> None:
    """Raise CallerError (400, 422) for what cannot be said of a provider."""
    if fields.base_url:
        check_address(fields.base_url, policy)
    for name, words in (("dialect", PROVIDER_DIALECTS), ("tier", tuple(Tier))):
        text = getattr(fields, name)
        if text and text not in words:
            raise wrong(name, f"is not one of {', '.join(words)}")
    if isinstance(fields.priority, int) and not 0 <= fields.priority <= HIGHEST_PRIORITY_NUMBER:
        raise wrong("priority", f"from 0 to {HIGHEST_PRIORITY_NUMBER}, the lowest is tried first")
    if isinstance(fields.margin, int | float) and not 0.0 <= fields.margin <= 1.0:
        raise wrong("margin", "a percentage from 0 to 1")
    if isinstance(fields.notes, str) and len(fields.notes) > MAX_NOTES:
        raise wrong("notes", f"at most {MAX_NOTES} characters")
    _check_lists(fields.models or (), fields.limits or ())


def _check_lists(models: Sequence[str], limits: Sequence[str]) -> None:
    if len(models) > MAX_MODELS or not all(map(_MODEL.fullmatch, models)):
        raise wrong("models", f"at most {MAX_MODELS} names, without spaces and commas")
    if len(limits) > MAX_LIMITS or any(len(text) > _LONGEST_LIMIT for text in limits):
        raise wrong("limits", f"at most {MAX_LIMITS}, each of at most {_LONGEST_LIMIT} characters")
    for text in limits:
        try:
            parse_limit(text)
        except ValueError as error:
            raise wrong("limits", f"{text!r}: {error}") from None


def check_address(base_url: str, policy: AddressPolicy) -> tuple[Origin, str]:
    """A base URL in its two parts.

    Raise CallerError (422) for one that is none, or whose host is written as an address that may not be connected to.
    A name is judged where it is connected to.
    """
    try:
        origin, path = parse_base_url(base_url, guarded=True)
    except ValueError as error:
        message = f"base_url: {error}. Write it as https://host/v1, as the OpenAI SDK takes it."
        raise CallerError(422, message, param="base_url", code="invalid_base_url") from None
    for address in _literal(origin.host):
        denial = policy.denial(address)
        if denial is not None:
            message = f"base_url: {denial}."
            raise CallerError(422, message, param="base_url", code="address_denied")
    return origin, path


def _literal(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """The address that a host is written as, in whichever notation the system takes; nothing for a name."""
    if host == "localhost" or host.endswith(".localhost"):
        return [ipaddress.ip_address("127.0.0.1")]
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [ipaddress.ip_address(str(where[0]).partition("%")[0]) for *_, where in found]


def said(entry: ProviderEntry, fields: ProviderFields, *, whole: bool) -> ProviderEntry:
    """An entry with what is said now; `whole`: and with nothing else."""
    nothing = ProviderEntry(id=entry.id)
    values = {name: getattr(fields, name) for name in ProviderFields.__struct_fields__}
    given = {
        name: getattr(nothing, name) if value is None else value for name, value in values.items() if value is not UNSET
    }
    return msgspec.structs.replace(nothing if whole else entry, **given)


def refuse_held(
    row: ProviderRow | None, before: ProviderEntry, after: ProviderEntry, variables: Mapping[str, str]
) -> None:
    """Raise CallerError (409) for a change that would change nothing, since a variable outside says the same."""
    for name, suffix in _SUFFIXES.items():
        if getattr(after, name) in {getattr(before, name), *_empty_of(name)}:
            continue
        more = row.base_url_env if row is not None and name == "base_url" else ()
        names = (f"{prefix_of(after.id)}_{suffix}", *more)
        held = next((variable for variable in names if variable in variables), None)
        if held is not None:
            message = f"{name}: {held} in the {_place(variables[held])} says this, and wins. Change it there."
            raise CallerError(409, message, param=name, code="set_in_environment")


def _empty_of(name: str) -> tuple[object]:
    return (getattr(ProviderEntry(id=""), name),)


def _place(layer: str) -> str:
    return layer if layer == "environment" else f"file {layer}"


def putting(entry: ProviderEntry, row: ProviderRow | None, *, confirmed: str | None = None) -> Edit:
    """Say this of a provider; one of the catalogue of which nothing is said is forgotten.

    With `confirmed`, which has to be its address then, all of its keys in the store belong there. Those of the
    environment do not: who runs the machine says where these go. The edit raises CallerError (422).
    """

    def edit(state: Administered) -> Administered:
        silent = entry == ProviderEntry(id=entry.id)
        after = state.without("provider", entry.id) if silent and row is not None else state.put(entry)
        return after if confirmed is None else _confirming(after, entry.id, row, confirmed)

    return edit


def _confirming(state: Administered, provider_id: str, row: ProviderRow | None, confirmed: str) -> Administered:
    origin = address_of(state, provider_id)
    address = origin or _catalogued(row)
    if not address or confirmed.rstrip("/") not in {address, address.partition("://")[2]}:
        message = f"confirm_keys: name the address that the keys are to go to, {address or 'which there is none of'}."
        raise CallerError(422, message, param="confirm_keys", code="not_confirmed")
    for entry in state.all(KeyEntry):
        if entry.provider == provider_id and ("key", entry.id) in state.secrets:
            state = state.put(msgspec.structs.replace(entry, origin=origin))
    return state


def _catalogued(row: ProviderRow | None) -> str:
    try:
        return str(parse_base_url(row.base_url)[0]) if row is not None else ""
    except ValueError:
        return ""


def removing(provider_id: str, *, with_keys: bool) -> Edit:
    """Forget what is said of a provider. The edit raises CallerError (404, 409)."""

    def edit(state: Administered) -> Administered:
        if state.get(ProviderEntry, provider_id) is None:
            message = f"Nothing is administered of {provider_id[:64]!a}."
            raise CallerError(404, message, param="id", code="provider_not_administered")
        keys = [entry for entry in state.all(KeyEntry) if entry.provider == provider_id]
        owned = [entry for entry in keys if ("key", entry.id) in state.secrets]
        if owned and not with_keys:
            count = "1 key" if len(owned) == 1 else f"{len(owned)} keys"
            message = f"{provider_id} has {count} here. Send with_keys=true to delete them as well."
            raise CallerError(409, message, param="with_keys", code="provider_has_keys")
        for entry in keys:
            state = state.without("key", entry.id)
        return state.without("provider", provider_id)

    return edit


def ordering(ids: Sequence[str]) -> Edit:
    """Try these providers in this order."""

    def edit(state: Administered) -> Administered:
        for place, provider_id in enumerate(ids, 1):
            entry = state.get(ProviderEntry, provider_id) or ProviderEntry(id=provider_id)
            state = state.put(msgspec.structs.replace(entry, priority=place * PRIORITY_STEP))
        return state

    return edit
