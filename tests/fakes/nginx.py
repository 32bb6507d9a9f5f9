"""A real nginx-rtmp with its adapter, for tests."""

from __future__ import annotations

from monitor.config.models import NginxRtmpServer
from monitor.demo.nginx import RealNginx


def section_for(nginx: RealNginx, **settings: object) -> NginxRtmpServer:
    """Return the configuration entry that fits a running nginx."""
    entry = {
        "kind": "nginx_rtmp",
        "name": "edge",
        "stat_url": nginx.stat_url,
        "control_url": nginx.control_url,
        "rtmp_url": nginx.rtmp_url,
    }
    return NginxRtmpServer.model_validate(entry | settings)
