from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from monitor.errors import NoVideoError, SourceError, SourceLimitError, SourceOpenError, SourceStalledError
from monitor.video.source import SourceInfo
from monitor.vocabulary import Posture, WatchState
from monitor.watch.admission import DecodeAdmission
from monitor.watch.backoff import Backoff
from monitor.watch.messages import StreamStatus
from monitor.watch.openings import Openings
from monitor.watch.pending import PendingClips
from monitor.watch.recent import RecentSamples
from monitor.watch.stream import StreamPorts, StreamWatch
from tests.fakes.recorder import Recorder
from tests.fakes.sources import HANG, SPEC, UNTIL_STOPPED, Script, clip, sample

OPENING = (WatchState.OPENING, "opening")
WATCHING = (WatchState.WATCHING, "opened")
EOF = (WatchState.ENDED, "eof")


def said(statuses: list[StreamStatus]) -> list[tuple[WatchState, str]]:
    return [(status.state, status.reason) for status in statuses]


class Bench:
    """One stream watch with a scripted source, and all that it says."""

    def __init__(
        self,
        script: Script,
        url: str,
        retry: Backoff | None,
        after_end: Backoff | None,
        *,
        tries: int = 0,
        openings: Openings | None = None,
    ) -> None:
        self.script = script
        self.statuses: Recorder[StreamStatus] = Recorder()
        self.pending = PendingClips()
        self.recent = RecentSamples()
        ports = StreamPorts(
            open_source=script.open,
            clip_spec=SPEC,
            open_timeout_s=1.0,
            read_timeout_s=1.0,
            decode_slots=DecodeAdmission(1),
            openings=openings or Openings(lambda: False),
            nice=0,
            pending=self.pending,
            recent=self.recent,
            report=self.statuses,
        )
        quick = Backoff(0.01, 0.02)
        self.watch = StreamWatch(
            "s", url, Posture.CALM, ports, tries, _retry=retry or quick, _after_end=after_end or quick
        )

    def until_said(self, *wanted: tuple[WatchState, str]) -> list[StreamStatus]:
        return self.statuses.until(lambda items: said(items)[: len(wanted)] == list(wanted))


@contextmanager
def watching(
    script: Script,
    url: str = "rtmp://h/a/key",
    retry: Backoff | None = None,
    after_end: Backoff | None = None,
    *,
    tries: int = 0,
    openings: Openings | None = None,
) -> Iterator[Bench]:
    bench = Bench(script, url, retry, after_end, tries=tries, openings=openings)
    bench.watch.start()
    try:
        yield bench
    finally:
        script.unhang.set()
        bench.watch.release()
        assert bench.watch.join(10)
        assert script.closed == script.opened - sum(
            isinstance(script.connections[min(number, len(script.connections) - 1)], BaseException)
            for number in range(script.opened)
        )


def test_a_stream_is_opened_and_its_clips_wait_for_inference() -> None:
    with watching(Script([[clip(1.0), UNTIL_STOPPED]])) as bench:
        statuses = bench.until_said(OPENING, WATCHING)
        assert statuses[1].detail == "h264 1280x720 at 30 frames per second"
        (pending,) = bench.pending.take(1, 0)
        assert pending.stream_id == "s"
        assert pending.clip.times_s[-1] == 1.0
        assert bench.script.live == [True]


def test_a_stream_that_left_is_gone_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        with watching(Script([[clip(1.0), UNTIL_STOPPED]])) as bench:
            bench.until_said(OPENING, WATCHING)
            bench.pending.take(1, 0)
            reference = weakref.ref(bench.watch)
        del bench
        assert reference() is None
    finally:
        gc.enable()


def test_an_end_is_told_once_however_often_the_stream_cannot_be_opened_again() -> None:
    script = Script(
        [[clip(1.0)], SourceOpenError("gone"), SourceStalledError("x"), SourceOpenError("gone"), [UNTIL_STOPPED]]
    )
    with watching(script) as bench:
        bench.until_said(OPENING, WATCHING, EOF, WATCHING)


def test_a_stall_is_told_apart_from_an_end_and_from_a_failure() -> None:
    script = Script(
        [
            [clip(1.0), SourceStalledError("silence")],
            SourceOpenError("refused"),
            NoVideoError("sound only"),
            [clip(1.0), SourceError("broken pipe")],
            [UNTIL_STOPPED],
        ]
    )
    with watching(script) as bench:
        bench.until_said(
            OPENING,
            WATCHING,
            (WatchState.STALLED, "stalled"),
            OPENING,
            (WatchState.FAILED, "open_failed"),
            OPENING,
            (WatchState.FAILED, "no_video"),
            OPENING,
            WATCHING,
            (WatchState.FAILED, "source_failed"),
            OPENING,
            WATCHING,
        )


def test_what_cannot_get_better_is_not_hammered_but_a_new_assignment_tries_at_once() -> None:
    script = Script([SourceLimitError("8192x8192"), [UNTIL_STOPPED]])
    with watching(script) as bench:
        statuses = bench.until_said(OPENING, (WatchState.FAILED, "over_budget"))
        assert statuses[1].detail == "8192x8192"
        assert bench.script.opened == 1
        bench.watch.wake()
        bench.until_said(OPENING, (WatchState.FAILED, "over_budget"), OPENING, WATCHING)


def test_a_wake_ends_a_long_wait_after_an_end() -> None:
    with watching(Script([[clip(1)], [UNTIL_STOPPED]]), after_end=Backoff(3600, 3600)) as bench:
        bench.until_said(OPENING, WATCHING, EOF)
        bench.watch.wake()
        bench.until_said(OPENING, WATCHING, EOF, WATCHING)


@pytest.mark.parametrize(
    ("error", "reason"), [(RuntimeError("rtmp://h/a/secret"), "internal_error"), (MemoryError(), "over_budget")]
)
def test_a_thread_survives_what_nobody_foresaw_and_never_quotes_it(error: Exception, reason: str) -> None:
    with watching(Script([[error], [UNTIL_STOPPED]])) as bench:
        statuses = bench.until_said(OPENING, WATCHING, (WatchState.FAILED, reason), OPENING, WATCHING)
        assert not any("secret" in status.detail for status in statuses)


def test_addresses_in_error_messages_do_not_leave_the_thread() -> None:
    with watching(Script([SourceOpenError("cannot open rtmp://user:pw@h/live/key?token=abc")])) as bench:
        failed = bench.until_said(OPENING, (WatchState.FAILED, "open_failed"))[1]
        assert not any(secret in failed.detail for secret in ("pw", "key", "abc"))
        assert failed.detail


def test_the_first_retry_after_a_break_is_immediate_and_later_ones_wait() -> None:
    bench = Bench(Script([SourceOpenError("x")]), "rtmp://h/a/k", None, None)
    fresh = StreamWatch("s", "rtmp://h/a/k", Posture.CALM, bench.watch.ports)
    assert fresh._retry.next_s() == 0
    assert 0.25 <= fresh._retry.next_s() <= 0.5
    assert fresh._after_end.next_s() >= 0.5


def test_a_connection_that_breaks_soon_each_time_is_retried_ever_more_slowly() -> None:
    backoff = Backoff(0.01, 0.02)
    with watching(Script([[clip(1.0), SourceError("x")]]), retry=backoff) as bench:
        bench.statuses.until(lambda items: len(items) >= 12)
        assert backoff._tries >= 3


def test_release_ends_the_thread_and_nothing_is_said_afterwards() -> None:
    script = Script([[clip(1.0), UNTIL_STOPPED]])
    with watching(script) as bench:
        bench.until_said(OPENING, WATCHING)
        bench.watch.release()
        assert bench.watch.join(10)
        assert said(bench.statuses.items) == [OPENING, WATCHING]
        assert bench.pending.dropped() in ({}, {"stopped": 1})
        assert script.closed == 1


def test_release_ends_a_wait_between_tries() -> None:
    with watching(Script([SourceLimitError("x")])) as bench:
        bench.until_said(OPENING, (WatchState.FAILED, "over_budget"))
        bench.watch.release()
        assert bench.watch.join(10)


def test_the_posture_is_asked_for_while_the_stream_is_open() -> None:
    script = Script([[HANG, sample(1, 1), UNTIL_STOPPED]])
    with watching(script) as bench:
        bench.until_said(OPENING, WATCHING)
        bench.watch.posture = Posture.FULL
        script.unhang.set()
        bench.watch.release()
        bench.watch.join(10)
    assert script.postures[-1] in {Posture.FULL, Posture.CALM}


def test_kept_samples_become_evidence() -> None:
    with watching(
        Script([[sample(1.0, 100.0, b"one"), sample(2.0, 101.0, b"two"), clip(2.0), UNTIL_STOPPED]])
    ) as bench:
        bench.pending.take(1, 0)
        frames = bench.recent.evidence(1, "s").frames
        assert [(frame.time_s, frame.arrived_at, frame.jpeg) for frame in frames] == [
            (1.0, 100.0, b"one"),
            (2.0, 101.0, b"two"),
        ]


def test_a_thread_that_hangs_is_called_stalled_until_its_next_packet() -> None:
    script = Script([[HANG, clip(1.0), UNTIL_STOPPED]])
    with watching(script) as bench:
        bench.until_said(OPENING, WATCHING)
        bench.watch.report_hung()
        bench.watch.report_hung()
        script.unhang.set()
        statuses = bench.until_said(OPENING, WATCHING, (WatchState.STALLED, "hung"), WATCHING)
        assert statuses[3].detail == statuses[1].detail


def test_silence_counts_while_the_thread_is_busy_and_not_while_it_waits() -> None:
    now_s = [1000.0]
    script = Script([[HANG, SourceLimitError("x")]])
    bench = Bench(script, "rtmp://h/a/k", None, None)
    ports = replace(bench.watch.ports, monotonic_s=lambda: now_s[0])
    watch = StreamWatch("s", "rtmp://h/a/k", Posture.CALM, ports)
    watch.start()
    try:
        bench.until_said(OPENING, WATCHING)
        now_s[0] += 77
        assert watch.silent_for_s() == 77
        script.unhang.set()
        bench.until_said(OPENING, WATCHING, (WatchState.FAILED, "over_budget"))
        deadline = time.monotonic() + 10
        while watch.silent_for_s() and time.monotonic() < deadline:
            threading.Event().wait(0.005)
        now_s[0] += 1000
        assert watch.silent_for_s() == 0
    finally:
        script.unhang.set()
        watch.release()
        assert watch.join(10)


def test_a_file_is_handed_out_at_the_speed_of_life() -> None:
    script = Script([[clip(0.1, arrived_at=1.0), clip(0.2, arrived_at=1.0), clip(0.5, arrived_at=1.0)]])
    with watching(script, url="/videos/file.mp4", after_end=Backoff(60, 60)) as bench:
        begun = time.monotonic()
        bench.until_said(OPENING, WATCHING, EOF)
        assert time.monotonic() - begun >= 0.35
        assert script.live == [False]
        assert bench.pending.take(1, 0)[0].clip.arrived_at > 1e9


def test_a_live_stream_is_never_held_back() -> None:
    with watching(Script([[clip(0.0), clip(1000.0)]]), after_end=Backoff(60, 60)) as bench:
        bench.until_said(OPENING, WATCHING, EOF)


def test_releasing_a_file_does_not_wait_for_its_next_clip() -> None:
    with watching(Script([[clip(0.0), clip(14.0)]]), url="file:///video.mp4") as bench:
        bench.until_said(OPENING, WATCHING)
        begun = time.monotonic()
        bench.watch.release()
        assert bench.watch.join(5)
        assert time.monotonic() - begun < 5


def test_a_stream_of_no_size_is_called_watched_only_when_something_was_decoded() -> None:
    script = Script([[SourceError("nothing to decode")], [SourceError("again")], [clip(1.0), UNTIL_STOPPED]])
    script.info = SourceInfo("h264", 0, 0, None, "flv")
    failed = (WatchState.FAILED, "source_failed")
    with watching(script) as bench:
        statuses = bench.until_said(OPENING, failed, OPENING, failed, OPENING, WATCHING)
        assert statuses[-1].detail == "h264"


def test_tries_that_failed_elsewhere_count_on() -> None:
    script = Script([SourceOpenError("dead"), SourceOpenError("dead"), [clip(1.0), UNTIL_STOPPED]])
    retry = Backoff(0.01, 1.0, immediate=1)
    with watching(script, retry=retry, tries=6) as bench:
        failed = (WatchState.FAILED, "open_failed")
        statuses = bench.until_said(OPENING, failed, OPENING, failed, OPENING, WATCHING)
        assert [status.tries for status in statuses] == [6, 7, 7, 8, 8, 8]
        assert retry._tries == 8


def test_a_stream_that_waits_for_its_turn_to_open_says_so_and_is_not_hung() -> None:
    openings = Openings(lambda: False, most=1)
    assert openings.enter(lambda: Posture.FULL, failed=False, stop=threading.Event(), on_wait=lambda: None)
    with watching(Script([[clip(1.0), UNTIL_STOPPED]]), openings=openings) as bench:
        bench.until_said((WatchState.OPENING, "waiting_to_open"))
        assert bench.watch.silent_for_s() == 0.0
        assert bench.script.opened == 0
        openings.leave(failed=False)
        bench.until_said((WatchState.OPENING, "waiting_to_open"), OPENING, WATCHING)
    # It gave its place back.
    assert openings.enter(lambda: Posture.CALM, failed=False, stop=threading.Event(), on_wait=lambda: None)
