import hashlib
from typing import Any

import pytest

from keyrelay.api.callers import Callers, RequestHead
from keyrelay.core.configuration import Client, ClientRules, Snapshot
from keyrelay.core.errors import CallerError
from keyrelay.core.secrets import Secret, keyed_digest


def head(*fields: tuple[bytes, bytes]) -> RequestHead:
    scope: dict[str, Any] = {"headers": list(fields), "query_string": b""}
    return RequestHead(scope)


def test_a_list_on_several_lines_goes_on_as_one() -> None:
    asked = head((b"anthropic-beta", b"a-1"), (b"x-other", b"y"), (b"anthropic-beta", b"b-2,c-3"))
    assert asked.forwarded((b"anthropic-version", b"anthropic-beta")) == (("anthropic-beta", "a-1, b-2,c-3"),)


def test_nothing_goes_on_that_was_not_sent() -> None:
    assert head((b"anthropic-beta", b"")).forwarded((b"anthropic-version", b"anthropic-beta")) == ()


NOW_S = 1_800_000_000.0
PEPPER = Secret("00112233445566778899aabbccddeeff")
PLAIN, KEYED = b"plain-secret-0123456789", b"kr-test-0123456789abcdef"


def sha(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def callers(
    rules: ClientRules | None = None, *, pepper: Secret | None = PEPPER, clock: list[float] | None = None
) -> Callers:
    listed = (
        Client("plain", sha(PLAIN)),
        Client("keyed", keyed_digest(PEPPER, sha(KEYED)), rules, keyed=True),
    )
    now = clock or [NOW_S]
    snapshot = Snapshot(
        providers={}, keys=(), routes={}, clients={client.digest: client for client in listed}, pepper=pepper
    )
    return Callers(snapshot, lambda: now[0])


def found(who: Callers, secret: bytes) -> str:
    try:
        return who.find(head((b"x-api-key", secret))).label
    except CallerError as refused:
        error = refused
    assert error.status == 401
    assert dict(error.headers) == {"www-authenticate": "Bearer", "x-should-retry": "false"}
    return str(error.code)


@pytest.mark.parametrize(
    ("secret", "label"),
    [
        (PLAIN, "plain"),
        (KEYED, "keyed"),
        (b"", "missing_api_key"),
        (b"other", "invalid_api_key"),
        (b"x" * 513, "invalid_api_key"),
        (sha(PLAIN), "invalid_api_key"),
        (keyed_digest(PEPPER, sha(KEYED)), "invalid_api_key"),
    ],
)
def test_whose_secret_it_is(secret: bytes, label: str) -> None:
    who = callers()
    assert [found(who, secret) for _ in range(3)] == [label] * 3


def test_without_the_pepper_a_keyed_digest_lets_nobody_in() -> None:
    assert found(callers(pepper=None), KEYED) == "invalid_api_key"
    assert found(callers(pepper=Secret("another pepper")), KEYED) == "invalid_api_key"


@pytest.mark.parametrize(
    ("rules", "code"),
    [
        (ClientRules(), "keyed"),
        (ClientRules(state="disabled"), "client_disabled"),
        (ClientRules(state="revoked", expires_s=1.0), "client_revoked"),
        (ClientRules(expires_s=NOW_S), "client_expired"),
        (ClientRules(expires_s=NOW_S + 1), "keyed"),
        (ClientRules(expires_s=NOW_S, replaced=True), "secret_replaced"),
    ],
)
def test_a_client_that_may_not_call_is_told_why(rules: ClientRules, code: str) -> None:
    assert found(callers(rules), KEYED) == code


def test_a_client_known_by_its_secret_expires_all_the_same() -> None:
    clock = [NOW_S]
    who = callers(ClientRules(expires_s=NOW_S + 10), clock=clock)
    assert found(who, KEYED) == "keyed"
    clock[0] = NOW_S + 10
    assert found(who, KEYED) == "client_expired"


def test_nothing_is_remembered_beyond_the_configuration() -> None:
    who = callers()
    assert found(who, KEYED) == "keyed"
    assert repr(who) == "<Callers 2 secrets, 1 keyed>"
    who.configure(Snapshot(providers={}, keys=(), routes={}, clients={}, pepper=PEPPER))
    assert found(who, KEYED) == found(who, PLAIN) == "invalid_api_key"


def test_what_is_not_known_is_not_remembered() -> None:
    who = callers()
    for number in range(100):
        found(who, b"guess-%d" % number)
    assert repr(who) == "<Callers 1 secrets, 1 keyed>"
