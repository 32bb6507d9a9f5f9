"""One live publication on the relay, and those who view it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime

from monitor.servers.embedded.transport_stream import JoinBuffer

_KEPT_FOR_NEW_VIEWERS_BYTES = 4 * 1024 * 1024
_WAITING_FOR_VIEWER_BYTES = 4 * 1024 * 1024


class Viewer:
    """A bounded queue towards one viewer. Who falls behind by more than its size is dropped, not slowed down for.

    Args:
        drop: Called once when the queue overflows; closes the viewer's connection.
    """

    def __init__(self, drop: Callable[[], None]) -> None:
        self._drop = drop
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()
        self._over = False

    def offer(self, packets: bytes) -> None:
        """Queue packets, or drop the viewer."""
        if self._over or not packets:
            return
        if self._waiting_bytes + len(packets) > _WAITING_FOR_VIEWER_BYTES:
            self._chunks.clear()
            self.end()
            self._drop()
            return
        self._chunks.append(packets)
        self._waiting_bytes += len(packets)
        self._changed.set()

    def end(self) -> None:
        """No more will come; what is queued can still be taken."""
        self._over = True
        self._changed.set()

    async def next(self) -> bytes | None:
        """Wait for more; None at the end."""
        while not self._chunks:
            if self._over:
                return None
            self._changed.clear()
            await self._changed.wait()
        packets = self._chunks.popleft()
        self._waiting_bytes -= len(packets)
        return packets


class Publication:
    """A publisher's stream while it is live.

    Args:
        app: First segment of its path.
        name: The rest of its path.
        session: Identifier of this publication.
        address: The publisher's network address, or None.
        started_at: Aware UTC time.
        disconnect: Closes the publisher's connection at once.
    """

    def __init__(
        self,
        *,
        app: str,
        name: str,
        session: str,
        address: str | None,
        started_at: datetime,
        disconnect: Callable[[], None],
    ) -> None:
        self.app = app
        self.name = name
        self.session = session
        self.address = address
        self.started_at = started_at
        self.admitted = False
        self.received_bytes = 0
        self.held = False
        self._disconnect = disconnect
        self._over = False
        self._viewers: set[Viewer] = set()
        self._watchers: set[Viewer] = set()
        self._join_buffer = JoinBuffer(limit_bytes=_KEPT_FOR_NEW_VIEWERS_BYTES)

    @property
    def viewers(self) -> int:
        """How many view it now; whoever only watches over it is not one of them."""
        return len(self._viewers)

    @property
    def connections(self) -> int:
        """How many it is sent to now, viewers and watchers."""
        return len(self._viewers) + len(self._watchers)

    def push(self, data: bytes) -> None:
        """Pass on what the publisher sent.

        Raises:
            NoTransportStream: it is no MPEG-TS.
        """
        packets = self._join_buffer.feed(data)
        self.received_bytes += len(data)
        for viewer in (*self._watchers, *(() if self.held else self._viewers)):
            viewer.offer(packets)

    def hold(self) -> None:
        """Give viewers nothing from now on; they and the publisher stay connected, and watchers go on seeing it."""
        self.held = True

    def release(self) -> None:
        """Let viewers go on at the last keyframe."""
        if self.held:
            self.held = False
            for viewer in tuple(self._viewers):
                viewer.offer(self._join_buffer.for_new_viewer())

    def join(self, viewer: Viewer, *, watches: bool = False) -> None:
        """Give a new viewer everything since the last keyframe, and then what comes; nothing while it is held.

        Args:
            viewer: Where it is sent.
            watches: It is sent all of it, held or not: somebody has to see whether it can be released.
        """
        if watches or not self.held:
            viewer.offer(self._join_buffer.for_new_viewer())
        if self._over:
            viewer.end()
        else:
            (self._watchers if watches else self._viewers).add(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._viewers.discard(viewer)
        self._watchers.discard(viewer)

    def end(self) -> None:
        """Tell every viewer that the stream is over."""
        self._over = True
        for viewer in (*self._viewers, *self._watchers):
            viewer.end()
        self._viewers.clear()
        self._watchers.clear()

    def cut(self) -> None:
        """End it now and throw the publisher out."""
        self.end()
        self._disconnect()
