"""What can happen to an incident. Plain values; times are seconds on one timeline that the caller chooses.

The daemon uses Unix time, ``livecordon watch`` uses stream time; the protocol only ever compares and adds.
"""

from __future__ import annotations

from dataclasses import dataclass

from monitor.vocabulary import (
    EffectKind,
    EffectOutcome,
    Freshness,
    PartnerSignal,
    ReviewDecision,
    ReviewReason,
    Severity,
)


@dataclass(frozen=True, slots=True)
class DetectionRaised:
    """Scores persisted: the stream's severity for `label` rose to `severity`.

    Attributes:
        score: That of the clip that tipped it.
        threshold: The score from which clips counted as hits, for whoever looks back; None where it was none of ours.
    """

    label: str
    severity: Severity
    score: float
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class DetectionCleared:
    """Scores stayed low: `label` fell back to `severity` (``none``, or ``review`` from ``act``)."""

    label: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """A deadline of an earlier decision came due. `key` is the `Deadline.key` of that decision."""

    key: str


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A responder decided.

    Attributes:
        by: Their name; ``<name> via <token>`` where somebody else recorded it, or the token is not named after them.
        why: Their own words.
        reason: Why, from the closed list.
    """

    decision: ReviewDecision
    by: str
    why: str
    reason: ReviewReason = ReviewReason.OTHER


@dataclass(frozen=True, slots=True)
class EffectFinished:
    """An effect of this incident ended. `key` is the `EffectRequest.key` of the decision that asked for it."""

    key: str
    kind: EffectKind
    outcome: EffectOutcome


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """The publication is gone from the media server."""


@dataclass(frozen=True, slots=True)
class StreamReturned:
    """A publication of the same name is live again."""


@dataclass(frozen=True, slots=True)
class WatchChanged:
    """The stream's last verdict is now so recent, and was not before: it is seen late, not at all, or again."""

    freshness: Freshness


@dataclass(frozen=True, slots=True)
class UserReported:
    """Somebody who watches the stream reported it; `category` is the operator's own word for why."""

    category: str


@dataclass(frozen=True, slots=True)
class PartnerAlerted:
    """Another platform, known as `partner`, warned of this stream or took its warning back."""

    partner: str
    signal: PartnerSignal


@dataclass(frozen=True, slots=True)
class KnownContentMatched:
    """What is on the stream is on a list of known content; `source` names the list."""

    source: str


@dataclass(frozen=True, slots=True)
class ViewersChanged:
    """So many watch the stream now. Only worth telling where it crosses one of `Definition.viewer_limits`."""

    viewers: int


@dataclass(frozen=True, slots=True)
class StrikesChanged:
    """So many strikes stand against the publisher now."""

    strikes: int


Event = (
    DetectionRaised
    | DetectionCleared
    | DeadlinePassed
    | Reviewed
    | EffectFinished
    | StreamEnded
    | StreamReturned
    | WatchChanged
    | UserReported
    | PartnerAlerted
    | KnownContentMatched
    | ViewersChanged
    | StrikesChanged
)
