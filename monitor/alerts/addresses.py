"""Where alerts may be sent: no receiver's name may lead into the daemon's own network unless its operator says so.

The address is checked when the socket is made, after the last look-up of the name: there is no moment in which a name
could be pointed elsewhere after the check, and literal addresses pass the same gate.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final

from aiohttp import TCPConnector, ThreadedResolver
from yarl import URL

Network = IPv4Network | IPv6Network
AddressInfo = tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[Any, ...]]

_METADATA: Final = frozenset(
    {
        ip_address("169.254.169.254"),  # AWS, Azure, Google and most others
        ip_address("169.254.170.2"),  # AWS container credentials
        ip_address("fd00:ec2::254"),  # AWS over IPv6
        ip_address("fd20:ce::254"),  # Google over IPv6
        ip_address("100.100.100.200"),  # Alibaba
        ip_address("168.63.129.16"),  # Azure's host channel, a public address
        ip_address("192.0.0.192"),  # Oracle
    }
)
"""Addresses at which clouds hand out credentials; refused whatever the configuration says."""

_PRIVATE: Final = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_TUNNELS: Final = tuple(ip_network(text) for text in ("2002::/16", "2001::/32", "fec0::/10"))
_NAT64: Final = IPv6Network("64:ff9b::/96")


_KEPT_OPEN_S: Final = 2.0


class Reach(StrEnum):
    """Which addresses a receiver may have."""

    PUBLIC = "public"
    PUBLIC_OR_PRIVATE = "public_or_private"
    LOOPBACK = "loopback"


class BlockedAddressError(OSError):
    """The receiver's name or address leads where alerts must not be sent."""

    def __init__(self) -> None:
        # One text for every address: happy eyeballs then raises this error itself, not a merged one.
        super().__init__(errno.EACCES, "the receiver's address is not allowed")


def is_loopback_host(host: str) -> bool:
    """Whether a URL's host is literally this machine: ``localhost`` or a loopback address."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def reach_of(url: URL, *, allow_private_address: bool) -> Reach:
    """Return which addresses a receiver with this URL may have."""
    return reach_of_host(url.host or "", allow_private_address=allow_private_address)


def reach_of_host(host: str, *, allow_private_address: bool) -> Reach:
    """Return which addresses a receiver at this host may have."""
    if is_loopback_host(host):
        return Reach.LOOPBACK
    return Reach.PUBLIC_OR_PRIVATE if allow_private_address else Reach.PUBLIC


def allowed(address: str, reach: Reach, networks: Sequence[Network] = ()) -> bool:
    """Whether a numeric address (an IPv6 scope is ignored) is within `reach`, or a private one in one of `networks`.

    Multicast, link-local, unspecified and reserved addresses, tunnels (6to4, Teredo) and cloud metadata services never
    are. IPv4 addresses mapped or translated (NAT64) into IPv6 count as themselves.
    """
    ip = _unwrapped(ip_address(address.partition("%")[0]))
    listed = any(ip in network for network in networks if network.version == ip.version)
    if ip.is_loopback:
        return listed or reach in (Reach.LOOPBACK, Reach.PUBLIC_OR_PRIVATE)
    if reach is Reach.LOOPBACK or ip in _METADATA or ip.is_multicast or ip.is_link_local or ip.is_reserved:
        return False
    if any(ip in network for network in _PRIVATE if network.version == ip.version):
        return listed or reach is Reach.PUBLIC_OR_PRIVATE
    return ip.is_global and not any(ip in network for network in _TUNNELS if network.version == ip.version)


def connector(
    reach: Reach, networks: Sequence[Network] = (), *, connections: int = 1, tls: ssl.SSLContext | None = None
) -> TCPConnector:
    """Return a connector that opens up to so many connections, to addresses that are `allowed` only.

    In a burst a connection is used again; after two seconds of rest it is closed. Certificates are always verified: by
    `tls`, or by the system's authorities.

    A refused address shows as `aiohttp.ClientConnectorError` with `BlockedAddressError` as its ``os_error``. Call it with a
    running event loop.
    """

    def checked_socket(info: AddressInfo) -> socket.socket:
        family, kind, protocol, _, address = info
        if not allowed(str(address[0]), reach, networks):
            raise BlockedAddressError
        return socket.socket(family=family, type=kind, proto=protocol)

    # A connection kept open for longer may be dead when the next alert is due; finding that out would cost an attempt.
    return TCPConnector(
        socket_factory=checked_socket,
        resolver=ThreadedResolver(),
        use_dns_cache=False,
        keepalive_timeout=_KEPT_OPEN_S,
        limit=connections,
        ssl=tls or True,
    )


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
