"""What the supervisor does about the spool: keeps its folder in order, and has watchers hand video over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import structlog

from monitor import metrics
from monitor.clock import Clock
from monitor.watch.child import WatcherChild
from monitor.watch.messages import EvidenceVideo
from monitor.watch.settings import WatchSettings
from monitor.watch.spool_folder import SpoolFolder
from monitor.watch.users import WatcherUser

log = structlog.get_logger()

_TIDY_S: Final = 5.0
_LOOK_AGAIN_S: Final = 0.1
_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class HandedOver:
    """What a watcher says it has written. Nothing of it is checked.

    Attributes:
        folder: Where the files are, for as long as the context lasts; None if there are none.
        trouble: Why there is nothing, or less than there should be: a static word; empty if all is well.
    """

    folder: Path | None = None
    files: tuple[EvidenceVideo, ...] = ()
    trouble: str = ""


@dataclass(slots=True)
class SpoolDuty:
    """`folder` is None where no video is kept: it is turned off, or the disk does not allow it."""

    clock: Clock
    folder: SpoolFolder | None = field(default=None)

    async def prepare(self, settings: WatchSettings) -> WatchSettings:
        """Make the spool ready; return the settings with which watchers are to be started."""
        if settings.spool is None:
            return settings
        user = None if settings.run_as_user is None else WatcherUser.named(settings.run_as_user)
        folder = SpoolFolder(settings.spool, settings.ring_bytes, settings.ring_total_bytes, user=user)
        if not await asyncio.to_thread(folder.prepare):
            return replace(settings, spool=None)
        self.folder = folder
        return settings

    async def run(self) -> None:
        """Keep the spool in order until cancelled."""
        while self.folder is not None:
            metrics.SPOOL_BYTES.set(await asyncio.to_thread(self.folder.tidy))
            await self.clock.sleep(_TIDY_S)

    async def clear(self) -> None:
        """Leave nothing behind; no watcher may run any more."""
        metrics.SPOOL_BYTES.set(0)
        if self.folder is not None:
            await asyncio.to_thread(self.folder.clear)

    @asynccontextmanager
    async def video(
        self, stream_id: str, deadline_s: float, child_of: Callable[[], WatcherChild | None]
    ) -> AsyncIterator[HandedOver]:
        """Have a stream's last minute handed over; the files are gone when the context ends.

        Args:
            stream_id: Whose.
            deadline_s: How long this may take, in seconds.
            child_of: Asked for a watcher that can do it, again and again while there is none.
        """
        if self.folder is None:
            yield HandedOver(trouble="no_spool")
            return
        handover = self.folder.handover()
        try:
            folder = await asyncio.to_thread(handover.__enter__)
        except OSError as error:
            log.error("video_not_written", stream_id=stream_id, errno=error.errno)  # noqa: TRY400 - says it all
            yield HandedOver(trouble="disk")
            return
        try:
            yield await self._ask(stream_id, folder, self.clock.monotonic_s() + deadline_s, child_of)
        finally:
            await asyncio.to_thread(handover.__exit__, None, None, None)

    async def _ask(
        self, stream_id: str, folder: Path, ends_s: float, child_of: Callable[[], WatcherChild | None]
    ) -> HandedOver:
        asked: list[WatcherChild] = []
        # A watcher may die while it is asked, perhaps of this very video: one more may try, not all.
        while len(asked) < _TRIES and (left_s := ends_s - self.clock.monotonic_s()) > 0:
            child = child_of()
            if child is None or child in asked:
                await self.clock.sleep(_LOOK_AGAIN_S)
                continue
            asked.append(child)
            answer = await child.video(stream_id, folder, left_s)
            if answer is not None:
                return HandedOver(folder, answer.files, answer.trouble)
        return HandedOver(trouble="no_answer" if asked else "no_watcher")
