"""The nginx-rtmp adapter against answers that a control interface gives on its bad days."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from monitor.errors import MediaServerRefused, MediaServerUnreachable, UnsafeCallRefused
from monitor.servers.nginx_rtmp import control as control_module
from monitor.servers.nginx_rtmp.adapter import NginxRtmpMediaServer
from monitor.vocabulary import StreamRef
from tests.fakes.scripted_nginx import HANG, ScriptedNginx, http, scripted_nginx, stat
from tests.fakes.waiting import eventually

CAM = StreamRef("edge", "live", "cam")


@asynccontextmanager
async def scripted(**settings: object) -> AsyncIterator[tuple[ScriptedNginx, NginxRtmpMediaServer]]:
    async with scripted_nginx() as nginx, NginxRtmpMediaServer(nginx.section(**settings)) as server:
        yield nginx, server


@pytest.mark.parametrize(
    "answer",
    [
        http(b"no", status="500 Internal Server Error"),
        http(b"", status="404 Not Found"),
        http(b"moved", status="302 Found"),
        http(b"<html><p>hello"),
        http(b"<html></html>"),
        http(b""),
        http(b'{"streams": []}'),
        http(b'<!DOCTYPE r [<!ENTITY a "aaaa">]><rtmp><server/><pid>&a;</pid></rtmp>'),
        http(b"<rtmp></rtmp>"),
    ],
    ids=["500", "404", "302", "html", "other_root", "empty", "json", "entities", "no_server"],
)
async def test_what_is_no_listing_is_refused(answer: bytes) -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: answer

        with pytest.raises(MediaServerRefused):
            await server.list_streams()


@pytest.mark.parametrize(
    "answer",
    [HANG, b"", stat("cam")[:-40], http(b"<rtmp>", length=500), b"garbage\r\n\r\n", http(b"x" * 100)[:30]],
    ids=["hangs", "closes", "breaks_off", "too_short", "no_http", "breaks_off_in_head"],
)
async def test_no_complete_answer_counts_as_unreachable(answer: bytes) -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: answer

        with pytest.raises(MediaServerUnreachable):
            await server.list_streams()


async def test_a_huge_answer_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_module, "_MAX_STAT_BYTES", 10_000)
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: http(b"<rtmp>" + b" " * 20_000, length=10_000_000_000)

        with pytest.raises(MediaServerRefused) as refusal:
            await server.list_streams()
    assert refusal.value.reason == "answer_too_large"


async def test_a_large_listing_is_still_read() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: stat(*(f"cam{number}:{number}" for number in range(3000)))

        assert len(await server.list_streams()) == 3000


async def test_zero_is_no_success_while_the_stream_is_listed() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: stat("cam:7")

        result = await server.cut(CAM, "7")

        assert (result.matched, result.verified) == (0, False)
        assert len(nginx.drops) > 1


async def test_a_dropped_publisher_that_stays_listed_is_not_verified() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: stat("cam:7")
        nginx.on_drop = lambda _: http(b"1")

        result = await server.cut(CAM)

        assert (result.matched, result.verified) == (1, False)
        assert len(nginx.drops) == 1


async def test_a_publisher_that_leaves_the_listing_a_moment_later_is_verified() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda earlier: stat("cam:7") if earlier < 3 else stat()
        nginx.on_drop = lambda _: http(b"1")

        result = await server.cut(CAM, "7")

        assert (result.matched, result.verified) == (1, True)


async def test_a_newer_publication_does_not_spoil_the_proof_for_the_one_that_was_meant() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: stat("cam:8")
        nginx.on_drop = lambda _: http(b"1")

        assert (await server.cut(CAM, "7")).verified
        assert not (await server.cut(CAM)).verified


async def test_a_zero_from_the_wrong_worker_is_tried_again() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda earlier: (
            stat(pid=1 + earlier % 2) if nginx.drops[2:] else stat("cam:7", pid=1 + earlier % 2)
        )
        nginx.on_drop = lambda earlier: http(b"1") if earlier == 2 else http(b"0")

        result = await server.cut(CAM, "7")

        assert (result.matched, result.verified) == (1, True)


async def test_a_stream_that_only_the_other_worker_lists_is_not_called_gone() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda earlier: stat(pid=1) if earlier % 3 else stat("cam:7", pid=2)

        result = await server.cut(CAM, "7")

        assert not result.verified
        assert "several workers" in result.detail


async def test_a_cut_is_not_proven_before_every_known_worker_has_answered() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda earlier: stat(pid=1 + earlier % 2)
        for _ in range(3):
            await server.list_streams()
        # From now on the second worker, which may still have the stream, never gets a turn.
        nginx.on_stat = lambda _: stat(pid=1)
        nginx.on_drop = lambda _: http(b"1")

        result = await server.cut(CAM, "7")

        assert (result.matched, result.verified) == (1, False)


async def test_every_call_has_a_connection_of_its_own() -> None:
    """A kept connection would always reach the same worker, and hide the streams of the others."""
    connections = 0
    ended = 0

    async def keep_alive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections, ended
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(stat("cam").replace(b"Connection: close\r\n", b""))
        writer.close()
        await writer.wait_closed()
        ended += 1

    async def all_ended() -> bool:
        return ended == connections

    async with await asyncio.start_server(keep_alive, "127.0.0.1", 0) as listener:
        nginx = ScriptedNginx(port=listener.sockets[0].getsockname()[1])
        async with NginxRtmpMediaServer(nginx.section()) as server:
            for _ in range(3):
                await server.list_streams()
        await eventually(all_ended)

    assert connections == 3


async def test_a_redirect_is_not_followed() -> None:
    async with scripted() as (nginx, server):
        moved = http(b"", status="302 Found").replace(b"\r\n\r\n", b"\r\nLocation: /elsewhere\r\n\r\n")
        nginx.on_stat = lambda earlier: stat("cam") if earlier else moved

        with pytest.raises(MediaServerRefused):
            await server.list_streams()
        assert nginx.stats == 1


async def test_lookalikes_are_not_cut_without_a_session() -> None:
    lookalike = StreamRef("edge", "live", "a b")
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: stat("a b:7", "a\tb:8")
        with pytest.raises(UnsafeCallRefused):
            await server.cut(lookalike)
        assert nginx.drops == []

        nginx.on_stat = lambda _: stat("a b:7") if nginx.drops else stat("a b:7", "a\tb:8")
        nginx.on_drop = lambda _: http(b"1")
        assert (await server.cut(lookalike, "8")).verified

    assert nginx.drops == ["/control/drop/publisher?srv=0&app=live&clientid=8"]


async def test_workers_that_take_turns_are_warned_of() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda earlier: stat(pid=1 + earlier % 2)

        (warning,) = await server.probe()

    assert "worker_processes 1" in warning


@pytest.mark.parametrize(
    "answer",
    [
        http(b"1", status="500 Internal Server Error"),
        http(b"one"),
        http(b""),
        http(b"-1"),
        http(b"1 2"),
        http(b"1" * 50),
    ],
)
async def test_an_answer_to_a_cut_that_is_no_number_is_refused(answer: bytes) -> None:
    async with scripted() as (nginx, server):
        nginx.on_drop = lambda _: answer

        with pytest.raises(MediaServerRefused):
            await server.cut(CAM)


@pytest.mark.parametrize("answer", [HANG, b""])
async def test_no_answer_to_a_cut_counts_as_unreachable(answer: bytes) -> None:
    async with scripted() as (nginx, server):
        nginx.on_drop = lambda _: answer

        with pytest.raises(MediaServerUnreachable):
            await server.cut(CAM)


async def test_a_cut_names_application_name_and_session() -> None:
    async with scripted(server_index=2) as (nginx, server):
        nginx.on_stat = lambda _: http(
            stat().partition(b"\r\n\r\n")[2].replace(b"<server>", b"<server/><server/><server>")
        )
        await server.cut(CAM, "7")
        await server.cut(CAM)

    assert nginx.drops == [
        "/control/drop/publisher?srv=2&app=live&name=cam&clientid=7",
        "/control/drop/publisher?srv=2&app=live&name=cam",
    ]


async def test_a_name_that_cannot_be_written_is_cut_by_its_session_alone() -> None:
    strange = StreamRef("edge", "live", "a&name=b")
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: stat() if nginx.drops else stat("a&amp;name=b:7", "b:8")
        nginx.on_drop = lambda _: http(b"1")

        assert (await server.cut(strange)).matched == 1

    assert nginx.drops == ["/control/drop/publisher?srv=0&app=live&clientid=7"]


async def test_a_session_is_not_cut_for_a_name_that_it_does_not_carry() -> None:
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: stat("a&amp;name=b:7", "b:8")

        result = await server.cut(StreamRef("edge", "live", "a&name=b"), "8")

    assert (result.matched, result.verified) == (0, True)
    assert nginx.drops == []


@pytest.mark.parametrize(
    ("app", "name", "session"),
    [
        ("", "cam", None),
        ("", "cam", "7"),
        ("live&name=", "cam", None),
        ("li ve", "cam", None),
        ("live", "cam", "7&name=x"),
        ("live", "cam", "seven"),
        ("live", "cam", "-1"),
    ],
)
async def test_a_call_that_could_hit_others_is_not_sent(app: str, name: str, session: str | None) -> None:
    async with scripted() as (nginx, server):
        with pytest.raises(UnsafeCallRefused):
            await server.cut(StreamRef("edge", app, name), session)

    assert nginx.drops == []


async def test_an_empty_name_is_never_sent_as_a_filter() -> None:
    async with scripted() as (nginx, server):
        result = await server.cut(StreamRef("edge", "live", ""))

    assert (result.matched, result.verified) == (0, True)
    assert nginx.drops == []


async def test_the_control_address_may_carry_arguments_and_a_slash_of_its_own() -> None:
    async with scripted_nginx() as nginx:
        section = nginx.section(control_url=f"http://127.0.0.1:{nginx.port}/control/?key=k%20k")
        async with NginxRtmpMediaServer(section) as server:
            await server.cut(CAM)

    assert nginx.drops == ["/control/drop/publisher?srv=0&app=live&name=cam&key=k%20k"]


async def test_a_probe_sends_no_command_that_could_hit_anybody() -> None:
    async with scripted() as (nginx, server):
        await server.probe()

    (command,) = nginx.drops
    assert command.endswith("?srv=0&app=livecordon-probe&name=livecordon-probe&clientid=0")


async def test_a_listing_without_connections_is_warned_of() -> None:
    document = (
        b"<rtmp><pid>1</pid><server><application><name>live</name><live><stream><name>cam</name><nclients>3</nclients>"
        b"<publishing/></stream></live></application></server></rtmp>"
    )
    async with scripted() as (nginx, server):
        nginx.on_stat = lambda _: http(document)
        (stream,) = await server.list_streams()
        (warning,) = await server.probe()

    assert (stream.session, stream.viewers) == ("", 2)
    assert "rtmp_stat all" in warning


async def test_an_error_never_quotes_names_or_addresses() -> None:
    secret = StreamRef("edge", "live", "s3cret-key")
    async with scripted() as (nginx, server):
        nginx.on_drop = lambda _: HANG
        with pytest.raises(MediaServerUnreachable) as failure:
            await server.cut(secret)

    chain = failure.value.__cause__, failure.value.__suppress_context__
    assert "s3cret" not in str(failure.value)
    assert "127.0.0.1" not in str(failure.value)
    assert chain == (None, True)


async def test_an_adapter_that_was_not_entered_says_so() -> None:
    async with scripted_nginx() as nginx:
        server = NginxRtmpMediaServer(nginx.section())
        with pytest.raises(RuntimeError, match="async with"):
            await server.list_streams()
