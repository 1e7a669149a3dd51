"""What a refusal says about the limit behind it, and whose key it was.

Read is what has been extracted from the body (`wire.errors`), and only where the status says that a limit may be the
reason: elsewhere the text may be the caller's. The prose is a table of observed sentences, most telling first; the
first that matches decides, since the later ones match parts of the earlier ones.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from keyrelay.core.failures import ProviderError
from keyrelay.core.limits import ScopePart, Unit, Window, WindowKind
from keyrelay.wire.limit_headers import LimitWord, whole_number

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_STATUSES = frozenset({402, 403, 413, 429})
_CALLER_STATUSES = frozenset({400, 422})
_LONGEST_ORGANISATION = 100
_LONGEST_NAMED_S = 31 * 86_400
_ACCOUNT = (ScopePart.ACCOUNT,)
_PAIR = (ScopePart.ACCOUNT, ScopePart.MODEL)

_NUMBER = r"(?P<{}>[0-9]+(?:,[0-9]{{3}})*)"
_AMOUNT = _NUMBER.format("amount")
_UNIT = r"(?P<unit>(?:(?:input|output|prompt|completion) )?tokens?|requests?|(?:api )?calls?|neurons?)"
_SPAN = r"(?P<span>second|sec|minute|min|hour|day|week|month)"
_SECONDS = r"(?P<seconds>[0-9]{1,8})"

_SENTENCES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # OpenAI, Groq: on tokens per min (TPM): Limit 30000, Used 28000, Requested 5000
        rf"\bon {_UNIT} per {_SPAN}\b[^:]{{0,20}}: ?limit:? {_AMOUNT}(?:, used:? {_NUMBER.format('used')})?",
        # SambaNova: Violated duration_s: 86400, current usage: 196279, limit: 200000
        rf"\bduration_s: ?{_SECONDS}\b(?:, current usage: ?{_NUMBER.format('used')})?(?:, limit: ?{_AMOUNT})?",
        # GitHub: Rate limit of 50 per 86400s exceeded
        rf"\blimit of {_AMOUNT}(?: {_UNIT})? per {_SECONDS} ?s\b",
        # Cohere, xAI, Anthropic: limited to 1000 API calls / month; rate limit of 40,000 input tokens per minute
        rf"\b{_AMOUNT} {_UNIT} ?(?:per|/) ?{_SPAN}\b",
        # Cloudflare: your daily free allocation of 10,000 neurons
        rf"\b(?P<adverb>dai)ly (?:free )?allocation of {_AMOUNT} {_UNIT}",
        # OpenRouter says free-models-per-day
        rf"\b(?P<free>free)-models-per-{_SPAN}\b",
        # Cerebras: Tokens per minute limit exceeded
        rf"\b{_UNIT} per {_SPAN}\b",
        # Cohere: past the per minute request limit
        rf"\bper {_SPAN} {_UNIT} limit",
        # RPD, TPM
        rf"\b(?:{_AMOUNT} )?(?P<letter>[rt])p(?P<per>[smhd])\b",
        # Hugging Face: your monthly included credits
        r"\b(?P<adverb>month)ly included (?P<unit>credit)s",
        # anybody: per day, / month, daily limit
        rf"(?:\bper |/ ?){_SPAN}\b",
        r"\b(?P<adverb>hour|dai|week|month)ly\b",
        # Mistral: Requests rate limit exceeded
        rf"\b{_UNIT} rate limit",
    )
)
_QUOTA = re.compile(
    r"\b(?P<id>[A-Za-z][A-Za-z0-9_-]*?Per(?P<span>Second|Minute|Hour|Day|Month)[A-Za-z0-9_-]*)=(?P<value>[0-9]*)"
)

_SPAN_S = {"s": 1, "second": 1, "sec": 1, "m": 60, "minute": 60, "min": 60, "h": 3600, "hour": 3600}
_DAYS = frozenset({"d", "day", "dai"})
_UNITS = {
    "t": Unit.TOKENS,
    "token": Unit.TOKENS,
    "input token": Unit.INPUT_TOKENS,
    "prompt token": Unit.INPUT_TOKENS,
    "output token": Unit.OUTPUT_TOKENS,
    "completion token": Unit.OUTPUT_TOKENS,
    "r": Unit.REQUESTS,
    "request": Unit.REQUESTS,
    "call": Unit.REQUESTS,
    "api call": Unit.REQUESTS,
    "neuron": Unit.UNITS,
    "credit": Unit.USD_MICROS,
}
_QUOTA_UNITS = (
    ("InputToken", Unit.INPUT_TOKENS),
    ("OutputToken", Unit.OUTPUT_TOKENS),
    ("Token", Unit.TOKENS),
    ("Request", Unit.REQUESTS),
)
_TAKEN_ONE_BY_ONE = frozenset({Unit.REQUESTS, Unit.UNITS})
"""Of these nothing is left when one is refused; of tokens there may be too few."""

_CODE_UNITS = {
    "tokens": Unit.TOKENS,
    "token_quota_exceeded": Unit.TOKENS,
    "too_many_tokens_error": Unit.TOKENS,
    "requests": Unit.REQUESTS,
    "request_quota_exceeded": Unit.REQUESTS,
}

_ORGANISATIONS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\borgani[sz]ation [`'\"(]{0,2}(?P<id>org[-_][a-z0-9_-]+)",  # OpenAI, Groq
        r"\borgani[sz]ation [`'\"(]{0,2}(?P<id>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{9,30})",  # Anthropic
        r"\bteam (?P<id>(?=[a-z_-]{0,60}[0-9])[a-z0-9_-]{1,100})\b",  # xAI
        r"\baccount '(?P<id>[^']{1,100})'",  # NVIDIA
        r"\bproject(?:s/|_number:| )(?P<id>[0-9]{6,20})\b",  # Gemini
    )
)


def read_limit(
    error: ProviderError, *, day: Window, zone: str = "UTC", headers: Mapping[str, str] = _NO_HEADERS
) -> LimitWord | None:
    """The limit that a refusal names, that with the longest window when it names several; None when it names none."""
    words = read_named_limits(error, day=day, zone=zone, headers=headers)
    return words[0] if words else None


def read_named_limits(
    error: ProviderError, *, day: Window, zone: str = "UTC", headers: Mapping[str, str] = _NO_HEADERS
) -> tuple[LimitWord, ...]:
    """Every limit that a refusal names, the longest window first; of one without window at least the unit is known.

    `day` is what this provider calls a day, `zone` that of its weeks and months. `headers` (lower-case names) hold
    numbers that some bodies leave out.
    """
    if error.status not in _STATUSES:
        return ()
    words = [*_quotas(error.detail, day, zone)] or [*_prose(error, day, zone, headers)]
    return tuple(sorted(words, key=lambda word: -_length_s(word.window)))


def organisation(headers: Mapping[str, str], error: ProviderError | None, names: Iterable[str] = ()) -> str:
    """Whose key it was, as the answer says: the organisation, project, team or account; empty when it does not.

    `names` are the provider's headers that say so (lower case). Of an error the message counts, unless it may repeat
    what the caller sent.
    """
    for name in names:
        said = headers.get(name, "").strip()
        if said:
            return said[:_LONGEST_ORGANISATION]
    if error is None or error.status in _CALLER_STATUSES:
        return ""
    for text in (error.message, error.detail):
        for pattern in _ORGANISATIONS:
            match = pattern.search(text)
            if match:
                return match["id"]
    return ""


def _length_s(window: Window | None) -> float:
    if window is None:
        return 0.0
    days = {WindowKind.DAY: 1, WindowKind.WEEK: 7, WindowKind.MONTH: 30}
    return days[window.kind] * 86_400.0 if window.kind in days else window.length_s


def _quotas(detail: str, day: Window, zone: str) -> Iterator[LimitWord]:
    """Gemini's violations: `GenerateRequestsPerDayPerProjectPerModel-FreeTier=20`."""
    for match in _QUOTA.finditer(detail):
        unit = next((unit for mark, unit in _QUOTA_UNITS if mark in match["id"]), None)
        amount = whole_number(match["value"])
        if unit is None or amount == 0:  # none of this model is in the tier: the model is missing, no window is full
            continue
        yield LimitWord(
            unit=unit,
            window=_window_of(match["span"].lower(), day, zone),
            amount=amount,
            remaining=0 if unit is Unit.REQUESTS else None,
            scope_hint=_PAIR if "PerModel" in match["id"] else _ACCOUNT,
        )


def _prose(error: ProviderError, day: Window, zone: str, headers: Mapping[str, str]) -> Iterator[LimitWord]:
    coded = next((_CODE_UNITS[code] for code in error.codes if code in _CODE_UNITS), None)
    for sentence in _SENTENCES:
        matches = list(sentence.finditer(error.message))
        if matches:
            for match in matches:
                yield _word(match.groupdict(), coded, day, zone, headers)
            return
    if coded is not None:
        yield LimitWord(unit=coded)


def _word(
    said: Mapping[str, str | None], coded: Unit | None, day: Window, zone: str, headers: Mapping[str, str]
) -> LimitWord:
    unit = _UNITS.get((said.get("unit") or said.get("letter") or "").lower().removesuffix("s"), coded)
    amount = _amount(said.get("amount"))
    used = _amount(said.get("used"))
    remaining = None if amount is None or used is None else max(amount - used, 0)
    if said.get("free"):
        unit, remaining = Unit.REQUESTS, 0
        amount = whole_number(headers.get("x-ratelimit-limit", "")) or None
    elif unit in _TAKEN_ONE_BY_ONE and used is None:
        remaining = 0
    seconds = said.get("seconds")
    span = said.get("span") or said.get("adverb") or said.get("per") or ""
    return LimitWord(
        unit=unit,
        window=_rolling(int(seconds)) if seconds else _window_of(span.lower(), day, zone),
        amount=amount or None,
        remaining=remaining,
        scope_hint=_ACCOUNT if said.get("free") or unit is Unit.UNITS else _PAIR,
    )


def _amount(text: str | None) -> int | None:
    return whole_number(text.replace(",", "")) if text else None


def _rolling(length_s: int) -> Window | None:
    return Window(WindowKind.ROLLING, float(length_s)) if 0 < length_s <= _LONGEST_NAMED_S else None


def _window_of(span: str, day: Window, zone: str) -> Window | None:
    if span in _DAYS:
        return day
    if span == "month":
        return Window(WindowKind.MONTH, zone=zone)
    if span == "week":
        return Window(WindowKind.WEEK, zone=zone)
    return _rolling(_SPAN_S.get(span, 0))
