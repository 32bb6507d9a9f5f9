"""Another model without a restart: tried by one watcher on which nobody depends, and only then taken into use.

The first watcher with the model is on trial: it loads it and runs its self-test. If that fails, nothing has happened. Then
watchers are replaced, as `monitor.watch.succession` does it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace

import structlog

from monitor.clock import Clock
from monitor.errors import WatcherError
from monitor.watch.child import Ending, WatcherChild
from monitor.watch.classifier_duty import ClassifierDuty
from monitor.watch.messages import Ready, WatcherFault
from monitor.watch.roster import Roster
from monitor.watch.settings import WatchSettings
from monitor.watch.succession import Succession

log = structlog.get_logger()


class ModelSwapRefused(WatcherError):
    """The model is not taken into use; the one before stays in force. `reason` is what the watcher said, if it did."""

    reason = "swap_refused"


@dataclass(slots=True, eq=False)
class Trial:
    """The first watcher with other settings. `outcome` is set once: what it said when it was ready, or `ModelSwapRefused`."""

    member: int
    settings: WatchSettings
    outcome: asyncio.Future[Ready] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def passed(self, ready: Ready) -> None:
        """Its model is loaded, and the self-test gave the scores that it must."""
        if not self.outcome.done():
            self.outcome.set_result(ready)

    def failed(self, ending: Ending) -> None:
        """It ended before it could be used."""
        self.refuse(ending.fault or WatcherFault(reason=ending.reason, detail=ending.detail))

    def refuse(self, fault: WatcherFault) -> None:
        """It, or the classifier that it shares, cannot be used."""
        if not self.outcome.done():
            self.outcome.set_exception(ModelSwapRefused(fault.detail, reason=fault.reason))


@dataclass(slots=True)
class InForce:
    """What watchers that are started now run with.

    Attributes:
        classifier: The care for the classifier that they share, if they do.
        classifying: Runs that; None before anything runs.
    """

    settings: WatchSettings
    classifier: ClassifierDuty
    classifying: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class ModelSwaps:
    """Takes other models into use, one at a time.

    Attributes:
        in_force: Changed here.
        roster: Streams and processes.
        common: Numbers of the watchers that are kept running; changed here.
        new_member: Returns a number that no watcher has had.
        keep_running: Keeps a watcher running for as long as its number is common.
        joined: Called with a watcher that may have streams from now on.
        task_of: Runs something for as long as watchers run.
    """

    in_force: InForce
    roster: Roster
    clock: Clock
    common: set[int]
    new_member: Callable[[], int]
    keep_running: Callable[[int], Coroutine[None, None, None]]
    joined: Callable[[WatcherChild], None]
    task_of: Callable[[Coroutine[None, None, None]], asyncio.Task[None]]
    _trial: Trial | None = None
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _succession: Succession = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._succession = Succession(
            roster=self.roster,
            clock=self.clock,
            common=self.common,
            settings=lambda: self.in_force.settings,
            wanted=len(self.common),
            start=self._start_one,
            spawn=self.task_of,
        )

    @property
    def under_way(self) -> bool:
        """Whether another model is being tried, or watchers are being replaced."""
        return self._lock.locked()

    @property
    def outdated(self) -> tuple[WatcherChild, ...]:
        """The watchers that are yet to be replaced."""
        return self._succession.outdated

    def trial_of(self, member: int) -> Trial | None:
        """Return the trial that this watcher undergoes, if it does."""
        return self._trial if self._trial is not None and self._trial.member == member else None

    async def swap(self, settings: WatchSettings, approve: Callable[[Ready], Awaitable[None]]) -> None:
        """Take another model into use: returns when that is settled; watchers are replaced from then on.

        Cancellation while the model is being tried leaves the one before in force.

        Args:
            settings: What watchers are to run; only what says which model, and where it runs, is taken from it.
            approve: Called when the model has passed its self-test, with what its first watcher said, before any stream
                is judged by it. When it raises, the model is not taken into use, and the error is passed on.

        Raises:
            ModelSwapRefused: the model cannot be used, or another one is just being taken into use (``swap_under_way``).
        """
        if self._lock.locked():
            message = "another model is just being taken into use"
            raise ModelSwapRefused(message, reason="swap_under_way", retryable=True)
        await self._lock.acquire()
        before = replace(self.in_force)
        try:
            child = await self._tried(settings, approve)
        except BaseException:
            self._lock.release()
            raise
        if child is not None:
            self.joined(child)
        else:
            # It passed, and has died since: the next one is no trial any more.
            self._start_one()
        _ = self.task_of(self._replace_all(before))

    async def _tried(self, settings: WatchSettings, approve: Callable[[Ready], Awaitable[None]]) -> WatcherChild | None:
        """Put other settings in force if a watcher can be started with them; return it, if it still runs."""
        wanted = replace(
            self.in_force.settings,
            model=settings.model,
            models_dir=settings.models_dir,
            model_variant=settings.model_variant,
            remote=settings.remote,
            shadow_model=settings.shadow_model,
            shadow_share=settings.shadow_share,
            classifier_address=None,
        )
        duty = ClassifierDuty(self.clock, self._classifier_failed)
        wanted = duty.prepare(wanted)
        classifying = self.task_of(duty.run())
        self._trial = trial = Trial(self.new_member(), wanted)
        self._keep(trial.member)
        try:
            await approve(await trial.outcome)
        except BaseException:
            self._trial = None
            self.common.discard(trial.member)
            if (child := self.roster.children.get(trial.member)) is not None:
                child.retire()
            classifying.cancel()
            duty.close()
            raise
        self._trial = None
        self.in_force.settings, self.in_force.classifier, self.in_force.classifying = wanted, duty, classifying
        return self.roster.children.get(trial.member)

    def _classifier_failed(self, fault: WatcherFault) -> None:
        if self._trial is not None:
            self._trial.refuse(fault)
        else:
            self.roster.callbacks.fault(fault)

    async def _replace_all(self, before: InForce) -> None:
        try:
            await self._succession.run()
        finally:
            if before.classifying is not None:
                before.classifying.cancel()
            before.classifier.close()
            self._lock.release()
        log.info("watchers_replaced", model=self.in_force.settings.model)

    def _start_one(self) -> None:
        self._keep(self.new_member())

    def _keep(self, member: int) -> None:
        self.common.add(member)
        _ = self.task_of(self.keep_running(member))
