"""Whoever is barred and is live all the same is cut: not every media server asks before it lets somebody publish."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import Protocol

import structlog

from monitor.clock import Clock
from monitor.effects.blocklist import BlockList
from monitor.effects.last_resort import LastResort
from monitor.effects.restraint import Restraints
from monitor.errors import MediaServerError, StoreError
from monitor.metrics import BARRED_LIVE, STORE_FAILURES
from monitor.servers.port import LiveStream, MediaServer
from monitor.store import audit
from monitor.store.database import Database
from monitor.vocabulary import StreamRef

_TOLD_AFTER = 3
_RETRY_S = 1.0
_LONGEST_RETRY_S = 30.0

log = structlog.get_logger()


class Means(Protocol):
    """What the doorkeeper needs besides the media servers' own commands."""

    @property
    def last_resort(self) -> LastResort:
        """Runs emergency commands."""
        ...

    def is_live(self, live: LiveStream) -> bool:
        """Whether this very publication is still listed, so that there is any point in going on."""
        ...

    def on_gone(self, ref: StreamRef) -> None:
        """A stream was cut and proved to be gone."""
        ...


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
        is_contained: Callable[[str], bool],
        restraints: Restraints | None = None,
        containment: Means | None = None,
    ) -> None:
        """Hold to `blocks`.

        Args:
            database: For the audit log.
            blocks: Who is barred.
            clock: For the time between attempts.
            dry_run_servers: Where nothing is cut, and only said what would have been.
            is_contained: Whether an incident on the stream of this id has asked for a cut or a block itself.
            restraints: While containment is paused on a media server, nobody is cut there; None if it never is.
            containment: What else there is to go on; None where there is nothing.
        """
        self._database = database
        self._blocks = blocks
        self._dry_run_servers = dry_run_servers
        self._is_contained = is_contained
        self._restraints = restraints
        self._containment = containment
        self._clock = clock
        self._live: asyncio.Queue[tuple[MediaServer, LiveStream, bool]] = asyncio.Queue()
        self._under_way: set[tuple[StreamRef, str, bool]] = set()
        self._beaten: set[tuple[StreamRef, str]] = set()

    def on_live(self, server: MediaServer, live: LiveStream, *, by_hand: bool = False) -> None:
        """Look at a publication that was not there before, or whose publisher was barred `by_hand` meanwhile.

        A person's decision is carried out whatever a protocol does. Returns at once.
        """
        if not self._is_ours(live, by_hand=by_hand):
            return
        dry_run = server.name in self._dry_run_servers
        log.warning("barred_publisher_is_live", stream_id=live.ref.stream_id, server=server.name, dry_run=dry_run)
        if not dry_run and server.capabilities.cut:
            self._live.put_nowait((server, live, by_hand))

    async def run(self) -> None:
        """Cut until cancelled, side by side: one server that does not answer must not shelter the others' streams."""
        async with asyncio.TaskGroup() as group:
            while True:
                server, live, by_hand = await self._live.get()
                group.create_task(self._throw_out(server, live, by_hand=by_hand))

    async def _throw_out(self, server: MediaServer, live: LiveStream, *, by_hand: bool) -> None:
        work = (live.ref, live.session, by_hand)
        if work in self._under_way:
            return
        self._under_way.add(work)
        try:
            await self._insist(server, live, by_hand=by_hand)
        finally:
            self._under_way.discard(work)
            self._beaten.discard((live.ref, live.session))
            BARRED_LIVE.set(len(self._beaten))

    async def _insist(self, server: MediaServer, live: LiveStream, *, by_hand: bool) -> None:
        """Cut, again and again, for as long as the publication is live and its publisher barred."""
        attempts = 0
        delay_s = _RETRY_S
        while True:
            while self._restraints is not None and self._restraints.is_paused(server.name):
                await self._restraints.wait_a_little()
            if not self._is_ours(live, by_hand=by_hand) or (attempts and self._is_over(live)):
                return
            failure = await self._try(server, live)
            if failure is None:
                return
            attempts += 1
            if attempts == _TOLD_AFTER:
                await self._give_alarm(live, failure)
            await self._clock.sleep(delay_s)
            if attempts >= _TOLD_AFTER:
                delay_s = min(delay_s * 2, _LONGEST_RETRY_S)

    async def _try(self, server: MediaServer, live: LiveStream) -> str | None:
        """Cut once; returns None if the publication is gone, else why it is not."""
        try:
            result = await server.cut(live.ref, live.session)
        except MediaServerError as error:
            log.warning("barred_publisher_not_cut", stream_id=live.ref.stream_id, reason=error.reason)
            return error.reason
        except Exception:
            log.exception("barred_publisher_not_cut", stream_id=live.ref.stream_id, reason="internal_error")
            return "internal_error"
        if not result.verified:
            return "still_live"
        if self._containment is not None:
            self._containment.on_gone(live.ref)
        log.info("barred_publisher_cut", stream_id=live.ref.stream_id, dropped=result.matched)
        await self._note(live, "block_enforced", {"dropped": result.matched})
        return None

    async def _give_alarm(self, live: LiveStream, reason: str) -> None:
        log.error("barred_publisher_stays_live", stream_id=live.ref.stream_id, reason=reason)
        self._beaten.add((live.ref, live.session))
        BARRED_LIVE.set(len(self._beaten))
        detail = {"reason": reason}
        if self._containment is not None and self._containment.last_resort.is_there(live.ref.server):
            detail["emergency_command"] = await self._containment.last_resort.use(live.ref)
        await self._note(live, "block_not_enforced", detail)

    def _is_over(self, live: LiveStream) -> bool:
        return self._containment is not None and not self._containment.is_live(live)

    def _is_ours(self, live: LiveStream, *, by_hand: bool = False) -> bool:
        if not self._blocks.is_blocked(live.ref, live.publisher_address):
            return False
        return by_hand or not self._is_contained(live.ref.stream_id)

    async def _note(self, live: LiveStream, action: str, detail: Mapping[str, int | str]) -> None:
        try:
            async with self._database.transaction() as connection:
                await audit.append(
                    connection,
                    at=self._clock.now().timestamp(),
                    actor="daemon",
                    action=action,
                    incident_id=None,
                    detail={"stream_id": live.ref.stream_id, **detail},
                )
        except StoreError:
            STORE_FAILURES.inc()
            log.exception("block_enforcement_not_stored", stream_id=live.ref.stream_id)
