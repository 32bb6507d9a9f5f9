"""Several servers that carry the same streams: one to watch, all to contain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.errors import MediaServerUnreachable
from monitor.servers.cluster import ClusterMediaServer
from monitor.servers.port import CutResult, HasMembers
from tests.fakes.media_server import FakeServer, live
from tests.fakes.store import CAM1

DOWN = MediaServerUnreachable("no")


def pair() -> tuple[FakeServer, FakeServer, ClusterMediaServer]:
    first = FakeServer(streams={"cam1": replace(live("cam1", "1"), viewers=2), "only": live("only", "2")})
    second = FakeServer(streams={"cam1": replace(live("cam1", "7"), viewers=3), "other": live("other", "8")})
    return first, second, ClusterMediaServer([first, second], ["a", "b"])


async def test_a_stream_on_both_is_one_with_the_viewers_of_both() -> None:
    _, _, cluster = pair()
    streams = {stream.ref.name: stream for stream in await cluster.list_streams()}
    assert {name: (one.session, one.viewers) for name, one in streams.items()} == {
        "cam1": ("a/1", 5),
        "only": ("a/2", 0),
        "other": ("b/8", 0),
    }
    assert isinstance(cluster, HasMembers)
    assert cluster.trouble == ""


async def test_it_is_read_where_it_was_found_for_as_long_as_it_is_there() -> None:
    first, second, cluster = pair()
    lost = first.streams.pop("cam1")
    assert [one.session for one in await cluster.list_streams() if one.ref == CAM1] == ["b/7"]
    first.streams["cam1"] = lost
    assert [one.session for one in await cluster.list_streams() if one.ref == CAM1] == ["b/7"]
    del second.streams["cam1"]
    assert [one.session for one in await cluster.list_streams() if one.ref == CAM1] == ["a/1"]


async def test_a_cut_goes_to_all_and_is_done_when_it_is_proved_on_all() -> None:
    first, second, cluster = pair()
    await cluster.list_streams()
    result = await cluster.cut(CAM1, "a/1")
    assert (result.matched, result.verified) == (2, True)
    assert (first.commands, second.commands) == ([(CAM1, "1")], [(CAM1, None)])
    second.cuts = [CutResult(0, verified=False, detail="still there")]
    assert await cluster.cut(CAM1) == CutResult(1, verified=False, detail="still there")


async def test_a_member_that_does_not_answer_keeps_its_streams_and_keeps_a_cut_from_being_done() -> None:
    first, second, cluster = pair()
    before = await cluster.list_streams()
    second.listing_error = DOWN
    assert await cluster.list_streams() == before
    assert cluster.trouble == "unreachable"
    second.cuts = [DOWN]
    with pytest.raises(MediaServerUnreachable):
        await cluster.cut(CAM1)
    assert first.commands == [(CAM1, None)]
    second.listing_error = None
    second.streams.clear()
    assert {one.ref.name for one in await cluster.list_streams()} == {"cam1", "only"}
    assert cluster.trouble == ""


async def test_without_any_answer_there_is_no_listing() -> None:
    first, second, cluster = pair()
    first.listing_error = second.listing_error = DOWN
    with pytest.raises(MediaServerUnreachable):
        await cluster.list_streams()


async def test_a_stream_counts_as_held_when_it_is_held_everywhere() -> None:
    first, second, cluster = pair()
    first.streams["cam1"] = replace(first.streams["cam1"], held=True)
    assert [one.held for one in await cluster.list_streams() if one.ref == CAM1] == [False]
    second.streams["cam1"] = replace(second.streams["cam1"], held=True)
    assert [one.held for one in await cluster.list_streams() if one.ref == CAM1] == [True]
    assert (await cluster.hold(CAM1, "b/7")).verified
    assert (first.hold_commands, second.hold_commands) == ([("hold", CAM1, None)], [("hold", CAM1, "7")])


async def test_it_can_do_what_all_can_do() -> None:
    _, second, cluster = pair()
    assert (cluster.capabilities.cut, cluster.capabilities.hold) == (True, True)
    second.can_hold = second.can_cut = False
    assert (cluster.capabilities.cut, cluster.capabilities.hold) == (False, False)
