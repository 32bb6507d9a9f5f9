"""What a model beside the acting one would have said: compared clip by clip, in metrics alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from monitor import metrics
from monitor.detect.persistence import DetectionRule
from monitor.vocabulary import Severity
from monitor.watch.messages import Ready, ShadowScores

log = structlog.get_logger()

Rules = Mapping[str, DetectionRule]


@dataclass(slots=True, eq=False)
class ShadowJudge:
    """Counts agreement and difference. It knows no incident and no protocol: nothing comes of it but numbers.

    Attributes:
        acting_rules: Returns the rules by which a stream is judged, or None for a stream that is gone.
    """

    acting_rules: Callable[[str], Rules | None]
    _rules_by_model: dict[str, Rules] = field(default_factory=dict)

    def use(self, model: str, rules: Rules) -> None:
        """Judge the scores of `model` by `rules` when they come from beside; no other model is expected there."""
        self._rules_by_model = {model: rules}

    def take(self, message: ShadowScores, ready: Ready) -> None:
        """Compare one clip's scores."""
        rules = self._rules_by_model.get(ready.shadow)
        acting_rules = self.acting_rules(message.stream_id)
        if rules is None or acting_rules is None:
            return
        acting = dict(zip(ready.labels, message.scores, strict=True))
        shadow = dict(zip(ready.shadow_labels, message.shadow_scores, strict=True))
        if not all(0 <= score <= 1 for score in (*acting.values(), *shadow.values())):
            log.error("shadow_scores_refused", stream_id=message.stream_id)
            return
        for severity in (Severity.REVIEW, Severity.ACT):
            say = (_reaches(acting, acting_rules, severity), _reaches(shadow, rules, severity))
            metrics.SHADOW_VERDICTS.labels(severity.word, *("yes" if one else "no" for one in say)).inc()
        metrics.SHADOW_SCORES.labels("acting").observe(max(acting.values()))
        metrics.SHADOW_SCORES.labels("shadow").observe(max(shadow.values()))
        if common := acting.keys() & shadow.keys():
            metrics.SHADOW_DIFFERENCE.observe(max(abs(acting[label] - shadow[label]) for label in common))


def _reaches(scores: Mapping[str, float], rules: Rules, severity: Severity) -> bool:
    """Whether a clip counts as a hit at a severity, by whatever label."""
    levels = {label: rule.act if severity is Severity.ACT else rule.review for label, rule in rules.items()}
    return any(scores.get(label, 0.0) >= level.threshold for label, level in levels.items())
