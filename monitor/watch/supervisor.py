"""Keeps watchers running and every stream watched, whatever streams and processes do."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self

import structlog

from monitor import metrics
from monitor.clock import Clock
from monitor.vocabulary import Posture, WatchState
from monitor.watch.assignment import AssignedStream, Assignment, Placement
from monitor.watch.backoff import Backoff
from monitor.watch.callbacks import Callbacks
from monitor.watch.child import Ending, WatcherChild
from monitor.watch.holders import EvidenceHolders
from monitor.watch.messages import Evidence, Observation, StreamStatus, WatcherFault
from monitor.watch.quarantine import Quarantine
from monitor.watch.settings import WatchSettings
from monitor.watch.spool_duty import HandedOver, SpoolDuty
from monitor.watch.view import WatcherView, count_more, view_of

log = structlog.get_logger()

_TICK_S: Final = 1.0
_MOVES_PER_TICK: Final = 4
_RESTART_FIRST_S: Final = 0.5
_HEALTHY_AFTER_S: Final = 60.0


class Watchers:
    """All watcher processes of a daemon. An async context manager: processes start on entry and are dead after exit.

    Entry returns at once; streams may be assigned before any watcher is ready. The callbacks run on the event loop and
    must not block.
    """

    def __init__(
        self,
        settings: WatchSettings,
        clock: Clock,
        *,
        on_observation: Callable[[Observation, tuple[str, ...]], None],
        on_status: Callable[[StreamStatus], None],
        on_fault: Callable[[WatcherFault], None],
    ) -> None:
        """Prepare; nothing is started.

        Args:
            settings: How many watchers, and what they run.
            clock: For pings, deadlines and back-off.
            on_observation: Called with each observation and the labels that its scores stand for.
            on_status: Called when a stream's watch state changes. Beside a watcher's own reasons there are
                ``watcher_died`` (stalled: the stream is being moved), ``waiting_for_watcher`` (opening),
                ``quarantine_wait`` (stalled) and ``quarantined`` (failed: it killed its watchers and is given up).
            on_fault: Called once for each watcher that failed or died; its streams are being moved by then.
        """
        self._settings = settings
        self._clock = clock
        self._callbacks = Callbacks(on_observation, on_status, on_fault)
        self._streams: dict[str, AssignedStream] = {}
        self._assignment = Assignment(active=settings.watchers)
        self._quarantine = Quarantine(most=settings.quarantine_watchers)
        self._children: dict[int, WatcherChild] = {}
        self._holders = EvidenceHolders()
        self._spool = SpoolDuty(clock)
        self._told_to_wait: set[str] = set()
        self._restarts: Counter[int] = Counter()
        self._common = range(1, settings.watchers + settings.spares + 1)
        self._members = itertools.count(self._common.stop)
        self._model, self._labels = "", tuple[str, ...]()
        self._became_ready = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._settings = await self._spool.prepare(self._settings)
        await self._group.__aenter__()
        self._spawn(self._spool.run())
        for member in self._common:
            self._spawn(self._keep_running(member))
        self._spawn(self._tick())
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        metrics.WATCHERS.set(0)
        # The group may see a cancellation, which may be its own; an error of the body is not for it to wrap.
        try:
            if isinstance(exc, asyncio.CancelledError):
                await self._group.__aexit__(exc_type, exc, traceback)
            else:
                await self._group.__aexit__(None, None, None)
        finally:
            await self._spool.clear()

    @property
    def ready(self) -> bool:
        """Whether at least one watcher can take streams now."""
        return any(child.ready is not None for child in self._children.values())

    @property
    def model(self) -> str:
        """Name and version of the model that the newest watcher loaded; empty before the first is ready."""
        return self._model

    @property
    def labels(self) -> tuple[str, ...]:
        """That model's labels; empty before the first watcher is ready."""
        return self._labels

    async def wait_ready(self, deadline_s: float) -> bool:
        """Wait up to `deadline_s` seconds for the first watcher to become ready; whether one did."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._became_ready.wait()
        except TimeoutError:
            return False
        return True

    async def assign(self, stream_id: str, url: str, posture: Posture) -> None:
        """Watch a stream from now on. Assigning it again sets its posture, and retries at once if it was waiting.

        Args:
            stream_id: As `StreamRef.stream_id`.
            url: Where it is read; may hold secrets. A changed address means a reconnect.
            posture: How closely.
        """
        known = self._streams.get(stream_id)
        if known is not None and known.url == url:
            known.posture = posture
            self._assignment.set_posture(stream_id, posture)
            if (child := self._child_of(stream_id)) is not None:
                child.assign(stream_id, url, posture)
            return
        if known is not None:
            await self.release(stream_id)
        self._streams[stream_id] = AssignedStream(url, posture)
        if self._quarantine.offended(stream_id):
            self._quarantine.isolate((stream_id,))
            self._open_quarantine()
        else:
            self._assignment.add(stream_id, posture)
            self._place()
        if self._child_of(stream_id) is None:
            self._tell(stream_id, WatchState.OPENING, "waiting_for_watcher")

    async def release(self, stream_id: str) -> None:
        """Stop watching a stream; nothing more is said about it, and its evidence is kept for two minutes."""
        if self._streams.pop(stream_id, None) is None:
            return
        child = self._child_of(stream_id)
        self._assignment.remove(stream_id)
        self._quarantine.remove(stream_id)
        if child is not None:
            self._let_go(child, stream_id)

    async def set_posture(self, stream_id: str, posture: Posture) -> None:
        """Watch a stream more or less closely, without a reconnect; unknown streams are ignored."""
        if (stream := self._streams.get(stream_id)) is None:
            return
        stream.posture = posture
        self._assignment.set_posture(stream_id, posture)
        if (child := self._child_of(stream_id)) is not None:
            child.set_posture(stream_id, posture)

    async def evidence(self, stream_id: str, deadline_s: float) -> Evidence:
        """Return a stream's last minute, oldest first; empty if its watcher died or keeps silent for `deadline_s` seconds."""
        return await self._holders.ask(stream_id, deadline_s)

    def video(self, stream_id: str, deadline_s: float) -> AbstractAsyncContextManager[HandedOver]:
        """Have the compressed video of a stream's last minute written to files, which are gone when the context ends.

        It outlives the watcher that kept it: then another one hands it over. Waits for up to `deadline_s` seconds.
        """
        return self._spool.video(
            stream_id, deadline_s, lambda: self._holders.newest_or_any(stream_id, self._children.values())
        )

    def stats(self) -> list[WatcherView]:
        """Return every watcher that there is now."""
        return [
            view_of(
                child, self._assignment.is_spare(member), self._quarantine.is_member(member), self._restarts[member]
            )
            for member, child in sorted(self._children.items())
        ]

    async def _keep_running(self, member: int) -> None:
        """Run one common watcher after the other under the same number."""
        backoff = Backoff(_RESTART_FIRST_S, self._settings.restart_longest_s, immediate=1)
        while True:
            healthy = await self._run_child(member)
            self._restarts[member] += 1
            if healthy:
                backoff.reset()
            await self._clock.sleep(backoff.next_s())

    async def _keep_quarantined(self, member: int) -> None:
        """Run an extra watcher for one group of suspects until the group is acquitted, empty, or has killed it."""
        backoff = Backoff(_RESTART_FIRST_S, self._settings.restart_longest_s, immediate=1)
        while self._quarantine.is_member(member):
            await self._run_child(member)
            if self._quarantine.is_member(member):
                self._restarts[member] += 1
                await self._clock.sleep(backoff.next_s())
        del self._restarts[member]

    async def _run_child(self, member: int) -> bool:
        """Run one process to its end; whether it was in good health for a while before."""
        child = WatcherChild(
            member=member,
            settings=self._settings,
            clock=self._clock,
            on_ready=self._joined,
            on_message=self._take,
            on_stats=count_more,
        )
        self._children[member] = child
        try:
            ending = await child.run()
            # Streams first: the dead process can wait, they cannot.
            del self._children[member]
            self._left(child, ending)
        finally:
            self._children.pop(member, None)
            self._count_ready()
            status = await child.reap()
        if ending.detail != "retired":
            metrics.WATCHER_RESTARTS.labels(ending.reason).inc()
            log.warning("watcher_ended", watcher=member, reason=ending.reason, detail=ending.detail, status=status)
        return child.ready is not None and self._clock.monotonic_s() - child.ready_at_s >= _HEALTHY_AFTER_S

    def _joined(self, child: WatcherChild) -> None:
        assert child.ready is not None  # noqa: S101 - for mypy: this is what being called means
        self._model, self._labels = child.ready.model, child.ready.labels
        log.info(
            "watcher_ready",
            watcher=child.member,
            pid=child.pid,
            model=child.ready.model,
            provider=child.ready.provider,
        )
        self._became_ready.set()
        self._count_ready()
        if self._quarantine.is_member(child.member):
            self._begin_probation(child)
        else:
            self._assignment.join(child.member)
            self._place()

    def _begin_probation(self, child: WatcherChild) -> None:
        self._quarantine.begin(child.member, self._clock.monotonic_s())
        for stream_id in self._quarantine.streams_of(child.member):
            self._hand_over(child, stream_id)

    def _left(self, child: WatcherChild, ending: Ending) -> None:
        if ending.detail == "retired":
            self._holders.ended(child)
        elif self._quarantine.is_member(child.member):
            self._left_quarantine(child, ending)
        else:
            self._left_common(child, ending)
        self._open_quarantine()

    def _left_common(self, child: WatcherChild, ending: Ending) -> None:
        orphans = self._assignment.leave(child.member)
        suspects: tuple[str, ...] = ()
        if ending.blames_streams:
            suspects = self._quarantine.blame(orphans, self._clock.monotonic_s())
        for stream_id in suspects:
            self._assignment.remove(stream_id)
        self._mourn(child, ending, orphans)
        if suspects:
            log.warning("streams_suspected", watcher=child.member, streams=len(suspects))
            self._isolate(suspects)
        self._place()

    def _isolate(self, suspects: tuple[str, ...]) -> None:
        idle = self._assignment.idle
        if idle is None or (self._assignment.unplaced and self._assignment.size == 1):
            # Processes yet to start take their time anyway, so let them narrow it down as well.
            self._quarantine.isolate(suspects)
            return
        # Two accidents in a row look like a culprit too: an idle watcher lent from the others takes all this instant.
        self._quarantine.isolate(suspects, groups=1)
        if self._quarantine.enter(idle):
            self._assignment.leave(idle)
            self._begin_probation(self._children[idle])

    def _left_quarantine(self, child: WatcherChild, ending: Ending) -> None:
        if child.ready is None or not ending.blames_streams:
            self._mourn(child, ending, tuple(child.streams))
            return
        streams = self._quarantine.streams_of(child.member)
        given_up = self._quarantine.died(child.member, self._clock.monotonic_s())
        self._mourn(child, ending, tuple(stream_id for stream_id in streams if stream_id != given_up))
        if given_up is not None:
            metrics.STREAMS_QUARANTINED.inc()
            log.error("stream_given_up", stream_id=given_up)
            self._tell(given_up, WatchState.FAILED, "quarantined", "it ended every watcher that read it")

    def _mourn(self, child: WatcherChild, ending: Ending, orphans: tuple[str, ...]) -> None:
        """Say what happened to a process and to its streams; they are not placed anew yet."""
        self._holders.ended(child)
        self._callbacks.fault(ending.fault or WatcherFault(reason=ending.reason, detail=ending.detail))
        for stream_id in orphans:
            self._tell(stream_id, WatchState.STALLED, "watcher_died")

    def _place(self) -> None:
        self._carry_out(self._assignment.place())

    def _carry_out(self, placements: tuple[Placement, ...]) -> None:
        for placement in placements:
            if placement.source is not None and (source := self._children.get(placement.source)) is not None:
                self._let_go(source, placement.stream_id)
            if (target := self._children.get(placement.target)) is not None:
                self._hand_over(target, placement.stream_id)

    def _hand_over(self, child: WatcherChild, stream_id: str) -> None:
        stream = self._streams[stream_id]
        self._holders.came(stream_id, child)
        child.assign(stream_id, stream.url, stream.posture)

    def _let_go(self, child: WatcherChild, stream_id: str) -> None:
        child.release(stream_id)
        self._holders.left(stream_id, child, self._clock.monotonic_s())

    def _open_quarantine(self) -> None:
        while self._quarantine.enter(member := next(self._members)):
            self._spawn(self._keep_quarantined(member))
        waiting = set(self._quarantine.waiting)
        for stream_id in waiting - self._told_to_wait:
            self._tell(stream_id, WatchState.STALLED, "quarantine_wait")
        self._told_to_wait = waiting

    async def _tick(self) -> None:
        """Do what no event asks for: end probations, even out, forget."""
        while True:
            await self._clock.sleep(_TICK_S)
            now_s = self._clock.monotonic_s()
            for member, acquitted in self._quarantine.acquit(now_s).items():
                self._end_probation(member, acquitted)
            retries = [stream_id for stream_id in self._quarantine.to_retry(now_s) if stream_id in self._streams]
            for stream_id in retries:
                self._quarantine.isolate((stream_id,))
            self._open_quarantine()
            self._place()
            self._carry_out(self._assignment.rebalance(_MOVES_PER_TICK))
            self._holders.forget(now_s)

    def _end_probation(self, member: int, acquitted: tuple[str, ...]) -> None:
        """Return streams to the common watchers, and their watcher too if it was lent from there."""
        child = self._children.get(member)
        for stream_id in acquitted:
            self._assignment.add(stream_id, self._streams[stream_id].posture)
            if child is not None:
                self._let_go(child, stream_id)
        if child is None:
            return
        if member in self._common:
            if child.ready is not None:
                self._assignment.join(member)
        else:
            child.retire()

    def _child_of(self, stream_id: str) -> WatcherChild | None:
        member = self._assignment.place_of(stream_id)
        if member is None:
            member = self._quarantine.place_of(stream_id)
        child = None if member is None else self._children.get(member)
        return child if child is not None and child.ready is not None else None

    def _take(self, child: WatcherChild, message: Observation | StreamStatus) -> None:
        if isinstance(message, StreamStatus):
            self._callbacks.status(message)
            return
        labels = () if child.ready is None else child.ready.labels
        self._callbacks.observation(message, labels)

    def _tell(self, stream_id: str, state: WatchState, reason: str, detail: str = "") -> None:
        if stream_id in self._streams:
            self._callbacks.status(StreamStatus(stream_id=stream_id, state=state, reason=reason, detail=detail))

    def _count_ready(self) -> None:
        metrics.WATCHERS.set(sum(child.ready is not None for child in self._children.values()))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
