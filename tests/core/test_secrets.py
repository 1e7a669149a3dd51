import hashlib
import hmac

import pytest

from keyrelay.core.secrets import HiddenSecret, SealedSecret, Secret, keyed_digest

TEXT = "gsk_0123456789abcdef"


def test_the_text_is_had_by_asking_for_it_alone() -> None:
    secret = Secret(TEXT)
    assert secret.reveal() == TEXT
    shown = f"{secret} {secret!r} {[secret]} {secret.masked} {secret.fingerprint} {vars(Secret)}"
    assert TEXT not in shown
    assert "0123" not in shown


@pytest.mark.parametrize(
    ("text", "masked"), [(TEXT, "…cdef"), ("0123456789ab", "…89ab"), ("0123456789a", "…"), ("", "…")]
)
def test_a_short_secret_shows_nothing_at_all(text: str, masked: str) -> None:
    assert Secret(text).masked == masked
    assert repr(Secret(text)) == str(Secret(text)) == f"Secret({masked})"


def test_the_fingerprint_tells_keys_apart() -> None:
    assert Secret(TEXT).fingerprint == hashlib.sha256(TEXT.encode()).hexdigest()[:8]
    assert Secret(TEXT).fingerprint != Secret(TEXT + "x").fingerprint


def test_equal_texts_are_equal_secrets_and_no_text_is_one() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert len({Secret("a"), "a"}) == 2


def test_an_empty_secret_is_none() -> None:
    assert not Secret("")
    assert Secret("a")


def test_of_a_hidden_secret_nothing_is_shown() -> None:
    hidden = HiddenSecret(TEXT)
    assert hidden.reveal() == TEXT
    assert repr(hidden) == str(hidden) == "Secret(…)"
    assert hidden == Secret(TEXT)


def test_of_a_sealed_secret_is_shown_what_is_known_of_it() -> None:
    sealed = SealedSecret("of no use anywhere: cdef", Secret(TEXT).fingerprint)
    assert (sealed.masked, sealed.fingerprint) == (Secret(TEXT).masked, Secret(TEXT).fingerprint)
    assert sealed != Secret(TEXT)


def test_a_keyed_digest_depends_on_secret_and_pepper() -> None:
    digests = [hashlib.sha256(secret).digest() for secret in (b"one", b"two")]
    peppers = [Secret("pepper-1"), Secret("pepper-2")]
    found = {keyed_digest(pepper, digest) for pepper in peppers for digest in digests}
    assert len(found) == 4
    assert {len(each) for each in found} == {32}
    assert keyed_digest(peppers[0], digests[0]) == hmac.new(b"pepper-1", digests[0], "sha256").digest()
