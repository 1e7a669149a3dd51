"""What can be set about the transport: every limit has a name, times are seconds, sizes are bytes."""

import msgspec

from keyrelay.core.addresses import PUBLIC_ONLY, AddressPolicy

_KIB = 1024


class TransportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and surroundings of the HTTP transport.

    `connect_timeout_s` covers DNS, TCP, proxy and TLS. `ca_file` is trusted besides the system's store.
    `proxy_url` is `http://[user:password@]host:port`; hosts that match a pattern of `no_proxy` (`example.com` and
    all below it, `10.0.0.0/8`, `*`) and loopback hosts are called directly. `max_idle_origins` bounds how many
    origins are remembered while nothing is open to them. `addresses` says where guarded origins may lead.
    """

    connect_timeout_s: float = 3.0
    address_delay_s: float = 0.25
    idle_timeout_s: float = 30.0
    sweep_interval_s: float = 0.05
    max_connections_per_origin: int = 512
    max_waiting_per_origin: int = 1024
    max_idle_origins: int = 256
    max_head_bytes: int = 64 * _KIB
    max_head_fields: int = 200
    max_informational: int = 8
    max_stream_buffer_bytes: int = 256 * _KIB
    max_request_heads: int = 1024
    ca_file: str = ""
    proxy_url: str = ""
    no_proxy: tuple[str, ...] = ()
    addresses: AddressPolicy = PUBLIC_ONLY

    def __repr__(self) -> str:
        values = ((name, getattr(self, name)) for name in self.__struct_fields__ if name != "proxy_url")
        shown = ", ".join(f"{name}={value!r}" for name, value in values)
        return f"TransportSettings({shown}, proxy_url={'…' if self.proxy_url else ''!r})"
