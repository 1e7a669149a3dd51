import json
import re
import resource
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.wire.body import MAX_CONTAINERS, field, read_members


def refused(body: bytes, *, max_depth: int = 64) -> str:
    """The message with which a body is refused."""
    with pytest.raises(CallerError) as caught:
        read_members(body, max_depth=max_depth)
    error = caught.value
    assert (error.status, error.kind, error.code) == (400, "invalid_request_error", "invalid_json")
    assert error.__context__ is None or error.__suppress_context__  # what msgspec said need not be said twice
    return error.message


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """A body of this depth, the object around it counted."""
    return ('{"a":' + opening * (depth - 1) + closing * (depth - 1) + "}").encode()


def test_members_keep_their_bytes() -> None:
    members = read_members(b' {"a" : 1.50, "b":[ 1 ,2], "c":"\\u00e9", "d": null} ', max_depth=2)
    assert {name: bytes(raw) for name, raw in members.items()} == {
        "a": b"1.50",
        "b": b"[ 1 ,2]",
        "c": b'"\\u00e9"',
        "d": b"null",
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The request has no body. Send a JSON object."),
        (b"[]", "The body must be a JSON object. Expected `object`, got `array`."),
        (b'"text"', "The body must be a JSON object. Expected `object`, got `str`."),
        (b"null", "The body must be a JSON object. Expected `object`, got `null`."),
        (b"12", "The body must be a JSON object. Expected `object`, got `int`."),
        (b'{"a":"\xff"}', "The body is not valid UTF-8 (byte 6)."),
        (b'{"\xff":1}', "The body is not valid UTF-8 (byte 0)."),
        (b'{"a":"\xed\xa0\x80"}', "The body is not valid UTF-8 (byte 6)."),
        (b'{"a":[{"b":"\xc3"}]}', "The body is not valid UTF-8 (byte 12)."),
    ],
)
def test_what_is_no_object_is_refused_with_what_is_wrong(body: bytes, message: str) -> None:
    assert refused(body) == message


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"model=x",
        b"{",
        b'{"a":1',
        b'{"a":1}x',
        b'{"a":1}{"a":1}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":[NaN]}',
        b'{"a":01}',
        b'{"a":1.}',
        b'{"a":[1,]}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":"\n"}',
        b'{"a":"\\ud800"}',
        b'{"a":{"b":["\\ud800"]}}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"\\ud800":1}',
        b'{"a":"\\x41"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1} // comment',
        b"\x00",
        b"\x1f\x8b\x08\x00",
    ],
)
def test_what_is_no_strict_json_is_refused(body: bytes) -> None:
    assert refused(body).startswith("The body is not valid JSON: ")


def test_pairs_of_surrogates_and_other_scripts_pass() -> None:
    body = '{"a":"\\ud83d\\ude00 é 😀 \u2028"}'.encode()
    assert bytes(read_members(body, max_depth=1)["a"]) == '"\\ud83d\\ude00 é 😀 \u2028"'.encode()


def test_long_numbers_pass_untouched() -> None:
    number = b"9" * 5000
    assert bytes(read_members(b'{"a":' + number + b"}", max_depth=1)["a"]) == number


def test_of_two_members_of_one_name_the_last_wins() -> None:
    assert bytes(read_members(b'{"a":1,"b":2,"a":3}', max_depth=1)["a"]) == b"3"


class TestDepth:
    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"b":', "}"), ('[{"b":', "}]")])
    def test_64_levels_pass_and_65_do_not(self, opening: str, closing: str) -> None:
        pair = opening.count("[") + opening.count("{")
        levels, odd = divmod(64 - 1, pair)
        inner = "[]" if odd else "1"
        body = '{"a":' + opening * levels + inner + closing * levels + "}"
        assert list(read_members(body.encode(), max_depth=64)) == ["a"]
        deeper = '{"a":[' + opening * levels + inner + closing * levels + "]}"
        assert refused(deeper.encode()) == "The body nests deeper than 64 levels."

    def test_bug_lists_in_objects_in_lists_were_counted_half(self) -> None:
        assert refused(b'{"a":' + b'[{"b":' * 63 + b"1" + b"}]" * 63 + b"}") == "The body nests deeper than 64 levels."
        assert refused(b'{"a":[{"b":[]}]}', max_depth=3) == "The body nests deeper than 3 levels."
        assert list(read_members(b'{"a":[{"b":[]}]}', max_depth=4)) == ["a"]

    def test_width_is_not_depth(self) -> None:
        wide = b'{"a":[' + b'{"b":[]},' * 5000 + b"[]]}"
        assert list(read_members(wide, max_depth=4)) == ["a"]
        assert refused(wide, max_depth=3) == "The body nests deeper than 3 levels."

    def test_brackets_within_strings_do_not_count(self) -> None:
        text = "[{" * 500 + '\\"[[[\\\\'
        body = ('{"a":"' + text + '","[[[":"' + text + '"}').encode()
        assert len(read_members(body, max_depth=1)) == 2
        assert refused(body[:-1] + b',"c":[]}', max_depth=1) == "The body nests deeper than 1 levels."

    def test_far_too_deep(self) -> None:
        assert refused(nested(100_000)) == "The body nests deeper than 64 levels."

    @given(
        st.recursive(
            st.text(max_size=3) | st.integers(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
            max_leaves=30,
        )
    )
    def test_it_is_the_depth_that_it_is(self, value: object) -> None:
        body = json.dumps({"a": value}).encode()
        depth = 1 + _depth(value)
        assert list(read_members(body, max_depth=depth)) == ["a"]
        if body.count(b"[") + body.count(b"{") > depth - 1:
            assert refused(body, max_depth=depth - 1) == f"The body nests deeper than {depth - 1} levels."

    def test_more_lists_and_objects_than_anybody_needs_are_refused(self) -> None:
        message = "The body holds more than 1000000 lists and objects."
        assert MAX_CONTAINERS == 1_000_000
        assert refused(b'{"a":[' + b"[]," * 1_000_000 + b"1]}") == message
        assert refused(b'{"a":[' + b'[""],' * 1_000_000 + b"1]}") == message
        assert list(read_members(b'{"a":[' + b"[]," * 999_000 + b"1]}", max_depth=3)) == ["a"]

    @pytest.mark.parametrize("hostile", [b'"x",', b'"\\n\\n\\n\\n\\n\\n",', b"[[[[[[[]]]]]]],"])
    def test_bug_a_hostile_body_took_seconds_and_gigabytes(self, hostile: bytes) -> None:
        escapes = b'"' + b"\\n" * 3_000_000 + b'",'
        body = b'{"a":[' + escapes + hostile * (6_000_000 // len(hostile)) + b"[]," * 100 + b"1]}"
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        try:
            read_members(body, max_depth=64)
        except CallerError as error:
            assert "more than 1000000 lists" in error.message  # noqa: PT017 quick is what counts here
        assert time.perf_counter() - began < 2
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        members = read_members(body, max_depth=64)
    except CallerError as error:
        assert error.status == 400  # noqa: PT017 either is right
    else:
        assert json.loads(body).keys() == members.keys()


class TestField:
    MEMBERS = read_members(
        b'{"none":null,"five":5,"half":0.5,"text":"x","yes":true,"big":' + b"9" * 5000 + b"}", max_depth=1
    )

    def test_it_is_decoded(self) -> None:
        assert field(self.MEMBERS, "five", int) == 5
        assert field(self.MEMBERS, "five", float) == 5.0
        assert field(self.MEMBERS, "text", str) == "x"
        assert field(self.MEMBERS, "yes", bool) is True

    @pytest.mark.parametrize("name", ["none", "missing"])
    def test_null_is_as_if_it_were_absent(self, name: str) -> None:
        assert field(self.MEMBERS, name, int) is None

    @pytest.mark.parametrize(
        ("name", "kind", "problem"),
        [
            ("five", str, "Expected `str | null`, got `int`"),
            ("half", int, "Expected `int | null`, got `float`"),
            ("yes", int, "Expected `int | null`, got `bool`"),
            ("text", bool, "Expected `bool | null`, got `str`"),
            ("big", int, "Integer value out of range"),
            ("big", float, "Number out of range"),
        ],
    )
    def test_a_wrong_type_names_the_field(self, name: str, kind: type, problem: str) -> None:
        message = f"Invalid value for '{name}': {problem}."
        with pytest.raises(CallerError, match=f"^{re.escape(message)}$") as caught:
            field(self.MEMBERS, name, kind)
        assert (caught.value.status, caught.value.param, caught.value.code) == (400, name, "invalid_type")

    def test_the_members_stay_as_they_were(self) -> None:
        members = {"a": msgspec.Raw(b"1")}
        field(members, "a", int)
        assert members == {"a": msgspec.Raw(b"1")}
