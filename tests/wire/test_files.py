import sys
import tracemalloc
from base64 import urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.core.requests import CallRequest
from keyrelay.core.usage import Usage
from keyrelay.wire.files import (
    MAX_ID,
    MAX_NAMED,
    PREFIX,
    FileIds,
    FilePlace,
    FileStream,
    decode_upload,
    file_request,
    is_own_id,
    may_hide_files,
    may_name_files,
    named_files,
    named_sources,
    read_file,
    with_own_ids,
)
from keyrelay.wire.multipart import FormReader
from keyrelay.wire.readings import StreamEnd

IDS = FileIds(bytes(range(32)))
PLACE = FilePlace("openai", "first", "file-abc123")
CLIENT = "an app"
SHORT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)
TYPE = "multipart/form-data; boundary=b"
MIB = 1024 * 1024


class TestIds:
    @given(SHORT, SHORT, SHORT, SHORT)
    def test_an_id_leads_back_to_its_place(self, provider: str, key: str, own: str, client: str) -> None:
        place = FilePlace(provider, key, own)
        given_id = IDS.made(place, client)
        assert IDS.read(given_id, client) == place
        assert IDS.made(place, client) == given_id

    @given(SHORT, SHORT)
    def test_an_id_can_stand_in_a_path_and_in_json_as_it_is(self, key: str, client: str) -> None:
        given_id = IDS.made(FilePlace("openai", key, "file-a"), client)
        assert given_id.startswith("file-")
        assert given_id.replace("-", "").replace("_", "").isalnum()
        assert given_id.isascii()

    @given(SHORT, SHORT)
    def test_an_id_is_of_use_to_its_own_client_only(self, client: str, other: str) -> None:
        assert (IDS.read(IDS.made(PLACE, client), other) == PLACE) is (client == other)

    def test_an_id_is_of_use_to_its_own_installation_only(self) -> None:
        assert FileIds(bytes(32)).read(IDS.made(PLACE, CLIENT), CLIENT) is None

    @given(st.data())
    def test_no_id_is_read_that_was_changed_anywhere(self, data: st.DataObject) -> None:
        given_id = IDS.made(PLACE, CLIENT)
        at = data.draw(st.integers(0, len(given_id) - 1))
        sign = data.draw(st.sampled_from("ABCxyz019-_=."))
        changed = given_id[:at] + sign + given_id[at + 1 :]
        assert (IDS.read(changed, CLIENT) == PLACE) is (changed == given_id)

    @given(st.text(max_size=60) | st.binary(max_size=60).map(lambda data: PREFIX + urlsafe_b64encode(data).decode()))
    def test_any_other_text_is_no_id(self, text: str) -> None:
        assert IDS.read(text, CLIENT) is None

    @pytest.mark.parametrize(
        "text", ["file-abc", PREFIX, PREFIX + "a", PREFIX + "abcd=", PREFIX + "a" * (MAX_ID + 4), PREFIX + "ä"]
    )
    def test_what_looks_like_one_and_is_none(self, text: str) -> None:
        assert IDS.read(text, CLIENT) is None

    def test_an_id_of_more_parts_than_there_are_is_none(self) -> None:
        assert IDS.read(IDS.made(FilePlace("openai", "first", "file\0a"), CLIENT), CLIENT) is None

    def test_the_mark_covers_where_one_part_ends(self) -> None:
        here, there = FilePlace("openai", "a", "bc"), FilePlace("openai", "ab", "c")
        assert IDS.made(here, CLIENT) != IDS.made(there, CLIENT)

    def test_nothing_is_told_of_the_secret(self) -> None:
        assert repr(IDS) == "<FileIds>"
        assert PLACE.key_id == "openai/first"

    @pytest.mark.parametrize(
        ("text", "own"),
        [
            ("file-abc", True),
            ("497f6eca-6276-4993-bfeb-53cbbbba6f08", True),
            ("file_01jh6x76", True),
            (IDS.made(PLACE, CLIENT), False),
            ("", False),
            ("..", False),
            ("a/b", False),
            ("a?b", False),
            ("a%2fb", False),
            ("a" * 201, False),
        ],
    )
    def test_which_ids_may_be_a_providers_own(self, text: str, own: bool) -> None:
        assert is_own_id(text) is own


def form(*parts: tuple[str, str | None, bytes]) -> bytes:
    body = b""
    for name, filename, content in parts:
        named = f'; filename="{filename}"' if filename is not None else ""
        body += f'--b\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"
    return body + b"--b--\r\n"


FILE, PURPOSE = ("file", "a.pdf", b"%PDF"), ("purpose", None, b"user_data")


def upload(*parts: tuple[str, str | None, bytes], provider: str = "") -> CallRequest:
    content = form(*parts)
    reader = FormReader("b")
    reader.feed(content)
    return decode_upload(reader.close(), memoryview(content), TYPE, provider=provider)


class TestRequests:
    def test_an_upload_is_all_of_its_form(self) -> None:
        request = upload(("expires_after[anchor]", None, b"created_at"), FILE, PURPOSE, provider="groq")
        assert request.file is not None
        assert request.form is not None
        assert (request.operation, request.stream, request.opaque) == ("files", False, True)
        assert (request.file.method, request.file.purpose, request.file.provider) == ("POST", "user_data", "groq")
        assert (bytes(request.form.content).count(b"form-data"), request.form.content_type) == (3, TYPE)

    @pytest.mark.parametrize(
        ("parts", "param", "code"),
        [
            ((PURPOSE,), "file", "missing_field"),
            ((PURPOSE, ("file", None, b"a")), "file", "missing_field"),
            ((FILE,), "purpose", "missing_field"),
            ((FILE, ("purpose", None, b"")), "purpose", "missing_field"),
            ((FILE, ("purpose", "a", b"batch")), "purpose", "missing_field"),
            ((FILE, ("purpose", None, b"a b")), "purpose", "invalid_value"),
            ((FILE, ("purpose", None, b"a" * 65)), "purpose", "invalid_value"),
            ((FILE, FILE, PURPOSE), "file", "invalid_form"),
            ((FILE, PURPOSE, PURPOSE), "purpose", "invalid_form"),
        ],
    )
    def test_a_form_that_is_no_upload(
        self, parts: tuple[tuple[str, str | None, bytes], ...], param: str, code: str
    ) -> None:
        with pytest.raises(CallerError) as caught:
            upload(*parts)
        assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)

    def test_what_is_in_a_file_comes_as_a_stream(self) -> None:
        content, deleted = file_request("GET", "a", content=True), file_request("DELETE", "a", provider="xai")
        assert (content.stream, deleted.stream, deleted.form) == (True, False, None)
        assert content.file is not None
        assert deleted.file is not None
        assert (content.file.content, deleted.file.method, deleted.file.provider) == (True, "DELETE", "xai")


def encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


class TestReferences:
    @pytest.mark.parametrize(
        ("body", "ids"),
        [
            ({"messages": [{"content": [{"type": "file", "file": {"file_id": "a"}}]}]}, ("a",)),
            ({"input": [{"content": [{"type": "input_file", "file_id": "a"}, {"file_id": "b"}]}]}, ("a", "b")),
            ({"tools": [{"container": {"file_ids": ["a", "b]", 'c"'], "file_id": "a"}}]}, ("a", "b]", 'c"')),
            ({"a": {"file_id": None}, "b": {"file_id": 7}, "c": {"file_ids": "a"}, "d": {"file_ids": []}}, ()),
            ({"a": "file_id", "b": ["file_id", "a"], "c": '"file_id": "a"', "d": '{"file_ids": ["a"]}'}, ()),
            ({"tools": [{"properties": {"file_id": {"type": "string"}}, "required": ["file_id"]}]}, ()),
        ],
    )
    def test_files_are_found_wherever_members_name_them(self, body: object, ids: tuple[str, ...]) -> None:
        for text in (encoded(body), msgspec.json.format(encoded(body), indent=2)):
            assert may_name_files(text)
            assert sorted(named_files(text)) == sorted(ids)

    def test_of_two_members_with_one_name_both_count(self) -> None:
        assert named_files(b'{"file_id":"a","file_id" : "b"}') == ("a", "b")

    def test_metadata_refers_to_nothing(self) -> None:
        body = b'{"metadata":{"file_id":"a"},"messages":[{"file_id":"b"}]}'
        assert named_files(body, b'{"file_id":"a"}') == ("b",)
        assert named_files(body.replace(b'"b"', b'"a"'), b'{"file_id":"a"}') == ("a",)

    def test_an_id_with_escapes_is_read(self) -> None:
        assert named_files(rb'{"file_id":"\u0061\n"}') == ("a\n",)

    @pytest.mark.parametrize("name", [rb"\u0066ile_id", rb"file\u005fid", rb"file_\u0069\u0064", rb"f\u0069le_ids"])
    def test_a_name_with_escapes_is_refused(self, name: bytes) -> None:
        body = b'{"a":[{"' + name + b'":"x"}]}'
        assert may_hide_files(body)
        assert not may_name_files(body)
        with pytest.raises(CallerError, match="without escapes"):
            named_files(body)

    @pytest.mark.parametrize("body", [rb'{"\u0066oo":"x"}', rb'{"a":"\u0066ile_id:"}', b'{"a":"b"}'])
    def test_other_names_may_have_them(self, body: bytes) -> None:
        assert named_files(body) == ()

    def test_most_bodies_are_not_looked_into(self) -> None:
        for body in (
            encoded({"content": "fileid \u00e9 \u0001"}),
            rb'{"a":"\u00e9t\u00e9 \u003c"}',
            b'{"a":"\\n"}',
            b"{}",
        ):
            assert not may_name_files(body)
            assert not may_hide_files(body)

    @pytest.mark.parametrize(
        ("content", "ids"),
        [
            ([{"type": "document", "source": {"type": "file", "file_id": "a"}}], ("a",)),
            (
                [{"type": "tool_result", "content": [{"type": "image", "source": {"type": "file", "file_id": "a"}}]}],
                ("a",),
            ),
            ([{"type": "tool_use", "input": {"type": "file", "file_id": "a"}}], ()),
            ([{"type": "document", "source": {"type": "file", "file_id": 7}}, {"file_id": "a"}], ()),
            ("file_id", ()),
        ],
    )
    def test_in_anthropics_dialect_only_sources_name_files(self, content: object, ids: tuple[str, ...]) -> None:
        messages = [{"role": "user", "content": content}] * 2
        assert named_sources(encoded(messages)) == ids
        assert named_sources(encoded(messages).replace(b"file_id", rb"file\u005fid")) == ids

    def test_messages_name_no_more_files_than_they_may(self) -> None:
        def naming(times: int) -> bytes:
            source = {"type": "file", "file_id": "a"}
            return encoded([{"role": "user", "content": [{"type": "document", "source": source}] * times}])

        assert named_sources(naming(MAX_NAMED)) == ("a",)
        with pytest.raises(CallerError, match="more than 10000 files") as caught:
            named_sources(naming(MAX_NAMED + 1))
        assert (caught.value.status, caught.value.param) == (400, "file_id")

    def test_what_can_name_no_file_is_not_walked_through(self) -> None:
        calls = []
        for numbers in (1, 100_000):
            messages = encoded([{"content": [{"source": {"type": "file", "file_id": "a"}, "n": [0] * numbers}]}])
            made: list[str] = []
            sys.setprofile(lambda _frame, event, _what, made=made: made.append(event))  # type: ignore[misc]
            try:
                assert named_sources(messages) == ("a",)
            finally:
                sys.setprofile(None)
            calls.append(made.count("call"))
        assert calls[0] == calls[1]

    def test_messages_that_cannot_be_read_name_nothing(self) -> None:
        assert named_sources(b"") == named_sources(b"[" * 100_000) == named_sources(b"7") == ()

    def test_what_is_no_json_is_said(self) -> None:
        with pytest.raises(CallerError, match="not valid JSON"):
            named_files(b'{"file_id":"\xff"}')

    @pytest.mark.parametrize(
        "body",
        [b'{"file_id":"%b"}' % (b"a" * MIB), b'{"file_ids":[%b1]}' % (b"1," * MIB), b'{"%b\\u0065":1}' % (b"a" * MIB)],
    )
    def test_a_long_name_or_list_takes_hardly_more_memory_than_itself(self, body: bytes) -> None:
        tracemalloc.start()
        try:
            named_files(body)
            assert tracemalloc.get_traced_memory()[1] < 4 * len(body)
        finally:
            tracemalloc.stop()

    def test_a_chat_names_no_more_files_than_it_may(self) -> None:
        body = b'{"file_ids":[%b"a"]}'
        assert named_files(body % (b'"a",' * (MAX_NAMED - 1))) == ("a",)
        with pytest.raises(CallerError, match="names more than 10000 files"):
            named_files(body % (b'"a",' * MAX_NAMED))

    @given(
        st.recursive(SHORT | st.none() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(SHORT, inner))
    )
    def test_a_text_never_refers_to_anything(self, value: object) -> None:
        if not isinstance(value, dict) or "file_id" not in value:
            body = encoded({"prompt": encoded({"file_id": "theirs", "more": value}).decode(), "value": value})
            assert "theirs" not in named_files(body)

    def test_only_whole_strings_are_replaced(self) -> None:
        form = b'{"a":{"file_id":"%b"},"b":"%b ","c":"\\"%b\\"","%b":1,"d":"%bA"}'
        given = f"{PREFIX}a".encode()
        body = form % ((given,) * 5)
        assert with_own_ids(body, ((f"{PREFIX}a", "own"), (f"{PREFIX}b", "c"))) == (
            form % (b"own", given, given, b"own", given)
        )


class TestAnswers:
    def test_an_object_is_told_under_the_id_that_the_client_knows(self) -> None:
        reading = read_file(b'{"id":"file-a","object":"file","bytes":3,"x":{"y":[1.50]}}')
        assert (reading.id, reading.problem) == ("file-a", "")
        assert reading.told("kr") == b'{"id":"kr","object":"file","bytes":3,"x":{"y":[1.50]}}'

    @pytest.mark.parametrize(
        ("body", "is_error"),
        [
            (b"", False),
            (b"[]", False),
            (b'{"id":7}', False),
            (b'{"id":"a\xff"}', False),
            (b'{"id":"a","b":"\xff"}', False),
            (b'{"object":"file"}', False),
            (b'{"id":"../models"}', False),
            (b'{"id":"file-a","error":{"message":"no"}}', True),
        ],
    )
    def test_what_says_nothing_of_a_file(self, body: bytes, is_error: bool) -> None:
        reading = read_file(body)
        assert (bool(reading.problem), reading.is_error) == (True, is_error)

    def test_what_is_in_a_file_passes_as_it_comes(self) -> None:
        stream = FileStream()
        assert not stream.ended_whole("done")
        assert (stream.feed(b"\x00data: [DONE]\n\n"), stream.feed(b"\xff")) == (b"\x00data: [DONE]\n\n", b"\xff")
        assert (stream.close(), stream.end, stream.usage) == (b"", StreamEnd.OPEN, Usage(0, 0))
        assert stream.committed
        assert stream.ended_whole("done")
        assert repr(stream) == "<FileStream 2 pieces>"
