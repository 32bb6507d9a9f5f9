"""How the daemon stops: in order, and within a time that whoever asked for it can rely on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from monitor.daemon.keeper import Keeper
from monitor.daemon.thresholds import Thresholds
from monitor.effects.runner import EffectRunner

EFFECTS_S: Final = 3.0
"""How long effects under way may go on; what has not ended by then is in the store, and done by the next start."""

SETTLE_S: Final = 2.0
"""How long what watchers and listings have said may take to reach the store."""

CLOSING_S: Final = 25.0
"""How long watchers, media servers, pages and the store may take to close. Watchers are killed, which takes moments."""

LONGEST_STOP_S: Final = EFFECTS_S + SETTLE_S + CLOSING_S
"""After so long the process ends, whatever still hangs: nothing is lost but time, as after `kill -9`."""

FORCED_EXIT: Final = 1

log = structlog.get_logger()


async def wind_down(
    discovering: Iterable[asyncio.Task[None]], runner: EffectRunner, keeper: Keeper, thresholds: Thresholds
) -> None:
    """Take no new streams, let effects under way end, and let what was observed reach the store.

    Args:
        discovering: Whatever finds new streams; cancelled first.
        runner: Its effects have `EFFECTS_S`.
        keeper: What it has heard has `SETTLE_S`, together with `thresholds`.
        thresholds: What they have counted.
    """
    log.info("daemon_stopping")
    for task in discovering:
        task.cancel()
    await _finish_effects(runner)
    await _settle(keeper, thresholds)


async def _finish_effects(runner: EffectRunner) -> None:
    """Let effects under way end; the others are handed over in the store."""
    try:
        async with asyncio.timeout(EFFECTS_S):
            await runner.idle()
    except TimeoutError:
        log.info("effects_handed_over")


async def _settle(keeper: Keeper, thresholds: Thresholds) -> None:
    """Let what watchers and listings have said so far reach the store, but take no longer than this."""
    try:
        async with asyncio.timeout(SETTLE_S):
            await keeper.settled()
            await thresholds.keep()
    except TimeoutError:
        log.error("events_lost_while_stopping")  # noqa: TRY400 - a trace says no more


@contextmanager
def bounded(within_s: float = LONGEST_STOP_S) -> Iterator[threading.Event]:
    """End the process `within_s` seconds after the event that this yields was set, unless the body ends first.

    A thread watches: what hangs may be the event loop itself.
    """
    asked, over = threading.Event(), threading.Event()

    def watch() -> None:
        asked.wait()
        if not over.wait(within_s):
            log.error("stop_took_too_long", waited_s=within_s)
            os._exit(FORCED_EXIT)

    watching = threading.Thread(target=watch, name="stop deadline", daemon=True)
    watching.start()
    try:
        yield asked
    finally:
        over.set()
        asked.set()
        watching.join()
