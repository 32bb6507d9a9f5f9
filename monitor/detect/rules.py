"""Detection rules from the configuration and the model's own operating points."""

from __future__ import annotations

from monitor.classify.package import ModelPackage
from monitor.config.models import DetectionSection
from monitor.detect.persistence import DetectionRule, LevelRule


def rules_for(section: DetectionSection, package: ModelPackage) -> dict[str, DetectionRule]:
    """Return one rule per label of the model; thresholds that the configuration leaves open are the model's."""
    rules = {}
    for label, points in package.manifest.operating_points.items():
        review = points.review if section.review.threshold is None else section.review.threshold
        act = points.act if section.act.threshold is None else section.act.threshold
        rules[label] = DetectionRule(
            review=LevelRule(threshold=review, hits=section.review.hits, of=section.review.of),
            # A review threshold that was raised by hand above the model's act threshold takes that along.
            act=LevelRule(threshold=max(review, act), hits=section.act.hits, of=section.act.of),
            clear_ratio=section.clear_ratio,
            clear_after_s=section.clear_after,
        )
    return rules
