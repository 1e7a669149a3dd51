from ipaddress import IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyrelay.configuration.setting_values import BY_NAME
from keyrelay.core.addresses import (
    NETWORKS_SETTING,
    PRIVATE_SETTING,
    PUBLIC_ONLY,
    RULES,
    AddressPolicy,
    IPAddress,
    OpenedBy,
    parse_networks,
    rule_for,
    unwrapped,
)

PRIVATE_TOO = AddressPolicy(private=True)
V4 = st.ip_addresses(v=4)
V6 = st.ip_addresses(v=6)
SPECIAL = st.sampled_from([rule.network for rule in RULES])
"""Networks in which, and beside which, an address is worth a look."""


@st.composite
def near_a_rule(draw: st.DrawFn) -> IPAddress:
    """An address inside of a special network, at its ends, or right behind them."""
    network = draw(SPECIAL)
    first, last = int(network[0]), int(network[-1])
    number = draw(st.integers(first - 2, first + 2) | st.integers(last - 2, last + 2) | st.integers(first, last))
    return type(network[0])(max(0, min(number, 2**network.max_prefixlen - 1)))


@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("127.0.0.1", "a loopback address"),
        ("127.255.255.254", "a loopback address"),
        ("::1", "a loopback address"),
        ("10.0.0.1", "a private address"),
        ("172.16.0.1", "a private address"),
        ("172.31.255.255", "a private address"),
        ("192.168.1.1", "a private address"),
        ("fc00::1", "a private address"),
        ("fd12:3456:789a::1", "a private address"),
        ("100.64.0.1", "an address shared behind a provider's NAT"),
        ("100.127.255.255", "an address shared behind a provider's NAT"),
        ("169.254.169.254", "a cloud's metadata service"),
        ("169.254.170.2", "a cloud's metadata service"),
        ("100.100.100.200", "a cloud's metadata service"),
        ("168.63.129.16", "a cloud's metadata service"),
        ("192.0.0.192", "a cloud's metadata service"),
        ("fd00:ec2::254", "a cloud's metadata service"),
        ("fd20:ce::254", "a cloud's metadata service"),
        ("169.254.1.1", "a link-local address"),
        ("fe80::1", "a link-local address"),
        ("fe80::1%eth0", "a link-local address"),
        ("fec0::1", "a site-local address"),
        ("0.0.0.0", "an unspecified address, which leads to this machine"),
        ("0.1.2.3", "an unspecified address, which leads to this machine"),
        ("::", "the unspecified address, which leads to this machine"),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.250", "a multicast address"),
        ("ff02::1", "a multicast address"),
        ("240.0.0.1", "a reserved address"),
        ("255.255.255.255", "the broadcast address"),
        ("198.18.0.1", "an address for tests of networks"),
        ("192.0.2.1", "an address for examples"),
        ("198.51.100.1", "an address for examples"),
        ("203.0.113.1", "an address for examples"),
        ("2001:db8::1", "an address for examples"),
        ("3fff:fff::1", "an address for examples"),
        ("192.88.99.1", "a 6to4 relay"),
        ("192.0.0.1", "an address of the protocols themselves"),
        ("2001:20::1", "an address of the protocols themselves"),
        ("::ffff:127.0.0.1", "a loopback address"),
        ("::ffff:169.254.169.254", "a cloud's metadata service"),
        ("::127.0.0.1", "an IPv4-compatible address"),
        ("::ffff:0:127.0.0.1", "a reserved address"),
        ("64:ff9b::a9fe:a9fe", "NAT64 for 169.254.169.254, a cloud's metadata service"),
        ("64:ff9b::7f00:1", "NAT64 for 127.0.0.1, a loopback address"),
        ("64:ff9b:1::7f00:1", "an address of local NAT64"),
        ("2002:7f00:1::", "a 6to4 address"),
        ("2002:808:808::1", "a 6to4 address"),
        ("2001:0:a9fe:a9fe::1", "a Teredo address"),
        ("100::1", "an address that discards everything"),
        ("1::1", "a reserved address"),
        ("5f00::1", "a reserved address"),
        ("9000::1", "a reserved address"),
    ],
)
def test_what_is_not_public_is_called_by_its_name(address: str, what: str) -> None:
    denial = PUBLIC_ONLY.denial(ip_address(address))
    assert denial is not None
    assert denial.what == what


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "128.0.0.1",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "223.255.255.255",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2001:200::1",
        "2606:4700:4700::1111",
        "3ffe::1",
    ],
)
def test_public_addresses_are_allowed(address: str) -> None:
    assert PUBLIC_ONLY.denial(ip_address(address)) is None


@given(V4 | V6 | near_a_rule())
def test_whatever_python_has_doubts_about_is_denied(address: IPAddress) -> None:
    inner = unwrapped(address)
    doubtful = (
        not inner.is_global,
        inner.is_private,
        inner.is_loopback,
        inner.is_link_local,
        inner.is_multicast,
        inner.is_reserved and inner not in ip_network("64:ff9b::/96"),
        inner.is_unspecified,
        isinstance(inner, IPv6Address) and (inner.is_site_local or inner.sixtofour or inner.teredo),
    )
    if any(doubtful):
        assert PUBLIC_ONLY.denial(address) is not None


@given(V4 | near_a_rule())
def test_an_address_in_another_one_is_judged_like_itself(address: IPAddress) -> None:
    if isinstance(address, IPv6Address):
        return
    judged = PUBLIC_ONLY.denial(address)
    assert PUBLIC_ONLY.denial(IPv6Address(0xFFFF << 32 | int(address))) == judged
    translated = PUBLIC_ONLY.denial(IPv6Address(0x64FF9B << 96 | int(address)))
    assert (translated is None) == (judged is None)


@given(V4 | V6 | near_a_rule())
def test_allowing_more_never_allows_less(address: IPAddress) -> None:
    itself = AddressPolicy(networks=(ip_network(unwrapped(address)),))
    everything = AddressPolicy(private=True, networks=parse_networks(["0.0.0.0/0", "::/0"]))
    assert itself.denial(address) is None
    if PUBLIC_ONLY.denial(address) is None:
        assert PRIVATE_TOO.denial(address) is None
    if PRIVATE_TOO.denial(address) is None:
        assert everything.denial(address) is None


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.1.2.3", True),
        ("192.168.0.9", True),
        ("100.64.0.1", True),
        ("fd12::1", True),
        ("8.8.8.8", True),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("fd00:ec2::254", False),
        ("169.254.0.9", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
    ],
)
def test_private_addresses_are_a_part_of_what_is_not_public(address: str, *, allowed: bool) -> None:
    assert (PRIVATE_TOO.denial(ip_address(address)) is None) == allowed


@pytest.mark.parametrize(
    ("network", "address", "allowed"),
    [
        ("192.168.1.0/24", "192.168.1.7", True),
        ("192.168.1.0/24", "::ffff:192.168.1.7", True),
        ("192.168.1.0/24", "192.168.2.7", False),
        ("192.168.1.7", "192.168.1.7", True),
        ("169.254.0.0/16", "169.254.7.7", True),
        ("169.254.0.0/16", "169.254.169.254", False),
        ("0.0.0.0/0", "169.254.169.254", False),
        ("169.254.169.254", "169.254.169.254", True),
        ("169.254.169.254/32", "::ffff:169.254.169.254", True),
        ("169.254.169.254", "64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::/96", "64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::/96", "64:ff9b::a00:1", True),
        ("fd00::/8", "fd00:ec2::254", False),
        ("fd00::/8", "fd00:1::1", True),
        ("10.0.0.0/8", "8.8.8.8", True),
    ],
)
def test_a_network_opens_what_lies_in_it_but_no_metadata_service(network: str, address: str, *, allowed: bool) -> None:
    policy = AddressPolicy(networks=parse_networks(["203.0.113.0/28", network]))
    assert (policy.denial(ip_address(address)) is None) == allowed


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (
            "::ffff:127.0.0.1",
            (
                "127.0.0.1 is a loopback address, which only the operator can allow "
                "(KEYRELAY_ALLOWED_NETWORKS=127.0.0.1 or KEYRELAY_ALLOW_PRIVATE_ADDRESSES=true)"
            ),
        ),
        (
            "fe80::1%eth0",
            "fe80::1 is a link-local address, which only the operator can allow (KEYRELAY_ALLOWED_NETWORKS=fe80::1)",
        ),
    ],
)
def test_a_denial_says_what_would_allow_it(address: str, text: str) -> None:
    assert str(PUBLIC_ONLY.denial(ip_address(address))) == text


@given(V4 | V6 | near_a_rule())
def test_what_a_denial_says_is_so(address: IPAddress) -> None:
    denial = PUBLIC_ONLY.denial(address)
    if denial is None:
        return
    named = AddressPolicy(networks=parse_networks([denial.setting.split()[0].removeprefix(f"{NETWORKS_SETTING}=")]))
    assert named.denial(address) is None
    assert (PRIVATE_TOO.denial(address) is None) == (PRIVATE_SETTING in denial.setting)


def test_the_settings_have_these_names() -> None:
    assert BY_NAME["allow_private_addresses"].environment_names == (PRIVATE_SETTING,)
    assert BY_NAME["allowed_networks"].environment_names == (NETWORKS_SETTING,)


def test_no_rule_is_hidden_by_one_before_it() -> None:
    for rule in RULES:
        assert any(rule_for(address) == rule for address in (rule.network[0], rule.network[-1]))


def test_single_addresses_are_what_is_opened_by_name_alone() -> None:
    assert {rule.network.num_addresses for rule in RULES if rule.opened_by is OpenedBy.ADDRESS} == {1}


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.5/8", "10.0.0.0/33", "fe80::/10%eth0", "1.2.3", "::g"])
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=r"^holds '.*', which is neither an address nor a network") as caught:
        parse_networks(["10.0.0.0/8", text])
    assert repr(text) in str(caught.value)
    assert caught.value.__suppress_context__
