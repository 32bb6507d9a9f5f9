"""Tells open pages that something changed, by server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from monitor.web.changes import ChangeSignal
from monitor.web.port import DaemonView
from monitor.web.refusals import Refusal, RequestRefused

MIN_INTERVAL_S = 0.25
"""Pages are told at most this often, however fast things change."""
HEARTBEAT_S = 15.0
"""A comment line this often finds connections whose browser is gone and keeps proxies from closing the rest."""
MAX_CONNECTION_S = 900.0
"""Then the browser connects anew, and must still be signed in."""
MAX_PAGES = 200


class LiveFeed:
    """One waiter on the daemon for all open pages."""

    def __init__(self, daemon: DaemonView, *, min_interval_s: float = MIN_INTERVAL_S) -> None:
        self._daemon = daemon
        self._min_interval_s = min_interval_s
        self._signal = ChangeSignal()
        self._closing = False
        self._pages = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the daemon's revision while the block runs."""
        task = asyncio.create_task(self._follow(), name="web-live-feed")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        revision = self._daemon.revision
        while True:
            revision = await self._daemon.wait_changed(revision)
            self._signal.notify()
            await asyncio.sleep(self._min_interval_s)

    def close(self) -> None:
        """End all streams of events, so that a shutdown need not wait for browsers."""
        self._closing = True
        self._signal.notify()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Serve one page: its event ``changed`` carries the daemon's revision; one is sent at once.

        Raises:
            RequestRefused: too many pages are open.
        """
        if self._pages >= MAX_PAGES:
            raise RequestRefused(Refusal.TOO_MANY_PAGES, "too many pages are open: close some, or wait")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        self._pages += 1
        try:
            await response.prepare(request)
            await self._tell(response)
        except ConnectionError:
            pass  # The browser left; there is nobody to answer.
        finally:
            self._pages -= 1
        return response

    async def _tell(self, response: web.StreamResponse) -> None:
        loop = asyncio.get_running_loop()
        ends_at_s = loop.time() + MAX_CONNECTION_S
        await response.write(b"retry: 1000\n\n")
        told = -1
        while not self._closing and loop.time() < ends_at_s:
            seen = self._signal.revision
            if self._daemon.revision != told:
                told = self._daemon.revision
                await response.write(f"event: changed\ndata: {told}\n\n".encode())
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._signal.wait_changed(seen)
            except TimeoutError:
                await response.write(b": still here\n\n")
