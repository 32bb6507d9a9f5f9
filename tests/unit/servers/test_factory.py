from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from monitor.config.servers import AnyServer
from monitor.errors import ConfigError
from monitor.servers.embedded.adapter import EmbeddedMediaServer
from monitor.servers.factory import build_server
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.port import MediaServer
from monitor.servers.static.adapter import StaticMediaServer

SECTIONS: dict[type[MediaServer], dict[str, object]] = {
    NginxRtmpMediaServer: {
        "kind": "nginx_rtmp",
        "stat_url": "http://127.0.0.1:8080/stat",
        "control_url": "http://127.0.0.1:8080/control",
        "rtmp_url": "rtmp://127.0.0.1:1935",
    },
    EmbeddedMediaServer: {"kind": "embedded"},
    StaticMediaServer: {"kind": "static", "streams": [{"name": "cam", "url": "rtmp://192.0.2.1/live/cam"}]},
}

_ANY: TypeAdapter[AnyServer] = TypeAdapter(AnyServer)


@pytest.mark.parametrize("adapter", SECTIONS, ids=lambda adapter: adapter.__name__)
def test_every_kind_of_server_has_its_adapter(adapter: type[MediaServer]) -> None:
    section = _ANY.validate_python(SECTIONS[adapter] | {"name": "edge"})

    server = build_server(section, gate_url="http://127.0.0.1:8930/gate/edge")

    assert isinstance(server, adapter)
    assert (server.name, server.kind) == ("edge", section.kind)


def test_the_relay_asks_the_daemons_gate_unless_told_otherwise() -> None:
    gates = []
    for settings in ({}, {"gate_url": "http://127.0.0.1:9/own"}):
        section = _ANY.validate_python({"kind": "embedded", "name": "edge"} | settings)
        server = build_server(section, gate_url="http://127.0.0.1:8930/gate/edge")
        assert isinstance(server, EmbeddedMediaServer)
        gates.append(server._gate_url)

    assert gates == ["http://127.0.0.1:8930/gate/edge", "http://127.0.0.1:9/own"]


def test_a_section_that_cannot_be_used_is_refused() -> None:
    section = _ANY.validate_python({"kind": "static", "name": "e", "streams": [{"name": "c", "url": "ftp://h/x"}]})

    with pytest.raises(ConfigError):
        build_server(section, gate_url="http://127.0.0.1:8930/gate/e")
