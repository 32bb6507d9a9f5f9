"""A real nginx-rtmp with its adapter, for tests."""

from __future__ import annotations

from typing import Any

from monitor.config.servers import NginxRtmpServer
from monitor.demo.nginx import RealNginx


def entry_for(nginx: RealNginx, **settings: object) -> dict[str, Any]:
    """Return the configuration entry that fits a running nginx, as it stands in a file."""
    entry = {
        "kind": "nginx_rtmp",
        "name": "edge",
        "stat_url": nginx.stat_url,
        "control_url": nginx.control_url,
        "rtmp_url": nginx.rtmp_url,
    }
    return entry | settings


def section_for(nginx: RealNginx, **settings: object) -> NginxRtmpServer:
    """Return the same as the adapter takes it."""
    return NginxRtmpServer.model_validate(entry_for(nginx, **settings))
