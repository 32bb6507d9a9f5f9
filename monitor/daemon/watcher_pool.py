"""The part of the supervisor that the keeper uses."""

from __future__ import annotations

from typing import Protocol

from monitor.vocabulary import Posture


class WatcherPool(Protocol):
    """Has streams watched."""

    async def assign(self, stream_id: str, url: str, posture: Posture) -> None:
        """Watch a stream from now on."""
        ...

    async def release(self, stream_id: str) -> None:
        """Stop watching it."""
        ...

    async def set_posture(self, stream_id: str, posture: Posture) -> None:
        """Watch it more or less closely."""
        ...
