from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from monitor.daemon.discovery import Discovery, compare
from monitor.errors import MediaServerUnreachable
from monitor.servers.port import LiveStream, MediaServer
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer, live

LISTINGS = st.lists(
    st.builds(live, st.sampled_from("abcd"), st.sampled_from(["s1", "s2"])), max_size=5, unique_by=lambda one: one.ref
)


@given(LISTINGS, LISTINGS)
def test_a_comparison_sorts_every_stream_into_one_place(before: list[LiveStream], after: list[LiveStream]) -> None:
    known = {stream.ref.stream_id: stream for stream in before}
    changes = compare(known, after)
    listed = {stream.ref.stream_id: stream for stream in after}
    sorted_into = [
        *((stream.ref.stream_id, "appeared") for stream in changes.appeared),
        *((stream.ref.stream_id, "replaced") for stream in changes.replaced),
        *((stream.ref.stream_id, "unchanged") for stream in changes.unchanged),
        *((key, "gone") for key in changes.gone),
    ]
    assert len(sorted_into) == len({key for key, _ in sorted_into}) == len(known.keys() | listed.keys())
    for key, place in sorted_into:
        wanted = (
            "appeared"
            if key not in known
            else "gone"
            if key not in listed
            else "unchanged"
            if known[key].session == listed[key].session
            else "replaced"
        )
        assert place == wanted


@given(LISTINGS)
def test_nothing_changes_between_equal_listings(listing: list[LiveStream]) -> None:
    changes = compare({stream.ref.stream_id: stream for stream in listing}, listing)
    assert (changes.appeared, changes.replaced, changes.gone) == ((), (), ())


class Polling:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.server = FakeServer(streams={"cam1": live()})
        self.seen: list[int] = []
        self.discovery = Discovery(self.server, interval_s=2.0, clock=self.clock, on_listing=self.on_listing)

    async def on_listing(self, server: MediaServer, listing: tuple[LiveStream, ...]) -> None:
        assert server is self.server
        self.seen.append(len(listing))


@asynccontextmanager
async def polling() -> AsyncIterator[Polling]:
    made = Polling()
    task = asyncio.create_task(made.discovery.run())
    await made.clock.wait_for_sleepers()
    try:
        yield made
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_it_asks_at_its_interval() -> None:
    async with polling() as made:
        assert made.seen == [1]
        await made.clock.advance(20.0)
        assert 9 <= len(made.seen) <= 12
        assert REGISTRY.get_sample_value("livecordon_server_up", {"server": "edge"}) == 1


@pytest.mark.parametrize(
    ("error", "reason"), [(MediaServerUnreachable("no"), "unreachable"), (ZeroDivisionError(), "internal_error")]
)
async def test_a_server_that_cannot_be_asked_is_not_a_server_without_streams(error: Exception, reason: str) -> None:
    async with polling() as made:
        made.server.listing_error = error
        await made.clock.advance(10)
        assert made.seen == [1]
        assert (made.discovery.health.ok, made.discovery.health.last_error) == (False, reason)
        assert REGISTRY.get_sample_value("livecordon_server_up", {"server": "edge"}) == 0
        made.server.listing_error = None
        await made.clock.advance(3)
        assert (made.discovery.health.ok, made.discovery.health.last_error) == (True, "")
        assert len(made.seen) >= 2


async def test_hurry_asks_at_once_and_then_often_for_a_while() -> None:
    async with polling() as made:
        await made.clock.advance(0.1)
        made.discovery.hurry(2.0)
        await made.clock.advance(0.1)
        assert len(made.seen) == 2
        await made.clock.advance(2.0)
        assert 8 <= len(made.seen) <= 12
        hurried = len(made.seen)
        await made.clock.advance(6.0)
        assert len(made.seen) - hurried <= 5


async def test_whoever_publishes_without_pause_does_not_have_the_server_asked_without_pause() -> None:
    async with polling() as made:
        for _ in range(200):
            made.discovery.hurry()
            await made.clock.advance(0.005)
        assert len(made.seen) <= 22
