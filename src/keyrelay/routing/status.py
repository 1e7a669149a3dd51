"""How everything stands, in one word with its reasons: what a person asks first when something is wrong.

`operational`: all that is configured serves. `degraded`: something is out, and what is left can lose more. `at_risk`:
everything is served, but the loss of one more key or provider would end that, or a quota runs out before its reset.
`down`: nothing serves. A set-up with a single key is not at risk for that alone, or the word would mean nothing to
whoever has one; that it could not lose it stands in the hints.

What is back within BRIEF_S counts as serving: callers wait for it.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec

BRIEF_S = 60.0
"""What rests for no longer than this is not out."""

MAX_REASONS = 100
_NAMED = 3


class Level(StrEnum):
    """How something stands, from the best to the worst."""

    OPERATIONAL = "operational"
    DEGRADED = "degraded"
    AT_RISK = "at_risk"
    DOWN = "down"

    @property
    def rank(self) -> int:
        """0 for the best."""
        return list(Level).index(self)


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A key, for a model, that something may be served with. `why` is a sentence that says why it does not serve.

    `key` is its id. `until_s` (epoch) is when it comes back by itself, None when it does not, or nobody knows.
    """

    provider: str
    key: str
    model: str = ""
    serves: bool = True
    why: str = ""
    until_s: float | None = None


class Shortage(msgspec.Struct, frozen=True, kw_only=True):
    """A quota that will be used up before it comes back: those of these keys, of one model or (empty) of all."""

    keys: frozenset[str]
    text: str
    model: str = ""

    def binds(self, choice: Choice) -> bool:
        """Whether the choice draws on it."""
        return choice.key in self.keys and self.model in {"", choice.model}


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Something that everything hangs on: the journal, the store, Redis. Without one that is `ok` nothing serves."""

    name: str
    ok: bool = True
    degraded: bool = False
    detail: str = ""


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A name that callers use, a `route` or a `model`, with what may serve it."""

    name: str
    kind: str
    choices: tuple[Choice, ...]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why things do not stand better than `level`. `until_s` (epoch) is when that ends by itself, if that is known."""

    level: Level
    subject: str
    text: str
    until_s: float | None = None


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one service stands: `serving` of `choices` keys can serve it."""

    name: str
    kind: str
    level: Level
    serving: int
    choices: int
    reasons: tuple[Reason, ...] = ()


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How everything stands. `hints` are sentences about what could be made safer, and change nothing."""

    level: Level
    reasons: tuple[Reason, ...]
    hints: tuple[str, ...]
    services: tuple[Standing, ...]


def status_of(
    choices: Sequence[Choice], services: Iterable[Service], shortages: Sequence[Shortage], parts: Iterable[Part]
) -> Status:
    """How everything stands. `choices` are all keys that have not been switched off, each once."""
    standings = tuple(standing_of(service, shortages) for service in services)
    reasons = [reason for part in parts if (reason := _of_part(part)) is not None]
    reasons += _of_whole(choices, shortages)
    reasons += _of_providers(choices)
    reasons += [_of_service(each) for each in standings if _is_bad(each)]
    reasons += [
        Reason(level=Level.DEGRADED, subject=", ".join(sorted(each.keys)), text=each.text)
        for each in shortages
        if any(choice.serves and each.binds(choice) for choice in choices)
    ]
    reasons.sort(key=lambda reason: -reason.level.rank)  # what comes first of one level stays first
    level = max((reason.level for reason in reasons), key=lambda each: each.rank, default=Level.OPERATIONAL)
    return Status(level=level, reasons=tuple(reasons[:MAX_REASONS]), hints=tuple(_hints(choices)), services=standings)


def standing_of(service: Service, shortages: Sequence[Shortage]) -> Standing:
    """How one service stands."""
    serving, out = _parted(service.choices)
    reasons = list(_of_whole(service.choices, shortages, service.name))
    if out and serving:
        text = f"{_few([each.key for each in out])} {_are(out)} out: {out[0].why}"
        reasons.append(Reason(level=Level.DEGRADED, subject=service.name, text=text, until_s=_first_back(out)))
    level = max((reason.level for reason in reasons), key=lambda each: each.rank, default=Level.OPERATIONAL)
    return Standing(
        name=service.name,
        kind=service.kind,
        level=level,
        serving=len({each.key for each in serving}),
        choices=len({each.key for each in service.choices}),
        reasons=tuple(reasons),
    )


def _of_whole(choices: Sequence[Choice], shortages: Sequence[Shortage], name: str = "") -> list[Reason]:
    """Whether anything serves, and whether it would survive the loss of one more."""
    subject = name or "all keys"
    serving, out = _parted(choices)
    if not choices:
        text = "Nothing that is configured can serve it." if name else "No key is configured that takes requests."
        return [Reason(level=Level.DOWN, subject=subject, text=text)]
    if not serving:
        text = (
            f"Nothing can serve {name or 'a request'}: {_few([each.key for each in out])} {_are(out)} out. {out[0].why}"
        )
        return [Reason(level=Level.DOWN, subject=subject, text=text, until_s=_first_back(out))]
    keys, providers = {each.key for each in serving}, {each.provider for each in serving}
    lost = sorted({each.key for each in out} - keys)
    gone = sorted({each.provider for each in out} - providers)
    short = [each for each in shortages if any(each.binds(choice) for choice in serving)]
    if lost and len(keys) == 1:
        text = f"Only the key {min(keys)} still serves; {_few(lost)} {_are(lost)} out."
    elif gone and len(providers) == 1:
        text = f"Only the provider {min(providers)} still serves; {_few(gone)} {_are(gone)} out."
    elif short and all(any(each.binds(choice) for each in short) for choice in serving):
        text = f"All that serves runs out before it comes back. {short[0].text}"
    else:
        return []
    return [Reason(level=Level.AT_RISK, subject=subject, text=text, until_s=_first_back(out))]


def _of_providers(choices: Sequence[Choice]) -> list[Reason]:
    """A sentence for each provider of which keys are out."""
    reasons = []
    for provider in dict.fromkeys(each.provider for each in choices):
        own = [each for each in choices if each.provider == provider]
        out = [each for each in own if not each.serves]
        if out:
            named = _few([each.key for each in out])
            text = f"{len(out)} of {len(own)} keys of {provider} {_are(out)} out ({named}): {out[0].why}"
            reasons.append(Reason(level=Level.DEGRADED, subject=provider, text=text, until_s=_first_back(out)))
    return reasons


def _of_part(part: Part) -> Reason | None:
    if part.ok and not part.degraded:
        return None
    level = Level.DEGRADED if part.ok else Level.DOWN
    detail = f"{part.detail[:1].upper()}{part.detail[1:]}".rstrip(".")
    return Reason(level=level, subject=part.name, text=f"{part.name.capitalize()}: {detail}.")


def _is_bad(standing: Standing) -> bool:
    """Whether a name that people have made stands badly; models speak for themselves."""
    return standing.kind == "route" and standing.level in {Level.AT_RISK, Level.DOWN}


def _of_service(standing: Standing) -> Reason:
    first = standing.reasons[0]
    text = f"The route {standing.name} is {standing.level.replace('_', ' ')}: {first.text}"
    return Reason(level=Level.DEGRADED, subject=standing.name, text=text, until_s=first.until_s)


def _hints(choices: Sequence[Choice]) -> list[str]:
    keys, providers = {each.key for each in choices}, {each.provider for each in choices}
    if len(keys) == 1:
        return [f"{min(keys)} is the only key: without it nothing serves. Add another one."]
    if len(providers) == 1:
        return [f"All keys are those of {min(providers)}: when it is down nothing serves. Add one of another provider."]
    return []


def _parted(choices: Iterable[Choice]) -> tuple[list[Choice], list[Choice]]:
    """Those that serve, and those that do not."""
    parted: tuple[list[Choice], list[Choice]] = [], []
    for each in choices:
        parted[not each.serves].append(each)
    return parted


def _first_back(out: Iterable[Choice]) -> float | None:
    return min((each.until_s for each in out if each.until_s is not None), default=None)


def _are(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"


def _few(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    rest = len(distinct) - _NAMED
    return ", ".join(distinct[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
