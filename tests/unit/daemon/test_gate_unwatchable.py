"""Who could not be watched is not let in."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from monitor.config.servers import NginxRtmpServer
from monitor.daemon.gate import Gate
from monitor.effects.blocklist import BlockList
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.servers.port import RawGateRequest
from tests.fakes.clock import ManualClock


def gate(let_in: list[str], *, dry_run_servers: Collection[str] = ()) -> Gate:
    server = NginxRtmpMediaServer(
        NginxRtmpServer(
            kind="nginx_rtmp",
            name="edge",
            stat_url="http://127.0.0.1:1/stat",
            control_url="http://127.0.0.1:1/control",
            rtmp_url="rtmp://127.0.0.1:1",
        )
    )
    return Gate({"edge": server}, BlockList(ManualClock()), dry_run_servers, let_in.append)


def publish(name: bytes) -> RawGateRequest:
    return RawGateRequest(
        "application/x-www-form-urlencoded", b"app=live&addr=10.0.0.1&clientid=7&call=publish&name=" + name
    )


@pytest.mark.parametrize("name", [b"two%20words", b"what%3F", b"%C3%A9t%C3%A9"])
async def test_a_name_that_no_watcher_could_open_is_refused(name: bytes) -> None:
    let_in: list[str] = []
    reply = await gate(let_in).decide("edge", publish(name))
    assert reply.status // 100 != 2
    assert let_in == []


async def test_a_plain_name_is_let_in_and_looked_for_at_once() -> None:
    let_in: list[str] = []
    reply = await gate(let_in).decide("edge", publish(b"cam-1"))
    assert reply.status // 100 == 2
    assert let_in == ["edge"]


async def test_a_dry_run_refuses_nobody() -> None:
    let_in: list[str] = []
    reply = await gate(let_in, dry_run_servers=["edge"]).decide("edge", publish(b"two%20words"))
    assert reply.status // 100 == 2
    assert let_in == ["edge"]
