"""Limits as values: an amount of a unit, in a window, at a scope."""

import re
from enum import StrEnum

import msgspec


class Unit(StrEnum):
    """What a limit counts."""

    REQUESTS = "requests"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    TOKENS = "tokens"


class WindowKind(StrEnum):
    """How a window moves."""

    ROLLING = "rolling"  # the last N seconds, wherever one looks
    DAY = "day"  # a calendar day in a zone
    MONTH = "month"  # a calendar month in a zone
    ONCE = "once"  # never resets


class Window(msgspec.Struct, frozen=True):
    """When a limit's count starts anew.

    `length_s` counts for rolling windows only, `zone` (an IANA name) for calendar windows only. Written
    as `1s`, `60s`, `1h`, `24h`, `day@America/Los_Angeles`, `month@UTC`, `once`.
    """

    kind: WindowKind
    length_s: float = 0.0
    zone: str = "UTC"

    def __str__(self) -> str:
        if self.kind is WindowKind.ROLLING:
            return f"{self.length_s:.15g}s"
        return str(self.kind) if self.kind is WindowKind.ONCE else f"{self.kind}@{self.zone}"


_ROLLING = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_window(text: str) -> Window:
    """Read `60s`, `1h`, `day@UTC`, `month@America/Los_Angeles` or `once`; raise ValueError that says what would do."""
    if text == WindowKind.ONCE:
        return Window(WindowKind.ONCE)
    rolling = _ROLLING.fullmatch(text)
    if rolling and int(rolling[1]) > 0:
        return Window(WindowKind.ROLLING, float(int(rolling[1]) * _SECONDS[rolling[2]]))
    kind, at, zone = text.partition("@")
    if at and zone and kind in (WindowKind.DAY, WindowKind.MONTH):
        return Window(WindowKind(kind), zone=zone)
    msg = f"window {text!r} is not one of 1s, 60s, 1h, 24h, day@ZONE, month@ZONE, once"
    raise ValueError(msg)


class ScopePart(StrEnum):
    """What a limit binds; a limit names one owner (key, account, provider), alone or with `model`."""

    KEY = "key"
    ACCOUNT = "account"
    PROVIDER = "provider"
    MODEL = "model"


class LimitSource(StrEnum):
    """Where a limit comes from. What the operator configured is never exceeded."""

    CATALOGUE = "catalogue"
    CONFIGURED = "configured"
    LEARNED = "learned"


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """`15 requests per minute for (account, model)`.

    `models` are shell patterns of the model names that the limit counts, empty for all of them; with
    `model` in the scope each model has a count of its own, without it they share one. `firm` is False for
    a belief: it orders and paces, and one request at a time may go beyond it when nothing else can serve.
    """

    unit: Unit
    amount: int
    window: Window
    scope: tuple[ScopePart, ...] = (ScopePart.ACCOUNT, ScopePart.MODEL)
    models: tuple[str, ...] = ()
    source: LimitSource = LimitSource.CATALOGUE
    firm: bool = True

    def __str__(self) -> str:
        scope = ", ".join(self.scope)
        return f"{self.amount} {self.unit} per {self.window} for ({scope})"
