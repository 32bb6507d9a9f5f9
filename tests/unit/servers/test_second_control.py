"""A second address of the same control interface, for while the first does not answer."""

from __future__ import annotations

import pytest
from yarl import URL

from monitor.demo.stage import free_port
from monitor.errors import MediaServerUnreachable
from monitor.servers.control import ControlClient
from tests.fakes.scripted_nginx import HANG, http, scripted_nginx


async def test_it_is_used_where_nobody_takes_the_connection_and_gets_the_same_request() -> None:
    async with scripted_nginx() as there:
        there.on_drop = lambda _: http(b"1")
        client = ControlClient(timeout_s=2, max_answer_bytes=1000, second=f"http://127.0.0.1:{there.port}/ignored")
        await client.open()
        try:
            first = URL(f"http://127.0.0.1:{free_port()}/control/drop/publisher?app=live&name=a%20b", encoded=True)
            assert (await client.get(first)).body == b"1"
            assert (await client.get(first)).body == b"1"
        finally:
            await client.close()
    assert there.drops == ["/control/drop/publisher?app=live&name=a%20b"] * 2


async def test_what_may_have_been_carried_out_is_not_sent_again_elsewhere() -> None:
    async with scripted_nginx() as here, scripted_nginx() as there:
        here.on_drop = lambda _: HANG
        client = ControlClient(timeout_s=0.3, max_answer_bytes=1000, second=f"http://127.0.0.1:{there.port}")
        await client.open()
        try:
            with pytest.raises(MediaServerUnreachable):
                await client.get(URL(f"http://127.0.0.1:{here.port}/control/drop/publisher?app=live&name=cam"))
        finally:
            await client.close()
    assert len(here.drops) == 1
    assert there.drops == []


async def test_without_an_answer_from_either_it_is_unreachable() -> None:
    client = ControlClient(timeout_s=1, max_answer_bytes=1000, second=f"http://127.0.0.1:{free_port()}")
    await client.open()
    try:
        with pytest.raises(MediaServerUnreachable):
            await client.get(URL(f"http://127.0.0.1:{free_port()}/stat"))
    finally:
        await client.close()
