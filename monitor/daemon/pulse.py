"""The daemon's own signs of life: its heartbeat, what its watchers are, and whether the store takes writes."""

from __future__ import annotations

from typing import Final

import sdnotify
import structlog

from monitor import metrics
from monitor.clock import Clock
from monitor.daemon.remote import show_classifiers
from monitor.daemon.views import Vitals
from monitor.effects.blocklist import BlockList
from monitor.errors import StoreError
from monitor.incidents.engine import IncidentEngine
from monitor.store.database import Database
from monitor.watch.settings import WatchSettings
from monitor.watch.supervisor import Watchers

_HEARTBEAT_S: Final = 1.0
_STORE_CHECK_S: Final = 5.0

log = structlog.get_logger()


class Pulse:
    """Keeps `Vitals` true."""

    def __init__(
        self,
        *,
        vitals: Vitals,
        plan: WatchSettings,
        watchers: Watchers,
        engine: IncidentEngine,
        blocks: BlockList,
        database: Database,
        clock: Clock,
    ) -> None:
        """Write into `vitals` what the others say of themselves."""
        self._vitals = vitals
        self._plan = plan
        self._watchers = watchers
        self._engine = engine
        self._blocks = blocks
        self._database = database
        self._clock = clock

    async def beat(self, notifier: sdnotify.SystemdNotifier) -> None:
        """Tell systemd, and whoever asks, that the event loop moves; until cancelled."""
        vitals = self._vitals
        while True:
            vitals.heartbeat_s = self._clock.monotonic_s()
            views = self._watchers.stats()
            vitals.watchers_wanted = self._plan.watchers
            vitals.watchers_ready = sum(view.ready and not view.spare and not view.quarantine for view in views)
            vitals.model = self._watchers.model
            show_classifiers(vitals, views)
            notifier.notify("WATCHDOG=1")
            self._blocks.forget_expired()
            await self._clock.sleep(_HEARTBEAT_S)

    async def check_store(self) -> None:
        """Write now and then, until cancelled; apart from the heartbeat, which a disk that hangs must not stop.

        Raises:
            StoreError: another daemon has taken over the store. Two would do everything twice: this one is no longer wanted.
        """
        while True:
            try:
                await self._database.check_writable()
            except StoreError as error:
                self._vitals.store_ok = False
                metrics.STORE_FAILURES.inc()
                log.error("store_not_writable", reason=error.reason)  # noqa: TRY400 - it comes every few seconds, and says all
                if error.reason == "in_use":
                    raise
            else:
                self._vitals.store_ok = not self._engine.unwritten
            await self._clock.sleep(_STORE_CHECK_S)
