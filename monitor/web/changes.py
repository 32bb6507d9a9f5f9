"""One signal for "something that a page shows has changed"."""

from __future__ import annotations

import asyncio


class ChangeSignal:
    """A revision number that waiters can wait on. For one event loop; `notify` may be called however often."""

    def __init__(self) -> None:
        self._revision = 0
        self._changed = asyncio.Event()

    @property
    def revision(self) -> int:
        """How often `notify` was called."""
        return self._revision

    def notify(self) -> None:
        """Wake every waiter."""
        self._revision += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait_changed(self, after: int) -> int:
        """Return the revision as soon as it is greater than `after`; changes in between are told once."""
        while self._revision <= after:
            await self._changed.wait()
        return self._revision
