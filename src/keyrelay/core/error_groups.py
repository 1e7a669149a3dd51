"""Failures put together by what they have in common, with what to do about each kind.

Two failures are of one group when they are of one kind and their messages say the same but for what differs from call
to call: ids, keys, addresses, times, amounts. Names of models stay as they are.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote

import msgspec

from keyrelay.core.failures import ADVICE, FailureKind

MAX_NAMES = 20
"""Names of each sort that a group lists; how many there are is counted."""

MAX_MESSAGE = 300
_ID_DIGITS = 12
_TELLING = re.compile(r"[\d@*…]|://|\.\.\.")
"""Without any of this there is nothing to take out."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"https?://[^\s\"'<>]+"), "<url>"),
    (re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+"), "<address>"),
    (re.compile(r"(?<![\w-])[\w-]*+(?:\*{3,}|…|(?<=[\w-])\.{3}(?=[\w-]))[\w-]*"), "<key>"),  # masked keys
    # Before numbers, of which a time is made.
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b"), "<time>"),
    (re.compile(r"\b\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?\b"), "<time>"),
    (re.compile(r"(?<![\w.-])(?:\d+(?:\.\d+)?(?:ms|us|s|m|h|d)(?![A-Za-z_-]))+(?!\w)"), "<time>"),
    (re.compile(r"\b(?:sk|gsk|csk|xai|pplx|nvapi|hf|AIza|key|req|org|proj|chatcmpl|msg|run|call|resp|file|acct|user|trace)"
                r"[-_](?=[\w-]*\d)[\w-]{6,}"), "<id>"),
    # Numbers that stand alone: those of a model's name are part of a word.
    (re.compile(r"(?<![\w.])(?<!\w-)\d+(?:[.,]\d+)*(?![\w-])"), "<n>"),
    (re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8,}(?:-[0-9a-f]{4,})*\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])\w{20,}\b"), "<id>"),
)  # fmt: skip
"""What is taken out of a message, in this order, and what stands for it."""


class FailureCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often the same thing failed: `recovered` of `count` times the request was answered in the end.

    Times are epoch milliseconds. Without a provider no call was made. `message` is redacted.
    """

    kind: str
    message: str
    provider: str
    key: str
    model: str
    client: str
    status: int
    count: int
    recovered: int
    first_ms: int
    last_ms: int


class FailureFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which failures are wanted: of requests that came from `from_s` up to, and without, `to_s` (epoch).

    `kind` is a kind of failure, or the category of a request that was refused without a call. None: all.
    """

    from_s: float
    to_s: float
    kind: str | None = None
    provider: str | None = None
    key: str | None = None
    model: str | None = None
    client: str | None = None


class FailureCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The failures. Where there are more than are read, they are those from `since_ms` (epoch) on; None: all are here.

    `left_out` counts those among them that are of no row here: rows are the most frequent ones.
    """

    counts: tuple[FailureCount, ...]
    since_ms: int | None = None
    left_out: int = 0


class Affected(msgspec.Struct, frozen=True, kw_only=True):
    """Who is concerned: the names with the most failures first, at most MAX_NAMES of `total`."""

    names: tuple[str, ...]
    total: int


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, in words, and the call of the API that does it or shows what there is to see."""

    text: str
    method: str
    path: str


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Failures that have kind and message in common; `example` is a message as it came. Keys are named by their ids."""

    id: str
    kind: str
    message: str
    example: str
    statuses: tuple[int, ...]
    count: int
    recovered: int
    first_ms: int
    last_ms: int
    providers: Affected
    keys: Affected
    models: Affected
    clients: Affected
    advice: str
    action: Action

    @property
    def share_recovered(self) -> float:
        """The part of the failures after which the request was answered all the same, from 0 to 1."""
        return self.recovered / self.count


def normalised(message: str) -> str:
    """What a message says, without what differs from one call to the next."""
    text, before = " ".join(message[: 4 * MAX_MESSAGE].split()), ""
    while text != before and _TELLING.search(text):  # what is taken out may leave its neighbour standing alone
        before = text
        for pattern, stands_for in _RULES:
            text = pattern.sub(stands_for, text)
    return text[:MAX_MESSAGE].rstrip()


def grouped(counts: Iterable[FailureCount]) -> list[ErrorGroup]:
    """The groups, the largest first."""
    known, groups = dict[str, str](), dict[tuple[str, str], list[FailureCount]]()
    for each in counts:
        message = known.get(each.message)
        if message is None:
            message = known[each.message] = normalised(each.message)
        groups.setdefault((each.kind, message), []).append(each)
    made = [_group(kind, message, members) for (kind, message), members in groups.items()]
    return sorted(made, key=lambda group: (-group.count, group.id))


def _group(kind: str, message: str, members: Sequence[FailureCount]) -> ErrorGroup:
    latest = max(members, key=lambda each: each.last_ms)
    keys = _affected((f"{each.provider}/{each.key}" if each.key else "", each.count) for each in members)
    providers = _affected((each.provider, each.count) for each in members)
    return ErrorGroup(
        id=hashlib.sha256(f"{kind}\0{message}".encode()).hexdigest()[:_ID_DIGITS],
        kind=kind,
        message=message,
        example=latest.message,
        statuses=tuple(sorted({each.status for each in members if each.status})),
        count=sum(each.count for each in members),
        recovered=sum(each.recovered for each in members),
        first_ms=min(each.first_ms for each in members),
        last_ms=latest.last_ms,
        providers=providers,
        keys=keys,
        models=_affected((each.model, each.count) for each in members),
        clients=_affected((each.client, each.count) for each in members),
        advice=advice_on(kind),
        action=action_on(kind, providers, keys),
    )


def _affected(named: Iterable[tuple[str, int]]) -> Affected:
    counts = Counter[str]()
    for name, count in named:
        if name:
            counts[name] += count
    first = sorted(counts, key=lambda name: (-counts[name], name))[:MAX_NAMES]
    return Affected(names=tuple(first), total=len(counts))


_OWN_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "shutdown": "Keyrelay was being stopped: the client may send it again.",
        "internal": "Keyrelay itself failed: look into its log, and report it.",
    }
)
_REFUSED = "Keyrelay refused it before any call: look at the requests, each of which says why."

_ACTIONS: Mapping[str, tuple[str, str, str]] = MappingProxyType(
    {
        FailureKind.AUTH: ("Exchange the key.", "POST", "/api/v1/keys/{provider}/{label}/rotate"),
        FailureKind.PERMISSION: ("Test the key.", "POST", "/api/v1/keys/{provider}/{label}/test"),
        FailureKind.BILLING: ("Top it up, then end its rest.", "POST", "/api/v1/keys/{provider}/{label}/wake"),
        FailureKind.QUOTA: ("See when it comes back.", "GET", "/api/v1/quota?provider={provider}"),
        FailureKind.RATE: ("See which limit it is.", "GET", "/api/v1/quota?provider={provider}"),
        FailureKind.MODEL: ("See which models there are.", "POST", "/api/v1/providers/{provider}/discover"),
        FailureKind.ADDRESS: ("Correct the base URL.", "PATCH", "/api/v1/providers/{provider}"),
        FailureKind.OVERLOADED: ("See how the provider is.", "GET", "/api/v1/health/providers"),
        FailureKind.SERVICE: ("See how the provider is.", "GET", "/api/v1/health/providers"),
        FailureKind.NETWORK: ("Test the provider.", "POST", "/api/v1/providers/{provider}/test"),
        FailureKind.TIMEOUT: ("See how the provider is.", "GET", "/api/v1/health/providers"),
        FailureKind.MALFORMED: ("See how the provider is.", "GET", "/api/v1/health/providers"),
    }
)
_KEYS, _PROVIDERS = "/api/v1/keys", "/api/v1/providers"


def advice_on(kind: str) -> str:
    """What to do about a kind of failure, or about why a request was refused."""
    if kind in ADVICE:
        return ADVICE[FailureKind(kind)]
    return _OWN_ADVICE.get(kind, _REFUSED)


def action_on(kind: str, providers: Affected, keys: Affected) -> Action:
    """The call that fixes it; of several keys or providers, the one that shows them."""
    text, method, path = _ACTIONS.get(kind, ("", "GET", ""))
    if not path:
        return Action(
            text="Look at the requests.", method="GET", path=f"/api/v1/requests?category={quote(kind, safe='')}"
        )
    if "{label}" in path:
        if keys.total != 1:
            return Action(text="Look at the keys.", method="GET", path=_KEYS)
        provider, _, label = keys.names[0].partition("/")
        path = path.replace("{label}", quote(label, safe=""))
        return Action(text=text, method=method, path=path.replace("{provider}", quote(provider, safe="")))
    if "{provider}" in path:
        if providers.total != 1:
            plain = path.partition("?")[0]
            return Action(text=text, method="GET", path=_PROVIDERS if "{" in plain else plain)
        path = path.replace("{provider}", quote(providers.names[0], safe=""))
    return Action(text=text, method=method, path=path)
