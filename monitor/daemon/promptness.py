"""How fast streams go off the air: from the first violent frame, from the detection, and from the decision.

Deadlines and responders take as long as they are given. So what was contained without waiting for either is counted apart
(`direct`): that is what an objective of seconds can be held against.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from monitor.clock import Clock
from monitor.detect.persistence import Cleared, Raised
from monitor.effects.port import EffectResult
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import REVIEWS_TAKEN, OpenIncident
from monitor.metrics import DECISION_TO_CONTAINED, DETECTION_TO_CONTAINED, ONSET_TO_CONTAINED
from monitor.protocol.decision import Decision, Reason
from monitor.store.effects import EffectRecord
from monitor.vocabulary import EffectKind, EffectOutcome, Severity

TAKES_OFF: Final = frozenset({EffectKind.HOLD, EffectKind.CUT})
"""After these, viewers see nothing more."""

_WAITS: Final = REVIEWS_TAKEN | {Reason.DEADLINE_PASSED}
_LONGEST_CLIP_S: Final = 10.0
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was detected on one stream; times are Unix seconds."""

    severity: Severity
    onset_at: float
    detected_at: float
    waited: bool = False
    tried: bool = False
    over: bool = False


class Promptness:
    """Remembers since when each stream shows what it is taken off for. Memory only: a restart forgets, and nothing is guessed."""

    def __init__(self, engine: IncidentEngine, clock: Clock) -> None:
        """Follow the incidents of `engine`."""
        self._engine = engine
        self._clock = clock
        self._shown: dict[str, _Shown] = {}
        self._contained: dict[str, None] = {}
        self._ended_at: dict[str, float] = {}

    def noticed(self, stream_id: str, changes: Iterable[Raised | Cleared], *, clip_s: float) -> None:
        """Take in what a clip of `clip_s` seconds has changed."""
        now = self._now()
        for change in changes:
            before = self._shown.get(stream_id)
            if isinstance(change, Cleared):
                if before is not None and change.severity is Severity.NONE:
                    self._shown[stream_id] = replace(before, over=True)
            elif before is None or before.over or change.severity > before.severity or self._is_new(stream_id):
                # Times of clips are those of their last frames. A publisher's own timestamps say how long a clip is.
                onset_at = change.since_s - min(max(clip_s, 0.0), _LONGEST_CLIP_S)
                self._shown.pop(stream_id, None)
                self._shown[stream_id] = _Shown(change.severity, onset_at, now)
                _forget_first(self._shown)

    def decided(self, incident: OpenIncident, decision: Decision) -> None:
        """Take in a decision: was a deadline, or a person, waited for before anything was done?"""
        stream_id = incident.record.stream_id
        shown = self._shown.get(stream_id)
        if shown is None:
            return
        # What passes after something was tried is no excuse: it has not worked yet.
        waited = shown.waited or (decision.reason in _WAITS and not shown.tried)
        tried = shown.tried or any(request.kind in TAKES_OFF for request in decision.effects)
        self._shown[stream_id] = replace(shown, waited=waited, tried=tried)

    async def finish(self, effect: EffectRecord, result: EffectResult) -> None:
        """Make an effect's outcome durable, and measure it if it took a stream off the air; see `IncidentEngine.finish_effect`.

        Raises:
            StoreError: as `IncidentEngine.finish_effect`; it is not measured yet.
        """
        record = self._engine.record_of(effect.incident_id)
        done = result.outcome is EffectOutcome.SUCCEEDED and not result.detail.get("dry_run")
        if effect.kind not in TAKES_OFF or not done or record is None or record.drill:
            await self._engine.finish_effect(effect, result)
            return
        # The store may take a while, and be asked more than once.
        ended_at = self._ended_at.setdefault(effect.id, self._now())
        await self._engine.finish_effect(effect, result)
        del self._ended_at[effect.id]
        DECISION_TO_CONTAINED.labels(effect.kind.value).observe(max(0.0, ended_at - effect.requested_at))
        shown = self._shown.get(record.stream_id)
        if shown is None or record.id in self._contained:
            return
        # What is held first and cut later was off the air at the first of both.
        self._contained[record.id] = None
        _forget_first(self._contained)
        route = "waited" if shown.waited else "direct"
        ONSET_TO_CONTAINED.labels(route).observe(max(0.0, ended_at - shown.onset_at))
        DETECTION_TO_CONTAINED.labels(route).observe(max(0.0, ended_at - shown.detected_at))

    def _is_new(self, stream_id: str) -> bool:
        # What was cut never cleared; what comes after its incident is closed is another story.
        return self._engine.open_incident(stream_id) is None

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _forget_first(known: dict[str, _Shown] | dict[str, None]) -> None:
    while len(known) > _MOST:
        del known[next(iter(known))]
