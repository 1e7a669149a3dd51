"""An `api_usage.json`: what was used of each provider, as the free-tier router wrote it down.

    {"providers": {"groq": {"usage": 120, "limit": 14400, "last_updated": "2026-11-21T10:00:00"}}, "last_reset": "…"}

It held one number against each provider's limit, which was one of requests for some and of tokens for the others, and
so it is counted here. Other shapes that say the same are read too: a number in place of the object, other names for
`usage` (which may say the unit), and the providers at the top.
"""

import datetime as dt
import math
from collections.abc import Mapping

import msgspec

from keyrelay.administration.importing.found import Found, FoundUsage, Known

MAX_PROVIDERS = 1_000
MAX_AMOUNT = 10**15

_USED = ("usage", "used", "tokens_used", "total_tokens", "tokens", "requests_used", "requests", "count")
_OF_REQUESTS = frozenset({"requests_used", "requests", "count"})
_OF_TOKENS = frozenset({"tokens_used", "total_tokens", "tokens"})
_LIMITED_BY_REQUESTS = frozenset({"gemini", "groq"})
"""Providers whose limit was one of requests there."""

_NO_NUMBER = "It holds no number of what was used."

_WHEN = ("last_updated", "updated_at", "last_used", "timestamp", "date")
_WHEN_ALL = ("last_updated", "updated_at", "timestamp", "date", "last_reset")
_OLD_NAMES: Mapping[str, str] = {"google": "gemini", "hf": "huggingface", "hugging_face": "huggingface"}


def read_usage(name: str, text: str, known: Known, now_s: float) -> Found:
    """What was used. Never raises for what is in it; what lies in the future is taken for now."""
    found = Found(name=name)
    try:
        document = msgspec.json.decode(text.removeprefix("\ufeff"))
    except (msgspec.DecodeError, RecursionError):
        found.refuse("It is not JSON.")
        return found
    if not isinstance(document, dict):
        found.refuse("It is no object with providers in it.")
        return found
    listed = document.get("providers")
    providers = listed if isinstance(listed, dict) else document
    at_s = _moment(document, _WHEN_ALL) or now_s
    names, numbers = known.suggester(), 0
    for place, (called, said) in enumerate(providers.items()):
        if place >= MAX_PROVIDERS:
            found.leave("the file", f"More than {MAX_PROVIDERS} providers are not read at once.")
            return found
        if providers is document and called in {*_WHEN_ALL, "version", "providers"}:
            continue
        provider_id = _OLD_NAMES.get(called.strip().lower(), "") or names.provider_named(called)
        unit, amount = _amount(said)
        numbers += amount is not None
        if not provider_id or provider_id not in known:
            found.leave(called, "No provider of this name is known.")
        elif amount is None:
            found.leave(called, _NO_NUMBER)
        elif amount > 0:
            said_s = (_moment(said, _WHEN) if isinstance(said, dict) else 0.0) or at_s
            requests = unit in _OF_REQUESTS or (unit not in _OF_TOKENS and provider_id in _LIMITED_BY_REQUESTS)
            found.usage.append(
                FoundUsage(
                    source=called,
                    provider=provider_id,
                    at_s=min(said_s, now_s),
                    requests=amount if requests else 0,
                    tokens=0 if requests else amount,
                )
            )
    if not numbers and found.left and all(each.reason == _NO_NUMBER for each in found.left):
        found.refuse("It says of no provider how much was used.")
    return found


def _amount(said: object) -> tuple[str, int | None]:
    """What was used, and the name that it stands under."""
    if not isinstance(said, dict):
        return "", _amount_of(said)
    amounts = ((name, _amount_of(said.get(name))) for name in _USED)
    return next(((name, amount) for name, amount in amounts if amount is not None), ("", None))


def _amount_of(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(math.ceil(value), MAX_AMOUNT) if value >= 0 else None


def _moment(said: Mapping[str, object], names: tuple[str, ...]) -> float:
    """The first of these that is a time, in epoch seconds; 0 when none is. A time without a zone is this machine's."""
    for name in names:
        value = said.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < MAX_AMOUNT:
            return float(value)
        if isinstance(value, str):
            try:
                return max(0.0, dt.datetime.fromisoformat(value).timestamp())
            except (ValueError, OverflowError, OSError):
                continue
    return 0.0
