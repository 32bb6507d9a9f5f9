"""From a server's entry in the configuration to its adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from monitor.config.section import ServerSection
from monitor.config.server_plugins import find_plugin
from monitor.config.servers import (
    CustomServer,
    EmbeddedServer,
    LiveKitServer,
    MediaMtxServer,
    NginxRtmpServer,
    NodeMediaServer,
    OvenMediaEngineServer,
    SrsServer,
    StaticServer,
)
from monitor.errors import ConfigError, Problem
from monitor.servers.custom.adapter import CustomMediaServer
from monitor.servers.embedded.adapter import EmbeddedMediaServer
from monitor.servers.livekit.adapter import LiveKitMediaServer
from monitor.servers.mediamtx.adapter import MediaMtxMediaServer
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.node_media_server.adapter import NodeMediaServerAdapter
from monitor.servers.ovenmediaengine.adapter import OvenMediaEngineMediaServer
from monitor.servers.port import Capabilities, MediaServer
from monitor.servers.registry import ServerKind
from monitor.servers.srs.adapter import SrsMediaServer
from monitor.servers.static.adapter import StaticMediaServer

BUILT_IN: Final[Mapping[str, ServerKind[Any]]] = {
    "nginx_rtmp": ServerKind(
        NginxRtmpServer,
        lambda section, _gate_url: NginxRtmpMediaServer(section),
        {
            "stat_url": "http://127.0.0.1:8080/stat",
            "control_url": "http://127.0.0.1:8080/control",
            "rtmp_url": "rtmp://127.0.0.1:1935",
        },
    ),
    "mediamtx": ServerKind(
        MediaMtxServer,
        lambda section, _gate_url: MediaMtxMediaServer(section),
        {"pull_url": "rtsp://127.0.0.1:8554"},
    ),
    "srs": ServerKind(
        SrsServer,
        lambda section, _gate_url: SrsMediaServer(section),
        {"rtmp_url": "rtmp://127.0.0.1:1935"},
    ),
    "ovenmediaengine": ServerKind(
        OvenMediaEngineServer,
        lambda section, _gate_url: OvenMediaEngineMediaServer(section),
        {"access_token": {"env": "OME_TOKEN"}, "webhook_secret": {"env": "OME_WEBHOOK_KEY"}},
    ),
    "node_media_server": ServerKind(
        NodeMediaServer,
        lambda section, _gate_url: NodeMediaServerAdapter(section),
        {"password": {"env": "NODE_MEDIA_SERVER_PASSWORD"}, "rtmp_url": "rtmp://127.0.0.1:1935"},
    ),
    "livekit": ServerKind(
        LiveKitServer,
        lambda section, _gate_url: LiveKitMediaServer(section),
        {
            "api_key": "devkey",
            "api_secret": {"env": "LIVEKIT_API_SECRET"},
            "watch_url": "rtsp://127.0.0.1:8554/livekit/{room}/{identity}",
        },
    ),
    "custom": ServerKind(
        CustomServer,
        lambda section, _gate_url: CustomMediaServer(section),
        {
            "on_list": {"command": ["/usr/local/bin/my-server", "list"]},
            "on_cut": {"command": ["/usr/local/bin/my-server", "kick", "{session}"]},
            "on_hold": {"webhook": "http://127.0.0.1:9000/hold"},
            "on_release": {"webhook": "http://127.0.0.1:9000/release"},
            "on_block": {"webhook": "http://127.0.0.1:9000/block"},
            "on_unblock": {"webhook": "http://127.0.0.1:9000/unblock"},
            "pull_url": "rtsp://127.0.0.1:8554/{app}/{name}",
            "promises": ["publisher_address", "synchronous_block"],
        },
    ),
    "static": ServerKind(
        StaticServer,
        lambda section, _gate_url: StaticMediaServer(section),
        {
            "streams": [{"name": "entrance", "url": "rtsp://192.0.2.1/main"}],
            "cut_command": ["/usr/local/bin/cut", "{name}"],
        },
    ),
    "embedded": ServerKind(
        EmbeddedServer,
        # The relay, unlike other media servers, is told here where to ask.
        lambda section, gate_url: EmbeddedMediaServer(section, gate_url=section.gate_url or gate_url),
        {},
    ),
}
"""The kinds that come with Livecordon, by the word in the configuration."""


def build_server(section: ServerSection, *, gate_url: str) -> MediaServer:
    """Return the adapter for `section`, not yet entered.

    Args:
        section: One entry of ``servers`` in the configuration.
        gate_url: Address of the daemon's own publish gate for this server; the embedded relay asks there unless its
            entry says otherwise, other media servers are told by their own configuration.

    Raises:
        ConfigError: the entry cannot be used, such as an address with a variable that is not set.
    """
    kind = BUILT_IN.get(section.kind) or _from_plugin(section)
    return kind.build(section, gate_url)


def capabilities_of(section: ServerSection) -> Capabilities:
    """Return what a media server can do as it is configured, without asking it; errors as for `build_server`."""
    return build_server(section, gate_url="").capabilities


def _from_plugin(section: ServerSection) -> ServerKind[Any]:
    try:
        plugin = find_plugin(section.kind)
    except ValueError as failure:
        what, _, mend = str(failure).partition(": ")
        raise ConfigError([Problem(f"server {section.name}", "kind", what, mend)]) from None
    if not isinstance(plugin, ServerKind):
        what = "the package that adds this kind of server offers no way to build it"
        raise ConfigError([Problem(f"server {section.name}", "kind", what, "update the package, or tell its authors")])
    return plugin
