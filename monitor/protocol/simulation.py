"""A script played through a protocol: what would be decided, asked for and waited for, and when. Nothing is done.

Time is the script's; deadlines fire by themselves, effects end as the script says, and every decision is one of the real
step function.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from monitor.errors import LivecordonError
from monitor.protocol.decision import EffectRequest, IncidentState, Reason
from monitor.protocol.definition import Definition
from monitor.protocol.events import (
    DeadlinePassed,
    EffectFinished,
    Event,
    StreamEnded,
    StreamReturned,
    StrikesChanged,
    ViewersChanged,
    WatchChanged,
)
from monitor.protocol.script import Script
from monitor.protocol.step import begin, step
from monitor.vocabulary import EffectKind

LONGEST_AFTER_S: Final = 2 * 86_400.0
"""How long after the last event of a script without an end deadlines are still followed."""
_MOST_MOMENTS: Final = 5_000
_ABOUT_THE_STREAM: Final = (StreamEnded, StreamReturned, WatchChanged, ViewersChanged)
"""Events that begin no incident, whatever a protocol says."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One event, and what came of it.

    Attributes:
        at_s: When, in the script's seconds.
        event: What happened.
        incident: Number of the incident, from 1; 0 where there was none.
        reason: Why the protocol did what it did, or did nothing.
        before, after: States.
        transitioned: Whether a transition was taken, perhaps one that stays.
        effects: What was asked for.
        deadlines: When pending deadlines come due, by key, after it.
        closed: Whether the incident is over with it.
    """

    at_s: float
    event: Event
    incident: int
    reason: Reason
    before: str
    after: str
    transitioned: bool
    effects: tuple[EffectRequest, ...]
    deadlines: Mapping[str, float]
    closed: bool


def simulate(definition: Definition, script: Script) -> Iterator[Moment]:
    """Yield what happens, in order.

    An event goes before a deadline of the same moment. After an incident is over, the next event that the protocol reacts
    to begins another.

    Raises:
        LivecordonError: thousands of decisions come of one script (`reason` ``endless_protocol``).
    """
    return _Simulation(definition, script).run()


@dataclass(slots=True, eq=False)
class _Simulation:
    definition: Definition
    script: Script
    state: IncidentState | None = None
    incident: int = 0
    viewers: int = 0
    strikes: int = 0
    _queue: list[tuple[float, int, int, Event]] = field(default_factory=list)
    """Time, order, the incident that it belongs to or 0, event."""
    _queued: int = 0
    _asked: Counter[EffectKind] = field(default_factory=Counter)

    def run(self) -> Iterator[Moment]:
        self.viewers, self.strikes = self.script.viewers, self.script.strikes
        for timed in self.script.events:
            self._put(timed.at_s, 0, timed.event)
        last_s = self.script.events[-1].at_s if self.script.events else 0.0
        until_s = last_s + LONGEST_AFTER_S if self.script.until_s is None else self.script.until_s
        for _ in range(_MOST_MOMENTS):
            following = self._next(until_s)
            if following is None:
                return
            at_s, event = following
            yield self._decide(event, at_s)
        raise LivecordonError(
            f"protocol {self.definition.name} decides again and again without an end; give the script one, until: 1h",
            reason="endless_protocol",
        )

    def _put(self, at_s: float, incident: int, event: Event) -> None:
        self._queued += 1
        heapq.heappush(self._queue, (at_s, self._queued, incident, event))

    def _next(self, until_s: float) -> tuple[float, Event] | None:
        while self._queue and self._queue[0][2] not in (0, self.incident if self.state is not None else 0):
            heapq.heappop(self._queue)  # the outcome of an effect whose incident is over
        due = min(self.state.deadlines.items(), key=lambda item: item[1], default=None) if self.state else None
        if self._queue and (due is None or self._queue[0][0] <= due[1]):
            at_s, _, _, event = self._queue[0]
            if at_s > until_s:
                return None
            heapq.heappop(self._queue)
            return at_s, event
        if due is None or due[1] > until_s:
            return None
        return due[1], DeadlinePassed(due[0])

    def _decide(self, event: Event, at_s: float) -> Moment:
        match event:
            case ViewersChanged(viewers):
                self.viewers = viewers
            case StrikesChanged(strikes):
                self.strikes = strikes
            case _:
                pass
        if self.state is None and isinstance(event, _ABOUT_THE_STREAM):
            initial = self.definition.initial
            return Moment(at_s, event, 0, Reason.NO_TRANSITION, initial, initial, False, (), {}, False)
        state = self.state or begin(self.definition, at_s, strikes=self.strikes, viewers=self.viewers, event=event)
        decision = step(self.definition, state, event, at_s)
        if self.state is None and decision.transitioned:
            self.incident += 1
            self._asked.clear()
        if self.state is not None or decision.transitioned:
            self.state = None if decision.closed else decision.after
        number = self.incident if self.state is not None or decision.transitioned else 0
        for request in decision.effects:
            planned = self.script.outcome_of(request.kind, self._asked[request.kind])
            self._asked[request.kind] += 1
            if planned.outcome is not None:
                self._put(at_s + planned.after_s, number, EffectFinished(request.key, request.kind, planned.outcome))
        return Moment(
            at_s,
            event,
            number,
            decision.reason,
            decision.before,
            decision.after.state,
            decision.transitioned,
            decision.effects,
            {} if decision.closed else decision.after.deadlines,
            decision.closed and decision.transitioned,
        )
