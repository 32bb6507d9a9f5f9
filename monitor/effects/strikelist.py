"""Strikes that stand, in memory: who is barred by one, and how many count against whom."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

from monitor.clock import Clock
from monitor.effects.identity import Identifier
from monitor.metrics import STRIKES_STANDING
from monitor.servers.port import LiveStream
from monitor.store.strikes import EVERYWHERE, Identity, StrikeRecord
from monitor.vocabulary import StreamRef


class StrikeList:
    """The strikes that stand, as last committed to the store."""

    def __init__(self, clock: Clock, identifier: Identifier) -> None:
        """Begin empty; `take` fills it from the store."""
        self._clock = clock
        self._identifier = identifier
        self._records: dict[str, StrikeRecord] = {}
        self._ids_of: dict[str, tuple[str, ...]] = {}
        self._ends: list[tuple[float, str]] = []

    def take(self, records: Iterable[StrikeRecord]) -> None:
        """Take in strikes as they are now; those that were lifted are forgotten."""
        for record in records:
            self._forget(record.id)
            if record.lifted_at is None:
                self._records[record.id] = record
                for key in record.identity:
                    self._ids_of[key] = (*self._ids_of.get(key, ()), record.id)
                heapq.heappush(self._ends, (record.expires_at, record.id))
        self.forget_expired()

    def forget_expired(self) -> None:
        """Drop what stands no more; call it now and then."""
        now = self._now()
        while self._ends and self._ends[0][0] <= now:
            _, strike_id = heapq.heappop(self._ends)
            record = self._records.get(strike_id)
            if record is not None and record.expires_at <= now:
                self._forget(strike_id)
        STRIKES_STANDING.set(len(self._records))

    def is_barred(self, ref: StreamRef, address: str | None = None) -> bool:
        """Whether a strike keeps whoever publishes `ref`, from this address, from live now."""
        if not self._records:
            return False
        now = self._now()
        return any(record.until > now for record in self._against(self._identifier.of(ref, address), ref.server))

    def count(self, ref: StreamRef, address: str | None = None, *, beside: str | None = None) -> int:
        """Return how many strikes stand against whoever publishes `ref`, not counting that of the incident `beside`."""
        if not self._records:
            return 0
        now = self._now()
        against = self._against(self._identifier.of(ref, address), ref.server)
        return sum(
            record.number > 0 and record.expires_at > now and (beside is None or record.incident_id != beside)
            for record in against
        )

    def of_live(self, live: LiveStream, *, beside: str | None = None) -> int:
        """Return how many strikes stand against whoever publishes a live stream; see `count`."""
        return self.count(live.ref, live.publisher_address, beside=beside)

    def __len__(self) -> int:
        return len(self._records)

    def _against(self, who: Identity, server: str) -> Iterator[StrikeRecord]:
        ids = dict.fromkeys(strike_id for key in who for strike_id in self._ids_of.get(key, ()))
        for strike_id in ids:
            record = self._records[strike_id]
            if record.scope == EVERYWHERE or record.server == server:
                yield record

    def _forget(self, strike_id: str) -> None:
        record = self._records.pop(strike_id, None)
        if record is None:
            return
        for key in record.identity:
            left = tuple(one for one in self._ids_of[key] if one != strike_id)
            if left:
                self._ids_of[key] = left
            else:
                del self._ids_of[key]

    def _now(self) -> float:
        return self._clock.now().timestamp()
