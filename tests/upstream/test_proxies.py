import pytest

from keyrelay.upstream.proxies import Proxy, is_loopback


@pytest.mark.parametrize(
    "url",
    [
        "socks5://p:1",
        "https://p:1",
        "p:1",
        "http://",
        "http://p:99999",
        "http://p:1/path",
        "http://p?x",
        "http://[x",
        "",
    ],
)
def test_urls_that_are_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="proxy_url is not") as caught:
        Proxy(url, ())
    assert "p:1" not in str(caught.value).replace("host:port", "")


def test_defaults_and_repr() -> None:
    assert repr(Proxy("http://proxy.example", ())) == "<Proxy proxy.example:80>"
    assert repr(Proxy("http://u@[::1]:3128/", ())) == "<Proxy ::1:3128 with credentials>"


@pytest.mark.parametrize(
    ("host", "patterns", "served"),
    [
        ("api.example.com", (), True),
        ("api.example.com", ("example.com",), False),
        ("api.example.com", (".example.com",), False),
        ("api.example.com", ("*.example.com",), False),
        ("api.example.com.", ("EXAMPLE.com ",), False),
        ("badexample.com", ("example.com",), True),
        ("api.example.com", ("*",), False),
        ("api.example.com", ("", " "), True),
        ("10.1.2.3", ("10.0.0.0/8",), False),
        ("11.1.2.3", ("10.0.0.0/8", "example.com"), True),
        ("10.1.2.3", ("10.1.2.3",), False),
        ("fd00::1", ("[fd00::1]",), False),
        ("127.0.0.9", (), False),
        ("::1", (), False),
        ("localhost", (), False),
        ("a.localhost", (), False),
    ],
)
def test_which_hosts_go_through_it(host: str, patterns: tuple[str, ...], served: bool) -> None:
    assert Proxy("http://proxy.example:1", patterns).serves(host) is served


def test_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost.example", "10.0.0.1")] == [True, False, False]
