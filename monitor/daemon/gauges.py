"""What nothing tells of by itself, and is measured now and then: incidents by state, late reviews, disks, the event loop."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import URL

from monitor import __version__, metrics
from monitor.clock import Clock
from monitor.config.models import Config
from monitor.daemon.parts import Parts
from monitor.daemon.streams import StreamRegistry
from monitor.errors import StoreError
from monitor.incidents.engine import IncidentEngine
from monitor.protocol.decision import Reason
from monitor.store.database import Database
from monitor.vocabulary import EffectKind
from monitor.watch.deaths import GIVEN_UP_REASON

_TICK_S: Final = 1.0
_DISK_EVERY_S: Final = 15.0

log = structlog.get_logger()


class Gauges:
    """Keeps such metrics up to date."""

    def __init__(
        self, parts: Parts, engine: IncidentEngine, registry: StreamRegistry, database: Database, clock: Clock
    ) -> None:
        """Measure what these hold; states of the protocols in `parts` are counted from the start."""
        self._engine = engine
        self._registry = registry
        self._database = database
        self._folders = folders_of(parts.config, parts.store)
        self._model = parts.package.name
        self._clock = clock
        self._states = {
            (definition.name, name)
            for policy in parts.policies.values()
            for definition in (policy.definition, *(rule.definition for rule in policy.rules))
            for name, state in definition.states.items()
            if not state.final
        }

    def begin(self) -> None:
        """Create what is counted, and say what this daemon is."""
        metrics.initialise()
        for reason in Reason:
            metrics.TRANSITIONS.labels(reason.value)
        metrics.BUILD_INFO.info({"version": __version__})
        metrics.MODEL_INFO.labels("acting").info({"model": self._model, "provider": ""})

    async def run(self) -> None:
        """Measure until cancelled."""
        metrics.TIME.set_function(time.time)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look_at_disks())
            while True:
                self.look()
                slept_from_s = self._clock.monotonic_s()
                await self._clock.sleep(_TICK_S)
                metrics.LOOP_LAG.observe(max(0.0, self._clock.monotonic_s() - slept_from_s - _TICK_S))

    def look(self) -> None:
        """Measure once what is in memory; drills are no incidents."""
        now = self._clock.now().timestamp()
        counts: Counter[tuple[str, str]] = Counter()
        contained = 0
        overdue_s = 0.0
        for incident in self._engine.open_incidents():
            record = incident.record
            if record.drill:
                continue
            counts[record.protocol, record.state] += 1
            is_live = self._registry.get(record.stream_id) is not None
            contained += EffectKind.CUT in incident.state.asked and not is_live and not record.dry_run
            if record.review_due_at is not None:
                overdue_s = max(overdue_s, now - record.review_due_at)
        self._states |= counts.keys()
        for place in self._states:
            metrics.INCIDENTS.labels(*place).set(counts[place])
        metrics.STREAMS_WITHHELD.labels("contained").set(contained)
        metrics.REVIEW_OVERDUE.set(overdue_s)
        given_up = sum(stream.watch_reason == GIVEN_UP_REASON for stream in self._registry)
        metrics.STREAMS_GIVEN_UP.set(given_up)

    async def _look_at_disks(self) -> None:
        while True:
            for use, folder in self._folders.items():
                try:
                    # A network drive that hangs must not hold up anything else.
                    usage = await asyncio.to_thread(_usage, folder)
                except OSError as error:
                    log.warning("disk_not_measured", use=use, errno=error.errno)
                    continue
                metrics.DISK_FREE.labels(use).set(usage.free)
                metrics.DISK_SIZE.labels(use).set(usage.total)
            try:
                metrics.STORE_BYTES.set(await self._database.size_bytes())
            except StoreError as error:
                # Whoever writes to it says so, too.
                log.warning("store_not_measured", reason=error.reason)
            await self._clock.sleep(_DISK_EVERY_S)


def folders_of(config: Config, store: Path | URL) -> Mapping[str, Path]:
    """Return where the daemon writes, by use (`monitor.metrics.DISK_USES`); a database elsewhere has its own watchers."""
    places = {"evidence": config.evidence_directory, "spool": config.spool_directory}
    if isinstance(store, Path):
        places["store"] = store.parent
    return {use: folder for use, folder in places.items() if folder is not None}


def _usage(folder: Path) -> shutil._ntuple_diskusage:
    # Folders are made when they are first needed.
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists()))
