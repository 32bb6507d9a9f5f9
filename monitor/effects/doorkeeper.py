"""Whoever is barred and is live all the same is cut: not every media server asks before it lets somebody publish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

import structlog

from monitor.clock import Clock
from monitor.effects.blocklist import BlockList
from monitor.effects.restraint import Restraints
from monitor.errors import MediaServerError, StoreError
from monitor.metrics import STORE_FAILURES
from monitor.servers.port import LiveStream, MediaServer
from monitor.store import audit
from monitor.store.database import Database

_ATTEMPTS = 3
_RETRY_S = 1.0

log = structlog.get_logger()


class Doorkeeper:
    """Cuts publications of barred publishers as soon as a listing shows them; no protocol needs to be asked again.

    An encoder that is cut comes back within a second. Where the gate cannot refuse it (the server has none, or lets
    publishers in while the daemon is away), this ends every new publication for as long as the block is in force. While
    an incident is open on the stream, its protocol decides instead, and two cuts at once help nobody.
    """

    def __init__(
        self,
        database: Database,
        blocks: BlockList,
        clock: Clock,
        *,
        dry_run_servers: Collection[str],
        has_incident: Callable[[str], bool],
        restraints: Restraints | None = None,
    ) -> None:
        """Hold to `blocks`.

        Args:
            database: For the audit log.
            blocks: Who is barred.
            clock: For the time between attempts.
            dry_run_servers: Where nothing is cut, and only said what would have been.
            restraints: While containment is paused on a media server, nobody is cut there; None if it never is.
            has_incident: Whether an incident is open on the stream of this id.
        """
        self._database = database
        self._blocks = blocks
        self._dry_run_servers = dry_run_servers
        self._has_incident = has_incident
        self._restraints = restraints
        self._clock = clock
        self._live: asyncio.Queue[tuple[MediaServer, LiveStream]] = asyncio.Queue()

    def on_live(self, server: MediaServer, live: LiveStream) -> None:
        """Look at a publication that was not there before; returns at once."""
        if not self._is_ours(live):
            return
        dry_run = server.name in self._dry_run_servers
        log.warning("barred_publisher_is_live", stream_id=live.ref.stream_id, server=server.name, dry_run=dry_run)
        if not dry_run and server.capabilities.cut:
            self._live.put_nowait((server, live))

    async def run(self) -> None:
        """Cut until cancelled, side by side: one server that does not answer must not shelter the others' streams."""
        async with asyncio.TaskGroup() as group:
            while True:
                server, live = await self._live.get()
                group.create_task(self._throw_out(server, live))

    async def _throw_out(self, server: MediaServer, live: LiveStream) -> None:
        while self._restraints is not None and self._restraints.is_paused(server.name):
            await self._restraints.wait_a_little()
        for attempt in range(_ATTEMPTS):
            if attempt:
                await self._clock.sleep(_RETRY_S)
            if not self._is_ours(live):
                return
            try:
                result = await server.cut(live.ref, live.session)
            except MediaServerError as error:
                log.warning("barred_publisher_not_cut", stream_id=live.ref.stream_id, reason=error.reason)
                if not error.retryable:
                    return
            except Exception:
                log.exception("barred_publisher_not_cut", stream_id=live.ref.stream_id, reason="internal_error")
                return
            else:
                if result.verified:
                    await self._note(live, dropped=result.matched)
                    return

    def _is_ours(self, live: LiveStream) -> bool:
        return self._blocks.is_blocked(live.ref) and not self._has_incident(live.ref.stream_id)

    async def _note(self, live: LiveStream, *, dropped: int) -> None:
        log.info("barred_publisher_cut", stream_id=live.ref.stream_id, dropped=dropped)
        try:
            async with self._database.transaction() as connection:
                await audit.append(
                    connection,
                    at=self._clock.now().timestamp(),
                    actor="daemon",
                    action="block_enforced",
                    incident_id=None,
                    detail={"stream_id": live.ref.stream_id, "dropped": dropped},
                )
        except StoreError:
            STORE_FAILURES.inc()
            log.exception("block_enforced_not_stored", stream_id=live.ref.stream_id)
