from enum import StrEnum
from typing import Literal

import msgspec
import pytest

from keyrelay.api.administration.bodies import body_of, decode_body
from keyrelay.core.errors import CallerError


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    size: int


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Painted(msgspec.Struct):
    colour: Colour = Colour.RED
    maybe: Colour | None = None
    shape: Literal["round", "square"] = "round"


class Body(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    inner: tuple[Inner, ...] = ()
    painted: tuple[Painted, ...] = ()
    shapes: list[Literal["round"]] = []
    sizes: dict[str, Colour] = {}


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
        (b'{"name":"a","sizes":{"x":"big"}}', "sizes[...]"),
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


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"painted":[{"colour":"pink"}]}', "painted[0].colour: 'pink' is not one of red, blue."),
        (b'{"painted":[{},{"maybe":"it\'s"}]}', 'painted[1].maybe: "it\'s" is not one of red, blue.'),
        (b'{"painted":[{"shape":"flat"}]}', "painted[0].shape: 'flat' is not one of round, square."),
        (b'{"shapes":["flat"]}', "shapes[0]: 'flat' is not one of round."),
    ],
)
def test_what_may_stand_in_place_of_a_wrong_word_is_listed(body: bytes, message: str) -> None:
    with pytest.raises(CallerError) as refused:
        decode_body(body, Body)
    assert refused.value.message == message


def test_a_body_is_described() -> None:
    described = body_of(Body, Body("a"))["requestBody"]["content"]["application/json"]
    assert described["schema"] == {"$ref": "#/components/schemas/Body"}
    assert described["example"]["name"] == "a"
