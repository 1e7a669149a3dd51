"""When a key should be exchanged."""

from typing import Any

import pytest

from keyrelay.administration.known_keys import KnownKey
from keyrelay.administration.suggestions import LEAK_AFTER, OLD_AFTER_S, Seen, suggestions_of
from keyrelay.core.administered import KeyEntry
from keyrelay.core.configuration import Key
from keyrelay.core.failures import FailureKind
from keyrelay.core.secrets import Secret
from keyrelay.routing.key_states import KeyState
from tests.routing.helpers import failure

NOW_S = 2_000_000_000.0
SECRET = Secret("gsk_test_0123456789")


def whys(seen: Seen, entry: dict[str, Any], secret: Secret | None = SECRET) -> list[str]:
    key = Key(provider_id="groq", label="work", account="work", secret=secret)
    said = KeyEntry(provider="groq", label="work", **entry)
    known = KnownKey(key=key, source="store", owned=True, entry=said)
    return [each.why for each in suggestions_of(known, seen)]


READY = Seen(now_s=NOW_S, state=KeyState.READY)


@pytest.mark.parametrize(
    ("seen", "entry", "expected"),
    [
        (READY, {}, []),
        (READY, {"created_s": NOW_S - OLD_AFTER_S}, ["age"]),
        (READY, {"created_s": NOW_S - OLD_AFTER_S, "rotated_s": NOW_S - 5}, []),
        (READY, {"created_s": NOW_S - OLD_AFTER_S, "replaces": "x"}, []),
        (READY, {"expires_s": NOW_S + 86_400}, ["expiry"]),
        (READY, {"expires_s": NOW_S + 100 * 86_400}, []),
        (READY, {"expires_s": NOW_S - 1}, []),
        (Seen(now_s=NOW_S, state=KeyState.READY, requests=40, failed=20), {}, ["errors"]),
        (Seen(now_s=NOW_S, state=KeyState.READY, requests=10, failed=10), {}, []),
        (Seen(now_s=NOW_S, state=KeyState.READY, contradictions=LEAK_AFTER), {}, ["leak"]),
        (Seen(now_s=NOW_S, state=KeyState.INVALID, error=failure(FailureKind.AUTH)), {}, ["invalid"]),
        (Seen(now_s=NOW_S, state=KeyState.INVALID), {}, []),
    ],
)
def test_why(seen: Seen, entry: dict[str, Any], expected: list[str]) -> None:
    assert whys(seen, entry) == expected


def test_what_has_no_secret_needs_no_other() -> None:
    assert whys(READY, {"created_s": 1.0}, None) == []
