import io
import json

from prometheus_client import CollectorRegistry, generate_latest

from keyrelay.api.quota_watch import QuotaWatch
from keyrelay.api.request_log import RequestLog
from keyrelay.core.limits import ScopePart, Window, WindowKind
from keyrelay.core.redaction import Redactor
from keyrelay.engine.quota_events import QuotaEvents
from tests.engine.rig import providers
from tests.engine.test_quota_events import answered
from tests.engine.test_quota_view import NOW_S, Viewed, limit


class Watched:
    """A watch over a log in memory."""

    def __init__(self, viewed: Viewed, least: str = "info") -> None:
        self.stream = io.StringIO()
        log = RequestLog(self.stream, as_json=True, redactor=Redactor(), least=least)
        events = QuotaEvents(viewed.pool, viewed.ledger)
        self.watch = QuotaWatch(viewed.pool, viewed.ledger, events, log, lambda: NOW_S)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def samples(self) -> list[str]:
        registry = CollectorRegistry()
        registry.register(self.watch)
        return [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]


def test_a_threshold_is_one_line_and_one_count() -> None:
    viewed = Viewed(providers("acme", ACME_RPD="20"))
    watched = Watched(viewed)
    for _ in range(17):
        watched.watch.check([answered(viewed)])
    assert watched.lines() == [
        {
            "event": "quota_threshold",
            "time": "2027-01-15T08:00:00.000Z",
            "level": "warning",
            "provider": "acme",
            "account": "k00",
            "model": "m",
            "unit": "requests",
            "window": "day@UTC",
            "threshold": 0.75,
            "used": 15,
            "amount": 20,
            "reset_at": "2027-01-16T00:00:00Z",
            "message": "acme k00 m: 75% of 20 requests per day@UTC used",
        }
    ]
    assert 'keyrelay_quota_thresholds_total{provider="acme",threshold="0.75",unit="requests"} 1.0' in watched.samples()
    assert repr(watched.watch) == "<QuotaWatch 1 thresholds reached>"


def test_what_is_left_is_told_of_each_limit_used() -> None:
    minute = Window(WindowKind.ROLLING, 60.0)
    limits = (limit(10, minute, ScopePart.KEY), limit(4, minute, ScopePart.KEY, models=("m",)))
    viewed = Viewed(providers("acme", keys=2), acme=limits)
    watched = Watched(viewed)
    assert watched.samples() == []
    watched.watch.check([answered(viewed)])
    labels = '{{account="{0}",key="{0}",model="",provider="acme",unit="requests",window="60s"}}'
    assert watched.samples() == [  # of two limits on the same, the one with less left
        f"keyrelay_quota_remaining_ratio{labels.format('k00')} 0.75",
        f"keyrelay_quota_remaining_ratio{labels.format('k01')} 1.0",
    ]


def test_below_the_logs_level_only_the_count_remains() -> None:
    viewed = Viewed(providers("acme", ACME_RPD="1"))
    watched = Watched(viewed, least="error")
    watched.watch.check([answered(viewed)])
    assert watched.lines() == []
    assert any(line.startswith("keyrelay_quota_thresholds_total") for line in watched.samples())
