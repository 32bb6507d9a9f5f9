"""Work that waits in line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

WorkQueue = asyncio.Queue[Callable[[], Awaitable[None]]]

log = structlog.get_logger()


async def work_off(queue: WorkQueue) -> None:
    """Do what is in the queue, one after the other, until cancelled."""
    while True:
        work = await queue.get()
        try:
            await work()
        except Exception:
            # A defect that one stream brings out must not end the watch over the others.
            log.exception("keeper_work_failed")
        finally:
            queue.task_done()
