"""Learnt thresholds in the daemon: taught by observations, kept in the store, audited, and handed to every stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import metrics
from monitor.clock import Clock
from monitor.config.models import Config, DetectionSection
from monitor.config.servers import NginxRtmpServer
from monitor.daemon.thresholds_of_model import ModelThresholds
from monitor.detect.learning import Ending, Group
from monitor.detect.persistence import DetectionRule
from monitor.errors import StoreError
from monitor.store import audit, thresholds
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import ReviewDecision, Severity, StreamRef
from monitor.web.threshold_values import ThresholdView

REST: Final = "*"
"""Application of all streams whose own is not named in the configuration."""

SAVE_EVERY_S: Final = 300.0

log = structlog.get_logger()


def budgets_of(section: DetectionSection) -> dict[Severity, float]:
    """Return detections allowed per stream-hour, for each severity that has a budget."""
    asked = {Severity.REVIEW: section.review.budget, Severity.ACT: section.act.budget}
    return {severity: budget for severity, budget in asked.items() if budget is not None}


def applications_of(config: Config) -> dict[str, tuple[str, ...]]:
    """Return the applications that each media server's entry names: each learns by itself, all others together."""
    named = {
        server.name: (*(server.applications if isinstance(server, NginxRtmpServer) else ()), *server.learn_apart)
        for server in config.servers
    }
    return {name: tuple(dict.fromkeys(applications)) for name, applications in named.items()}


class Thresholds:
    """Says by which rules a stream is judged, now.

    Without any budget the configured rules hold, and nothing is counted or kept. What is learnt from one model's scores says
    nothing about another's: each has thresholds of its own, the model in force and, while some streams are still scored by
    it, the one before.
    """

    def __init__(
        self,
        *,
        rules: Mapping[str, DetectionRule],
        budgets: Mapping[Severity, float],
        applications: Mapping[str, tuple[str, ...]],
        model: str,
        digest: str,
        database: Database,
        clock: Clock,
        has_incident: Callable[[str], bool],
    ) -> None:
        """Begin with `rules`; see `monitor.detect.learning`.

        Args:
            rules: Per label.
            budgets: As `budgets_of` returns them.
            applications: As `applications_of` returns them.
            model: ``name@version`` of the classifier.
            digest: Its `ModelPackage.score_digest`: what was learnt from another one's scores is not used.
            database: Where all of it is kept.
            clock: When to keep it.
            has_incident: Whether an incident is open on the stream with this id.
        """
        self._budgets = dict(budgets)
        self._applications = applications
        self._database = database
        self._clock = clock
        self._has_incident = has_incident
        self._current = ModelThresholds(model, digest, rules, budgets)
        self._by_model = {model: self._current}
        self._keeping = asyncio.Lock()
        self.on_change: Callable[[], None] = lambda: None
        """Called when other rules hold than before."""

    async def load(self) -> None:
        """Go on from where the daemon before this one stopped.

        Raises:
            StoreError: the store cannot be read.
        """
        await self._recall(self._current)
        self._show()

    async def prepare(self, model: str, digest: str, rules: Mapping[str, DetectionRule]) -> ModelThresholds:
        """Return what is known for another model's scores, to be given to `adopt`; what was learnt so far is kept before.

        Args:
            model: Its ``name@version``.
            digest: Its `ModelPackage.score_digest`.
            rules: Its rules, per label.

        Raises:
            StoreError: the store cannot be read.
        """
        await self.keep()
        prepared = ModelThresholds(model, digest, rules, self._budgets)
        known = self._by_model.get(model)
        if known is not None and known.basis == prepared.basis:
            return known
        await self._recall(prepared)
        return prepared

    def adopt(self, prepared: ModelThresholds) -> None:
        """From now on learn from the scores of another model, and say its rules; until its streams come, from the last one's, too."""
        self._by_model = {self._current.model: self._current, prepared.model: prepared}
        self._current = prepared
        for gauge in (metrics.THRESHOLD, metrics.THRESHOLD_HOURS, metrics.THRESHOLD_FROZEN):
            # Its labels may be others.
            gauge.clear()
        self._show()

    def knows(self, model: str) -> bool:
        """Whether there are rules for the scores of this model, ``name@version``."""
        return model in self._by_model

    def rules_for(self, ref: StreamRef, model: str | None = None) -> Mapping[str, DetectionRule]:
        """Return the rules for a stream that is scored by `model`; by the one in force, if that is not known."""
        return self._of(model).rules_for(self._group(ref))

    def observe(
        self, stream_id: str, ref: StreamRef, at: float, scores: Mapping[str, float], model: str | None = None
    ) -> None:
        """Learn from the scores that `model` gave to one clip, which arrived at `at`, Unix time."""
        if not self._budgets:
            return
        learning = self._of(model).learning
        open_now = self._has_incident(stream_id)
        learning.observe(stream_id, self._group(ref), at, scores, incident=open_now)
        if open_now:
            learning.opened(stream_id, at)

    def incident_changed(self, record: IncidentRecord) -> None:
        """Take note that an incident began, changed or ended."""
        for one in self._by_model.values():
            if record.closed_at is None:
                one.learning.opened(record.stream_id, self._now())
            else:
                one.learning.closed(record.stream_id, ending_of(record))

    def stream_gone(self, stream_id: str) -> None:
        """Take note that a stream is live no more."""
        for one in self._by_model.values():
            one.learning.gone(stream_id)

    def views(self) -> Sequence[ThresholdView]:
        """Return every threshold of the model in force, by group of streams, for people to see."""
        groups = [(server, app) for server, named in self._applications.items() for app in (*named, REST)]
        return list(self._current.views(groups))

    async def run(self) -> None:
        """Bring thresholds up to date and keep them, every few minutes, until cancelled."""
        while self._budgets:
            await self._clock.sleep(SAVE_EVERY_S)
            await self.keep()

    async def keep(self) -> None:
        """Bring thresholds up to date and keep what was learnt; a change that is not written does not come into force."""
        if self._budgets:
            async with self._keeping:
                await self._keep(self._current)

    async def _keep(self, current: ModelThresholds) -> None:
        now = self._now()
        for one in self._by_model.values():
            one.learning.settle(now)
        before = current.learning.states
        changes = current.learning.reckon(now)
        rows = current.rows(now)

        async def write(connection: AsyncConnection) -> None:
            await thresholds.save(connection, rows)
            for change in changes:
                await audit.append(
                    connection,
                    at=now,
                    actor="daemon",
                    action="threshold_learnt",
                    incident_id=None,
                    detail=current.detail(change),
                )

        try:
            await self._database.write(write)
        except StoreError as error:
            log.warning("thresholds_not_stored", reason=error.reason)
            for key, (standing, tally) in before.items():
                current.learning.restore(key, standing, tally, now)
            return
        for change in changes:
            metrics.THRESHOLD_CHANGES.labels(change.key.group[0]).inc()
            log.info("threshold_learnt", **current.detail(change))
        if changes:
            current.changed()
            self.on_change()
        self._show()

    async def _recall(self, wanted: ModelThresholds) -> None:
        """Go on from what the store holds for these thresholds."""
        if not self._budgets:
            return
        async with self._database.reading() as connection:
            rows = await thresholds.load(connection)
        for row in rows:
            known = row.server in self._applications and row.app in (REST, *self._applications[row.server])
            if not known or not wanted.restore(row):
                log.info("threshold_forgotten", server=row.server, app=row.app, label=row.label, severity=row.severity)

    def _of(self, model: str | None) -> ModelThresholds:
        return self._current if model is None else self._by_model.get(model, self._current)

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _group(self, ref: StreamRef) -> Group:
        return ref.server, ref.app if ref.app in self._applications.get(ref.server, ()) else REST

    def _show(self) -> None:
        """Bring metrics up to date: one series for each group that the configuration names."""
        for server in self._applications:
            metrics.THRESHOLD_CHANGES.labels(server)
        for view in self.views():
            metrics.THRESHOLD.labels(view.server, view.app, view.label, view.severity.word).set(view.threshold)
        for key, (standing, tally) in self._current.learning.states.items():
            labels = (*key.group, key.label, key.severity.word)
            metrics.THRESHOLD_HOURS.labels(*labels).set(tally.hours)
            metrics.THRESHOLD_FROZEN.labels(*labels).set(standing.frozen)


def ending_of(record: IncidentRecord) -> Ending:
    """Return what a closed incident was, as far as learning is concerned."""
    if record.review_decision in {ReviewDecision.DISMISS, ReviewDecision.RELEASE}:
        return Ending.ORDINARY
    if record.review_decision is not None:
        return Ending.ATTACK
    return Ending.DOUBTFUL if record.max_severity == Severity.ACT.word else Ending.ORDINARY
