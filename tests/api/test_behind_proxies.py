from ipaddress import ip_network

import pytest
from fastapi import Request

from keyrelay.api.behind_proxies import TrustedProxies

PROXIES = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("::1")))


def request(peer: str | None, *forwarded: str, proto: str = "", scheme: str = "http") -> Request:
    headers = [(b"x-forwarded-for", each.encode()) for each in forwarded]
    headers += [(b"x-forwarded-proto", proto.encode())] if proto else []
    client = (peer, 1234) if peer else None
    scope = {"type": "http", "headers": headers, "client": client, "scheme": scheme, "server": ("h", 80)}
    return Request({**scope, "path": "/", "query_string": b""})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", ("203.0.113.9",), "192.0.2.1"),  # nobody's proxy says so
        ("10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("10.0.0.1", ("6.6.6.6, 203.0.113.9",), "203.0.113.9"),  # what the caller made up is before that
        ("10.0.0.1", ("6.6.6.6, 203.0.113.9, 10.0.0.2",), "203.0.113.9"),
        ("10.0.0.1", ("6.6.6.6", "203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("10.0.0.1", ("nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("::1", ("2001:db8::7",), "2001:db8::7"),
        (None, ("203.0.113.9",), ""),
    ],
)
def test_where_a_request_came_from(peer: str | None, forwarded: tuple[str, ...], address: str) -> None:
    assert PROXIES.address_of(request(peer, *forwarded)) == address


def test_without_trusted_proxies_nobody_is_believed() -> None:
    assert TrustedProxies().address_of(request("10.0.0.1", "203.0.113.9")) == "10.0.0.1"


def test_a_connection_is_encrypted_here_or_at_the_proxy() -> None:
    assert PROXIES.over_tls(request("10.0.0.1", proto="HTTPS"))
    assert PROXIES.over_tls(request("10.0.0.1", scheme="https"))
    assert not PROXIES.over_tls(request("10.0.0.1", proto="http"))


def test_they_are_shown() -> None:
    assert repr(PROXIES) == "<TrustedProxies 10.0.0.0/8, ::1/128>"
    assert repr(TrustedProxies()) == "<TrustedProxies none>"
