"""The last moments of a daemon that was told to stop."""

from __future__ import annotations

import asyncio

import structlog

from monitor.daemon.keeper import Keeper
from monitor.daemon.thresholds import Thresholds

log = structlog.get_logger()


async def settle(keeper: Keeper, thresholds: Thresholds, within_s: float) -> None:
    """Let what watchers and listings have said so far reach the store, but take no longer than this."""
    try:
        async with asyncio.timeout(within_s):
            await keeper.settled()
            await thresholds.keep()
    except TimeoutError:
        log.error("events_lost_while_stopping")  # noqa: TRY400 - a trace says no more
