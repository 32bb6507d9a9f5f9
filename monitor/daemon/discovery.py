"""Asks each media server for its streams, and tells what appeared, what went and what came back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from monitor.clock import Clock, wait_until
from monitor.daemon.listings import Believable, Wanted
from monitor.errors import MediaServerError, MediaServerUnreachable
from monitor.metrics import SERVER_DEGRADED, SERVER_UP, STREAMS_EXCLUDED, STREAMS_LISTED
from monitor.servers.port import HasMembers, LiveStream, MediaServer

_HURRIED_INTERVAL_S = 0.25
_LEAST_PAUSE_S = 0.05
_JITTER = 0.1

log = structlog.get_logger()

OnListing = Callable[[MediaServer, tuple[LiveStream, ...]], Awaitable[None]]


class ServerState(StrEnum):
    """How a media server's control interface is doing.

    `degraded`: it answers, but with something that cannot be relied on, such as 401, or no streams while some are still
    there to be seen. `down`: it does not answer.
    """

    UNKNOWN = "unknown"
    UP = "up"
    DEGRADED = "degraded"
    DOWN = "down"


@dataclass(slots=True, eq=False)
class ServerHealth:
    """What is known of one media server's control interface.

    Attributes:
        state: As of the last listing.
        last_error: Reason word of the last failure; empty when `ok`.
        listed: Streams in the last good listing, without those that are not to be watched.
        excluded: Streams in it that are not to be watched.
    """

    state: ServerState = ServerState.UNKNOWN
    last_error: str = ""
    listed: int = 0
    excluded: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool | None:
        """Whether the last listing succeeded and can be relied on; None before the first."""
        return None if self.state is ServerState.UNKNOWN else self.state is ServerState.UP


class Discovery:
    """Polls one media server until cancelled.

    A listing that fails changes nothing: a server that cannot be asked is not a server without streams. One that lists
    nothing all of a sudden is not believed where watchers say otherwise (`Believable`).
    """

    def __init__(
        self,
        server: MediaServer,
        *,
        interval_s: float,
        clock: Clock,
        on_listing: OnListing,
        wanted: Wanted | None = None,
        is_read: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Ask `server` every `interval_s` seconds, give or take a tenth, and hand each good listing to `on_listing`.

        Args:
            server: Whom to ask.
            interval_s: How often.
            clock: For the time between.
            on_listing: Gets each good listing.
            wanted: Which streams are to be watched; all by default.
            is_read: Whether a watcher receives the stream of this id at the moment.
        """
        self.server = server
        self.health = ServerHealth()
        self._interval_s = interval_s
        self._clock = clock
        self._on_listing = on_listing
        self._wanted = wanted or Wanted()
        self._believable = Believable(is_read, clock)
        self._wake = asyncio.Event()
        self._hurried_until_s = 0.0

    def over(self, stream_id: str) -> None:
        """Take a stream for gone as soon as a listing does not show it: somebody has made sure of that."""
        self._believable.over(stream_id)

    def hurry(self, for_s: float = 0.0) -> None:
        """Ask at once, and then four times a second for `for_s` seconds."""
        self._hurried_until_s = max(self._hurried_until_s, self._clock.monotonic_s() + for_s)
        self._wake.set()

    async def run(self) -> None:
        """Poll until cancelled."""
        SERVER_UP.labels(self.server.name).set(0)
        SERVER_DEGRADED.labels(self.server.name).set(0)
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
        except MediaServerUnreachable as error:
            self._is(ServerState.DOWN, error.reason)
            return
        except MediaServerError as error:
            self._is(ServerState.DEGRADED, error.reason)
            return
        except Exception:
            # A defect in one adapter must not end the watch over every other server.
            log.exception("media_server_listing_crashed", server=self.server.name)
            self._is(ServerState.DEGRADED, "internal_error")
            return
        ours = [stream for stream in listing if self._wanted(stream)]
        live = self._believable.take(ours)
        trouble = self.server.trouble if isinstance(self.server, HasMembers) else ""
        if self._believable.doubtful:
            trouble = "lists_nothing"
        self._is(ServerState.DEGRADED if trouble else ServerState.UP, trouble)
        self.health.listed, self.health.excluded = len(ours), len(listing) - len(ours)
        STREAMS_LISTED.labels(self.server.name).set(self.health.listed)
        STREAMS_EXCLUDED.labels(self.server.name).set(self.health.excluded)
        await self._on_listing(self.server, live)

    def _is(self, state: ServerState, reason: str) -> None:
        health = self.health
        if (state, reason) != (health.state, health.last_error):
            if state is ServerState.UP:
                log.info("media_server_answers", server=self.server.name)
            else:
                log.error("media_server_not_relied_on", server=self.server.name, state=state.value, reason=reason)
        health.state, health.last_error = state, reason
        SERVER_UP.labels(self.server.name).set(state is ServerState.UP)
        SERVER_DEGRADED.labels(self.server.name).set(state is ServerState.DEGRADED)


@dataclass(frozen=True, slots=True)
class Changes:
    """How a listing differs from what was known."""

    appeared: tuple[LiveStream, ...]
    replaced: tuple[LiveStream, ...]
    gone: tuple[str, ...]
    unchanged: tuple[LiveStream, ...]


def compare(known: dict[str, LiveStream], listing: Iterable[LiveStream]) -> Changes:
    """Compare a listing with the known publications by stream id.

    A stream that is listed with another session went and came back between two looks: it is `replaced`. Of several
    publications under one name the one counts that viewers see.
    """
    listed: dict[str, LiveStream] = {}
    for stream in listing:
        if stream.ref.stream_id not in listed or not stream.held:
            listed[stream.ref.stream_id] = stream
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
