"""How providers write limits and times: per minute, RPM, Go durations, epoch milliseconds."""

import datetime as dt
import math
from typing import Any

from keyrelay.core.limits import Limit, Unit, Window, WindowKind

_SPANS = {1.0: "second", 60.0: "minute", 3600.0: "hour", 86400.0: "day"}
_LONG_S = 100 * 365 * 86400.0
_MISLEADING_RETRY_S = 45.578569677


def span_of(window: Window) -> str:
    """`second`, `minute`, `hour`, `day`, `month` or `once`; the next longer one for unusual windows."""
    if window.kind is not WindowKind.ROLLING:
        return str(window.kind)
    return next((name for length_s, name in _SPANS.items() if window.length_s <= length_s), "month")


def go_duration(seconds: float) -> str:
    """As Go prints a duration: `825ms`, `3.89s`, `1m26.4s`, `2h0m1s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds * 1000) / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def rfc3339(epoch_s: float) -> str:
    """`2026-11-21T09:00:00Z`."""
    return dt.datetime.fromtimestamp(math.ceil(epoch_s), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def limit_facts(limit: Limit, *, used: int, needed: int, free_at_s: float, now_s: float) -> dict[str, Any]:
    """Everything that an error body may want to say about a limit; never a time later than in a hundred years."""
    span = span_of(limit.window)
    tokens = limit.unit is not Unit.REQUESTS
    one = "token" if tokens else "request"
    retry_s = max(min(free_at_s - now_s, _LONG_S), 0.0)
    google_s = _MISLEADING_RETRY_S if span not in ("second", "minute") else retry_s
    return {
        "limit": limit.amount,
        "used": used,
        "needed": needed,
        "unit": f"{one}s",
        "Unit": f"{one.capitalize()}s",
        "unit_one": one,
        "unit_done": "tokens processed" if tokens else "requests sent",
        "span": span,
        "per": f"{one}s per {_SHORT.get(span, span)} ({one[0].upper()}P{span[0].upper()})",
        "window_s": math.ceil(limit.window.length_s) or 86400,
        "retry_s": math.ceil(retry_s),
        "retry_ms": math.ceil(retry_s * 1000),
        "retry_go": go_duration(retry_s),
        "google_retry_s": math.ceil(google_s),
        "google_retry_long_s": f"{google_s:.9f}",
        "reset_epoch_ms": math.ceil((now_s + retry_s) * 1000),
        "reset_rfc3339": rfc3339(now_s + retry_s),
        **_google_names(tokens=tokens, day=span in ("day", "month", "once")),
    }


_SHORT = {"minute": "min"}


def _google_names(*, tokens: bool, day: bool) -> dict[str, str]:
    per = "Day" if day else "Minute"
    if tokens:
        return {
            "quota_id": f"GenerateContentInputTokensPerModelPer{per}-FreeTier",
            "quota_metric": "generate_content_free_tier_input_token_count",
        }
    return {
        "quota_id": f"GenerateRequestsPer{per}PerProjectPerModel-FreeTier",
        "quota_metric": "generate_content_free_tier_requests",
    }
