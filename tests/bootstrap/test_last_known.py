import math

import pytest

from keyrelay.administration.known_keys import KnownKey
from keyrelay.bootstrap.last_known import believe, remember
from keyrelay.core.administered import KeyEntry
from keyrelay.core.configuration import Key
from keyrelay.core.failures import FailureKind
from keyrelay.core.secrets import Secret
from keyrelay.core.stored_requests import StoredAttempt, StoredRequest
from keyrelay.engine.key_history import KeyHistory
from keyrelay.routing.circuit import CircuitSettings
from keyrelay.routing.health import Health

ENDED_S = 1_795_300_000.0


def known(rotated_s: float = 0.0) -> dict[str, KnownKey]:
    key = Key(provider_id="groq", label="work", account="acme", secret=Secret("sk-test-0123456789abcdef"))
    entry = KeyEntry(provider="groq", label="work", rotated_s=rotated_s)
    return {"groq/work": KnownKey(key=key, source="store", owned=True, entry=entry)}


def call(kind: str, scope: str) -> StoredAttempt:
    return StoredAttempt(
        provider="groq", key="work", model="m", sent="2026-11-21T22:26:39Z", ms=1.0, kind=kind, scope=scope, status=401,
        message="No.", requests=1, input_tokens=0, output_tokens=0, usd_micros=0, units=0,
    )  # fmt: skip


def row(second: int, *calls: StoredAttempt, provider: str = "groq", category: str = "") -> StoredRequest:
    moment = f"2026-11-21T22:26:{second:02}Z"
    return StoredRequest(
        request_id=f"req_{second:032x}", time=moment, ended=moment, client="c", operation="chat", model_asked="m",
        provider=provider, key="work", model="m", status=200, category=category, stream=False, cached="", ms=2.0,
        upstream_ms=1.5, waited_ms=0.0, first_token_ms=None, attempts=1, input_tokens=1, output_tokens=1,
        estimated=False, cost_usd=None, price_version="", calls=calls,
    )  # fmt: skip


REFUSED = row(50, call("auth", "key"), provider="", category="auth")
OUT_OF_CREDIT = row(50, call("billing", "account"), provider="", category="billing")
SLOW_DOWN = row(50, call("rate", "key"), provider="", category="rate")
ANSWERED, ANSWERED_LATER = row(40, call("", "")), row(55, call("", ""))


@pytest.mark.parametrize(
    ("rows", "rests", "proven"),
    [
        ((), set(), False),
        ((ANSWERED,), set(), True),
        ((REFUSED, ANSWERED), {"key:groq/work"}, False),
        ((ANSWERED_LATER, REFUSED), set(), True),
        ((OUT_OF_CREDIT,), {"account:groq/acme"}, False),
        ((SLOW_DOWN, ANSWERED), set(), True),
        ((row(50, call("what is that", "key")),), set(), True),
        ((row(40, provider="gone"),), set(), False),
    ],
)
def test_a_key_is_as_its_last_calls_left_it(rows: tuple[StoredRequest, ...], rests: set[str], proven: bool) -> None:
    history, health, keys = KeyHistory(), Health(CircuitSettings()), known()
    remember(rows, keys, history)
    believe(history.all(), keys, health)
    assert {cell.name for cell in health.cells() if math.isinf(cell.until_s)} == rests
    assert health.proof("key:groq/work").proven is proven


def test_what_went_before_the_secret_was_exchanged_is_of_another_key() -> None:
    history = KeyHistory()
    remember((REFUSED, ANSWERED), known(rotated_s=ENDED_S + 11.0), history)
    assert history.all() == {}


def test_when_it_answered_and_failed_is_when_the_requests_ended() -> None:
    history = KeyHistory()
    remember((REFUSED, ANSWERED), known(), history)
    past = history.all()["groq/work"]
    assert (past.error_s - past.success_s, past.answered, past.failed) == (10.0, 1, 1)
    assert past.error is not None
    assert (past.error.kind, past.error.message, past.error.status) == (FailureKind.AUTH, "No.", 401)
