"""The glossary as types: plain values that every room may import and that import nothing of ours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum


class Severity(IntEnum):
    """How bad a detection is, from two thresholds per label; ordered, so ``severity >= Severity.REVIEW`` reads true."""

    NONE = 0
    REVIEW = 1
    ACT = 2

    @property
    def word(self) -> str:
        """The lower-case word used in files, events and JSON."""
        return self.name.lower()

    @classmethod
    def from_word(cls, word: str) -> Severity:
        """Return the severity for its lower-case word; ValueError if there is none."""
        for severity in cls:
            if severity.word == word:
                return severity
        message = f"{word!r} is no severity: use one of {', '.join(s.word for s in cls)}"
        raise ValueError(message)


class Posture(StrEnum):
    """How closely a stream is watched, cheapest first."""

    CALM = "calm"
    CLOSE = "close"
    FULL = "full"

    @property
    def rank(self) -> int:
        """0 for the cheapest; higher watches more closely."""
        return list(Posture).index(self)


class EffectKind(StrEnum):
    """What a protocol may do to the world."""

    PRESERVE = "preserve"
    ALERT = "alert"
    REQUEST_REVIEW = "request_review"
    HOLD = "hold"
    RELEASE = "release"
    CUT = "cut"
    BLOCK = "block"
    UNBLOCK = "unblock"
    SHARE = "share"


class EffectOutcome(StrEnum):
    """How an effect ended.

    `unverified`: it was accepted, but its result could not be confirmed. `unsupported`: this media server, or this
    installation, has no way to do it at all; trying again cannot help.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNVERIFIED = "unverified"
    UNSUPPORTED = "unsupported"


class ReviewDecision(StrEnum):
    """What a responder may decide."""

    CONFIRM = "confirm"
    DISMISS = "dismiss"
    ESCALATE = "escalate"
    RELEASE = "release"


class ReviewReason(StrEnum):
    """Why a responder decided so, in one word that can be counted; what they saw, they write beside it."""

    VIOLENCE_CONFIRMED = "violence_confirmed"
    THREAT_TO_LIFE = "threat_to_life"
    STAGED_OR_GAME = "staged_or_game"
    SPORT = "sport"
    NEWS_OR_DOCUMENTATION = "news_or_documentation"
    WRONG_STREAM = "wrong_stream"
    UNSURE = "unsure"
    OTHER = "other"


class PartnerSignal(StrEnum):
    """What another platform says about content that may be on this stream."""

    RAISED = "raised"
    WITHDRAWN = "withdrawn"


class Category(StrEnum):
    """What a user's report, or a policy, is about: a closed list, so that every reporter has a place for what they saw."""

    VIOLENCE = "violence"
    TERRORISM = "terrorism"
    SELF_HARM = "self_harm"
    MINORS = "minors"
    SEXUAL = "sexual"
    HATE = "hate"
    HARASSMENT = "harassment"
    DANGEROUS_ACTS = "dangerous_acts"
    ANIMALS = "animals"
    ILLEGAL_GOODS = "illegal_goods"
    FRAUD = "fraud"
    PRIVACY = "privacy"
    COPYRIGHT = "copyright"
    OTHER = "other"


class PolicyTier(StrEnum):
    """How grave it is to break a policy."""

    MOST_SERIOUS = "most_serious"
    SERIOUS = "serious"
    OTHER = "other"


class OffenceContext(StrEnum):
    """For what something was shown or shared: anything but `none` is a reason not to punish."""

    NONE = "none"
    NEWS = "news"
    CONDEMNATION = "condemnation"
    DOCUMENTATION = "documentation"


class AlertEvent(StrEnum):
    """Why people and partners are told; the event type is ``livecordon.incident.<value>``."""

    RAISED = "raised"
    UPDATED = "updated"
    CONTAINED = "contained"
    RELEASED = "released"
    DISMISSED = "dismissed"
    CLOSED = "closed"
    ACKNOWLEDGED = "acknowledged"
    REVIEW_OVERDUE = "review_overdue"


class WatchState(StrEnum):
    """What a watcher knows about one stream."""

    OPENING = "opening"
    WATCHING = "watching"
    STALLED = "stalled"
    ENDED = "ended"
    FAILED = "failed"


class Freshness(Enum):
    """Whether a stream's last verdict is recent enough."""

    FRESH = "fresh"
    LATE = "late"
    BLIND = "blind"


@dataclass(frozen=True, slots=True, order=True)
class StreamRef:
    """Which live stream: the configured media server's name, the application on it and the stream's name.

    `app` and `name` come from the publisher and may be hostile, and `name` may be the publisher's stream key.
    Only `stream_id` is fit for logs, metrics, file names and messages between processes.
    """

    server: str
    app: str
    name: str

    @property
    def stream_id(self) -> str:
        """A stable, safe identifier: the server's configured name and 16 hex digits of SHA-256 over app and name."""
        digest = hashlib.sha256(f"{self.app}\0{self.name}".encode("utf-8", "surrogatepass")).hexdigest()
        return f"{self.server}-{digest[:16]}"
