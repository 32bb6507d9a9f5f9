"""A daemon for the web layer, in memory: the tests change it and see what page and API make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from monitor.errors import GateRequestError, StoreError
from monitor.protocol.decision import Reason
from monitor.servers.port import GateReply, RawGateRequest
from monitor.store.silences import SilenceKind
from monitor.vocabulary import (
    AlertEvent,
    EffectKind,
    EffectOutcome,
    Freshness,
    Posture,
    ReviewDecision,
    ReviewReason,
    Severity,
    StreamRef,
    WatchState,
)
from monitor.web.changes import ChangeSignal
from monitor.web.enforcement_values import BlockView, NewBlock
from monitor.web.people_port import SilenceView
from monitor.web.port import (
    Check,
    DeliveryState,
    DeliveryView,
    EffectView,
    EvidenceView,
    IncidentDetail,
    IncidentView,
    ReviewOutcome,
    ReviewResult,
    ReviewView,
    ServerView,
    StreamView,
    TimelineEntry,
)
from monitor.web.threshold_values import ThresholdView

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class SteppedClock:
    """Stands still until told otherwise."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.at_s - 1000.0)

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, delay_s: float) -> None:
        self.at_s += delay_s


def stream(name: str = "cam1", *, title: str | None = None, **changes: object) -> StreamView:
    """One healthy stream on the server ``studio``."""
    ref = StreamRef("studio", "live", name)
    view = StreamView(
        stream_id=ref.stream_id,
        server="studio",
        title=title if title is not None else f"live/{name}",
        state=WatchState.WATCHING,
        freshness=Freshness.FRESH,
        posture=Posture.CALM,
        severity=Severity.NONE,
        last_scores={"violence": 0.0312},
        verdict_age_s=1.4,
        viewers=12,
        protocol="assisted",
        incident_id=None,
        since=NOON - timedelta(minutes=5),
        detail="H264 1280x720",
    )
    return replace(view, **changes)  # type: ignore[arg-type] # each test names fields of its own


def incident(number: int = 1, *, name: str = "cam1", title: str | None = None, **changes: object) -> IncidentView:
    """One open incident that awaits a review."""
    ref = StreamRef("studio", "live", name)
    view = IncidentView(
        incident_id=f"inc-{number:04d}",
        stream_id=ref.stream_id,
        server="studio",
        title=title if title is not None else f"live/{name}",
        protocol="assisted",
        state="review",
        severity=Severity.ACT,
        max_severity=Severity.ACT,
        sequence=2,
        opened_at=NOON - timedelta(seconds=25),
        updated_at=NOON - timedelta(seconds=20),
        closed_at=None,
        reviewable=True,
        review_due=NOON + timedelta(seconds=95),
    )
    return replace(view, **changes)  # type: ignore[arg-type] # each test names fields of its own


def detail_of(summary: IncidentView) -> IncidentDetail:
    """A plausible history for `summary`."""
    began = summary.opened_at
    return IncidentDetail(
        summary=summary,
        severities={"violence": summary.severity},
        timeline=(
            TimelineEntry(
                began, "watcher", Reason.DETECTION_RAISED, "watching", "close_look", "violence 0.91 at review"
            ),
            TimelineEntry(began + timedelta(seconds=5), "watcher", Reason.DETECTION_RAISED, "close_look", "review"),
        ),
        effects=(
            EffectView(
                "1.0.preserve", EffectKind.PRESERVE, began, began + timedelta(seconds=1.2), EffectOutcome.SUCCEEDED, 1
            ),
            EffectView("2.0.alert", EffectKind.ALERT, began + timedelta(seconds=5), None, None, 2),
        ),
        deliveries=(
            DeliveryView("on-call", AlertEvent.RAISED, DeliveryState.DELIVERED, 1, "", began + timedelta(seconds=6)),
            DeliveryView("partner", AlertEvent.RAISED, DeliveryState.PENDING, 3, "timeout", began),
        ),
        evidence=(EvidenceView(f"{summary.incident_id}/1.0", began, 48, 31, 1_468_006, "9f" * 32),),
    )


class FakeDaemon:
    """Implements every port of `monitor.web.port`; all lists may be changed, then `notify`."""

    def __init__(self) -> None:
        self.signal = ChangeSignal()
        self.model = "violent-motion@1"
        self.dry_run = False
        self.stream_views: list[StreamView] = [stream()]
        self.server_views: list[ServerView] = [ServerView("studio", "nginx_rtmp", True, "", False, 1)]
        self.threshold_views: list[ThresholdView] = []
        self.live_checks: list[Check] = [Check("event_loop", ok=True, detail="0.4 ms late")]
        self.started_checks: list[Check] = [Check("watcher", ok=True)]
        self.ready_checks: list[Check] = [Check("model", ok=True), Check("store", ok=True, detail="written 1 s ago")]
        self.details: dict[str, IncidentDetail] = {}
        self.block_views: list[BlockView] = []
        self.silence_views: list[SilenceView] = []
        self.removed: list[tuple[StreamRef, str, str]] = []
        self.gate_requests: list[tuple[str, RawGateRequest]] = []
        self.gate_error: Exception | None = None
        self.gate_reply = GateReply(200, b"ok")
        self.store_broken = False
        self.clock = SteppedClock()

    def notify(self) -> None:
        self.signal.notify()

    def open(self, summary: IncidentView) -> IncidentView:
        self.details[summary.incident_id] = detail_of(summary)
        self.notify()
        return summary

    # DaemonView

    def streams(self) -> Sequence[StreamView]:
        return tuple(self.stream_views)

    def servers(self) -> Sequence[ServerView]:
        return tuple(self.server_views)

    def thresholds(self) -> Sequence[ThresholdView]:
        return tuple(self.threshold_views)

    def ref_of(self, stream_id: str) -> StreamRef | None:
        ref = StreamRef("studio", "live", "cam1")
        return ref if ref.stream_id == stream_id else None

    def live(self) -> Sequence[Check]:
        return self.live_checks

    def ready(self) -> Sequence[Check]:
        return self.ready_checks

    def started(self) -> Sequence[Check]:
        return self.started_checks

    @property
    def revision(self) -> int:
        return self.signal.revision

    async def wait_changed(self, after: int) -> int:
        return await self.signal.wait_changed(after)

    # IncidentService

    async def incidents(
        self, *, limit: int, open_only: bool = False, after: str | None = None
    ) -> Sequence[IncidentView]:
        self._need_store()
        found = sorted((d.summary for d in self.details.values()), key=lambda view: view.incident_id, reverse=True)
        if after is not None:
            ids = [view.incident_id for view in found]
            found = found[ids.index(after) + 1 :] if after in ids else []
        return [view for view in found if not open_only or view.closed_at is None][:limit]

    async def incident(self, incident_id: str) -> IncidentDetail | None:
        self._need_store()
        return self.details.get(incident_id)

    async def review(
        self,
        incident_id: str,
        decision: ReviewDecision,
        *,
        by: str,
        why: str,
        reason: ReviewReason = ReviewReason.OTHER,
    ) -> ReviewResult:
        self._need_store()
        detail = self.details.get(incident_id)
        if detail is None:
            return ReviewResult(ReviewOutcome.UNKNOWN)
        summary = detail.summary
        if summary.review is not None:
            return ReviewResult(ReviewOutcome.ALREADY_DECIDED, summary.state, summary.review, standing=detail.standing)
        if summary.closed_at is not None:
            return ReviewResult(ReviewOutcome.CLOSED, summary.state)
        if not summary.reviewable:
            return ReviewResult(ReviewOutcome.NOT_AWAITED, summary.state)
        if decision is ReviewDecision.CONFIRM and len(summary.confirmed_by) + 1 < summary.people:
            confirmed = (*summary.confirmed_by, by)
            self.details[incident_id] = replace(detail, summary=replace(summary, confirmed_by=confirmed))
            self.notify()
            return ReviewResult(ReviewOutcome.NOTED, summary.state, confirmed_by=confirmed, people=summary.people)
        taken = ReviewView(decision, by, why, self.clock.now(), reason)
        dismissed = decision is ReviewDecision.DISMISS
        after = replace(
            summary,
            state="dismissed" if dismissed else "contain",
            review=taken,
            reviewable=False,
            review_due=None,
            closed_at=self.clock.now() if dismissed else None,
        )
        self.details[incident_id] = replace(detail, summary=after)
        self.notify()
        return ReviewResult(ReviewOutcome.ACCEPTED, after.state, taken)

    # BlockService

    async def blocks(self) -> Sequence[BlockView]:
        self._need_store()
        return tuple(self.block_views)

    async def add(self, ref: StreamRef, *, until: datetime | None, by: str, why: str) -> BlockView:
        self._need_store()
        view = BlockView(ref, f"{ref.app}/{ref.name}", self.clock.now(), until, by, why)
        self.block_views = [view, *(old for old in self.block_views if old.ref != ref)]
        return view

    async def add_many(self, blocks: Sequence[NewBlock], *, by: str) -> None:
        for one in blocks:
            await self.add(one.ref, until=one.until, by=by, why=one.why)

    async def remove(self, ref: StreamRef, *, by: str, why: str) -> bool:
        self._need_store()
        before = len(self.block_views)
        self.block_views = [view for view in self.block_views if view.ref != ref]
        self.removed.append((ref, by, why))
        return len(self.block_views) < before

    def is_blocked(self, ref: StreamRef) -> bool:
        return any(view.ref == ref for view in self.block_views)

    # QuietService

    @property
    def longest_s(self) -> float:
        return 86400.0

    def silences(self) -> Sequence[SilenceView]:
        return tuple(self.silence_views)

    async def begin(
        self, kind: SilenceKind, *, server: str | None, pattern: str | None, until: datetime, owner: str, reason: str
    ) -> SilenceView:
        self._need_store()
        number = len(self.silence_views) + 1
        view = SilenceView(f"quiet-{number}", kind, server, pattern, owner, reason, self.clock.now(), until)
        self.silence_views.append(view)
        return view

    async def end(self, silence_id: str, *, by: str, why: str) -> bool:
        self._need_store()
        left = [view for view in self.silence_views if view.silence_id != silence_id]
        ended = len(left) < len(self.silence_views)
        self.silence_views = left
        return ended

    # GateService

    async def decide(self, server_name: str, request: RawGateRequest) -> GateReply:
        self.gate_requests.append((server_name, request))
        if self.gate_error is not None:
            raise self.gate_error
        if b"name=" not in request.body:
            raise GateRequestError("no name")
        return self.gate_reply

    def reply(self, server_name: str, *, allow: bool) -> GateReply | None:
        if server_name != "studio":
            return None
        return GateReply(200, b"open") if allow else GateReply(403, b"no")

    def _need_store(self) -> None:
        if self.store_broken:
            raise StoreError("the disk is full")
