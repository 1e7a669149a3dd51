import itertools
import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.errors import CallerError
from keyrelay.wire.multipart import (
    MAX_PART_HEAD_BYTES,
    MAX_PARTS,
    MAX_TEXT_BYTES,
    FormField,
    FormReader,
    form_type,
    read_boundary,
)

BOUNDARY = "b0undary"
CONTENT = b"RIFF\x00\xff\r\n--b0undar\r\n\n--\r\n"
MODEL = b'content-disposition: form-data; name="model"'


def part(head: bytes, content: bytes) -> bytes:
    return b"--b0undary\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def field(name: str, content: bytes) -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"'.encode(), content)


def file(name: str, content: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.wav"\r\nContent-Type: audio/wav'
    return part(head.encode(), content)


END = b"--b0undary--\r\n"
FORM = file("file", CONTENT) + field("model", b"whisper-1") + field("prompt", "Grüße\n".encode()) + END


def read(form: bytes, *cuts: int) -> tuple[FormField, ...]:
    reader = FormReader(BOUNDARY)
    edges = [0, *sorted(cuts), len(form)]
    for start, end in itertools.pairwise(edges):
        reader.feed(form[start:end])
    return reader.close()


def refusal(form: bytes) -> str:
    with pytest.raises(CallerError) as caught:
        read(form)
    assert (caught.value.status, caught.value.code) == (400, "invalid_form")
    return caught.value.message


def test_a_form_says_its_fields_and_where_they_are() -> None:
    fields = read(FORM)
    assert [(field.name, field.text) for field in fields] == [
        ("file", None),
        ("model", "whisper-1"),
        ("prompt", "Grüße\n"),
    ]
    assert [FORM[field.start : field.end] for field in fields] == [CONTENT, b"whisper-1", "Grüße\n".encode()]


def test_a_form_is_the_same_wherever_it_is_cut() -> None:
    whole = read(FORM)
    assert all(read(FORM, cut) == whole for cut in range(len(FORM) + 1))
    assert read(FORM, *range(len(FORM))) == whole


@given(
    st.lists(st.tuples(st.sampled_from(["file", "image[]"]), st.binary(max_size=200)), max_size=4),
    st.lists(st.integers(0, 500), max_size=6),
)
def test_files_hold_any_bytes(files: list[tuple[str, bytes]], cuts: list[int]) -> None:
    form = b"".join(file(name, content) for name, content in files) + field("model", b"m") + END
    if form.count(b"\n--b0undary") != len(files) + 1:
        return  # it holds its own boundary
    fields = read(form, *(min(cut, len(form)) for cut in cuts))
    assert [(field.name, form[field.start : field.end]) for field in fields] == [*files, ("model", b"m")]


@given(st.binary(max_size=300) | st.lists(st.sampled_from([b"\r", b"\n", b"--b0undary", MODEL, b"x"])).map(b"".join))
def test_whatever_comes_is_read_or_refused(form: bytes) -> None:
    for text in (form, FORM[:100] + form, FORM[:-20] + form):
        with suppress(CallerError):
            assert len(read(text)) >= 1


def test_of_a_file_nothing_is_kept() -> None:
    reader = FormReader(BOUNDARY)
    reader.feed(file("file", b"")[:-2])
    for _ in range(100):
        reader.feed(b"x" * 65536)
        assert len(reader._buffer) <= 65536
    reader.feed(b"\r\n" + END)
    (found,) = reader.close()
    assert found.end - found.start == 100 * 65536
    assert repr(reader).startswith("<FormReader 1 parts, 65537")


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (b"", "breaks off"),
        (FORM[:-5], "breaks off"),
        (FORM[:60], "breaks off"),
        (b"preamble\r\n" + FORM, "does not begin"),
        (FORM + b"epilogue", "behind its last"),
        (FORM + b"\r\n", "behind its last"),
        (FORM.replace(b"\r\n--b0undary--", b"\n--b0undary--"), "without the line end"),
        (field("a", b"")[:-2] + END, "without the line end"),
        (FORM.replace(b"--b0undary\r\n", b"--b0undary \r\n"), "begins with its boundary"),
        (FORM.replace(b"--b0undary\r\n", b"--b0undaryX\r\n"), "begins with its boundary"),
        (b"--b0undary\r\n" + b"x" * (MAX_PART_HEAD_BYTES + 1), "head of a part has more"),
        (part(b"x: " + b"x" * MAX_PART_HEAD_BYTES, b"") + END, "head of a part has more"),
        (field("a", b"") * (MAX_PARTS + 1) + END, "more than 256 parts"),
        (
            field("a", b"x" * (MAX_TEXT_BYTES // 2)) + field("b", b"x" * (MAX_TEXT_BYTES // 2 + 1)) + END,
            "no files have",
        ),
        (field("a", b"x" * (MAX_TEXT_BYTES + 100))[:-2], "no files have more"),
        (part(MODEL.replace(b"m", b"\xff", 1), b"") + END, "head of a part is not UTF-8"),
        (part(MODEL + b"\r\n folded", b"") + END, "no header"),
        (part(MODEL + b"\r\nbare\nline: a", b"") + END, "no header"),
        (part(MODEL + b"\r\n" + MODEL, b"") + END, "one twice"),
        (part(b"content-type: text/plain", b"") + END, "no name"),
        (part(b'content-disposition: attachment; name="model"', b"") + END, "no name"),
        (part(MODEL + b"; name*=utf-8''file", b"") + END, "no name"),
        (part(MODEL.replace(b"model", b"mo%64el"), b"") + END, "no name"),
        (part(MODEL.replace(b"model", b""), b"") + END, "no name"),
        (part(MODEL + b'; name="file"', b"") + END, "twice"),
        (part(MODEL + b'; filename="a\\"; name=\\"file"', b"") + END, "cannot be read"),
        (part(MODEL + b'; filename="a"b"', b"") + END, "cannot be read"),
        (part(MODEL + b'; filename="a\\"', b"") + END, "backslash"),
        (part(MODEL + b'; filename="a', b"") + END, "cannot be read"),
        (part(MODEL + b'; filename="a\r\nname: file"', b"") + END, "no header|cannot be read"),
        (part(MODEL + b"\r\ncontent-transfer-encoding: base64", b"") + END, "is encoded"),
        (part(MODEL + b"\r\ncontent-type: text/plain; charset=utf-16", b"") + END, "not UTF-8"),
        (part(MODEL + b"\r\ncontent-type: multipart/mixed; boundary=x", b"") + END, "form of its own"),
        (field("model", b"\xff") + END, "'model' is not UTF-8"),
        (field("model", b"openai/--b0undary") + END, "'model' holds its boundary"),
    ],
)
def test_what_two_readers_could_take_differently_is_refused(form: bytes, words: str) -> None:
    assert re.search(words, refusal(form))


@pytest.mark.parametrize(
    "head",
    [
        b"content-disposition: form-data; name=model",
        b'CONTENT-DISPOSITION:form-data ; NAME="model" ; ',
        MODEL + b"\r\ncontent-type: text/plain; charset=US-ASCII\r\ncontent-transfer-encoding: 8bit",
        MODEL + b"\r\ncontent-length: 1",
    ],
)
def test_fields_as_clients_write_them(head: bytes) -> None:
    assert [(each.name, each.text) for each in read(part(head, b"m") + END.rstrip())] == [("model", "m")]


@pytest.mark.parametrize("filename", ['"a; b.wav"', '"C:\\a.wav"', '"%22a%22.wav"', '"Gr\u00fc\u00dfe.wav"', "a.wav"])
def test_files_as_clients_name_them(filename: str) -> None:
    head = f"content-disposition: form-data; name=\"file\"; filename={filename}; filename*=utf-8''a".encode()
    assert [(each.name, each.text) for each in read(part(head, b"\xff") + END)] == [("file", None)]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=b0undary", "b0undary"),
        ('Multipart/Form-Data; charset=utf-8; Boundary="a b:c"', "a b:c"),
        ("multipart/form-data;boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW", "----WebKitFormBoundary7MA4YWxkTrZu0gW"),
    ],
)
def test_the_boundary_is_read_and_written_again(content_type: str, boundary: str) -> None:
    assert read_boundary(content_type) == boundary
    assert read_boundary(form_type(boundary)) == boundary


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        'multipart/form-data; boundary="a "',
        f"multipart/form-data; boundary={'x' * 71}",
        "multipart/form-data; boundary=a; boundary=b",
        'multipart/form-data; boundary="a\r\nb"',
        "multipart/form-data; boundary=\u00e4",
        "multipart/mixed; boundary=a",
    ],
)
def test_what_is_no_form_is_refused(content_type: str) -> None:
    with pytest.raises(CallerError) as caught:
        read_boundary(content_type)
    assert (caught.value.status, caught.value.code) == (400, "invalid_form")
