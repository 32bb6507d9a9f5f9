"""Who is barred now, answered from memory: the publish gate must not wait for the store."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.clock import Clock
from monitor.metrics import BLOCKS_ACTIVE
from monitor.store.blocks import BlockRecord
from monitor.vocabulary import StreamRef


class BlockList:
    """The blocks in force, as last committed to the store."""

    def __init__(self, clock: Clock) -> None:
        """Begin empty; `replace` fills it from the store."""
        self._clock = clock
        self._until: dict[StreamRef, float] = {}

    def replace(self, active: Iterable[BlockRecord]) -> None:
        """Take over the active blocks of the store, after every transaction that changed them."""
        until: dict[StreamRef, float] = {}
        for block in active:
            until[block.ref] = max(block.until, until.get(block.ref, 0.0))
        self._until = until
        BLOCKS_ACTIVE.set(len(until))

    def is_blocked(self, ref: StreamRef) -> bool:
        """Whether `ref` may not publish now."""
        until = self._until.get(ref)
        return until is not None and until > self._clock.now().timestamp()

    def __len__(self) -> int:
        return len(self._until)
