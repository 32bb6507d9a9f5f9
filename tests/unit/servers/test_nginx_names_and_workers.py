from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import UnsafeCallRefused
from monitor.servers.nginx_rtmp.names import is_safe, stream_address
from monitor.servers.nginx_rtmp.workers import WorkerWatch
from tests.fakes.clock import ManualClock


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("cam", "rtmp://h:1935/live/cam"),
        ("cam.flv", "rtmp://h:1935/live/cam.flv?"),
        ("cam.mp4", "rtmp://h:1935/live/cam.mp4?"),
        ("a/b", "rtmp://h:1935/live//a/b"),
        ("../cam", "rtmp://h:1935/live//../cam"),
        ("a%20b", "rtmp://h:1935/live/a%20b"),
        ("a#b&c=d", "rtmp://h:1935/live/a#b&c=d"),
    ],
)
def test_addresses_ask_for_exactly_the_name(name: str, address: str) -> None:
    assert stream_address("rtmp://h:1935/", "live", name) == address


@pytest.mark.parametrize("name", ["a b", "a?b", "a\n", "a\tb", "\x7f", "é", "\0", "?", "cam?x=1"])
def test_names_that_no_address_can_carry_are_refused(name: str) -> None:
    with pytest.raises(UnsafeCallRefused):
        stream_address("rtmp://h", "live", name)


@pytest.mark.parametrize("app", ["", "a/b", "a b", "live?x", "..%2f", "é", "a&b"])
def test_applications_that_no_address_can_carry_are_refused(app: str) -> None:
    with pytest.raises(UnsafeCallRefused):
        stream_address("rtmp://h", app, "cam")


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_names_never_share_an_address(one: str, other: str) -> None:
    try:
        addresses = {stream_address("rtmp://h", "live", one), stream_address("rtmp://h", "live", other)}
    except UnsafeCallRefused:
        return
    assert (len(addresses) == 1) == (one == other)


@given(st.text(max_size=30))
def test_a_safe_name_means_itself_in_a_query(name: str) -> None:
    if is_safe(name):
        assert name
        assert not set(name) & set("&=%+#?/ \r\n\t;\"'<>\\")
        assert name.isascii()


def test_a_reload_changes_the_worker_once_and_is_no_alarm() -> None:
    watch = WorkerWatch(ManualClock())
    for worker in (1, 1, None, 2, 2):
        watch.saw(worker)

    assert not watch.several
    assert watch.known == {2}


def test_workers_that_come_back_are_several() -> None:
    watch = WorkerWatch(ManualClock())
    for worker in (1, 2, 1):
        watch.saw(worker)

    assert watch.several
    assert watch.known == {1, 2}


def test_different_workers_at_once_are_several() -> None:
    watch = WorkerWatch(ManualClock())
    watch.saw(1)
    watch.saw(2)
    watch.answered_at_once([1, None, 2])

    assert watch.several


def test_one_worker_at_once_is_one() -> None:
    watch = WorkerWatch(ManualClock())
    watch.answered_at_once([1, 1, None])

    assert not watch.several
    assert watch.known == frozenset()


async def test_the_alarm_ends_a_minute_after_the_last_turn() -> None:
    clock = ManualClock()
    watch = WorkerWatch(clock)
    for worker in (1, 2, 1):
        watch.saw(worker)
    await clock.advance(61)
    watch.saw(1)

    assert not watch.several
    assert watch.known == {1}
