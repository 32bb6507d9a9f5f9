"""Who is barred now, answered from memory: the publish gate must not wait for the store."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from monitor.clock import Clock
from monitor.effects.strikelist import StrikeList
from monitor.metrics import BLOCKS_ACTIVE
from monitor.store.blocks import BlockRecord
from monitor.vocabulary import StreamRef


class BlockList:
    """The blocks in force, as last committed to the store: until when each publisher is barred."""

    def __init__(self, clock: Clock, strikes: StrikeList | None = None) -> None:
        """Begin empty; `replace` fills it from the store. `strikes` bar as well."""
        self._clock = clock
        self._strikes = strikes
        self._until: dict[StreamRef, float] = {}
        self._ends: list[tuple[float, StreamRef]] = []
        self.version = 0
        """Another number after every change but a block's own end."""

    def on(self, server: str) -> dict[StreamRef, float]:
        """Return who is barred on a media server by name, and until when; not whom strikes bar."""
        return {ref: until for ref, until in self._until.items() if ref.server == server}

    def replace(self, active: Iterable[BlockRecord]) -> None:
        """Take over all active blocks of the store; of several on one publisher the longest counts."""
        until: dict[StreamRef, float] = {}
        for block in active:
            until[block.ref] = max(block.until, until.get(block.ref, 0.0))
        self._until = until
        self.version += 1
        self._ends = [(end, ref) for ref, end in until.items()]
        heapq.heapify(self._ends)
        self.forget_expired()

    def change(self, ref: StreamRef, until: float | None) -> None:
        """Bar `ref` until this Unix time, or let it in again with None, after the transaction that said so."""
        self.version += 1
        if until is None:
            self._until.pop(ref, None)
        else:
            self._until[ref] = until
            heapq.heappush(self._ends, (until, ref))
        self.forget_expired()

    def extend(self, ref: StreamRef, until: float) -> None:
        """Bar `ref` until this Unix time, unless it is barred for longer: for a decision that the store has not taken."""
        if until > self._until.get(ref, 0.0):
            self.change(ref, until)

    def forget_expired(self) -> None:
        """Drop what has ended; call it now and then, so that neither memory nor the metric holds on to it."""
        now = self._clock.now().timestamp()
        while self._ends and self._ends[0][0] <= now:
            end, ref = heapq.heappop(self._ends)
            if self._until.get(ref) == end:
                del self._until[ref]
        BLOCKS_ACTIVE.set(len(self._until))
        if self._strikes is not None:
            self._strikes.forget_expired()

    def is_blocked(self, ref: StreamRef, address: str | None = None) -> bool:
        """Whether `ref` may not publish now, from this address if it is known."""
        until = self._until.get(ref)
        if until is not None and until > self._clock.now().timestamp():
            return True
        return self._strikes is not None and self._strikes.is_barred(ref, address)

    def __len__(self) -> int:
        return len(self._until)
