"""Asks each media server for its streams, and tells what appeared, what went and what came back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog

from monitor.clock import Clock, wait_until
from monitor.errors import MediaServerError
from monitor.metrics import SERVER_UP, STREAMS_LISTED
from monitor.servers.port import LiveStream, MediaServer

_HURRIED_INTERVAL_S = 0.25
_LEAST_PAUSE_S = 0.05
_JITTER = 0.1

log = structlog.get_logger()

OnListing = Callable[[MediaServer, tuple[LiveStream, ...]], Awaitable[None]]


@dataclass(slots=True, eq=False)
class ServerHealth:
    """What is known of one media server's control interface.

    Attributes:
        ok: The last listing succeeded; None before the first.
        last_error: Reason word of the last failure; empty when `ok`.
        listed: Streams in the last good listing.
    """

    ok: bool | None = None
    last_error: str = ""
    listed: int = 0
    warnings: tuple[str, ...] = ()


class Discovery:
    """Polls one media server until cancelled.

    A listing that fails changes nothing: a server that cannot be asked is not a server without streams.
    """

    def __init__(self, server: MediaServer, *, interval_s: float, clock: Clock, on_listing: OnListing) -> None:
        """Ask `server` every `interval_s` seconds, give or take a tenth, and hand each good listing to `on_listing`."""
        self.server = server
        self.health = ServerHealth()
        self._interval_s = interval_s
        self._clock = clock
        self._on_listing = on_listing
        self._wake = asyncio.Event()
        self._hurried_until_s = 0.0

    def hurry(self, for_s: float = 0.0) -> None:
        """Ask at once, and then four times a second for `for_s` seconds."""
        self._hurried_until_s = max(self._hurried_until_s, self._clock.monotonic_s() + for_s)
        self._wake.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        SERVER_UP.labels(self.server.name).set(0)
        while True:
            self._wake.clear()
            await self.poll()
            # Whoever publishes again and again must not have the server asked without a pause.
            await self._clock.sleep(_LEAST_PAUSE_S)
            hurried = self._clock.monotonic_s() < self._hurried_until_s
            interval_s = min(self._interval_s, _HURRIED_INTERVAL_S) if hurried else self._interval_s
            await wait_until(self._clock, self._wake, interval_s * random.uniform(1 - _JITTER, 1 + _JITTER))

    async def probe(self) -> None:
        """Check once how the server is configured, and remember its warnings."""
        try:
            self.health.warnings = await self.server.probe()
        except MediaServerError as error:
            log.warning("media_server_probe_failed", server=self.server.name, reason=error.reason)
            return
        for warning in self.health.warnings:
            log.warning("media_server_warning", server=self.server.name, warning=warning)

    async def poll(self) -> None:
        """Ask once, and pass the answer on."""
        try:
            listing = await self.server.list_streams()
        except MediaServerError as error:
            self._failed(error.reason)
            return
        except Exception:
            # A defect in one adapter must not end the watch over every other server.
            log.exception("media_server_listing_crashed", server=self.server.name)
            self._failed("internal_error")
            return
        if self.health.ok is not True:
            log.info("media_server_answers", server=self.server.name, streams=len(listing))
        self.health.ok = True
        self.health.last_error = ""
        self.health.listed = len(listing)
        SERVER_UP.labels(self.server.name).set(1)
        STREAMS_LISTED.labels(self.server.name).set(len(listing))
        await self._on_listing(self.server, listing)

    def _failed(self, reason: str) -> None:
        if self.health.ok is not False or self.health.last_error != reason:
            log.error("media_server_does_not_answer", server=self.server.name, reason=reason)
        self.health.ok = False
        self.health.last_error = reason
        SERVER_UP.labels(self.server.name).set(0)


@dataclass(frozen=True, slots=True)
class Changes:
    """How a listing differs from what was known."""

    appeared: tuple[LiveStream, ...]
    replaced: tuple[LiveStream, ...]
    gone: tuple[str, ...]
    unchanged: tuple[LiveStream, ...]


def compare(known: dict[str, LiveStream], listing: Iterable[LiveStream]) -> Changes:
    """Compare a listing with the known publications by stream id.

    A stream that is listed with another session went and came back between two looks: it is `replaced`.
    """
    listed = {stream.ref.stream_id: stream for stream in listing}
    return Changes(
        appeared=tuple(stream for key, stream in listed.items() if key not in known),
        replaced=tuple(
            stream for key, stream in listed.items() if key in known and known[key].session != stream.session
        ),
        gone=tuple(key for key in known if key not in listed),
        unchanged=tuple(
            stream for key, stream in listed.items() if key in known and known[key].session == stream.session
        ),
    )
