"""The streams that are live now, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from monitor.config.watching import WatchSection
from monitor.detect.persistence import Detector
from monitor.metrics import STREAMS, STREAMS_WITHHELD, VERDICT_AGE, VERDICT_AGE_MAX
from monitor.protocol.definition import Definition
from monitor.servers.port import LiveStream
from monitor.vocabulary import Freshness, Posture, StreamRef, WatchState

_MOST_ENDED = 10_000


@dataclass(slots=True, eq=False)
class WatchedStream:
    """One live publication and everything that is remembered of it; gone when the publication is.

    Attributes:
        live: As last listed.
        first_seen_at: Unix time of the first listing that showed it.
        last_arrived_at: Unix arrival time of the last scored clip's last frame; None before the first verdict.
        told: How recent its last verdict was when incidents were last told; None before there is anything to tell.
        suspected: A single clip was suspicious: watched more closely before any detection exists.
        model: ``name@version`` of the model whose scores the detector expects.
        excused: It ended by itself (a finite file), so that no verdict is to be expected of it.
        unseen: It is held where not even watchers see it, so that no verdict is to be expected of it until it is released.
        shown_again_at: Unix time at which it was released from that; None if it never was.
    """

    live: LiveStream
    definition: Definition
    detector: Detector
    dry_run: bool
    title: str
    first_seen_at: float
    last_arrived_at: float | None = None
    told: Freshness | None = None
    last_scores: Mapping[str, float] = field(default_factory=dict)
    watch_state: WatchState = WatchState.OPENING
    watch_reason: str = ""
    watch_detail: str = ""
    posture: Posture = Posture.CALM
    suspected: bool = False
    excused: bool = False
    unseen: bool = False
    shown_again_at: float | None = None
    model: str = ""

    @property
    def ref(self) -> StreamRef:
        """Which stream."""
        return self.live.ref

    def verdict_age_s(self, now: float) -> float:
        """Seconds since the last frame that was judged arrived, or since the stream appeared, if only again."""
        return max(0.0, now - max(self.last_arrived_at or self.first_seen_at, self.shown_again_at or 0.0))

    def can_be_seen(self, *, while_held: bool, now: float) -> bool:
        """Note whether watchers can see it now, and return it; `while_held`, whether this server shows them held streams."""
        was_unseen, self.unseen = self.unseen, self.live.held and not while_held
        if self.unseen:
            self.watch_state, self.watch_reason = WatchState.STALLED, "held"
            self.watch_detail = "nobody sees it until it is released"
        elif was_unseen:
            self.shown_again_at = now
        return not self.unseen

    @property
    def is_awaited(self) -> bool:
        """Whether verdicts are to be expected of it."""
        return not (self.excused or self.unseen)


@dataclass(frozen=True, slots=True)
class EndedStream:
    """A stream that is over since `at` (Unix seconds)."""

    stream: WatchedStream
    at: float


class StreamRegistry:
    """All live streams by stream id, and those that were live until lately."""

    def __init__(self, settings: WatchSection, *, remember_ended_s: float = 3600.0) -> None:
        """Judge freshness by the limits of `settings`; remember ended streams for `remember_ended_s`."""
        self._settings = settings
        self._remember_ended_s = remember_ended_s
        self._ended: dict[str, EndedStream] = {}
        self._streams: dict[str, WatchedStream] = {}

    def __iter__(self) -> Iterator[WatchedStream]:
        return iter(list(self._streams.values()))

    def __len__(self) -> int:
        return len(self._streams)

    def get(self, stream_id: str) -> WatchedStream | None:
        """Return a live stream, or None."""
        return self._streams.get(stream_id)

    def address_of(self, ref: StreamRef) -> str | None:
        """Return the address from which a live stream is published, where it is known."""
        stream = self._streams.get(ref.stream_id)
        return None if stream is None else stream.live.publisher_address

    def of_server(self, server: str) -> dict[str, WatchedStream]:
        """Return the live streams of one media server, by stream id."""
        return {key: stream for key, stream in self._streams.items() if stream.ref.server == server}

    def add(self, stream: WatchedStream) -> None:
        """Take in a stream that appeared."""
        self._streams[stream.ref.stream_id] = stream
        self._ended.pop(stream.ref.stream_id, None)

    def remove(self, stream_id: str, at: float | None = None) -> WatchedStream | None:
        """Take out a stream that is gone since `at`; without that it is forgotten at once."""
        stream = self._streams.pop(stream_id, None)
        if stream is not None and at is not None:
            # In the order of their ends: what comes first is dropped first.
            self._ended[stream_id] = EndedStream(stream, at)
            while self._ended and (
                len(self._ended) > _MOST_ENDED or self._is_old(next(iter(self._ended.values())), at)
            ):
                del self._ended[next(iter(self._ended))]
        return stream

    def ended(self, stream_id: str, now: float) -> EndedStream | None:
        """Return a stream that ended lately, or None."""
        found = self._ended.get(stream_id)
        return None if found is None or self._is_old(found, now) else found

    def _is_old(self, ended: EndedStream, now: float) -> bool:
        return ended.at <= now - self._remember_ended_s

    def freshness(self, stream: WatchedStream, now: float) -> Freshness:
        """Say whether a stream's last verdict is recent enough."""
        age_s = stream.verdict_age_s(now)
        if not stream.is_awaited or age_s <= self._settings.late_after:
            return Freshness.FRESH
        return Freshness.LATE if age_s <= self._settings.blind_after else Freshness.BLIND

    def measure(self, now: float) -> list[WatchedStream]:
        """Bring the metrics about streams up to date; return the streams whose freshness, in `told`, has changed."""
        changed = []
        counts = dict.fromkeys(Freshness, 0)
        oldest_s = 0.0
        for stream in self._streams.values():
            freshness = self.freshness(stream, now)
            counts[freshness] += 1
            # Before its first verdict a stream is given time, but that is nothing to tell.
            if freshness is not stream.told and (stream.last_arrived_at or freshness is not Freshness.FRESH):
                stream.told = freshness
                changed.append(stream)
            if stream.is_awaited:
                age_s = stream.verdict_age_s(now)
                VERDICT_AGE.observe(age_s)
                oldest_s = max(oldest_s, age_s)
        for freshness, count in counts.items():
            STREAMS.labels(freshness.value).set(count)
        VERDICT_AGE_MAX.set(oldest_s)
        STREAMS_WITHHELD.labels("held").set(sum(stream.live.held for stream in self._streams.values()))
        return changed
