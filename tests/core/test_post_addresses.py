import pytest

from keyrelay.core.post_addresses import PostAddress, parse_post_url


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://hooks.example.com/services/T0/B0", "https://hooks.example.com", "/services/T0/B0"),
        ("https://hooks.example.com", "https://hooks.example.com", "/"),
        ("https://hooks.example.com/", "https://hooks.example.com", "/"),
        ("http://Box.example:8080/a/?wait=true&x=%20", "http://box.example:8080", "/a/?wait=true&x=%20"),
        ("https://box.example?a=b", "https://box.example", "/?a=b"),
    ],
)
def test_a_url_is_an_origin_and_what_is_behind_it(url: str, origin: str, target: str) -> None:
    address = parse_post_url(url)
    assert (str(address.origin), address.target, address.origin.guarded) == (origin, target, True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://box.example/",
        "https://user:s3cret@box.example/",
        "https://box.example/a#s3cret",
        "https://box.example/a?b#s3cret",
        "https://box.example/s3cret with spaces",
        "https://box.example/s3cret\r\nx: y",
        "https://box.example/s3crét",
        "https://box.example/?s3cret=\x7f",
        f"https://box.example/{'s3cret' * 500}",
    ],
)
def test_what_cannot_be_posted_to_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="URL") as refused:
        parse_post_url(url)
    assert "s3cr" not in str(refused.value)


def test_what_is_behind_the_origin_is_not_shown() -> None:
    address = parse_post_url("https://hooks.example.com/services/T0/B0")
    assert repr(address) == "<PostAddress at https://hooks.example.com>"
    assert isinstance(address, PostAddress)
