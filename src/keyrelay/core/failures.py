"""What a failed attempt means: kind, scope, how long, and a sentence for a person.

One taxonomy for classifier, log, metrics and advice. Penalising the wrong scope is the commonest bug of
gateways, so a failure always says what it binds.
"""

from enum import StrEnum

import msgspec


class FailureKind(StrEnum):
    """Why an attempt failed."""

    AUTH = "auth"
    PERMISSION = "permission"
    BILLING = "billing"
    QUOTA = "quota"  # per day, per month, once
    RATE = "rate"  # per second, minute, hour
    MODEL = "model"
    CONTEXT = "context"
    CONTENT = "content"
    REQUEST = "request"
    OVERLOADED = "overloaded"
    SERVICE = "service"
    NETWORK = "network"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    ADDRESS = "address"  # the provider's address is one that may not be connected to


class FailureScope(StrEnum):
    """What a failure binds, from the narrowest to the widest."""

    REQUEST = "request"
    PAIR = "pair"  # (account, model)
    KEY = "key"
    ACCOUNT = "account"
    MODEL = "model"  # the model at this provider, whoever asks
    PROVIDER = "provider"


class Rest(StrEnum):
    """How long a failure keeps its scope out of service; a rule may also name a duration (`30s`, `6h`)."""

    NONE = "none"
    HINT = "hint"  # what the provider said, else the rule's or the kind's default
    DAY = "day"  # the provider's own daily reset
    MONTH = "month"  # the provider's own monthly reset
    MANUAL = "manual"  # until a person acts or the configuration changes


ADDRESS_REST_S = 30.0
"""How long a provider is left alone whose address is not allowed: names are not looked up anew for every request."""

FAULT_KINDS = frozenset(
    {
        FailureKind.OVERLOADED,
        FailureKind.SERVICE,
        FailureKind.NETWORK,
        FailureKind.TIMEOUT,
        FailureKind.MALFORMED,
    }
)
"""Kinds that say the provider is failing, not that a key is limited: they feed circuits and the retry budget."""

CALLER_KINDS = frozenset({FailureKind.REQUEST, FailureKind.CONTENT})
"""Kinds that the caller has to mend: no failover, no penalty for any key."""

LIMIT_KINDS = frozenset({FailureKind.RATE, FailureKind.QUOTA})
"""Kinds that pass by waiting."""


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One failed attempt, classified.

    `until_s` is the epoch second at which the scope may serve again: None when nothing rests, infinity
    when only a person can mend it. `message` is already redacted. `reached` is False when the provider
    cannot have seen the request, so nothing was used up there.
    """

    kind: FailureKind
    scope: FailureScope
    message: str
    status: int = 0
    code: str = ""
    until_s: float | None = None
    reached: bool = True


ADVICE: dict[FailureKind, str] = {
    FailureKind.AUTH: "The provider does not accept this key: replace it or remove it from the configuration.",
    FailureKind.PERMISSION: "The key lacks a right at the provider: check its scopes, region and model access.",
    FailureKind.BILLING: "The account is out of credit or over its spending limit: top it up at the provider.",
    FailureKind.QUOTA: "The account's daily or monthly quota is used up; it returns by itself at the time given.",
    FailureKind.RATE: "The account's rate limit is reached; it returns by itself at the time given.",
    FailureKind.MODEL: "The provider does not offer this model to this account: check its name and access.",
    FailureKind.CONTEXT: "The request is larger than the model or tier takes: shorten it or choose a larger model.",
    FailureKind.CONTENT: "The provider refused the content: change the request.",
    FailureKind.REQUEST: "The provider found the request invalid: change it as the message says.",
    FailureKind.OVERLOADED: "The provider is overloaded: try again shortly.",
    FailureKind.SERVICE: "The provider failed: try again shortly, or see its status page.",
    FailureKind.NETWORK: "The provider could not be reached: check network, DNS, proxy and base URL.",
    FailureKind.TIMEOUT: "The provider did not answer in time: try again, or raise the deadline.",
    FailureKind.MALFORMED: "The provider sent an answer that cannot be used: try again, or see its status page.",
    FailureKind.ADDRESS: "The base URL leads where it may not: correct it, or have the operator allow that address.",
}
"""A sentence for a person per kind: what it means and what to do next."""


class ProviderError(msgspec.Struct, frozen=True, kw_only=True):
    """What an error body says, whatever its shape.

    `codes` are all machine-readable codes, types, statuses and reasons in lower case; `detail` the
    machine-readable details as text; `hint_s` how long the provider asks to wait; `param` the field at fault.
    """

    status: int
    message: str = ""
    codes: tuple[str, ...] = ()
    detail: str = ""
    param: str | None = None
    hint_s: float | None = None
    should_retry: bool | None = None
