import base64
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.redaction import MASK, MOST_FORMER, Redactor

SECRET = 'p@ss/"wörd+1'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        json.dumps(SECRET)[1:-1],
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_a_known_secret_is_taken_out_in_every_form(form: str) -> None:
    assert Redactor([SECRET]).redact(f"before {form} after") == f"before {MASK} after"


@given(st.text(min_size=6, max_size=30), st.text(max_size=20))
def test_no_known_secret_is_left(secret: str, around: str) -> None:
    redacted = Redactor([secret]).redact(around + secret + around)
    assert secret not in redacted.replace(MASK, "\0")


def test_a_known_secret_is_taken_out_whatever_its_case() -> None:
    assert Redactor(["HunTer2"]).redact("code: hunter2") == f"code: {MASK}"


def test_the_longest_secret_goes_first() -> None:
    assert Redactor(["secret", "secret-of-mine"]).redact("secret-of-mine") == MASK


def test_a_short_secret_would_take_out_half_the_text() -> None:
    redactor = Redactor(["a", "12345"])
    assert redactor.redact("a 12345") == "a 12345"
    assert repr(redactor) == "<Redactor 0 forms of secrets>"


def test_its_repr_counts_and_does_not_tell() -> None:
    assert repr(Redactor(["hunter2"])) == "<Redactor 3 forms of secrets>"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Incorrect API key provided: sk-proj-abcdef0123.", f"Incorrect API key provided: {MASK}."),
        ("Incorrect API key provided: sk-thisi****lkey. Go on.", f"Incorrect API key provided: {MASK}. Go on."),
        ("Incorrect API key provided: xa***na.", f"Incorrect API key provided: {MASK}."),
        ("key gsk_0123456789abcdef is dead", f"key {MASK} is dead"),
        ("AIzaSyA0123456789abcdef", MASK),
        ("AQ.Ab8RN6I0123456789", MASK),
        ("nvapi-0123456789, hf_0123456789", f"{MASK}, {MASK}"),
        ("sk-ant-api03-abcdef", MASK),
        ("authorization: Bearer abc.def-ghi=", f"authorization: {MASK}"),
        ("authorization: bearer abc.def-ghi=", f"authorization: {MASK}"),
        ("https://x/v1?key=abc&alt=sse", f"https://x/v1?key={MASK}&alt=sse"),
        ("redis://me:hunter2@cache:6379", f"redis://{MASK}@cache:6379"),
    ],
)
def test_what_looks_like_a_key_is_taken_out_although_nobody_knows_it(text: str, redacted: str) -> None:
    assert Redactor().redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "Rate limit reached for model `llama` on tokens per minute (TPM): Limit 6000, Used 5000.",
        "The risk is yours; the task-force asked.",
        "2 * 3 ** 4",
        "https://docs.example/keys?keyboard=1",
        "Bearer of news",
        "No such File object: file-kr_wGJ4QPRqRAgI5VC1XfCQ4G9wZW5haQBmaXJzdA",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert Redactor().redact(text) == text


@pytest.mark.parametrize("text", ["*" * 50_000, "a" * 50_000, "sk-" * 20_000, "://a:" * 10_000, "?key=" * 10_000])
def test_no_text_takes_long(text: str) -> None:
    began = time.perf_counter()
    Redactor().redact(text)
    assert time.perf_counter() - began < 1


def test_secrets_may_change_and_those_before_are_still_taken_out() -> None:
    redactor = Redactor(["first-secret"])
    redactor.know(["second-secret"])
    assert redactor.redact("first-secret second-secret third-secret") == f"{MASK} {MASK} third-secret"
    redactor.know(["third-secret"])
    redactor.know(["third-secret"])
    assert redactor.redact("first-secret second-secret third-secret") == f"{MASK} {MASK} {MASK}"


def test_of_those_before_only_the_last_are_still_taken_out() -> None:
    redactor = Redactor(["in-use-all-the-time"])
    for number in range(MOST_FORMER + 2):
        redactor.know(["in-use-all-the-time", f"secret-{number:04}"])
    assert redactor.redact("in-use-all-the-time") == MASK
    assert redactor.redact("secret-0000") == "secret-0000"
    assert redactor.redact(f"secret-0001 secret-{MOST_FORMER + 1:04}") == f"{MASK} {MASK}"


@given(st.lists(st.lists(st.sampled_from([f"secret-number-{n}" for n in range(MOST_FORMER + 4)]), unique=True)))
def test_what_is_known_does_not_depend_on_how_often_it_was_said(changes: list[list[str]]) -> None:
    often, known = Redactor(), list[str]()
    for secrets in changes:
        known = [*[secret for secret in known if secret not in secrets][-MOST_FORMER:], *secrets]
        often.know(secrets)
        often.know(secrets)
        for secret in known:
            assert often.redact(f"<{secret}>") == f"<{MASK}>"
