"""Which addresses may be connected to on the word of somebody who only has the API.

Who runs the machine may name any address in its environment or in `keyrelay.toml`. Who administers Keyrelay from afar
may name public ones: otherwise a base URL or a webhook would be a way into the operator's network, to services that
trust whoever comes from there. The table below is IANA's registries of special addresses and the metadata services of
the clouds, which hand out credentials to whoever asks. Python's own `is_private` and `is_global` let some of them pass.

An address is judged as it will be connected to, never as it is written: `2130706433`, `0x7f.1` and `localhost.` all
are 127.0.0.1 by then.
"""

from collections.abc import Iterable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import msgspec

IPAddress = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PRIVATE_SETTING = "KEYRELAY_ALLOW_PRIVATE_ADDRESSES"
NETWORKS_SETTING = "KEYRELAY_ALLOWED_NETWORKS"


class OpenedBy(StrEnum):
    """What it takes to have an address allowed that is not public."""

    PRIVATE = "private"  # that private addresses are allowed, or a network that holds it
    NETWORK = "network"  # a network that holds it
    ADDRESS = "address"  # that it is named itself: a wide network is not meant to include it


class Rule(msgspec.Struct, frozen=True):
    """Addresses that are not public: what they are, as the end of `127.0.0.1 is …`, and what opens them."""

    network: Network
    what: str
    opened_by: OpenedBy = OpenedBy.NETWORK


def _rule(network: str, what: str, opened_by: OpenedBy = OpenedBy.NETWORK) -> Rule:
    return Rule(ip_network(network), what, opened_by)


_METADATA = "a cloud's metadata service"

RULES: tuple[Rule, ...] = (
    # Single addresses before the networks that they lie in.
    *(
        _rule(address, _METADATA, OpenedBy.ADDRESS)
        for address in (
            "169.254.169.254",  # nearly all of them
            "169.254.170.2",  # Amazon's, for containers
            "169.254.170.23",  # Amazon's, for pods
            "169.254.42.42",  # Scaleway
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's platform, at a public address
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd00:42::42",
            "fd20:ce::254",  # Google
        )
    ),
    _rule("255.255.255.255", "the broadcast address"),
    _rule("0.0.0.0/8", "an unspecified address, which leads to this machine"),
    _rule("127.0.0.0/8", "a loopback address", OpenedBy.PRIVATE),
    _rule("10.0.0.0/8", "a private address", OpenedBy.PRIVATE),
    _rule("172.16.0.0/12", "a private address", OpenedBy.PRIVATE),
    _rule("192.168.0.0/16", "a private address", OpenedBy.PRIVATE),
    _rule("100.64.0.0/10", "an address shared behind a provider's NAT", OpenedBy.PRIVATE),
    _rule("198.18.0.0/15", "an address for tests of networks", OpenedBy.PRIVATE),
    _rule("169.254.0.0/16", "a link-local address"),
    _rule("192.0.0.0/24", "an address of the protocols themselves"),
    _rule("192.0.2.0/24", "an address for examples"),
    _rule("198.51.100.0/24", "an address for examples"),
    _rule("203.0.113.0/24", "an address for examples"),
    _rule("192.88.99.0/24", "a 6to4 relay"),
    _rule("224.0.0.0/4", "a multicast address"),
    _rule("240.0.0.0/4", "a reserved address"),
    _rule("::", "the unspecified address, which leads to this machine"),
    _rule("::1", "a loopback address", OpenedBy.PRIVATE),
    _rule("fc00::/7", "a private address", OpenedBy.PRIVATE),
    _rule("fe80::/10", "a link-local address"),
    _rule("fec0::/10", "a site-local address"),
    _rule("ff00::/8", "a multicast address"),
    _rule("64:ff9b:1::/48", "an address of local NAT64"),
    _rule("100::/64", "an address that discards everything"),
    _rule("::/96", "an IPv4-compatible address"),
    # Between 2000:: and 3fff:…, where public addresses are.
    _rule("2001::/32", "a Teredo address"),
    _rule("2001::/23", "an address of the protocols themselves"),
    _rule("2001:db8::/32", "an address for examples"),
    _rule("3fff::/20", "an address for examples"),
    _rule("2002::/16", "a 6to4 address"),
    # Nothing else is given out so far.
    _rule("::/3", "a reserved address"),
    _rule("4000::/2", "a reserved address"),
    _rule("8000::/1", "a reserved address"),
)
"""Ordered: the first rule whose network holds an address says what it is; one that none holds is public."""

_NAT64 = IPv6Network("64:ff9b::/96")


class Denial(msgspec.Struct, frozen=True):
    """Why an address is not connected to, and what the operator could set so that it is."""

    address: str
    what: str
    setting: str

    def __str__(self) -> str:
        return f"{self.address} is {self.what}, which only the operator can allow ({self.setting})"


class AddressPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which addresses are allowed besides public ones.

    `private`: loopback, private networks and those behind a provider's NAT, but neither link-local addresses nor a
    cloud's metadata service. `networks`: what lies in them, except for metadata services that are not named themselves.
    """

    private: bool = False
    networks: tuple[Network, ...] = ()

    def denial(self, address: IPAddress) -> Denial | None:
        """Why an address may not be connected to; None when it may."""
        address = unwrapped(address)
        rule = rule_for(address)
        if rule is None or self._opens(rule, address):
            return None
        text = str(address).partition("%")[0]
        setting = f"{NETWORKS_SETTING}={text}"
        if rule.opened_by is OpenedBy.PRIVATE:
            setting += f" or {PRIVATE_SETTING}=true"
        return Denial(text, rule.what, setting)

    def _opens(self, rule: Rule, address: IPAddress) -> bool:
        if rule.opened_by is OpenedBy.PRIVATE and self.private:
            return True
        itself = rule.opened_by is OpenedBy.ADDRESS
        return any(address in network and (network.num_addresses == 1 or not itself) for network in self.networks)


PUBLIC_ONLY = AddressPolicy()
"""No address but public ones."""


def rule_for(address: IPAddress) -> Rule | None:
    """The rule that an address falls under; None for a public one."""
    address = unwrapped(address)
    if address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        rule = rule_for(inner)
        if rule is None:
            return None
        opened_by = OpenedBy.ADDRESS if rule.opened_by is OpenedBy.ADDRESS else OpenedBy.NETWORK
        return Rule(_NAT64, f"NAT64 for {inner}, {rule.what}", opened_by)
    return next((rule for rule in RULES if address in rule.network), None)


def unwrapped(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv4-mapped one leads to; any other as it is."""
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if inner is None else inner


def parse_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks (`192.168.1.0/24`) and single addresses. Raise ValueError, which names it, for what is neither."""
    networks = list[Network]()
    for text in texts:
        try:
            networks.append(ip_network(text))
        except ValueError:
            raise ValueError(f"holds {text!r}, which is neither an address nor a network") from None
    return tuple(networks)
