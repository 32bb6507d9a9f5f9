"""The incidents under way, in memory: by id, by stream, and by what falls due next."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from monitor.incidents.records import OpenIncident
from monitor.metrics import INCIDENTS_OPEN, REVIEWS_PENDING


class Book:
    """Holds every open incident once. Finding what is due costs nothing while nothing is, however many there are."""

    def __init__(self) -> None:
        self._by_id: dict[str, OpenIncident] = {}
        self._by_stream: dict[str, str] = {}
        self._awaiting_review: set[str] = set()
        self._soonest: list[tuple[float, str]] = []

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
            if (due_at := _soonest_of(incident)) is not None:
                heapq.heappush(self._soonest, (due_at, record.id))
        else:
            self._by_id.pop(record.id, None)
            if self._by_stream.get(record.stream_id) == record.id:
                del self._by_stream[record.stream_id]
        if record.closed_at is None and record.review_due_at is not None:
            self._awaiting_review.add(record.id)
        else:
            self._awaiting_review.discard(record.id)
        if len(self._soonest) > 4 * len(self._by_id) + 64:
            self._rebuild()
        INCIDENTS_OPEN.set(len(self._by_id))
        REVIEWS_PENDING.set(len(self._awaiting_review))

    def take_due(self, now: float) -> list[str]:
        """Return, once, the ids of incidents with a deadline that has passed; `remember` makes one show again."""
        due: dict[str, None] = {}
        while self._soonest and self._soonest[0][0] <= now:
            _, incident_id = heapq.heappop(self._soonest)
            incident = self._by_id.get(incident_id)
            due_at = None if incident is None else _soonest_of(incident)
            if due_at is not None and due_at <= now:
                due[incident_id] = None
        return list(due)

    def next_due_at(self) -> float | None:
        """Return the Unix time at which the next deadline may fall due; None when there is none."""
        while self._soonest:
            due_at, incident_id = self._soonest[0]
            incident = self._by_id.get(incident_id)
            if incident is not None and _soonest_of(incident) == due_at:
                return due_at
            heapq.heappop(self._soonest)
        return None

    def _rebuild(self) -> None:
        soonest = ((_soonest_of(one), one.record.id) for one in self._by_id.values())
        self._soonest = [(due_at, incident_id) for due_at, incident_id in soonest if due_at is not None]
        heapq.heapify(self._soonest)


def _soonest_of(incident: OpenIncident) -> float | None:
    return min(incident.state.deadlines.values(), default=None)
