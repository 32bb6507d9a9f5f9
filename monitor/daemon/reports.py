"""Users' reports: an event for the protocol, a row, and a bound on how many anybody may send."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.clock import Clock
from monitor.config.enforcement import ReportsSection
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.daemon.views import utc
from monitor.effects.identity import Identifier
from monitor.errors import StoreError
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import StreamContext
from monitor.metrics import REPORTS, STORE_FAILURES
from monitor.protocol.events import UserReported
from monitor.store import audit, reports
from monitor.store.database import Database
from monitor.store.reports import ReportRecord
from monitor.vocabulary import Category
from monitor.web.enforcement_port import ReportOutcome, ReportResult

_MINUTE_S: Final = 60.0
_SAME_FOR_S: Final = 3600.0
_MOST_KEYS: Final = 50_000

log = structlog.get_logger()


class RateLimit:
    """So many a minute for each key."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._taken: dict[str, deque[float]] = {}

    def wait_s(self, key: str, now: float) -> float:
        """Return 0, or how long `key` has to wait."""
        taken = self._taken.get(key)
        while taken and taken[0] <= now - _MINUTE_S:
            taken.popleft()
        return 0.0 if taken is None or len(taken) < self._per_minute else taken[0] + _MINUTE_S - now

    def take(self, key: str, now: float) -> None:
        """Count one."""
        if len(self._taken) >= _MOST_KEYS:
            self._taken = {one: taken for one, taken in self._taken.items() if taken[-1] > now - _MINUTE_S}
        self._taken.setdefault(key, deque(maxlen=self._per_minute)).append(now)


class Reports:
    """Implements `monitor.web.enforcement_port.ReportService`."""

    def __init__(
        self,
        database: Database,
        engine: IncidentEngine,
        registry: StreamRegistry,
        clock: Clock,
        *,
        identifier: Identifier,
        settings: ReportsSection,
        context_of: Callable[[WatchedStream, bool], StreamContext],
    ) -> None:
        """Take reports of the streams in `registry`.

        Args:
            database: Where they are recorded.
            engine: Whose protocols are told.
            registry: What is live, or was until lately.
            clock: For limits.
            identifier: Hashes who reports.
            settings: The limits.
            context_of: What the engine needs to know of a stream, and whether it is live.
        """
        self._database = database
        self._engine = engine
        self._registry = registry
        self._clock = clock
        self._identifier = identifier
        self._settings = settings
        self._context_of = context_of
        self._by_reporter = RateLimit(settings.per_reporter)
        self._by_token = RateLimit(settings.per_token)
        self._known: dict[tuple[str, str, str, Category], tuple[float, str | None]] = {}

    async def report(self, stream_id: str, category: Category, *, text: str, reporter: str, by: str) -> ReportResult:
        """Tell the stream's protocol, and record it; see the port.

        A store that refuses does not keep the report from the protocol.
        """
        result = await self._report(stream_id, category, text=text, reporter=reporter, by=by)
        REPORTS.labels(result.outcome.value).inc()
        return result

    async def _report(self, stream_id: str, category: Category, *, text: str, reporter: str, by: str) -> ReportResult:
        now = self._clock.now().timestamp()
        who = self._identifier.of_reporter(by, reporter)
        wait_s = max(self._by_reporter.wait_s(who, now), self._by_token.wait_s(by, now))
        if wait_s > 0:
            return ReportResult(ReportOutcome.TOO_MANY, wait_s=wait_s)
        # What is unknown counts as well: nobody shall find out by trying which streams there are.
        self._by_reporter.take(who, now)
        self._by_token.take(by, now)
        stream = self._registry.get(stream_id)
        ended = None if stream is not None else self._registry.ended(stream_id, now)
        if ended is not None:
            stream = ended.stream
        if stream is None:
            return ReportResult(ReportOutcome.UNKNOWN)
        ended_at = None if ended is None else utc(ended.at)
        key = (who, stream_id, stream.live.session, category)
        if (known := self._known.get(key)) is not None and known[0] > now - _SAME_FOR_S:
            return ReportResult(ReportOutcome.DUPLICATE, incident_id=known[1], ended_at=ended_at)
        self._remember(key, now, None)
        context = self._context_of(stream, ended is None)
        await self._engine.handle(context, UserReported(category.value))
        incident = self._engine.open_incident(stream_id)
        incident_id = None if incident is None else incident.record.id
        self._remember(key, now, incident_id)
        record = ReportRecord(
            id=str(uuid4()),
            at=now,
            stream_id=stream_id,
            incident_id=incident_id,
            category=category.value,
            text=text,
            token=by,
            reporter_hash=who,
            live=ended is None,
        )
        await self._write(record)
        log.warning("user_reported", stream_id=stream_id, category=category.value, by=by, live=record.live)
        outcome = ReportOutcome.TAKEN if ended is None else ReportOutcome.ENDED
        return ReportResult(outcome, report_id=record.id, incident_id=incident_id, ended_at=ended_at)

    async def _write(self, record: ReportRecord) -> None:
        async def work(connection: AsyncConnection) -> None:
            await reports.add(connection, record)
            detail = {
                "report": record.id,
                "stream_id": record.stream_id,
                "category": record.category,
                "reporter": record.reporter_hash,
                "live": record.live,
            }
            await audit.append(
                connection,
                at=record.at,
                actor=record.token,
                action="user_reported",
                incident_id=record.incident_id,
                detail=detail,
            )

        try:
            await self._database.write(work)
        except StoreError as error:
            STORE_FAILURES.inc()
            log.error("report_not_stored", stream_id=record.stream_id, reason=error.reason)  # noqa: TRY400 - says it all

    def _remember(self, key: tuple[str, str, str, Category], now: float, incident_id: str | None) -> None:
        if len(self._known) >= _MOST_KEYS:
            self._known = {one: known for one, known in self._known.items() if known[0] > now - _SAME_FOR_S}
        self._known[key] = (now, incident_id)
