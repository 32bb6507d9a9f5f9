"""Keeps watchers running and every stream watched, whatever streams and processes do."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, Self

import structlog

from monitor import metrics
from monitor.clock import Clock
from monitor.vocabulary import Posture, WatchState
from monitor.watch.assignment import AssignedStream, Assignment
from monitor.watch.backoff import Backoff
from monitor.watch.callbacks import Callbacks
from monitor.watch.child import WatcherChild
from monitor.watch.classifier_duty import ClassifierDuty
from monitor.watch.deaths import Deaths
from monitor.watch.messages import (
    MAX_COSTS,
    Evidence,
    Observation,
    OfStream,
    Ready,
    ShadowScores,
    StreamStatus,
    WatcherFault,
    WatcherStats,
)
from monitor.watch.model_swaps import InForce, ModelSwaps
from monitor.watch.quarantine import Quarantine
from monitor.watch.roster import Roster
from monitor.watch.settings import WatchSettings
from monitor.watch.spool_duty import HandedOver, SpoolDuty
from monitor.watch.view import WatcherView, count_more, show_room, view_of

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
        on_model: Callable[[str, str], None] = lambda _stream_id, _model: None,
        on_shadow: Callable[[ShadowScores, Ready], None] = lambda _scores, _ready: None,
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
            on_model: Called with a stream's id and ``name@version`` before its first observation from another model than
                the one before.
            on_shadow: Called with what a model beside the acting one says of a clip, and what its watcher said when it was
                ready.
        """
        self._clock = clock
        self._callbacks = Callbacks(on_observation, on_status, on_fault, on_model, on_shadow)
        self._roster = Roster(
            clock=clock,
            callbacks=self._callbacks,
            assignment=Assignment(active=settings.watchers),
            quarantine=Quarantine(most=settings.quarantine_watchers),
        )
        self._common = set(range(1, settings.watchers + settings.spares + 1))
        self._deaths = Deaths(self._roster, self._start_quarantine, lambda member: member in self._common)
        self._spool = SpoolDuty(clock)
        self._in_force = InForce(settings, ClassifierDuty(clock, self._callbacks.fault))
        self._restarts: Counter[int] = Counter()
        self._members = itertools.count(settings.watchers + settings.spares + 1)
        self._model, self._labels = "", tuple[str, ...]()
        self._became_ready = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()
        self._swaps = ModelSwaps(
            in_force=self._in_force,
            roster=self._roster,
            clock=clock,
            common=self._common,
            new_member=lambda: next(self._members),
            keep_running=self._keep_running,
            joined=self._joined,
            task_of=self._task_of,
        )

    async def __aenter__(self) -> Self:
        in_force = self._in_force
        in_force.settings = in_force.classifier.prepare(await self._spool.prepare(in_force.settings))
        await self._group.__aenter__()
        self._spawn(self._spool.run())
        in_force.classifying = self._task_of(in_force.classifier.run())
        for member in sorted(self._common):
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
            self._in_force.classifier.close()
            await self._spool.clear()

    @property
    def ready(self) -> bool:
        """Whether at least one watcher can take streams now, and have their clips scored."""
        return self._in_force.classifier.ready and any(
            child.ready is not None for child in self._roster.children.values()
        )

    @property
    def model(self) -> str:
        """Name and version of the model that the newest watcher loaded; empty before the first is ready."""
        return self._model

    @property
    def labels(self) -> tuple[str, ...]:
        """That model's labels; empty before the first watcher is ready."""
        return self._labels

    def labels_of(self, stream_id: str) -> tuple[str, ...]:
        """The labels of the model that watches a stream now; while another takes over, not every stream has the same."""
        child = self._roster.child_of(stream_id)
        return self._labels if child is None or child.ready is None else child.ready.labels

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
        known = self._roster.streams.get(stream_id)
        if known is not None and known.url == url:
            known.posture = posture
            self._roster.assignment.set_posture(stream_id, posture)
            for child in self._roster.children_of(stream_id):
                child.assign(stream_id, url, posture, weight=known.weight)
            return
        if known is not None:
            await self.release(stream_id)
        self._roster.streams[stream_id] = AssignedStream(url, posture)
        if self._roster.quarantine.offended(stream_id):
            self._deaths.isolate(stream_id)
        else:
            self._roster.assignment.add(stream_id, posture)
            self._roster.place()
        if self._roster.child_of(stream_id) is None:
            self._roster.tell(stream_id, WatchState.OPENING, "waiting_for_watcher")

    async def release(self, stream_id: str) -> None:
        """Stop watching a stream; nothing more is said about it, and its evidence is kept for two minutes."""
        if self._roster.streams.pop(stream_id, None) is None:
            return
        children = self._roster.children_of(stream_id)
        self._roster.overlaps.end(stream_id)
        self._roster.assignment.remove(stream_id)
        self._roster.quarantine.remove(stream_id)
        for child in children:
            self._roster.let_go(child, stream_id)

    async def set_posture(self, stream_id: str, posture: Posture) -> None:
        """Watch a stream more or less closely, without a reconnect; unknown streams are ignored."""
        if (stream := self._roster.streams.get(stream_id)) is None:
            return
        stream.posture = posture
        self._roster.assignment.set_posture(stream_id, posture)
        for child in self._roster.children_of(stream_id):
            child.set_posture(stream_id, posture, stream.weight)

    async def set_weight(self, stream_id: str, weight: float) -> None:
        """Say how much a stream matters beside others (1 for ordinary ones); unknown streams are ignored."""
        if (stream := self._roster.streams.get(stream_id)) is not None and stream.weight != weight:
            stream.weight = weight
            await self.set_posture(stream_id, stream.posture)

    @property
    def swapping(self) -> bool:
        """Whether some streams are still judged by another model than the newest that was taken into use."""
        return self._swaps.under_way

    async def swap_model(self, settings: WatchSettings, approve: Callable[[Ready], Awaitable[None]]) -> None:
        """Take another model into use without a restart; see `ModelSwaps.swap`."""
        await self._swaps.swap(settings, approve)

    def _is_done(self, member: int) -> bool:
        return member not in self._common and not self._roster.quarantine.is_member(member)

    async def evidence(self, stream_id: str, deadline_s: float) -> Evidence:
        """Return a stream's last minute, oldest first; empty if its watcher died or keeps silent for `deadline_s` seconds."""
        return await self._roster.holders.ask(stream_id, deadline_s, self.labels_of(stream_id))

    def video(self, stream_id: str, deadline_s: float) -> AbstractAsyncContextManager[HandedOver]:
        """Have the compressed video of a stream's last minute written to files, which are gone when the context ends.

        It outlives the watcher that kept it: then another one hands it over. Waits for up to `deadline_s` seconds.
        """
        return self._spool.video(
            stream_id, deadline_s, lambda: self._roster.holders.newest_or_any(stream_id, self._roster.children.values())
        )

    def stats(self) -> list[WatcherView]:
        """Return every watcher that there is now."""
        roster = self._roster
        return [
            view_of(
                child,
                spare=roster.assignment.is_spare(member) or self._is_done(member),
                quarantine=roster.quarantine.is_member(member),
                restarts=self._restarts[member],
                reserved_cores=roster.assignment.reserved_on(member),
                capacity_cores=self._in_force.settings.capacity_cores,
            )
            for member, child in sorted(roster.children.items())
        ]

    async def _keep_running(self, member: int) -> None:
        """Run one common watcher after the other under the same number."""
        backoff = Backoff(_RESTART_FIRST_S, self._in_force.settings.restart_longest_s, immediate=1)
        while member in self._common:
            healthy = await self._run_child(member)
            self._restarts[member] += 1
            if healthy:
                backoff.reset()
            if member in self._common:
                await self._clock.sleep(backoff.next_s())
        self._restarts.pop(member, None)

    async def _keep_quarantined(self, member: int) -> None:
        """Run an extra watcher for one group of suspects until the group is acquitted, empty, or has killed it."""
        backoff = Backoff(_RESTART_FIRST_S, self._in_force.settings.restart_longest_s, immediate=1)
        while self._roster.quarantine.is_member(member):
            await self._run_child(member)
            if self._roster.quarantine.is_member(member):
                self._restarts[member] += 1
                await self._clock.sleep(backoff.next_s())
        del self._restarts[member]

    async def _run_child(self, member: int) -> bool:
        """Run one process to its end; whether it was in good health for a while before."""
        trial = self._swaps.trial_of(member)
        child = WatcherChild(
            member=member,
            settings=self._in_force.settings if trial is None else trial.settings,
            clock=self._clock,
            on_ready=self._joined,
            on_message=self._take,
            on_stats=self._take_stats,
        )
        self._roster.children[member] = child
        try:
            ending = await child.run()
            # Streams first: the dead process can wait, they cannot.
            del self._roster.children[member]
            if trial is not None and trial is self._swaps.trial_of(member):
                # Nobody depends on it, so that nothing is to be said but to those who try it.
                self._common.discard(member)
                trial.failed(ending)
            else:
                self._deaths.left(child, ending)
            if ending.detail != "retired" and trial is None:
                metrics.WATCHER_RESTARTS.labels(ending.reason).inc()
        finally:
            self._roster.children.pop(member, None)
            self._roster.count_ready()
            status = await child.reap()
        if ending.detail != "retired":
            log.warning("watcher_ended", watcher=member, reason=ending.reason, detail=ending.detail, status=status)
        return child.ready is not None and self._clock.monotonic_s() - child.ready_at_s >= _HEALTHY_AFTER_S

    def _joined(self, child: WatcherChild) -> None:
        assert child.ready is not None  # noqa: S101 - for mypy: this is what being called means
        if (trial := self._swaps.trial_of(child.member)) is not None:
            # It gets no streams before it has been approved.
            trial.passed(child.ready)
            return
        self._model, self._labels, provider = child.ready.model, child.ready.labels, child.ready.provider
        metrics.MODEL_INFO.labels("acting").info({"model": self._model, "provider": provider})
        if child.ready.shadow:
            metrics.MODEL_INFO.labels("shadow").info({"model": child.ready.shadow, "provider": provider})
        elif self._in_force.settings.shadow_model is None:
            metrics.MODEL_INFO.remove("shadow")
        log.info("watcher_ready", watcher=child.member, pid=child.pid, model=self._model, provider=provider)
        self._became_ready.set()
        self._roster.count_ready()
        if self._roster.quarantine.is_member(child.member):
            self._deaths.begin_probation(child)
        else:
            self._roster.assignment.join(child.member)
            self._roster.place()

    def _start_quarantine(self) -> bool:
        if not self._roster.quarantine.enter(member := next(self._members)):
            return False
        self._spawn(self._keep_quarantined(member))
        return True

    async def _tick(self) -> None:
        """Do what no event asks for: end probations, even out, forget."""
        while True:
            await self._clock.sleep(_TICK_S)
            now_s = self._clock.monotonic_s()
            self._deaths.review(now_s)
            self._roster.place()
            for stream_id in self._roster.overlaps.overdue(now_s):
                log.warning("stream_not_scored_by_successor", stream_id=stream_id)
                self._roster.settle(stream_id)
            if not self.swapping:
                self._roster.rebalance(_MOVES_PER_TICK)
            self._roster.holders.forget(now_s)
            show_room(self.stats())
            metrics.WATCHERS_OUTDATED.set(len(self._swaps.outdated))

    def _take(self, child: WatcherChild, message: OfStream) -> None:
        if isinstance(message, StreamStatus):
            self._roster.heard(child, message)
        elif isinstance(message, Observation):
            self._roster.scored(child, message)
        elif child.ready is not None:
            self._callbacks.shadow(message, child.ready)

    def _take_stats(self, child: WatcherChild, stats: WatcherStats) -> None:
        count_more(child, stats)
        for cost in stats.costs[:MAX_COSTS]:
            # A watcher may speak of its own streams only.
            if cost.stream_id in child.streams:
                self._roster.assignment.measure(cost.stream_id, cost.posture, cost.cores)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        _ = self._task_of(work)

    def _task_of(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
