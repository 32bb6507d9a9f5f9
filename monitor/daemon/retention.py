"""What has been kept for long enough is deleted: evidence, and the oldest entries of the audit log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from monitor import metrics
from monitor.clock import Clock
from monitor.config.models import Config
from monitor.errors import StoreError
from monitor.evidence.keeping import expired, remove
from monitor.incidents.engine import IncidentEngine
from monitor.store import audit
from monitor.store.database import Database

_EVERY_S: Final = 3600.0

log = structlog.get_logger()


class Retention:
    """Deletes once an hour, and says so in the audit log."""

    def __init__(self, config: Config, engine: IncidentEngine, database: Database, clock: Clock) -> None:
        """Keep as `config.retention` says, and whatever belongs to an incident that `engine` has open."""
        self._keeps = config.retention
        self._root = config.evidence_directory
        self._engine = engine
        self._database = database
        self._clock = clock

    async def run(self) -> None:
        """Delete until cancelled; what fails is counted, logged and tried again."""
        while True:
            await self.sweep()
            await self._clock.sleep(_EVERY_S)

    async def sweep(self) -> None:
        """Delete once what is too old now."""
        for kind, delete in (("evidence", self._delete_evidence), ("audit", self._prune_audit)):
            await self._try(kind, delete)

    async def _try(self, kind: str, delete: Callable[[], Awaitable[int]]) -> None:
        try:
            deleted = await delete()
        except (OSError, StoreError) as error:
            metrics.RETENTION_FAILURES.labels(kind).inc()
            log.error("retention_failed", kind=kind, error=type(error).__name__)  # noqa: TRY400 - a path may tell too much
            return
        metrics.RETENTION_DONE.labels(kind).set(self._clock.now().timestamp())
        if deleted:
            log.info("retention_deleted", kind=kind, deleted=deleted)

    async def _delete_evidence(self) -> int:
        if self._keeps.evidence is None:
            return 0
        before = self._clock.now().timestamp() - self._keeps.evidence
        under_way = {incident.record.id for incident in self._engine.open_incidents()}
        packages = await asyncio.to_thread(expired, self._root, before, kept=under_way)
        for package in packages:
            # First the word, then the deed: of what is gone the log always knows.
            await self._note(package.reference, package.sha256, package.preserved_at)
            await asyncio.to_thread(remove, self._root, package.reference)
            metrics.RETENTION_DELETED.labels("evidence").inc()
        return len(packages)

    async def _note(self, reference: str, sha256: str, preserved_at: float) -> None:
        async with self._database.transaction() as connection:
            await audit.append(
                connection,
                at=self._clock.now().timestamp(),
                actor="daemon",
                action="evidence_deleted",
                incident_id=None,
                detail={"package": reference, "sha256": sha256, "preserved_at": preserved_at},
            )

    async def _prune_audit(self) -> int:
        if self._keeps.audit is None:
            return 0
        now = self._clock.now().timestamp()
        before = min([now - self._keeps.audit, *(one.record.opened_at for one in self._engine.open_incidents())])
        async with self._database.transaction() as connection:
            pruned = await audit.prune(connection, before=before, at=now)
        metrics.RETENTION_DELETED.labels("audit").inc(pruned)
        return pruned
