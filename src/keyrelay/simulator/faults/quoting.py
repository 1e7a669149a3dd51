"""Faults that quote the caller's text, as real providers do: in their own shape, cut off, escaped, or in no shape."""

import html
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from keyrelay.simulator.errors.reasons import HTML, INVALID, JSON, Reason
from keyrelay.simulator.exchange import Exchange
from keyrelay.simulator.faults.model import Fault, Group, Strike
from keyrelay.simulator.faults.stream import event_first, event_mid

_NOTHING = "nothing that could be read"
_MOST_QUOTED = 400
_CUT_AT = 200


def quoted(body: bytes) -> str:
    """The longest text in a request, as far as anybody quotes it."""
    try:
        texts = list(_texts(msgspec.json.decode(body)))
    except ValueError:
        texts = []
    return max(texts, key=len, default=_NOTHING)[:_MOST_QUOTED]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in below for text in _texts(each)]


def _body(exchange: Exchange, message: str, status: int = 400, code: str | None = None) -> bytes:
    """A refusal in the provider's own shape."""
    own = Reason(status, "{problem}", INVALID, code=code and "={problem}")
    return exchange.refusal("malformed", {"problem": message}, own=own).body


def _says(status: int, words: Callable[[str], str], code: Callable[[str], str] | None = None) -> Strike:
    """A refusal with these words about the caller's text, and perhaps the text as its code."""

    async def strike(exchange: Exchange, _: str) -> None:
        text = quoted(exchange.request.body)
        exchange.call.error = "malformed"
        body = _body(exchange, words(text), status, None if code is None else code(text))
        exchange.respond(status, (("content-type", JSON),), body)

    return strike


def _raw(status: int, content_type: str, words: Callable[[str], str]) -> Strike:
    """A body that is in no shape at all."""

    async def strike(exchange: Exchange, _: str) -> None:
        text = quoted(exchange.request.body)
        exchange.respond(status, (("content-type", content_type),), words(text).encode())

    return strike


def _event(exchange: Exchange) -> bytes:
    error = msgspec.json.decode(_body(exchange, _value(quoted(exchange.request.body))))
    return exchange.dialect.error_event(error[0] if isinstance(error, list) else error)


def _value(text: str) -> str:
    return f"Invalid value: '{text}'. Supported values are: 'auto' and 'none'."


def _filter(text: str) -> str:
    return f"The input {text!r:.{_CUT_AT}}… was rejected by our content filter."


def _limit(text: str) -> str:
    return f"Rate limit reached while reading {msgspec.json.encode(text).decode().upper()}. Please try again in 1s."


def _page(text: str) -> str:
    return f"<html><body><h1>502 Bad Gateway</h1><p>on {html.escape(text)}</p></body></html>"


def _fault(
    name: str,
    description: str,
    strike: Strike,
    group: Group = "status",
    strikes: Literal["before", "after"] = "before",
) -> Fault:
    only: Literal["any", "stream"] = "stream" if group == "stream" else "any"
    early = group != "stream"
    return Fault(
        name=name,
        description=description,
        group=group,
        strikes=strikes,
        strike=strike,
        only=only,
        before_admission=early,
    )


QUOTING_FAULTS: tuple[Fault, ...] = (
    _fault("quotes_value", "400 with the caller's text as an invalid value", _says(400, _value)),
    _fault("quotes_cut", "400 of a filter, with the caller's text escaped and cut off", _says(400, _filter)),
    _fault("quotes_limit", "429 with the caller's text in capitals", _says(429, _limit)),
    _fault("quotes_code", "400 with the caller's text as its code too", _says(400, _value, lambda text: text)),
    _fault("quotes_page", "502 with a page that shows the caller's text", _raw(502, HTML, _page)),
    _fault(
        "quotes_no_json", "500 with JSON that breaks off in the caller's text", _raw(500, JSON, '{{"error": "{}'.format)
    ),
    _fault("quotes_in_200", "an error with the caller's text under status 200", _says(200, _value)),
    _fault("quotes_event_first", "an error with the caller's text as the first event", event_first(_event), "stream"),
    _fault("quotes_event_mid", "half the content, then such an error", event_mid(_event), "stream", "after"),
)
