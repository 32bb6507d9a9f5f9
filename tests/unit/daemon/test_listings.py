"""Which listings are believed, and which streams are ours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import REGISTRY

from monitor.config.section import StreamFilter
from monitor.daemon.discovery import Discovery, ServerState, compare
from monitor.daemon.listings import Believable, Wanted
from monitor.errors import MediaServerRefused, MediaServerUnreachable
from monitor.servers.port import LiveStream, MediaServer
from tests.fakes.clock import ManualClock
from tests.fakes.media_server import FakeServer, live

A, B = live("a"), live("b")


class Reading:
    """Watchers that receive some streams."""

    def __init__(self, *streams: LiveStream) -> None:
        self.ids = {stream.ref.stream_id for stream in streams}
        self.clock = ManualClock()
        self.believable = Believable(lambda stream_id: stream_id in self.ids, self.clock)

    def doubted(self) -> bool:
        return self.believable.doubtful

    def stop(self, stream: LiveStream) -> None:
        self.ids.remove(stream.ref.stream_id)


def test_a_stream_that_is_missing_among_others_has_ended() -> None:
    reading = Reading(A, B)
    reading.believable.take([A, B])
    assert reading.believable.take([A]) == (A,)
    assert not reading.doubted()


def test_an_empty_listing_ends_only_what_nobody_receives_any_more() -> None:
    reading = Reading(A, B)
    reading.believable.take([A, B])
    assert reading.believable.take([]) == (A, B)
    assert reading.doubted()
    reading.stop(A)
    assert reading.believable.take([]) == (B,)
    reading.stop(B)
    assert reading.believable.take([]) == ()
    assert not reading.doubted()


def test_a_stream_that_was_proved_to_be_gone_is_not_kept() -> None:
    reading = Reading(A, B)
    reading.believable.take([A, B])
    reading.believable.over(A.ref.stream_id)
    assert reading.believable.take([]) == (B,)


def test_proof_is_for_the_next_listing_only() -> None:
    reading = Reading(A)
    reading.believable.take([A])
    reading.believable.over(A.ref.stream_id)
    assert reading.believable.take([A]) == (A,)
    assert reading.believable.take([]) == (A,)


async def test_one_stream_is_doubted_for_ten_seconds_before_anybody_is_told() -> None:
    reading = Reading(A)
    reading.believable.take([A])
    reading.believable.take([])
    assert not reading.doubted()
    await reading.clock.advance(10.1)
    reading.believable.take([])
    assert reading.doubted()
    reading.believable.take([A])
    assert not reading.doubted()


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (MediaServerUnreachable("no"), ServerState.DOWN),
        (MediaServerRefused("no", reason="unauthorized"), ServerState.DEGRADED),
        (ZeroDivisionError(), ServerState.DEGRADED),
    ],
)
async def test_a_server_is_up_degraded_or_down_and_none_of_it_ends_a_stream(
    error: Exception, state: ServerState
) -> None:
    server = FakeServer(streams={"a": A, "b": B})
    taken: list[tuple[LiveStream, ...]] = []

    async def take(_server: MediaServer, listing: tuple[LiveStream, ...]) -> None:
        taken.append(listing)

    discovery = Discovery(server, interval_s=1, clock=ManualClock(), on_listing=take, is_read=lambda _: True)
    await discovery.poll()
    server.listing_error = error
    await discovery.poll()
    assert (discovery.health.state, discovery.health.ok, len(taken)) == (state, False, 1)
    assert gauges() == (0, state is ServerState.DEGRADED)
    server.listing_error = None
    server.streams.clear()
    await discovery.poll()
    assert discovery.health.last_error == "lists_nothing"
    assert gauges() == (0, 1)
    assert list(taken[-1]) == [A, B]
    server.streams["a"] = A
    await discovery.poll()
    assert gauges() == (1, 0)
    assert list(taken[-1]) == [A]


def gauges() -> tuple[float | None, float | None]:
    labels = {"server": "edge"}
    return (
        REGISTRY.get_sample_value("livecordon_server_up", labels),
        REGISTRY.get_sample_value("livecordon_server_degraded", labels),
    )


async def test_streams_that_are_left_out_are_counted_and_passed_over() -> None:
    server = FakeServer(streams={"a": A, "b": B})
    taken: list[tuple[LiveStream, ...]] = []

    async def take(_server: MediaServer, listing: tuple[LiveStream, ...]) -> None:
        taken.append(listing)

    wanted = Wanted(exclude=(StreamFilter(name="b"),))
    discovery = Discovery(server, interval_s=1, clock=ManualClock(), on_listing=take, wanted=wanted)
    await discovery.poll()
    assert taken == [(A,)]
    assert (discovery.health.listed, discovery.health.excluded) == (1, 1)


@pytest.mark.parametrize(
    ("include", "exclude", "address", "watched"),
    [
        ((), (), None, True),
        (({"app": "live"},), (), None, True),
        (({"app": "studio"},), (), None, False),
        (({"app": "studio"}, {"name": "c?m"}), (), None, True),
        (({"app": "l*", "name": "x"},), (), None, False),
        ((), ({"name": "cam"},), None, False),
        (({"name": "cam"},), ({"app": "live"},), None, False),
        ((), ({"publisher": "192.0.2.0/24"},), "192.0.2.7", False),
        ((), ({"publisher": "192.0.2.0/24"},), "198.51.100.7", True),
        ((), ({"publisher": "192.0.2.0/24"},), None, True),
        ((), ({"publisher": "192.0.2.0/24"},), "unreadable", True),
        (({"publisher": "192.0.2.0/24"},), (), "198.51.100.7", False),
        (({"publisher": "192.0.2.0/24"},), (), None, True),
        (({"publisher": "2001:db8::/32"},), (), "2001:db8::7", True),
        (({"publisher": "2001:db8::/32"},), (), "192.0.2.7", False),
    ],
)
def test_include_and_exclude(
    include: tuple[dict[str, str], ...], exclude: tuple[dict[str, str], ...], address: str | None, watched: bool
) -> None:
    wanted = Wanted(
        tuple(StreamFilter.model_validate(one) for one in include),
        tuple(StreamFilter.model_validate(one) for one in exclude),
    )
    assert wanted(replace(live("cam"), publisher_address=address)) is watched


@pytest.mark.parametrize("held_first", [False, True])
def test_of_two_publications_under_one_name_the_one_counts_that_viewers_see(held_first: bool) -> None:
    held, shown = replace(live("cam", "s1"), held=True), live("cam", "s2")
    listing = (held, shown) if held_first else (shown, held)
    assert compare({}, listing).appeared == (shown,)
    assert compare({held.ref.stream_id: held}, listing).replaced == (shown,)
