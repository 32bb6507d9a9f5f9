"""The incidents under way, in memory: by id, by stream, and by what falls due next.

Deadlines are stored in wall time, so that they outlive the daemon. While it runs, they are waited for on the monotonic clock:
a wall clock that is set back must not keep an attack on air. One that is set forward, as after a machine has slept, lets
them come at once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from monitor.clock import Clock
from monitor.incidents.records import OpenIncident
from monitor.metrics import INCIDENTS_OPEN, REVIEWS_PENDING

_STEP_S: Final = 0.25
"""By how much the two clocks may part before deadlines are worked out again."""


class Book:
    """Holds every open incident once. Finding what is due costs nothing while nothing is, however many there are."""

    def __init__(self, clock: Clock) -> None:
        """Wait for deadlines on `clock`."""
        self._clock = clock
        self._by_id: dict[str, OpenIncident] = {}
        self._by_stream: dict[str, str] = {}
        self._awaiting_review: set[str] = set()
        self._drills: set[str] = set()
        self._due_s: dict[str, dict[str, float]] = {}
        self._soonest: list[tuple[float, str]] = []
        self._offset_s = self.clocks_apart()

    def __iter__(self) -> Iterator[OpenIncident]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, incident_id: str) -> OpenIncident | None:
        """Return an open incident."""
        return self._by_id.get(incident_id)

    def on_stream(self, stream_id: str) -> OpenIncident | None:
        """Return the incident that is open on a stream."""
        incident_id = self._by_stream.get(stream_id)
        return None if incident_id is None else self._by_id[incident_id]

    def remember(self, incident: OpenIncident) -> None:
        """Take in an incident as it stands now; forget one that is closed."""
        record = incident.record
        if record.closed_at is None:
            self._by_id[record.id] = incident
            self._by_stream[record.stream_id] = record.id
            self._arm(incident)
        else:
            self._by_id.pop(record.id, None)
            self._due_s.pop(record.id, None)
            if self._by_stream.get(record.stream_id) == record.id:
                del self._by_stream[record.stream_id]
        if record.closed_at is None and record.drill:
            self._drills.add(record.id)
        else:
            self._drills.discard(record.id)
        if record.closed_at is None and record.review_due_at is not None:
            self._awaiting_review.add(record.id)
        else:
            self._awaiting_review.discard(record.id)
        if len(self._soonest) > 4 * len(self._by_id) + 64:
            self._rebuild()
        INCIDENTS_OPEN.set(len(self._by_id) - len(self._drills))
        REVIEWS_PENDING.set(len(self._awaiting_review - self._drills))

    def take_due(self) -> list[str]:
        """Return, once, the ids of incidents with a deadline that has come; `remember` makes one show again."""
        self._compare_clocks()
        now_s = self._clock.monotonic_s()
        due: dict[str, None] = {}
        while self._soonest and self._soonest[0][0] <= now_s:
            _, incident_id = heapq.heappop(self._soonest)
            soonest_s = self._soonest_of(incident_id)
            if soonest_s is not None and soonest_s <= now_s:
                due[incident_id] = None
        return list(due)

    def due_of(self, incident_id: str) -> list[tuple[float, str]]:
        """Return how late (s), and which, of an incident's deadlines are now; the one that was due first comes first."""
        now_s = self._clock.monotonic_s()
        waits = self._due_s.get(incident_id, {})
        incident = self._by_id.get(incident_id)
        stored = {} if incident is None else incident.state.deadlines
        keys = sorted((key for key, due_s in waits.items() if due_s <= now_s), key=lambda key: stored[key])
        return [(now_s - waits[key], key) for key in keys]

    def next_due_in_s(self) -> float | None:
        """Return the seconds until the next deadline may come; None when there is none."""
        while self._soonest:
            due_s, incident_id = self._soonest[0]
            if self._soonest_of(incident_id) == due_s:
                return max(0.0, due_s - self._clock.monotonic_s())
            heapq.heappop(self._soonest)
        return None

    def _arm(self, incident: OpenIncident) -> None:
        # A key is never used for another time: what is waited for already goes on being waited for.
        incident_id = incident.record.id
        known = self._due_s.get(incident_id, {})
        # The clock may have been set while the decision was written.
        offset_s = self.clocks_apart() if incident.clocks_apart_s is None else incident.clocks_apart_s
        due_s = {key: known.get(key, due_at - offset_s) for key, due_at in incident.state.deadlines.items()}
        if not due_s:
            self._due_s.pop(incident_id, None)
            return
        self._due_s[incident_id] = due_s
        heapq.heappush(self._soonest, (min(due_s.values()), incident_id))

    def _compare_clocks(self) -> None:
        offset_s = self.clocks_apart()
        if abs(offset_s - self._offset_s) < _STEP_S:
            return
        self._offset_s = offset_s
        for incident_id, waits in self._due_s.items():
            stored = self._by_id[incident_id].state.deadlines
            for key, due_s in waits.items():
                waits[key] = min(due_s, stored[key] - offset_s)
        self._rebuild()

    def clocks_apart(self) -> float:
        """Return by how many seconds the wall clock is ahead of the monotonic one."""
        return self._clock.now().timestamp() - self._clock.monotonic_s()

    def _soonest_of(self, incident_id: str) -> float | None:
        return min(self._due_s.get(incident_id, {}).values(), default=None)

    def _rebuild(self) -> None:
        self._soonest = [(min(waits.values()), incident_id) for incident_id, waits in self._due_s.items()]
        heapq.heapify(self._soonest)
