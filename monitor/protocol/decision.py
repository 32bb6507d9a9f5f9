"""What the step function takes and gives: the state of one incident, and a decision about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from monitor.vocabulary import EffectKind, Posture, Severity


class Reason(StrEnum):
    """Why a decision is what it is: closed list, logged, counted, shown and stored."""

    DETECTION_RAISED = "detection_raised"
    DETECTION_EASED = "detection_eased"
    DETECTION_CLEARED = "detection_cleared"
    DEADLINE_PASSED = "deadline_passed"
    REVIEW_CONFIRMED = "review_confirmed"
    REVIEW_DISMISSED = "review_dismissed"
    REVIEW_ESCALATED = "review_escalated"
    REVIEW_RELEASED = "review_released"
    REVIEW_NOTED = "review_noted"
    REVIEW_REPEATED = "review_repeated"
    EFFECT_SUCCEEDED = "effect_succeeded"
    EFFECT_FAILED = "effect_failed"
    EFFECT_UNVERIFIED = "effect_unverified"
    EFFECT_UNSUPPORTED = "effect_unsupported"
    STREAM_ENDED = "stream_ended"
    STREAM_RETURNED = "stream_returned"
    WATCHED_FRESH = "watched_fresh"
    WATCHED_LATE = "watched_late"
    WATCHED_BLIND = "watched_blind"
    USER_REPORTED = "user_reported"
    PARTNER_ALERTED = "partner_alerted"
    PARTNER_WITHDREW = "partner_withdrew"
    KNOWN_CONTENT_MATCHED = "known_content_matched"
    VIEWERS_ROSE = "viewers_rose"
    STRIKES_ROSE = "strikes_rose"
    NO_TRANSITION = "no_transition"
    STALE_DEADLINE = "stale_deadline"
    ALREADY_CLOSED = "already_closed"


@dataclass(frozen=True, slots=True)
class IncidentState:
    """All that the step function needs to remember of one incident.

    Attributes:
        state: Name of the protocol state.
        entered_at: When that state was entered, on the caller's timeline, in seconds.
        sequence: Number of decisions that changed state or asked for effects so far; 0 before the first.
        severities: Current severity per label; a label that is absent is ``none``.
        max_severity: Highest severity seen in this incident.
        deadlines: Pending deadlines: key to due time, in seconds on the caller's timeline.
        asked: Per kind of effect, the `sequence` of the decision that asked for it last: outcomes of earlier requests
            are stale. A kind that is absent has not been asked for, or before this was remembered.
        strikes: Strikes that stand against the publisher, as far as the protocol was told.
        viewers: Viewers of the stream, as far as the protocol was told.
        reports: Reports by users in this incident.
        people: How many people must confirm, as the newest request for a review says.
        confirmed_by: Who has confirmed so far, while more people must; empty again once a review has been taken.
    """

    state: str
    entered_at: float
    sequence: int = 0
    severities: Mapping[str, Severity] = field(default_factory=dict)
    max_severity: Severity = Severity.NONE
    deadlines: Mapping[str, float] = field(default_factory=dict)
    asked: Mapping[EffectKind, int] = field(default_factory=dict)
    strikes: int = 0
    viewers: int = 0
    reports: int = 0
    people: int = 1
    confirmed_by: tuple[str, ...] = ()

    @property
    def severity(self) -> Severity:
        """Highest current severity over all labels."""
        return max(self.severities.values(), default=Severity.NONE)


@dataclass(frozen=True, slots=True)
class EffectRequest:
    """An effect to carry out once.

    Attributes:
        key: Unique within the incident and the same however often the decision is recomputed:
            ``<sequence>.<index>.<kind>``.
        parameters: JSON-ready values; durations in seconds with names that end in ``_s``.
    """

    key: str
    kind: EffectKind
    parameters: Mapping[str, str | float | int | bool | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What one event led to.

    Attributes:
        reason: Why.
        before: State name before the event.
        after: The whole incident state after it. `after.deadlines` replaces the pending deadlines.
        effects: To carry out, in this order.
        posture: How closely the stream is to be watched from now on.
        closed: The incident reached a final state with this decision or before.
    """

    reason: Reason
    before: str
    after: IncidentState
    effects: tuple[EffectRequest, ...]
    posture: Posture
    closed: bool

    @property
    def transitioned(self) -> bool:
        """Whether a state was entered (also the same one again)."""
        return self.reason not in _STAYS


_STAYS: Final = frozenset(
    {
        Reason.NO_TRANSITION,
        Reason.STALE_DEADLINE,
        Reason.ALREADY_CLOSED,
        Reason.REVIEW_NOTED,
        Reason.REVIEW_REPEATED,
    }
)
