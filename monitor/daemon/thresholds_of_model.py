"""What was learnt from one model's scores: which rules come of it, and how it is kept, told and shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import structlog

from monitor.detect.budget import Standing, Tally, hours_needed
from monitor.detect.ladder import log_odds_of
from monitor.detect.learning import Change, Group, Key, ThresholdLearning
from monitor.detect.persistence import DetectionRule
from monitor.store.thresholds import LearntRow
from monitor.vocabulary import Severity
from monitor.web.threshold_values import ThresholdView

_PER = 1000.0
_TERMS = ("default", "budget_per_h")

log = structlog.get_logger()


def basis_of(rules: Mapping[str, DetectionRule], digest: str) -> str:
    """Return a digest of everything but thresholds that counted detections depend on.

    Args:
        rules: Per label.
        digest: `ModelPackage.score_digest` of the classifier.
    """
    counted = {
        label: [rule.review.hits, rule.review.of, rule.act.hits, rule.act.of, rule.clear_ratio, rule.clear_after_s]
        for label, rule in rules.items()
    }
    return hashlib.sha256(json.dumps([digest, counted], sort_keys=True).encode()).hexdigest()


class ModelThresholds:
    """Thresholds for one model's scores.

    Attributes:
        model: Its ``name@version``.
        basis: As `basis_of` returns it; what was learnt on another basis is not used.
        learning: What teaches and is taught.
    """

    def __init__(
        self, model: str, digest: str, rules: Mapping[str, DetectionRule], budgets: Mapping[Severity, float]
    ) -> None:
        """Begin with `rules`, per label, which hold until enough was seen for the `budgets`, per stream-hour."""
        self.model = model
        self.basis = basis_of(rules, digest)
        self.learning = ThresholdLearning(rules, budgets)
        self._rules = dict(rules)
        self._budgets = dict(budgets)
        self._in_force: dict[Group, dict[str, DetectionRule]] = {}

    def rules_for(self, group: Group) -> Mapping[str, DetectionRule]:
        """Return the rules in force for streams of a group."""
        if group not in self._in_force:
            self._in_force[group] = self.learning.rules_for(group)
        return self._in_force[group]

    def changed(self) -> None:
        """Look anew at what is in force."""
        self._in_force.clear()

    def restore(self, row: LearntRow) -> bool:
        """Go on from a row; False if that holds nothing for this model and these rules.

        Where the default or the budget was another one then, what was counted is used and what was in force is not.
        """
        tally = Tally.from_dict(row.tally)
        if tally is None or row.basis != self.basis:
            return False
        key = Key((row.server, row.app), row.label, Severity.from_word(row.severity))
        if key.label in self._rules and key.severity in self._budgets:
            kept = dict(row.standing)
            terms = {name: kept.pop(name) for name in tuple(kept) if name in _TERMS}
            standing = Standing(**kept)
            if terms and terms != self._terms(key):
                log.info(
                    "threshold_begins_anew", server=row.server, app=row.app, label=row.label, severity=row.severity
                )
                standing = Standing(log_odds_of(self._default(key)))
            self.learning.restore(key, standing, tally, row.saved_at)
        self.changed()
        return True

    def in_force(self, key: Key) -> float:
        """Return one threshold, learnt or not."""
        rule = self.rules_for(key.group)[key.label]
        return (rule.act if key.severity is Severity.ACT else rule.review).threshold

    def rows(self, now: float) -> list[LearntRow]:
        """Return everything learnt, to be kept."""
        return [
            LearntRow(
                server=key.group[0],
                app=key.group[1],
                label=key.label,
                severity=key.severity.word,
                basis=self.basis,
                standing={**asdict(standing), **self._terms(key)},
                tally=tally.to_dict(),
                saved_at=now,
            )
            for key, (standing, tally) in self.learning.states.items()
        ]

    def detail(self, change: Change) -> dict[str, str | float | bool]:
        """Return what the audit log says of a change."""
        key = change.key
        return {
            "server": key.group[0],
            "app": key.group[1],
            "label": key.label,
            "severity": key.severity.word,
            "model": self.model,
            "before": round(self._threshold(key, change.before), 4),
            "after": round(self._threshold(key, change.after), 4),
            "hours": round(change.hours, 1),
            "budget_per_1000_h": round(self._budgets[key.severity] * _PER, 3),
            "frozen": change.after.frozen,
            "extrapolated": change.after.extrapolated,
        }

    def views(self, groups: Sequence[Group]) -> Iterator[ThresholdView]:
        """Yield every threshold in force in these groups, whether learnt or not."""
        states = self.learning.states
        for group in groups:
            for label, rule in self.rules_for(group).items():
                for severity, level in ((Severity.REVIEW, rule.review), (Severity.ACT, rule.act)):
                    key = Key(group, label, severity)
                    standing, tally = states.get(key, (None, None))
                    yield self._view(key, level.threshold, standing, tally)

    def _view(self, key: Key, threshold: float, standing: Standing | None, tally: Tally | None) -> ThresholdView:
        budget = self._budgets.get(key.severity)
        learnt = standing is not None and standing.first is not None
        rate = None if tally is None else tally.rate_at(threshold)
        return ThresholdView(
            server=key.group[0],
            app=key.group[1],
            label=key.label,
            severity=key.severity,
            threshold=threshold,
            default=self._default(key),
            budget_per_1000_h=None if budget is None else budget * _PER,
            learnt=learnt,
            hours=0.0 if tally is None else tally.hours,
            hours_needed=None if budget is None else hours_needed(budget),
            counted_per_1000_h=None if rate is None else rate * _PER,
            frozen=standing is not None and standing.frozen,
            extrapolated=standing is not None and standing.extrapolated,
            since=datetime.fromtimestamp(standing.moved_at, UTC) if standing is not None and learnt else None,
        )

    def _terms(self, key: Key) -> dict[str, float]:
        """Return what a person said: where it begins, and what it has to keep. Other terms, another beginning."""
        return dict(zip(_TERMS, (self._default(key), self._budgets[key.severity]), strict=True))

    def _default(self, key: Key) -> float:
        rule = self._rules[key.label]
        return (rule.act if key.severity is Severity.ACT else rule.review).threshold

    def _threshold(self, key: Key, standing: Standing) -> float:
        return self._default(key) if standing.first is None else standing.threshold
