"""Strikes and reports for the web layer, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from monitor.vocabulary import Category, OffenceContext
from monitor.web.enforcement_port import Culprit, ReportOutcome, ReportResult, StrikeView
from monitor.web.enforcement_values import PolicyView
from tests.fakes.web_daemon import NOON

GRAVE = PolicyView("live-violence", "No violence", "violence", "most_serious")
MILD = PolicyView("spam", "No spam", "fraud", "other")


class FakeStrikes:
    """Implements `monitor.web.enforcement_port.StrikeService`."""

    def __init__(self) -> None:
        self.knows_accounts = True
        self.knows_addresses = False
        self.everywhere = False
        self.views: list[StrikeView] = []
        self.culprits: list[Culprit] = []

    def policies(self) -> Sequence[tuple[PolicyView, bool]]:
        return [(GRAVE, True), (MILD, False)]

    async def strikes(self) -> Sequence[StrikeView]:
        return tuple(self.views)

    async def add(
        self,
        culprit: Culprit,
        policy: str,
        *,
        context: OffenceContext,
        decided_at: datetime | None,
        by: str,
        why: str,
    ) -> StrikeView:
        assert policy == GRAVE.code
        at = decided_at or NOON
        self.culprits.append(culprit)
        view = StrikeView(
            strike_id=f"strike-{len(self.culprits)}",
            stream_id=None if culprit.ref is None else culprit.ref.stream_id,
            known_by=("stream",) if culprit.ref is not None else ("account",),
            server="studio",
            scope="server",
            policy=GRAVE,
            origin="elsewhere",
            context=context.value,
            number=1,
            decided_at=at,
            until=at + timedelta(days=30),
            expires_at=at + timedelta(days=365),
            incident_id=None,
            by=by,
            why=why,
        )
        self.views.append(view)
        return view

    async def remove(self, strike_id: str, *, by: str, why: str) -> bool:
        assert by
        assert why
        left = [view for view in self.views if view.strike_id != strike_id]
        found, self.views = len(left) < len(self.views), left
        return found


class FakeReports:
    """Implements `monitor.web.enforcement_port.ReportService`; answers as it is told to."""

    def __init__(self) -> None:
        self.result = ReportResult(ReportOutcome.TAKEN, "report-1", "inc-0001")
        self.taken: list[tuple[str, Category, str, str, str]] = []

    async def report(self, stream_id: str, category: Category, *, text: str, reporter: str, by: str) -> ReportResult:
        self.taken.append((stream_id, category, text, reporter, by))
        return self.result
