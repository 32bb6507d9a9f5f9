"""Which stream a responder should see first."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.vocabulary import Freshness
from monitor.web.port import StreamView

_FRESHNESS_RANK = {Freshness.BLIND: 0, Freshness.LATE: 1, Freshness.FRESH: 2}


def by_urgency(streams: Iterable[StreamView]) -> list[StreamView]:
    """Return streams with open incidents first, then by severity, blind before late before fresh, then by id."""
    return sorted(
        streams,
        key=lambda stream: (
            stream.incident_id is None,
            -stream.severity,
            _FRESHNESS_RANK[stream.freshness],
            stream.stream_id,
        ),
    )
