"""What the page and the API show of thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from monitor.vocabulary import Severity


@dataclass(frozen=True, slots=True)
class ThresholdView:
    """One threshold in force.

    Attributes:
        app: An application that learns by itself, or ``*`` for all others of the server.
        threshold: The score from which on a clip is a hit.
        default: What held before anything was learnt: from the configuration, or the model's own.
        budget_per_1000_h: Detections allowed in 1,000 stream-hours; None where nothing is learnt.
        learnt: The threshold comes from the operator's own streams.
        hours: Stream-hours seen so far; what lies back counts less.
        hours_needed: From so many on a threshold is learnt; None without a budget.
        counted_per_1000_h: Detections counted at the threshold; None where nothing was seen.
        frozen: What was learnt lies outside the bounds, so that the threshold stays until a person looks.
        extrapolated: It lies beyond what was counted.
        since: Since when it lies where it does; None unless learnt.
    """

    server: str
    app: str
    label: str
    severity: Severity
    threshold: float
    default: float
    budget_per_1000_h: float | None = None
    learnt: bool = False
    hours: float = 0.0
    hours_needed: float | None = None
    counted_per_1000_h: float | None = None
    frozen: bool = False
    extrapolated: bool = False
    since: datetime | None = None
