"""Thresholds suggested from recorded ordinary video, or from what a daemon has learnt and its people have decided."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from monitor.detect.budget import FIRST_FALL, PER_DAY, Tally, choose, hours_counted, hours_needed
from monitor.detect.ladder import EpisodeCounter, log_odds_of, score_of
from monitor.detect.learning import Key
from monitor.detect.persistence import DetectionRule
from monitor.evaluation.scoring import Track
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import Posture, ReviewDecision, Severity

_TAIL: Final = 0.025
_PER: Final = 1000.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Detections per 1,000 stream-hours, with the exact 95 % interval of a Poisson process."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What the material says about one threshold.

    Attributes:
        group: Media server and application; empty where files were given.
        budget: Detections allowed per 1,000 stream-hours.
        hours: Stream-hours seen.
        current: The threshold in force: learnt, or in the configuration, or the model's own.
        current_rate: Detections there; None without any hours.
        threshold: The one suggested; None where the hours cannot show that the budget holds.
        rate: Detections there.
        extrapolated: The suggestion lies beyond what was counted.
        hours_needed: From so many hours on a threshold can be suggested for this budget.
        hours_counted: From so many on, without extrapolation.
        confirmed_below: Confirmed incidents that were raised by a clip below the suggestion, of `confirmed`: at risk.
        confirmed, dismissed: Incidents that people decided.
    """

    label: str
    severity: Severity
    group: tuple[str, ...]
    budget: float
    hours: float
    current: float
    current_rate: Rate | None
    threshold: float | None
    rate: Rate | None
    extrapolated: bool
    hours_needed: float
    hours_counted: float
    confirmed_below: int = 0
    confirmed: int = 0
    dismissed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON's types; docs/operating-points.md explains every field."""
        return {
            "label": self.label,
            "severity": self.severity.word,
            "group": list(self.group),
            "budget_per_1000_h": self.budget,
            "hours": self.hours,
            "current": self.current,
            "current_per_1000_h": _rate(self.current_rate),
            "threshold": self.threshold,
            "per_1000_h": _rate(self.rate),
            "extrapolated": self.extrapolated,
            "hours_needed": self.hours_needed,
            "hours_counted": self.hours_counted,
            "confirmed": self.confirmed,
            "confirmed_below": self.confirmed_below,
            "dismissed": self.dismissed,
        }


def poisson_rate(count: float, hours: float) -> Rate:
    """Return detections per 1,000 hours with their interval; `hours` above 0."""
    whole = round(count)
    low = 0.0 if whole == 0 else _solve(whole - 1, 1 - _TAIL)
    high = _solve(whole, _TAIL)
    return Rate(count / hours * _PER, low / hours * _PER, high / hours * _PER)


def count_files(
    tracks: Sequence[Track], rules: Mapping[str, DetectionRule], sampling: Posture
) -> dict[tuple[str, Severity], Tally]:
    """Count detections at every threshold, each file as a stream of its own.

    Args:
        tracks: Scored files.
        rules: Persistence and hysteresis, per label.
        sampling: Which of their windows count.
    """
    found: dict[tuple[str, Severity], Tally] = {}
    for label, rule in rules.items():
        for severity, level in ((Severity.REVIEW, rule.review), (Severity.ACT, rule.act)):
            tally = Tally.empty()
            for track in tracks:
                counter = EpisodeCounter(level.hits, level.of, rule.clear_ratio, rule.clear_after_s)
                raised = np.zeros_like(tally.episodes)
                for window in track.windows[sampling]:
                    raised += counter.observe(window.end_s, window.scores[label])
                tally += Tally(track.length_s / 3600, raised, np.zeros_like(raised))
            found[label, severity] = tally
    return found


def suggest(
    key: tuple[tuple[str, ...], str, Severity],
    tally: Tally,
    budget_per_h: float,
    rule: DetectionRule,
    incidents: Sequence[IncidentRecord] = (),
    *,
    in_force: float | None = None,
) -> Suggestion:
    """Return what was seen, and the threshold that keeps the budget, if so much can be said.

    Args:
        key: Media server and application (or nothing), label and severity.
        tally: Ordinary streams.
        budget_per_h: Detections allowed per stream-hour.
        rule: What the configuration says.
        incidents: Those of this group; ones that nobody decided are not looked at.
        in_force: The threshold with which the daemon watched while it counted; None where files were counted.
    """
    group, label, severity = key
    current = (rule.act if severity is Severity.ACT else rule.review).threshold if in_force is None else in_force
    choice = choose(tally, budget_per_h)
    # Far below, a detection stands nearly all the time, and that is few detections too. And below the threshold in force a
    # daemon does not look as closely as it would with a lower one, so that it counts too few.
    lowest = log_odds_of(current) - (FIRST_FALL if in_force is None else PER_DAY)
    threshold = None if choice is None else score_of(max(choice.log_odds, lowest))
    confirmed = [
        one
        for one in incidents
        if one.label == label and one.review_decision in {ReviewDecision.CONFIRM, ReviewDecision.ESCALATE}
    ]
    return Suggestion(
        label=label,
        severity=severity,
        group=group,
        budget=budget_per_h * _PER,
        hours=tally.hours,
        current=current,
        current_rate=_at(tally, current),
        threshold=threshold,
        rate=None if threshold is None else _at(tally, threshold),
        extrapolated=choice is not None and choice.extrapolated,
        hours_needed=hours_needed(budget_per_h),
        hours_counted=hours_counted(budget_per_h),
        confirmed_below=sum(threshold is not None and one.score < threshold for one in confirmed),
        confirmed=len(confirmed),
        dismissed=sum(one.label == label and one.review_decision == ReviewDecision.DISMISS for one in incidents),
    )


def suggest_learnt(
    tallies: Mapping[Key, Tally],
    budgets: Mapping[Severity, float],
    rules: Mapping[str, DetectionRule],
    incidents: Sequence[IncidentRecord],
    *,
    applications: Mapping[str, Sequence[str]],
    in_force: Mapping[Key, float],
) -> list[Suggestion]:
    """Return a suggestion for every group that a daemon has learnt from, for each budget.

    Args:
        tallies: What was learnt.
        budgets: Detections allowed per stream-hour.
        rules: In force without learning.
        incidents: All that are known.
        applications: The applications that each server's entry names.
        in_force: Thresholds that were learnt.
    """
    found = []
    for key, tally in sorted(tallies.items()):
        if key.severity in budgets and key.label in rules:
            server, app = key.group
            named = applications.get(server, ())
            own = [
                one
                for one in incidents
                if one.server == server and (one.app == app if app in named else one.app not in named)
            ]
            rule = rules[key.label]
            default = (rule.act if key.severity is Severity.ACT else rule.review).threshold
            threshold = in_force.get(key, default)
            own_key = (key.group, key.label, key.severity)
            found.append(suggest(own_key, tally, budgets[key.severity], rule, own, in_force=threshold))
    return found


def _at(tally: Tally, threshold: float) -> Rate | None:
    per_h = tally.rate_at(threshold)
    return None if per_h is None else poisson_rate(per_h * tally.hours, tally.hours)


def _rate(rate: Rate | None) -> dict[str, float] | None:
    return None if rate is None else {"value": rate.value, "low": rate.low, "high": rate.high}


def _solve(count: int, share: float) -> float:
    """Return the mean of the Poisson process that gives `count` or fewer with this probability."""
    low, high = 0.0, 10.0 + 3.0 * count
    for _ in range(100):
        middle = (low + high) / 2
        # Summed in logarithms: a thousand detections would overflow otherwise.
        terms = [number * math.log(middle) - middle - math.lgamma(number + 1) for number in range(count + 1)]
        most = max(terms)
        total = math.exp(most) * sum(math.exp(term - most) for term in terms)
        low, high = (middle, high) if total > share else (low, middle)
    return (low + high) / 2
