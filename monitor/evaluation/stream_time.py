"""One source judged in stream time: what the daemon would have decided, with nothing cut and nothing sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from monitor.detect.persistence import DetectionRule, Detector, Raised
from monitor.errors import LivecordonError
from monitor.protocol.decision import Decision, EffectRequest, IncidentState
from monitor.protocol.definition import Definition
from monitor.protocol.events import DeadlinePassed, DetectionCleared, DetectionRaised, EffectFinished, Event, Reviewed
from monitor.protocol.step import step
from monitor.vocabulary import EffectOutcome, Posture, ReviewDecision, Severity

Record = dict[str, Any]
"""One line of ``livecordon watch --json``; `type` says which kind."""

_DIGITS = 3
_MOST_EFFECTS_AT_ONCE = 200


@dataclass(slots=True, eq=False)
class StreamTimeRun:
    """Feeds scores to the real detector and protocol; deadlines run in stream time.

    Every effect counts as done at once, so that the protocol goes on as it would behind a media server that obeys.
    A protocol that then never comes to rest raises LivecordonError (`reason` ``endless_protocol``).

    Attributes:
        clips: Clips judged so far.
        max_severity: Highest severity that was raised.
        seen_until_s: Stream time of the newest clip.
    """

    definition: Definition
    rules: Mapping[str, DetectionRule]
    clips: int = 0
    max_severity: Severity = Severity.NONE
    seen_until_s: float = 0.0
    _incident: IncidentState | None = None
    _closed: bool = False
    _posture: Posture = Posture.CALM
    _detector: Detector = field(init=False)

    def __post_init__(self) -> None:
        self._detector = Detector(self.rules)
        self._posture = self.definition.states[self.definition.initial].posture

    @property
    def state(self) -> str:
        """Name of the protocol state that the source is in."""
        return self.definition.initial if self._incident is None else self._incident.state

    @property
    def posture(self) -> Posture:
        """How closely the daemon would watch now."""
        if self._detector.suspicious and self._posture is Posture.CALM:
            return Posture.CLOSE
        return self._posture

    def observe(self, end_s: float, scores: Mapping[str, float]) -> Iterator[Record]:
        """Judge the clip that ends at `end_s` seconds; yields, in order, its score, detections, transitions and effects.

        Publishers' timestamps may jump back; the protocol's time never does.
        """
        end_s = max(end_s, self.seen_until_s)
        yield from self.advance(end_s)
        self.clips += 1
        self.seen_until_s = end_s
        yield {
            "type": "score",
            "t": round(end_s, _DIGITS),
            "scores": {label: round(score, 6) for label, score in scores.items()},
        }
        for change in self._detector.observe(end_s, scores):
            raised = isinstance(change, Raised)
            yield {
                "type": "detection",
                "t": round(end_s, _DIGITS),
                "label": change.label,
                "severity": change.severity.word,
                "raised": raised,
            }
            event: Event
            if isinstance(change, Raised):
                self.max_severity = max(self.max_severity, change.severity)
                event = DetectionRaised(change.label, change.severity, change.score)
            else:
                event = DetectionCleared(change.label, change.severity)
            yield from self._handle(event, end_s)

    def advance(self, now_s: float) -> Iterator[Record]:
        """Let time pass until `now_s`: fire every deadline that comes due, at its own time."""
        while pending := self._pending():
            key, due_s = min(pending.items(), key=lambda item: item[1])
            if due_s > now_s:
                return
            # Either the incident moves on or this deadline is pending no more, so this comes to an end.
            yield from self._handle(DeadlinePassed(key), due_s)

    def review(self, decision: ReviewDecision, *, by: str, why: str) -> Iterator[Record]:
        """Let a responder decide, at the time of the newest clip; where no incident is open, nothing comes of it."""
        if self._incident is not None and not self._closed:
            yield from self._handle(Reviewed(decision, by, why), self.seen_until_s)

    def summary(self, source: str, duration_s: float | None) -> Record:
        """Return the closing record."""
        length_s = max(self.seen_until_s, duration_s or 0.0)
        return {
            "type": "summary",
            "source": source,
            "duration_s": round(length_s, _DIGITS),
            "clips": self.clips,
            "max_severity": self.max_severity.word,
            "final_state": self.state,
        }

    def _handle(self, event: Event, at_s: float) -> Iterator[Record]:
        events: deque[Event | EffectRequest] = deque([event])
        effects = 0
        while events:
            item = events.popleft()
            if isinstance(item, EffectRequest):
                effects += 1
                if effects > _MOST_EFFECTS_AT_ONCE:
                    raise LivecordonError(
                        f"protocol {self.definition.name} answers its own effects without end, in state {self.state}; "
                        "put a deadline between them",
                        reason="endless_protocol",
                    )
                yield self._effect_record(item, at_s)
                item = EffectFinished(item.key, item.kind, EffectOutcome.SUCCEEDED)
                if self._closed:
                    continue
            decision = self._decide(item, at_s)
            if decision is not None:
                if decision.transitioned:
                    yield self._transition_record(decision, at_s)
                events.extend(decision.effects)

    def _decide(self, event: Event, at_s: float) -> Decision | None:
        # After an incident has closed, the next detection begins a new one.
        incident = None if self._closed else self._incident
        decision = step(self.definition, incident, event, at_s)
        if incident is None and not decision.transitioned:
            return None
        self._incident, self._closed = decision.after, decision.closed
        calm = self.definition.states[self.definition.initial].posture
        self._posture = calm if decision.closed else decision.posture
        return decision

    def _pending(self) -> Mapping[str, float]:
        return {} if self._incident is None or self._closed else self._incident.deadlines

    @staticmethod
    def _effect_record(request: EffectRequest, at_s: float) -> Record:
        return {
            "type": "effect",
            "t": round(at_s, _DIGITS),
            "effect": request.kind.value,
            "dry_run": True,
        }

    @staticmethod
    def _transition_record(decision: Decision, at_s: float) -> Record:
        return {
            "type": "transition",
            "t": round(at_s, _DIGITS),
            "from": decision.before,
            "to": decision.after.state,
            "reason": decision.reason.value,
        }
