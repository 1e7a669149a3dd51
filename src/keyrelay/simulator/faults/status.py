"""Faults that are an answer with another status than 200. They ask no key and use up no quota."""

from collections.abc import Callable
from email.utils import formatdate
from typing import get_args

from keyrelay.core.limits import Limit, Unit, parse_window
from keyrelay.simulator.errors import refusal
from keyrelay.simulator.errors.reasons import ErrorCase
from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.faults.model import Fault, Strike, number
from keyrelay.simulator.http import head
from keyrelay.simulator.spans import go_duration, limit_facts

_DAY = 86400.0
_DAY_LIMIT = Limit(unit=Unit.REQUESTS, amount=20, window=parse_window("24h"))
_MINUTE_LIMIT = Limit(unit=Unit.REQUESTS, amount=5, window=parse_window("60s"))
_HINT_S = 2.0
_DAY_HINT_S = 6 * 3600.0

Hints = Callable[[Exchange, float], tuple[tuple[str, str], ...]]


def _says(case: ErrorCase, status: int = 0) -> Strike:
    """The provider's own body, under its own status or another one."""

    async def strike(exchange: Exchange, _: str) -> None:
        no = exchange.refusal(case)
        exchange.call.error = case
        exchange.respond(status or no.status, no.headers, no.body)

    return strike


def _limited(hints: Hints, default: float = _HINT_S) -> Strike:
    """A 429 whose body says nothing about when to come back, with these headers."""

    async def strike(exchange: Exchange, argument: str) -> None:
        no = exchange.refusal("rate_bare")
        exchange.call.error = "rate"
        exchange.respond(429, (*no.headers, *hints(exchange, number(argument, default, 1e15))), no.body)

    return strike


def _date(exchange: Exchange, seconds: float) -> tuple[tuple[str, str], ...]:
    return (("retry-after", formatdate(exchange.clock.now() + seconds, usegmt=True)),)


def _reset(_: Exchange, seconds: float) -> tuple[tuple[str, str], ...]:
    return (
        ("x-ratelimit-limit-requests", "30"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", go_duration(seconds)),
    )


async def _gemini_retry(exchange: Exchange, argument: str) -> None:
    now_s = exchange.clock.now()
    free_at_s = now_s + number(argument, _HINT_S, _DAY)
    facts = limit_facts(_MINUTE_LIMIT, used=_MINUTE_LIMIT.amount, needed=1, free_at_s=free_at_s, now_s=now_s)
    no = refusal(
        "gemini_native" if exchange.dialect.name == "gemini" else "gemini",
        "rate",
        {**facts, "model": exchange.call.model},
    )
    exchange.call.error = "rate"
    exchange.respond(429, no.headers, no.body)


async def _day(exchange: Exchange, argument: str) -> None:
    now_s = exchange.clock.now()
    free_at_s = now_s + number(argument, _DAY_HINT_S, _DAY)
    facts = limit_facts(_DAY_LIMIT, used=_DAY_LIMIT.amount, needed=1, free_at_s=free_at_s, now_s=now_s)
    no = exchange.refusal("day", facts)
    exchange.call.error = "day"
    exchange.respond(429, no.headers, no.body)


async def _redirect(exchange: Exchange, argument: str) -> None:
    location = argument or "http://127.0.0.1:9/elsewhere"
    exchange.respond(307, (("location", location), ("content-type", "text/plain")), b"moved")


async def _no_content(exchange: Exchange, _: str) -> None:
    exchange.end(204)
    exchange.connection.write(head(204, ()))
    exchange.connection.finish()


async def _early_hints(exchange: Exchange, _: str) -> None:
    exchange.connection.write(head(103, (("link", "</style.css>; rel=preload"),)))
    content_type, body = exchange.payload()
    exchange.respond(200, exchange.headers(content_type), body, tokens=exchange.answer.output_tokens)


def _status(name: str, description: str, strike: Strike, argument: str = "") -> Fault:
    return Fault(
        name=name,
        description=description,
        group="status",
        strikes="before",
        strike=strike,
        before_admission=True,
        argument=argument,
    )


def _retry_after(text: str) -> Strike:
    return _limited(lambda _, __: (("retry-after", text),))


_SECONDS = "seconds to wait, default 2"

STATUS_FAULTS: tuple[Fault, ...] = (
    _status("401", "401 with the provider's body for an invalid key", _says("invalid_key", 401)),
    _status("403_key", "403 with the provider's body for a banned key or account", _says("banned", 403)),
    _status("403_model", "403 with the provider's body for a model not allowed", _says("no_permission", 403)),
    _status("402", "402 with the provider's body for used-up credit", _says("no_credit", 402)),
    _status(
        "429",
        "429 with retry-after in seconds",
        _limited(lambda _, seconds: (("retry-after", f"{seconds:g}"),)),
        _SECONDS,
    ),
    _status("429_http_date", "429 with retry-after as an HTTP date", _limited(_date), _SECONDS),
    _status(
        "429_ms",
        "429 with retry-after-ms",
        _limited(lambda _, ms: (("retry-after-ms", f"{ms:g}"),), 1500),
        "milliseconds, default 1500",
    ),
    _status("429_reset", "429 with x-ratelimit-reset-requests as a Go duration", _limited(_reset), _SECONDS),
    _status("429_gemini", "429 with Gemini's body and its retryDelay", _gemini_retry, _SECONDS),
    _status("429_zero", "429 with retry-after: 0", _retry_after("0")),
    _status("429_negative", "429 with retry-after: -1", _retry_after("-1")),
    _status("429_huge", "429 with retry-after: 1000000000000", _retry_after("1000000000000")),
    _status("429_garbage", "429 with retry-after: soon", _retry_after("soon")),
    _status("429_past", "429 with an HTTP date of the past", _limited(lambda e, _: _date(e, -3600))),
    _status("429_none", "429 without any hint", _limited(lambda _, __: ())),
    _status("429_day", "429 with the provider's body for a used-up day", _day, "seconds until reset, default 21600"),
    _status("500", "500 with the provider's body", _says("server_error", 500)),
    _status("502", "502 with the provider's body", _says("unavailable", 502)),
    _status("503", "503 with the provider's body", _says("unavailable", 503)),
    _status("504", "504 with the provider's body", _says("unavailable", 504)),
    _status("529", "529 with the provider's body for overload", _says("overloaded", 529)),
    _status("redirect", "307 to another host", _redirect, "where to, default a closed port"),
    _status("204", "204 without content", _no_content),
    Fault(
        name="1xx",
        description="103 Early Hints, then the whole answer",
        group="status",
        strikes="harmless",
        strike=_early_hints,
    ),
)

CASE_FAULTS: tuple[Fault, ...] = tuple(
    _status(case, f"the provider's own status and body for: {case.replace('_', ' ')}", _says(case))
    for case in get_args(ErrorCase)
)
