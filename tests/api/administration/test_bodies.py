import msgspec
import pytest

from keyrelay.api.administration.bodies import body_of, decode_body
from keyrelay.core.errors import CallerError


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: tuple[Inner, ...] = ()


def test_a_body_is_what_its_type_says() -> None:
    assert decode_body(b'{"name":"a","inner":[{"size":1}]}', Body) == Body("a", (Inner(1),))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"name":1}', "name"),
        (b"", "name"),
        (b'{"name":"a","colour":1}', "colour"),
        (b'{"name":"a","inner":[{"size":"x"}]}', "inner[0].size"),
        (b'{"name":"a","inner":[{}]}', "inner[0].size"),
        (b"[]", None),
        (b"{", None),
        (b'{"name":"\xff"}', None),
        (b"[" * 100_000, None),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str | None) -> None:
    with pytest.raises(CallerError) as refused:
        decode_body(body, Body)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert "$" not in refused.value.message


def test_a_body_is_described() -> None:
    described = body_of(Body, Body("a"))["requestBody"]["content"]["application/json"]
    assert described == {"schema": {"$ref": "#/components/schemas/Body"}, "example": {"name": "a", "inner": ()}}
