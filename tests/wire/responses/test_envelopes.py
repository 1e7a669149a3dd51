import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.conversation import Thinking
from keyrelay.wire.responses.envelopes import seal, unseal

DIALECTS = st.sampled_from(["anthropic", "gemini", "openai", "responses", ""])


@given(st.text(), st.text(min_size=1), DIALECTS)
def test_a_signature_comes_back_as_it_was(text: str, signature: str, dialect: str) -> None:
    sealed = seal(signature, "", dialect)
    assert sealed is not None
    if dialect == "responses" and signature.startswith("kr1."):
        return  # nobody signs like that
    assert unseal(text, sealed) == Thinking(text=text, signature=signature, signed_by=dialect)


def test_a_thought_that_is_not_shown_comes_back() -> None:
    sealed = seal("", "secret", "anthropic")
    assert sealed is not None
    assert unseal("", sealed) == Thinking(redacted="secret", signed_by="anthropic")


def test_nothing_is_sealed_for_a_thought_without_signature() -> None:
    assert seal("", "", "") is None
    assert unseal("words", "") == Thinking(text="words")


@pytest.mark.parametrize("inside", ["!", base64.b64encode(b"{").decode(), base64.b64encode(b"[1]").decode()])
def test_an_envelope_that_somebody_changed_holds_no_signature(inside: str) -> None:
    assert unseal("words", f"kr1.{inside}") == Thinking(text="words")


def test_what_openai_encrypted_is_for_nobody_else() -> None:
    assert unseal("", "gAAAAB") == Thinking(signature="gAAAAB", signed_by="responses")
