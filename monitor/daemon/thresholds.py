"""Learnt thresholds in the daemon: taught by observations, kept in the store, audited, and handed to every stream."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import metrics
from monitor.clock import Clock
from monitor.config.models import Config, DetectionSection, NginxRtmpServer
from monitor.detect.budget import Standing, Tally
from monitor.detect.learning import Change, Ending, Group, Key, ThresholdLearning
from monitor.detect.persistence import DetectionRule
from monitor.errors import StoreError
from monitor.store import audit, thresholds
from monitor.store.database import Database
from monitor.store.incidents import IncidentRecord
from monitor.store.thresholds import LearntRow
from monitor.vocabulary import ReviewDecision, Severity, StreamRef

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
    return {
        server.name: server.applications if isinstance(server, NginxRtmpServer) else () for server in config.servers
    }


def basis_of(rules: Mapping[str, DetectionRule], model: str) -> str:
    """Return a digest of everything but thresholds that counted detections depend on."""
    counted = {
        label: [rule.review.hits, rule.review.of, rule.act.hits, rule.act.of, rule.clear_ratio, rule.clear_after_s]
        for label, rule in rules.items()
    }
    return hashlib.sha256(json.dumps([model, counted], sort_keys=True).encode()).hexdigest()


class Thresholds:
    """Says by which rules a stream is judged, now.

    Without any budget the configured rules hold, and nothing is counted or kept.
    """

    def __init__(
        self,
        *,
        rules: Mapping[str, DetectionRule],
        budgets: Mapping[Severity, float],
        applications: Mapping[str, tuple[str, ...]],
        model: str,
        database: Database,
        clock: Clock,
        has_incident: Callable[[str], bool],
    ) -> None:
        """Begin with `rules`; see `monitor.detect.learning`.

        Args:
            rules: Per label.
            budgets: As `budgets_of` returns them.
            applications: As `applications_of` returns them.
            model: ``name@version`` of the classifier: what was learnt from another one's scores is not used.
            database: Where all of it is kept.
            clock: When to keep it.
            has_incident: Whether an incident is open on the stream with this id.
        """
        self._rules = dict(rules)
        self._budgets = dict(budgets)
        self._applications = applications
        self._basis = basis_of(rules, model)
        self._database = database
        self._clock = clock
        self._has_incident = has_incident
        self._learning = ThresholdLearning(rules, budgets)
        self._in_force: dict[Group, dict[str, DetectionRule]] = {}
        self.on_change: Callable[[], None] = lambda: None
        """Called when other rules hold than before."""

    async def load(self) -> None:
        """Go on from where the daemon before this one stopped.

        Raises:
            StoreError: the store cannot be read.
        """
        if self._budgets:
            async with self._database.reading() as connection:
                rows = await thresholds.load(connection)
            for row in rows:
                self._restore(row)
        self._show()

    def rules_for(self, ref: StreamRef) -> Mapping[str, DetectionRule]:
        """Return the rules for a stream."""
        group = self._group(ref)
        if group not in self._in_force:
            self._in_force[group] = self._learning.rules_for(group)
        return self._in_force[group]

    def observe(self, stream_id: str, ref: StreamRef, at: float, scores: Mapping[str, float]) -> None:
        """Learn from the scores of one clip that arrived at `at`, Unix time."""
        if not self._budgets:
            return
        open_now = self._has_incident(stream_id)
        self._learning.observe(stream_id, self._group(ref), at, scores, incident=open_now)
        if open_now:
            self._learning.opened(stream_id, at)

    def incident_changed(self, record: IncidentRecord) -> None:
        """Take note that an incident began, changed or ended."""
        if record.closed_at is None:
            self._learning.opened(record.stream_id, self._now())
        else:
            self._learning.closed(record.stream_id, ending_of(record))

    def stream_gone(self, stream_id: str) -> None:
        """Take note that a stream is live no more."""
        self._learning.gone(stream_id)

    async def run(self) -> None:
        """Bring thresholds up to date and keep them, every few minutes, until cancelled."""
        while self._budgets:
            await self._clock.sleep(SAVE_EVERY_S)
            await self.keep()

    async def keep(self) -> None:
        """Bring thresholds up to date and keep what was learnt; a change that is not written does not come into force."""
        if not self._budgets:
            return
        now = self._now()
        self._learning.settle(now)
        before = {key: standing for key, (standing, _) in self._learning.states.items()}
        changes = self._learning.reckon(now)
        rows = [self._row(key, standing, tally, now) for key, (standing, tally) in self._learning.states.items()]

        async def write(connection: AsyncConnection) -> None:
            await thresholds.save(connection, rows)
            for change in changes:
                await audit.append(
                    connection,
                    at=now,
                    actor="daemon",
                    action="threshold_learnt",
                    incident_id=None,
                    detail=self._detail(change),
                )

        try:
            await self._database.write(write)
        except StoreError as error:
            log.warning("thresholds_not_stored", reason=error.reason)
            for key, (_, tally) in self._learning.states.items():
                self._learning.restore(key, before[key], tally, now)
            return
        for change in changes:
            metrics.THRESHOLD_CHANGES.labels(change.key.group[0]).inc()
            log.info("threshold_learnt", **self._detail(change))
        if changes:
            self._in_force.clear()
            self.on_change()
        self._show()

    def _now(self) -> float:
        return self._clock.now().timestamp()

    def _group(self, ref: StreamRef) -> Group:
        return ref.server, ref.app if ref.app in self._applications.get(ref.server, ()) else REST

    def _restore(self, row: LearntRow) -> None:
        tally = Tally.from_dict(row.tally)
        known = row.app == REST or row.app in self._applications.get(row.server, ())
        if tally is None or row.basis != self._basis or row.server not in self._applications or not known:
            log.info("threshold_forgotten", server=row.server, app=row.app, label=row.label, severity=row.severity)
            return
        key = Key((row.server, row.app), row.label, Severity.from_word(row.severity))
        self._learning.restore(key, Standing(**row.standing), tally, row.saved_at)

    def _row(self, key: Key, standing: Standing, tally: Tally, now: float) -> LearntRow:
        return LearntRow(
            server=key.group[0],
            app=key.group[1],
            label=key.label,
            severity=key.severity.word,
            basis=self._basis,
            standing=asdict(standing),
            tally=tally.to_dict(),
            saved_at=now,
        )

    def _detail(self, change: Change) -> dict[str, str | float | bool]:
        key = change.key
        return {
            "server": key.group[0],
            "app": key.group[1],
            "label": key.label,
            "severity": key.severity.word,
            "before": round(self._shown(key, change.before), 4),
            "after": round(self._shown(key, change.after), 4),
            "hours": round(change.hours, 1),
            "budget_per_1000_h": round(self._budgets[key.severity] * 1000, 3),
            "frozen": change.after.frozen,
            "extrapolated": change.after.extrapolated,
        }

    def _shown(self, key: Key, standing: Standing) -> float:
        rule = self._rules[key.label]
        level = rule.act if key.severity is Severity.ACT else rule.review
        return level.threshold if standing.first is None else standing.threshold

    def _show(self) -> None:
        """Bring metrics up to date: one series for each group that the configuration names."""
        for server, applications in self._applications.items():
            metrics.THRESHOLD_CHANGES.labels(server)
            for app in (*applications, REST):
                for label, rule in self._learning.rules_for((server, app)).items():
                    for severity, level in ((Severity.REVIEW, rule.review), (Severity.ACT, rule.act)):
                        metrics.THRESHOLD.labels(server, app, label, severity.word).set(level.threshold)
        for key, (standing, tally) in self._learning.states.items():
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
