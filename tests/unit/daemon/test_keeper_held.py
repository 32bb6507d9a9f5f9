"""A held stream goes on being watched, wherever its media server has moved it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.errors import UnsafeCallRefused
from monitor.vocabulary import Freshness, StreamRef, WatchState
from tests.fakes.media_server import live
from tests.unit.daemon.test_keeper import keeping


async def test_a_held_stream_is_read_where_it_is_and_back_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with keeping(tmp_path) as kept:
        place = "live"

        def pull_url(ref: StreamRef) -> str:
            return f"rtmp://edge/{place}/{ref.name}"

        monkeypatch.setattr(kept.server, "pull_url", pull_url)
        held = replace(live(), held=True)
        await kept.listing(live())
        place = "hidden"
        await kept.listing(held)
        await kept.listing(held)
        place = "live"
        await kept.listing(live())
        assert kept.watchers.calls == [
            "assign rtmp://edge/live/cam1 calm",
            "assign rtmp://edge/hidden/cam1 calm",
            "assign rtmp://edge/live/cam1 calm",
        ]
        assert [stream.session for stream in kept.seen_live] == ["s1"], "nobody came or went"


async def test_one_that_cannot_be_read_there_is_shown_as_not_watched(tmp_path: Path) -> None:
    async with keeping(tmp_path) as kept:
        await kept.listing(live())
        kept.server.address_error = UnsafeCallRefused("no")
        await kept.listing(replace(live(), held=True))
        assert (kept.stream().watch_state, kept.stream().watch_reason) == (WatchState.FAILED, "unsafe_call")


async def test_one_that_nobody_sees_is_neither_watched_nor_missed_until_it_is_released(tmp_path: Path) -> None:
    async with keeping(tmp_path) as kept:
        kept.server.seen_while_held = False
        await kept.listing(live())
        await kept.scores(0.1)
        await kept.listing(replace(live(), held=True))
        await kept.on.clock.advance(600)

        now = kept.on.clock.now().timestamp()
        assert kept.watchers.calls[-1] == "release"
        assert kept.registry.freshness(kept.stream(), now) is Freshness.FRESH
        assert (kept.stream().watch_state, kept.stream().watch_reason) == (WatchState.STALLED, "held")
        assert not kept.watchers.watched

        await kept.listing(live())

        # It is given time for its first verdict, as a stream that appears is.
        assert kept.watchers.calls[-1] == "assign rtmp://edge/live/cam1 calm"
        assert kept.registry.freshness(kept.stream(), now) is Freshness.FRESH
        assert kept.registry.freshness(kept.stream(), now + 600) is Freshness.BLIND
        await kept.scores(0.1)
        assert kept.stream().verdict_age_s(kept.on.clock.now().timestamp()) < 5


async def test_one_that_was_held_before_the_daemon_came_is_not_missed_either(tmp_path: Path) -> None:
    async with keeping(tmp_path) as kept:
        kept.server.seen_while_held = False
        await kept.listing(replace(live(), held=True))

        assert kept.watchers.calls == ["release"]
        assert kept.registry.freshness(kept.stream(), kept.on.clock.now().timestamp() + 600) is Freshness.FRESH
