from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from monitor.config.watching import WatchSection
from monitor.daemon.keeper import Keeper, ServerPolicy
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.detect.persistence import DetectionRule, LevelRule
from monitor.errors import UnsafeCallRefused
from monitor.protocol.events import Reviewed
from monitor.servers.port import LiveStream, MediaServer
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, Freshness, Posture, ReviewDecision, StreamRef, WatchState
from monitor.watch.messages import Observation, StreamStatus
from tests.fakes.clock import ManualClock
from tests.fakes.incidents import ACT, Bench, bench, context
from tests.fakes.media_server import FakeServer, live
from tests.fakes.protocols import shipped
from tests.fakes.samples import growth, sample
from tests.fakes.store import CAM1

RULES = {"violence": DetectionRule(LevelRule(0.6, 2, 3), LevelRule(0.9, 2, 3), 0.8, 5.0)}
SECRET = "key-c4n4ry"


@dataclass
class FakeWatchers:
    """Remembers what it was asked to do, in order, and what it would be watching now."""

    calls: list[str] = field(default_factory=list)
    watched: dict[str, Posture] = field(default_factory=dict)
    error: Exception | None = None

    async def assign(self, stream_id: str, url: str, posture: Posture) -> None:
        self._note(f"assign {url} {posture.value}")
        self.watched[stream_id] = posture

    async def release(self, stream_id: str) -> None:
        self._note("release")
        self.watched.pop(stream_id, None)

    async def set_posture(self, stream_id: str, posture: Posture) -> None:
        self._note(f"posture {posture.value}")
        if stream_id in self.watched:
            self.watched[stream_id] = posture

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.error is not None:
            error, self.error = self.error, None
            raise error


@dataclass
class Kept:
    on: Bench
    server: FakeServer
    watchers: FakeWatchers
    registry: StreamRegistry
    keeper: Keeper
    seen_live: list[LiveStream]

    async def listing(self, *streams: LiveStream) -> None:
        await self.keeper.on_listing(self.server, streams)
        await self.keeper.settled()

    async def scores(self, *values: float, ref: StreamRef = CAM1) -> None:
        """One clip a second with these scores."""
        for value in values:
            await self.on.clock.advance(1)
            self.keeper.on_observation(observation(self.on.clock, (value,), ref=ref), ("violence",))
        await self.keeper.settled()

    def stream(self, ref: StreamRef = CAM1) -> WatchedStream:
        found = self.registry.get(ref.stream_id)
        assert found is not None
        return found

    async def records(self) -> list[IncidentRecord]:
        return await self.on.records()


def observation(
    clock: ManualClock, scores: tuple[float, ...], *, ref: StreamRef = CAM1, later_s: float = 0.0
) -> Observation:
    now = clock.now().timestamp()
    return Observation(
        stream_id=ref.stream_id,
        clip_start_s=0.0,
        clip_end_s=1.0,
        arrived_at=now + later_s,
        scored_at=now,
        scores=scores,
        posture=Posture.CALM,
        spacing_honoured=True,
    )


@asynccontextmanager
async def keeping(
    path: Path, clock: ManualClock | None = None, *, protocol: str = "assisted", secret: bool = False
) -> AsyncIterator[Kept]:
    async with bench(path / "store.sqlite3", clock) as on:
        server: FakeServer = FakeServer()
        watchers = FakeWatchers()
        registry = StreamRegistry(WatchSection())
        seen_live: list[LiveStream] = []
        servers: dict[str, MediaServer] = {"edge": server}
        keeper = Keeper(
            registry=registry,
            servers=servers,
            policies={"edge": ServerPolicy(shipped()[protocol], dry_run=False, names_are_secret=secret)},
            rules=RULES,
            model="toy@1",
            watchers=watchers,
            engine=on.engine,
            clock=on.clock,
            on_live=lambda _server, stream: seen_live.append(stream),
            on_change=lambda: None,
        )
        on.notes.on_commit = lambda: keeper.refresh_posture(CAM1.stream_id)
        task = asyncio.create_task(keeper.run())
        try:
            yield Kept(on, server, watchers, registry, keeper, seen_live)
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.wait({task})


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    async with keeping(tmp_path) as made:
        yield made


async def test_a_stream_is_watched_from_its_first_listing_to_its_last(kept: Kept) -> None:
    await kept.listing(live())
    await kept.listing(live())
    assert kept.watchers.calls == ["assign rtmp://edge/live/cam1 calm"]
    assert [stream.session for stream in kept.seen_live] == ["s1"]
    await kept.listing()
    assert kept.watchers.watched == {}
    assert len(kept.registry) == 0
    assert kept.on.database.written == 0


async def test_a_replaced_publication_is_read_anew_and_judged_from_scratch(kept: Kept) -> None:
    await kept.listing(live())
    await kept.scores(0.7)
    first = kept.stream()
    await kept.listing(live(session="s2"))
    assert [call.partition(" ")[0] for call in kept.watchers.calls if "posture" not in call] == [
        "assign",
        "release",
        "assign",
    ]
    assert kept.stream() is not first
    assert kept.stream().last_arrived_at is None
    assert [stream.session for stream in kept.seen_live] == ["s1", "s2"]


async def test_scores_that_persist_begin_an_incident_and_raise_the_posture(kept: Kept) -> None:
    await kept.listing(live())
    await kept.scores(0.7)
    assert kept.watchers.watched[CAM1.stream_id] is Posture.CLOSE  # one suspicious clip
    assert await kept.records() == []
    await kept.scores(0.95, 0.95)
    assert kept.on.notes.states == ["under_review", "urgent"]
    assert kept.watchers.watched[CAM1.stream_id] is Posture.FULL
    (opened,) = kept.on.engine.open_incidents()
    await kept.on.engine.review(opened.record.id, Reviewed(ReviewDecision.DISMISS, "eve", ""))
    await kept.keeper.settled()
    assert kept.watchers.watched[CAM1.stream_id] is Posture.CLOSE
    await kept.scores(*[0.1] * 10)
    assert kept.watchers.watched[CAM1.stream_id] is Posture.CALM


async def test_scores_and_detections_are_counted_by_label_and_only_for_labels_that_are_judged(kept: Kept) -> None:
    clips = growth("livecordon_score_count", label="violence")
    scored = growth("livecordon_score_sum", label="violence")
    detected = growth("livecordon_detections_total", label="violence", severity="act")
    await kept.listing(live())
    for value in (0.95, 0.95):
        await kept.on.clock.advance(1)
        kept.keeper.on_observation(observation(kept.on.clock, (value, 0.5)), ("violence", "made up by a watcher"))
    await kept.keeper.settled()
    assert (clips(), round(scored(), 6), detected()) == (2, 1.9, 1)
    assert sample("livecordon_score_count", label="made up by a watcher") == 0


async def test_a_streams_end_does_not_overtake_its_detection(kept: Kept) -> None:
    await kept.listing(live())
    await kept.on.clock.advance(1)
    for _ in range(2):
        kept.keeper.on_observation(observation(kept.on.clock, (0.95,)), ("violence",))
    await kept.keeper.on_listing(kept.server, ())
    await kept.keeper.settled()
    events = [entry.detail["caused_by"]["event"] for entry in await kept.on.log() if "caused_by" in entry.detail]
    assert events == ["DetectionRaised", "StreamEnded"]
    assert (await kept.records())[0].session == ""


async def test_ends_and_returns_of_an_incidents_stream_are_told_once(tmp_path: Path) -> None:
    async with keeping(tmp_path, protocol="immediate") as kept:
        await kept.listing(live())
        await kept.scores(0.95, 0.95)
        await kept.on.finish(EffectKind.CUT)
        await kept.listing()
        await kept.listing()
        assert kept.on.notes.states[-1] == "contained"
        await kept.listing(live(session="s2"))
        assert kept.on.notes.states[-1] == "containing"
        returns = [entry for entry in await kept.on.log() if entry.detail["caused_by"]["event"] == "StreamReturned"]
        assert len(returns) == 1


async def test_a_restart_goes_on_where_the_incident_stood(tmp_path: Path) -> None:
    async with keeping(tmp_path) as before:
        await before.listing(live())
        await before.scores(0.95, 0.95)
    async with keeping(tmp_path, before.on.clock) as after:
        await after.listing(live())
        assert after.on.notes.decisions == []  # the same publication: neither ended nor returned
        assert after.watchers.watched[CAM1.stream_id] is Posture.FULL
        # What the incident counts on can still be cleared, although this daemon never saw it raised.
        await after.scores(*[0.1] * 8)
        assert [entry.detail["caused_by"]["event"] for entry in await after.on.log()][-1] == "DetectionCleared"


async def test_a_publication_that_went_while_the_daemon_was_away_has_ended_once(tmp_path: Path) -> None:
    async with keeping(tmp_path) as before:
        await before.listing(live())
        await before.scores(0.95, 0.95)
    for wanted in (["StreamEnded"], []):
        async with keeping(tmp_path, before.on.clock) as after:
            await after.listing()
            await after.listing()
            assert len(after.on.notes.decisions) == len(wanted)
    events = [entry.detail["caused_by"]["event"] for entry in await before_log(tmp_path)]
    assert events.count("StreamEnded") == 1


async def before_log(path: Path) -> list[Any]:
    async with bench(path / "store.sqlite3") as on:
        return list(await on.log())


async def test_a_name_that_fits_into_no_address_is_shown_as_not_watched(kept: Kept) -> None:
    kept.server.address_error = UnsafeCallRefused("no")
    await kept.listing(live())
    assert kept.watchers.calls == []
    stream = kept.stream()
    assert (stream.watch_state, stream.watch_reason) == (WatchState.FAILED, "unsafe_call")
    await kept.on.clock.advance(60)
    assert kept.registry.freshness(stream, kept.on.now) is Freshness.BLIND


@pytest.mark.parametrize("scores", [(), (0.1, 0.2), (math.nan,), (1.5,), (-0.1,), (math.inf,)])
async def test_what_makes_no_sense_is_not_taken_for_safe(
    kept: Kept, scores: tuple[float, ...], logged: list[MutableMapping[str, Any]]
) -> None:
    await kept.listing(live())
    kept.keeper.on_observation(observation(kept.on.clock, scores), ("violence",))
    assert kept.stream().last_arrived_at is None
    assert kept.stream().last_scores == {}
    assert [event["event"] for event in logged].count("observation_refused") == 1
    await kept.on.clock.advance(60)
    assert kept.registry.freshness(kept.stream(), kept.on.now) is Freshness.BLIND


async def test_no_watcher_can_make_a_verdict_look_fresh_for_ever(kept: Kept) -> None:
    await kept.listing(live())
    kept.keeper.on_observation(observation(kept.on.clock, (0.1,), later_s=1e6), ("violence",))
    await kept.on.clock.advance(60)
    assert kept.registry.freshness(kept.stream(), kept.on.now) is Freshness.BLIND


async def test_observations_of_streams_that_are_gone_are_dropped(kept: Kept) -> None:
    kept.keeper.on_observation(observation(kept.on.clock, (0.99,)), ("violence",))
    kept.keeper.on_status(StreamStatus(stream_id="edge-nobody", state=WatchState.WATCHING, reason="opened"))
    await kept.keeper.settled()
    assert await kept.records() == []


async def test_a_defect_in_one_piece_of_work_stops_nothing_else(
    kept: Kept, logged: list[MutableMapping[str, Any]]
) -> None:
    kept.watchers.error = ZeroDivisionError()
    await kept.listing(live())
    await kept.listing(live(), live("cam2"))
    assert "assign rtmp://edge/live/cam2 calm" in kept.watchers.calls
    assert "keeper_work_failed" in [event["event"] for event in logged]


async def test_a_posture_that_was_overtaken_is_not_set(kept: Kept) -> None:
    await kept.listing(live())
    await kept.on.clock.advance(1)
    kept.keeper.on_observation(observation(kept.on.clock, (0.7,)), ("violence",))  # asks for close
    await kept.keeper.on_listing(kept.server, (live(session="s2"),))  # a new publication: calm
    await kept.keeper.settled()
    assert kept.watchers.watched[CAM1.stream_id] is kept.stream().posture is Posture.CALM


async def test_a_store_that_is_away_delays_incidents_but_no_posture(kept: Kept) -> None:
    await kept.listing(live())
    kept.on.database.broken = True
    await kept.scores(0.95, 0.95)
    assert kept.watchers.watched[CAM1.stream_id] is Posture.CLOSE
    await kept.listing()
    kept.on.database.broken = False
    await kept.on.engine.catch_up()
    events = [entry.detail["caused_by"]["event"] for entry in await kept.on.log() if "caused_by" in entry.detail]
    assert events == ["DetectionRaised", "StreamEnded"]


async def test_a_secret_name_is_neither_shown_nor_logged(
    tmp_path: Path, logged: list[MutableMapping[str, Any]]
) -> None:
    ref = StreamRef("edge", "live", SECRET)
    async with keeping(tmp_path, secret=True) as kept:
        await kept.listing(live(SECRET))
        await kept.scores(0.95, 0.95, ref=ref)
        await kept.listing()
        assert kept.on.notes.states != []
        assert SECRET not in str(logged)
        async with kept.on.database.transaction() as connection:
            assert connection is not None


async def test_status_is_shown_and_finite_files_are_excused(kept: Kept) -> None:
    ended: list[StreamRef] = []
    kept.server.mark_ended = ended.append  # type: ignore[attr-defined] # makes it an EndsStreams
    await kept.listing(live())
    for state, reason in ((WatchState.WATCHING, "opened"), (WatchState.ENDED, "eof")):
        kept.keeper.on_status(StreamStatus(stream_id=CAM1.stream_id, state=state, reason=reason, detail="h264"))
        assert (kept.stream().watch_state, kept.stream().watch_reason) == (state, reason)
    assert ended == [CAM1]
    await kept.on.clock.advance(600)
    assert kept.registry.freshness(kept.stream(), kept.on.now) is Freshness.FRESH


async def test_incidents_on_other_servers_are_left_alone(kept: Kept) -> None:
    await kept.on.engine.handle(context(ref=StreamRef("other", "live", "x")), ACT)
    await kept.listing()
    assert len(kept.on.notes.decisions) == 1


async def test_an_incident_is_told_once_when_its_stream_is_seen_late_not_at_all_and_again(kept: Kept) -> None:
    def told() -> list[str]:
        return [decision.reason.value for decision in kept.on.notes.decisions if "watched" in decision.reason.value]

    async def look_after(delay_s: float) -> None:
        await kept.on.clock.advance(delay_s)
        kept.keeper.look()
        await kept.keeper.settled()

    await kept.listing(live())
    await kept.scores(0.1, 0.95, 0.95)
    assert kept.on.notes.states[-1] == "urgent"
    await look_after(1)
    await look_after(8)
    seen = [entry.detail["caused_by"] for entry in await kept.on.log()]
    assert {"event": "WatchChanged", "freshness": "fresh"} in seen
    for _ in range(3):
        await look_after(1)
    for _ in range(3):
        await look_after(20)
    assert told() == ["watched_blind"]  # `late` is noted; the protocol does nothing about it
    await kept.scores(0.95)
    kept.keeper.look()
    await kept.keeper.settled()
    caused = [entry.detail["caused_by"] for entry in await kept.on.log()]
    freshness = [one["freshness"] for one in caused if one["event"] == "WatchChanged"]
    assert freshness == ["fresh", "late", "blind", "fresh"]


async def test_a_stream_without_an_incident_tells_nobody(kept: Kept) -> None:
    await kept.listing(live())
    await kept.scores(0.1)
    for delay_s in (0, 15, 30):
        await kept.on.clock.advance(delay_s)
        kept.keeper.look()
        await kept.keeper.settled()
    assert kept.stream().told is Freshness.BLIND
    assert kept.on.notes.decisions == []
    assert kept.on.database.written == 0


async def test_an_incident_taken_up_by_a_restart_hears_of_its_streams_first_verdict(tmp_path: Path) -> None:
    async with keeping(tmp_path) as before:
        await before.listing(live())
        await before.scores(0.95, 0.95)
    async with keeping(tmp_path, before.on.clock) as after:
        await after.listing(live())
        after.keeper.look()
        await after.keeper.settled()
        assert [entry for entry in await after.on.log() if entry.detail["caused_by"]["event"] == "WatchChanged"] == []
        await after.scores(0.95)
        after.keeper.look()
        await after.keeper.settled()
        assert (await after.on.log())[-1].detail["caused_by"] == {"event": "WatchChanged", "freshness": "fresh"}


async def test_detections_on_many_streams_share_commits_and_each_streams_keep_their_order(kept: Kept) -> None:
    refs = [StreamRef("edge", "live", f"crowd{number}") for number in range(20)]
    await kept.listing(*(live(ref.name) for ref in refs))
    written = kept.on.database.written
    for score in (0.99, 0.99, 0.99, 0.99, 0.0):
        await kept.on.clock.advance(1)
        for ref in refs:
            kept.keeper.on_observation(observation(kept.on.clock, (score,), ref=ref), ("violence",))
    await kept.keeper.on_listing(kept.server, ())
    await kept.keeper.settled()
    assert kept.on.database.written - written < len(refs)
    log = await kept.on.log()
    for record in await kept.records():
        told = [entry.detail["caused_by"]["event"] for entry in log if entry.incident_id == record.id]
        assert told[0] == "DetectionRaised"
        assert told[-1] == "StreamEnded"
