"""What can pull a transition: one class per trigger, and each as stored JSON.

Stored JSON keeps numbers of seconds, so that it is exact; the words are those of the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from monitor.vocabulary import EffectKind, EffectOutcome, Freshness, PartnerSignal, ReviewDecision, Severity


class StreamChange(StrEnum):
    """What a publication may do that a protocol can react to."""

    ENDED = "ended"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class OnDetection:
    """A detection was raised to at least `severity`; with ``none``: nothing is detected on the stream any more.

    With a `label`, only what happens to that label counts.
    """

    severity: Severity
    label: str | None = None


@dataclass(frozen=True, slots=True)
class OnEased:
    """The stream, or with a `label` that label alone, was at ``act`` and is not any more."""

    label: str | None = None


@dataclass(frozen=True, slots=True)
class OnReview:
    """A responder decided so."""

    decision: ReviewDecision


@dataclass(frozen=True, slots=True)
class OnEffect:
    """An effect of this kind that this incident asked for ended in one of these ways.

    Only the newest request of the kind counts, unless `late`: then those that a newer one has replaced do, too.
    """

    kind: EffectKind
    outcomes: tuple[EffectOutcome, ...]
    late: bool = False


@dataclass(frozen=True, slots=True)
class OnStream:
    """The publication went away, or came back."""

    change: StreamChange


@dataclass(frozen=True, slots=True)
class OnWatched:
    """The stream's last verdict became so recent, or so old."""

    freshness: Freshness


@dataclass(frozen=True, slots=True)
class OnReport:
    """A user reported the stream; with a `category`, for that reason."""

    category: str | None = None


@dataclass(frozen=True, slots=True)
class OnPartner:
    """Another platform said so."""

    signal: PartnerSignal


@dataclass(frozen=True, slots=True)
class OnKnownContent:
    """The stream shows known content; with a `source`, content of that list."""

    source: str | None = None


@dataclass(frozen=True, slots=True)
class OnViewers:
    """The number of viewers rose to at least `count`, from below."""

    count: int


@dataclass(frozen=True, slots=True)
class OnStrikes:
    """The strikes against the publisher rose to at least `count`, from below; or somebody with so many went live."""

    count: int


@dataclass(frozen=True, slots=True)
class After:
    """So many seconds have passed since the state was entered."""

    delay_s: float


Trigger = (
    OnDetection
    | OnEased
    | OnReview
    | OnEffect
    | OnStream
    | OnWatched
    | OnReport
    | OnPartner
    | OnKnownContent
    | OnViewers
    | OnStrikes
    | After
)


def trigger_out(trigger: Trigger) -> dict[str, Any]:  # noqa: C901, PLR0911 - one per word
    """Return a trigger as JSON values."""
    match trigger:
        case OnDetection(severity, label):
            return {"detection": severity.word} | _label_out(label)
        case OnEased(label):
            return {"eased": True} | _label_out(label)
        case OnReview(decision):
            return {"review": decision.value}
        case OnEffect(kind, outcomes, late):
            values = {"effect": kind.value, "outcome": [outcome.value for outcome in outcomes]}
            return values | ({"late": True} if late else {})
        case OnStream(change):
            return {"stream": change.value}
        case OnWatched(freshness):
            return {"watched": freshness.value}
        case OnReport(category):
            return {"report": category}
        case OnPartner(signal):
            return {"partner": signal.value}
        case OnKnownContent(source):
            return {"known_content": source}
        case OnViewers(count):
            return {"viewers": count}
        case OnStrikes(count):
            return {"strikes": count}
        case After(delay_s):
            return {"after_s": delay_s}


def trigger_in(data: Any) -> Trigger:  # noqa: C901, PLR0911 - one per word
    """Return the trigger that `trigger_out` wrote; KeyError, TypeError or ValueError for anything else."""
    match data:
        case {"detection": word}:
            return OnDetection(Severity.from_word(word), data.get("label"))
        case {"eased": _}:
            return OnEased(data.get("label"))
        case {"review": word}:
            return OnReview(ReviewDecision(word))
        case {"effect": kind, "outcome": outcomes}:
            found = tuple(EffectOutcome(outcome) for outcome in outcomes)
            return OnEffect(EffectKind(kind), found, late=bool(data.get("late", False)))
        case {"stream": word}:
            return OnStream(StreamChange(word))
        case {"watched": word}:
            return OnWatched(Freshness(word))
        case {"report": category}:
            return OnReport(category)
        case {"partner": word}:
            return OnPartner(PartnerSignal(word))
        case {"known_content": source}:
            return OnKnownContent(source)
        case {"viewers": count}:
            return OnViewers(count)
        case {"strikes": count}:
            return OnStrikes(count)
        case _:
            return After(data["after_s"])


def _label_out(label: str | None) -> dict[str, str]:
    return {} if label is None else {"label": label}
