"""From a server's entry in the configuration to its adapter."""

from __future__ import annotations

from typing import assert_never

from monitor.config.models import AnyServer, EmbeddedServer, NginxRtmpServer, StaticServer
from monitor.servers.embedded.adapter import EmbeddedMediaServer
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.port import Capabilities, MediaServer
from monitor.servers.static.adapter import StaticMediaServer


def build_server(section: AnyServer, *, gate_url: str) -> MediaServer:
    """Return the adapter for `section`, not yet entered.

    Args:
        section: One entry of ``servers`` in the configuration.
        gate_url: Address of the daemon's own publish gate for this server; the embedded relay asks there unless its
            entry says otherwise, other media servers are told by their own configuration.

    Raises:
        ConfigError: the entry cannot be used, such as an address with a variable that is not set.
    """
    match section:
        case NginxRtmpServer():
            return NginxRtmpMediaServer(section)
        case EmbeddedServer():
            return EmbeddedMediaServer(section, gate_url=section.gate_url or gate_url)
        case StaticServer():
            return StaticMediaServer(section)
        case _:
            assert_never(section)


def capabilities_of(section: AnyServer) -> Capabilities:
    """Return what a media server can do as it is configured, without asking it; errors as for `build_server`."""
    return build_server(section, gate_url="").capabilities
