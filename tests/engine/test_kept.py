import msgspec
import pytest

from keyrelay.core.usage import Usage
from keyrelay.engine.kept import Kept, Wrong, seal, unseal

KEPT = Kept(
    key=b"k" * 32,
    scope="client:app",
    provider="groq",
    label="home",
    model="m",
    stream=True,
    body=b"data: {}\n\n",
    usage=Usage(3, 4),
    cost_usd=0.25,
    created_s=1.5,
    expires_s=9.5,
    left_out=("seed",),
    made_for="req_1",
)


@pytest.mark.parametrize(
    "kept", [KEPT, msgspec.structs.replace(KEPT, usage=None, cost_usd=None, stream=False, body=b"")]
)
def test_what_was_sealed_comes_back(kept: Kept) -> None:
    assert unseal(seal(kept), key=kept.key, scope=kept.scope) == kept


def test_the_answer_to_another_question_is_not_given() -> None:
    assert unseal(seal(KEPT), key=b"x" * 32, scope=KEPT.scope) is Wrong.OTHER_KEY


@pytest.mark.parametrize("scope", ["client:other", "shared", "", "client:app "])
def test_the_answer_of_another_scope_is_not_given(scope: str) -> None:
    assert unseal(seal(KEPT), key=KEPT.key, scope=scope) is Wrong.OTHER_SCOPE


def test_no_bit_may_change() -> None:
    value = seal(KEPT)
    for place in range(len(value) * 8):
        changed = bytearray(value)
        changed[place // 8] ^= 1 << place % 8
        assert unseal(bytes(changed), key=KEPT.key, scope=KEPT.scope) is Wrong.DAMAGED


@pytest.mark.parametrize("value", [b"", b"x", b"$5\r\nhello", seal(KEPT)[:-1], seal(KEPT) + b"x", seal(KEPT)[1:]])
def test_what_is_no_sealed_answer_is_damaged(value: bytes) -> None:
    assert unseal(value, key=KEPT.key, scope=KEPT.scope) is Wrong.DAMAGED


def test_a_value_of_another_version_is_damaged() -> None:
    short = seal(msgspec.structs.replace(KEPT, key=7))
    assert unseal(short, key=KEPT.key, scope=KEPT.scope) is Wrong.DAMAGED


def test_its_text_is_not_in_its_repr() -> None:
    assert repr(KEPT) == "<Kept groq m 10 bytes for client:app>"
