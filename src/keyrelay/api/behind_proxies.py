"""Who calls when there is a proxy in front: what it says is believed only of those proxies that are trusted."""

from ipaddress import IPv4Network, IPv6Network, ip_address

from fastapi import Request

_TLS = "https"


class TrustedProxies:
    """Proxies by their networks. Without any, nothing that a request says of where it came from is believed."""

    __slots__ = ("_networks",)

    def __init__(self, networks: tuple[IPv4Network | IPv6Network, ...] = ()) -> None:
        self._networks = networks

    def address_of(self, request: Request) -> str:
        """Where a request came from: the last address on its way that is no trusted proxy's; empty when unknown.

        Each proxy adds the address that it was called from at the end of `x-forwarded-for`.
        """
        address = request.client.host if request.client else ""
        said = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        while said and self._trusts(address):
            before = said.pop().strip()
            if not _is_address(before):
                break
            address = before
        return address

    def over_tls(self, request: Request) -> bool:
        """Whether the caller's own connection is encrypted.

        Here everybody is believed: who says so without reason keeps only the own browser from sending the cookie.
        """
        return _TLS in {request.url.scheme, request.headers.get("x-forwarded-proto", "").strip().lower()}

    def _trusts(self, address: str) -> bool:
        return _is_address(address) and any(ip_address(address) in network for network in self._networks)

    def __repr__(self) -> str:
        return f"<TrustedProxies {', '.join(map(str, self._networks)) or 'none'}>"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
