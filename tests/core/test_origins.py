import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.core.origins import Origin, parse_base_url


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://api.groq.com/openai/v1", Origin("https", "api.groq.com", 443), "/openai/v1"),
        ("https://api.groq.com/openai/v1/", Origin("https", "api.groq.com", 443), "/openai/v1"),
        ("http://localhost:11434", Origin("http", "localhost", 11434), ""),
        ("http://localhost", Origin("http", "localhost", 80), ""),
        ("HTTPS://API.Example.COM:8443//", Origin("https", "api.example.com", 8443), ""),
        ("  https://a.b/v1\n", Origin("https", "a.b", 443), "/v1"),
        ("http://[::1]:8000/v1", Origin("http", "::1", 8000), "/v1"),
        ("https://a:65535", Origin("https", "a", 65535), ""),
    ],
)
def test_a_base_url_is_split_into_origin_and_path(url: str, origin: Origin, path: str) -> None:
    assert parse_base_url(url) == (origin, path)


WRONG_START = "a base URL starts with http:// or https:// and a host"
WRONG_PART = "a base URL has no user, password, query or fragment"
WRONG_CHARACTER = "a base URL has no spaces or control characters"
WRONG_PORT = "the port of a base URL lies between 1 and 65535"
WRONG_HOST = "the host of a base URL is a name or an address"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", WRONG_START),
        ("api.groq.com", WRONG_START),
        ("ftp://a", WRONG_START),
        ("https://", WRONG_START),
        ("https:///v1", WRONG_START),
        ("https://me:hunter2@a", WRONG_PART),
        ("https://me@a", WRONG_PART),
        ("https://:hunter2@a", WRONG_PART),
        ("https://a?key=hunter2", WRONG_PART),
        ("https://a/v1#hunter2", WRONG_PART),
        ("https://a/v 1", WRONG_CHARACTER),
        ("https://a/v1\r\nx: hunter2", WRONG_CHARACTER),
        ("https://a/\x7f", WRONG_CHARACTER),
        ("https://a:0", WRONG_PORT),
        ("https://a:65536", WRONG_PORT),
        ("https://a:-1", WRONG_PORT),
        ("https://a:hunter2", WRONG_PORT),
    ],
)
def test_what_will_not_do_is_said_without_the_url(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        parse_base_url(url)


@pytest.mark.parametrize("url", ["https://[hunter2]/v1", "https://[::1", "https://me:hunter2\u2100@a"])
def test_python_s_own_complaint_about_a_host_does_not_repeat_it(url: str) -> None:
    with pytest.raises(ValueError, match=f"^{WRONG_HOST}$") as caught:
        parse_base_url(url)
    assert caught.value.__suppress_context__


@given(st.text(max_size=40), st.sampled_from(["", "https://", "http://[", "https://a:"]))
def test_any_text_is_split_or_refused(text: str, start: str) -> None:
    try:
        origin, path = parse_base_url(start + text)
    except ValueError as error:
        assert str(error) in {WRONG_START, WRONG_PART, WRONG_CHARACTER, WRONG_PORT, WRONG_HOST}  # noqa: PT017 either is right
    else:
        assert origin.scheme in {"http", "https"}
        assert 1 <= origin.port <= 65_535
        assert not path.endswith("/")


@pytest.mark.parametrize(
    ("origin", "authority"),
    [
        (Origin("https", "a.b", 443), "a.b"),
        (Origin("https", "a.b", 80), "a.b:80"),
        (Origin("http", "a.b", 80), "a.b"),
        (Origin("http", "::1", 8000), "[::1]:8000"),
        (Origin("https", "::1", 443), "[::1]"),
    ],
)
def test_the_host_header_names_a_port_only_when_it_must(origin: Origin, authority: str) -> None:
    assert origin.authority == authority
    assert str(origin) == f"{origin.scheme}://{authority}"
