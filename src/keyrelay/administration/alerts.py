"""Alerts as people administer them: rules, quiet hours, channels, and what is said of single alerts.

Each change is a pure function from one state of what is administered to the next.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from keyrelay.administration.service import Edit
from keyrelay.alerting import quiet as quiet_hours
from keyrelay.alerting.rules import BY_NAME, RULES, Measure, Rule, in_force, problem
from keyrelay.alerting.telling import Policy
from keyrelay.core.administered import Administered, AlertEntry
from keyrelay.core.alerts import (
    CHANNEL_KINDS,
    Channel,
    ChannelSecret,
    Destination,
    Hush,
    QuietHours,
    RuleChange,
    RuleName,
)
from keyrelay.core.errors import CallerError
from keyrelay.core.post_addresses import parse_post_url
from keyrelay.core.secrets import Secret

MAX_CHANNELS = 50
MAX_RECIPIENTS = 50
MAX_HUSHES = 1_000
SHORTEST_KEY = 16
LONGEST_SECRET = 4_096
LONGEST_SILENCE_S = 90 * 86_400.0
HUSH_KEPT_S = 90 * 86_400.0

QUIET = "quiet"
APPRISE = "KEYRELAY_APPRISE_URLS"

_RULE, _CHANNEL, _HUSH = "rule:", "channel:", "hush:"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_ADDRESS = re.compile(r"[^@\s<>(),;:\"\\]{1,64}@[A-Za-z0-9.-]{1,253}")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")
_HIGHEST_PORT = 65_535
_NO_HUSH = Hush()

_decoder = msgspec.json.Decoder(ChannelSecret)


class ChannelSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """What is entered of a channel's secrets; UNSET stays as it is."""

    url: str | UnsetType = UNSET
    key: str | UnsetType = UNSET
    password: str | UnsetType = UNSET


def policy_of(state: Administered) -> Policy:
    """What holds for alerts now."""
    entries = state.all(AlertEntry)
    return Policy(
        rules=rules_of(state),
        quiet=next((entry.quiet for entry in entries if entry.quiet is not None), None),
        hushes={entry.id.removeprefix(_HUSH): entry.hush for entry in entries if entry.hush is not None},
    )


def rules_of(state: Administered) -> Mapping[RuleName, Rule]:
    """The rules in force."""
    return {rule.name: in_force(rule, change_of(state, rule.name)) for rule in RULES}


def change_of(state: Administered, name: RuleName) -> RuleChange:
    """What somebody has changed of a rule; what will not do any more counts as if nobody had."""
    entry = state.get(AlertEntry, f"{_RULE}{name}")
    change = entry.rule if entry is not None and entry.rule is not None else RuleChange()
    return change if not problem(BY_NAME[name], change)[0] else RuleChange()


def channels_of(state: Administered) -> dict[str, Channel]:
    """The channels by name."""
    entries = (entry for entry in state.all(AlertEntry) if entry.channel is not None)
    return {entry.id.removeprefix(_CHANNEL): entry.channel for entry in entries if entry.channel is not None}


def destinations_of(state: Administered) -> dict[str, Destination]:
    """The channels with their secrets, by name."""
    return {name: Destination(channel, secret_of(state, name)) for name, channel in channels_of(state).items()}


def secret_of(state: Administered, name: str) -> ChannelSecret:
    """What is secret of a channel."""
    secret = state.secrets.get(("alert", f"{_CHANNEL}{name}"))
    return ChannelSecret() if secret is None else _decoder.decode(secret.reveal())


def alert_secrets(state: Administered) -> list[str]:
    """Everything of channels that must not be written anywhere."""
    found = list[str]()
    for name in channels_of(state):
        secret = secret_of(state, name)
        found += [secret.url, secret.key, secret.password]
    return [text for text in found if text]


def changing_rule(name: RuleName, fields: Mapping[str, Any]) -> Edit:
    """Changes these fields of a rule; None puts one back to what ships."""

    def edit(state: Administered) -> Administered:
        entry_id = f"{_RULE}{name}"
        change = msgspec.structs.replace(change_of(state, name), **fields)
        where, why = problem(BY_NAME[name], change)
        if where:
            raise _wrong(where, why)
        if change == RuleChange():
            return state.without("alert", entry_id)
        return state.put(AlertEntry(id=entry_id, rule=change))

    return edit


def setting_quiet_hours(hours: QuietHours | None) -> Edit:
    """Sets the quiet hours; None: there are none."""
    if hours is not None:
        where, why = quiet_hours.problem(hours)
        if where:
            raise _wrong(where, why)

    def edit(state: Administered) -> Administered:
        return state.without("alert", QUIET) if hours is None else state.put(AlertEntry(id=QUIET, quiet=hours))

    return edit


def adding_channel(name: str, channel: Channel, secrets: ChannelSecrets) -> Edit:
    """Adds a channel whose name no other has."""
    if not _NAME.fullmatch(name):
        message = f"{name[:64]!a} will not do. A name is 1 to 64 letters, digits or `.`, `_`, `-`."
        raise CallerError(400, message, param="name", code="invalid_name")
    secret = _merged(ChannelSecret(), secrets)
    channel = _checked(channel, secret)

    def edit(state: Administered) -> Administered:
        channels = channels_of(state)
        if name in channels:
            raise CallerError(409, f"There is a channel {name} already.", param="name", code="name_taken")
        if len(channels) >= MAX_CHANNELS:
            raise CallerError(409, f"There are {MAX_CHANNELS} channels already.", code="too_many")
        return state.put(AlertEntry(id=f"{_CHANNEL}{name}", channel=channel), _sealed(secret))

    return edit


def changing_channel(name: str, fields: Mapping[str, Any], secrets: ChannelSecrets) -> Edit:
    """Changes these fields of a channel.

    A password goes to the server that it was entered for, and to no other.
    """

    def edit(state: Administered) -> Administered:
        before = channel_named(state, name)
        secret = secret_of(state, name)
        after = msgspec.structs.replace(before, **fields)
        moved = (before.host, before.port, before.security, before.user) != (
            after.host,
            after.port,
            after.security,
            after.user,
        )
        if moved and secret.password and isinstance(secrets.password, UnsetType):
            message = "password: enter it again for another server, port, user or security."
            raise CallerError(400, message, param="password", code="invalid_parameter")
        merged = _merged(secret, secrets)
        entry = AlertEntry(id=f"{_CHANNEL}{name}", channel=_checked(after, merged))
        return state.put(entry, None if merged == secret else _sealed(merged))

    return edit


def removing_channel(name: str) -> Edit:
    """Removes a channel."""

    def edit(state: Administered) -> Administered:
        channel_named(state, name)
        return state.without("alert", f"{_CHANNEL}{name}")

    return edit


def channel_named(state: Administered, name: str) -> Channel:
    """A channel. Raise CallerError (404)."""
    channel = channels_of(state).get(name)
    if channel is None:
        raise CallerError(404, f"There is no channel {name[:64]!a}.", param="name", code="channel_not_found")
    return channel


def hushing(alert_id: str, now_s: float, fields: Mapping[str, Any]) -> Edit:
    """Notes what a person says of an alert; what was said of others long ago is forgotten."""

    def edit(state: Administered) -> Administered:
        entry = state.get(AlertEntry, f"{_HUSH}{alert_id}")
        hush = entry.hush if entry is not None and entry.hush is not None else _NO_HUSH
        for old in state.all(AlertEntry):
            if old.hush is not None and max(old.hush.acknowledged_s, old.hush.silenced_until_s) < now_s - HUSH_KEPT_S:
                state = state.without("alert", old.id)
        if sum(each.hush is not None for each in state.all(AlertEntry)) >= MAX_HUSHES:
            raise CallerError(409, f"{MAX_HUSHES} alerts are acknowledged or silenced already.", code="too_many")
        return state.put(AlertEntry(id=f"{_HUSH}{alert_id}", hush=msgspec.structs.replace(hush, **fields)))

    return edit


def measure_words(measure: Measure) -> str:
    """What a rule's thresholds are given in."""
    return "0 to 1" if measure is Measure.SHARE else str(measure)


def _merged(secret: ChannelSecret, entered: ChannelSecrets) -> ChannelSecret:
    given = {
        name: value for name in ("url", "key", "password") if not isinstance(value := getattr(entered, name), UnsetType)
    }
    for name, value in given.items():
        if len(value) > LONGEST_SECRET:
            raise _wrong(name, f"at most {LONGEST_SECRET} characters")
    return msgspec.structs.replace(secret, **given)


def _sealed(secret: ChannelSecret) -> Secret:
    return Secret(msgspec.json.encode(secret).decode())


def _checked(channel: Channel, secret: ChannelSecret) -> Channel:
    """The channel with its target in words. Raise CallerError (400)."""
    if channel.kind not in CHANNEL_KINDS:
        raise _wrong("kind", f"one of {', '.join(CHANNEL_KINDS)}")
    if channel.kind == "apprise":
        target = APPRISE
    elif channel.kind == "email":
        target = _checked_mail(channel, secret)
    else:
        target = _checked_post(channel, secret)
    return msgspec.structs.replace(channel, target=target)


def _checked_post(channel: Channel, secret: ChannelSecret) -> str:
    if not secret.url:
        raise _wrong("url", "a URL to post to is needed")
    try:
        address = parse_post_url(secret.url)
    except ValueError as error:
        raise _wrong("url", str(error)) from None
    if channel.kind == "webhook" and len(secret.key) < SHORTEST_KEY:
        raise _wrong("key", f"at least {SHORTEST_KEY} characters")
    return str(address.origin)


def _checked_mail(channel: Channel, secret: ChannelSecret) -> str:
    if not _HOST.fullmatch(channel.host):
        raise _wrong("host", "the name of a server of mail is needed")
    if not 1 <= channel.port <= _HIGHEST_PORT:
        raise _wrong("port", f"from 1 to {_HIGHEST_PORT}")
    if not _ADDRESS.fullmatch(channel.sender):
        raise _wrong("sender", "an address such as keyrelay@example.com is needed")
    if not 1 <= len(channel.recipients) <= MAX_RECIPIENTS or not all(map(_ADDRESS.fullmatch, channel.recipients)):
        raise _wrong("recipients", f"1 to {MAX_RECIPIENTS} addresses such as ops@example.com are needed")
    if secret.password and not channel.user:
        raise _wrong("user", "a password needs a user")
    if channel.user and channel.security == "none":
        raise _wrong("security", "a password is sent over TLS only: starttls or tls")
    return ", ".join(channel.recipients)


def _wrong(param: str, why: str) -> CallerError:
    return CallerError(400, f"{param}: {why}.", param=param, code="invalid_parameter")
