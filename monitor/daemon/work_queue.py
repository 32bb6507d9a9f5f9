"""Work that waits in line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

WorkQueue = asyncio.Queue[Callable[[], Awaitable[None]]]

log = structlog.get_logger()


async def work_off(queue: WorkQueue) -> None:
    """Do one thing after the other, until cancelled."""
    while True:
        await _do(await queue.get(), queue)


async def work_off_side_by_side(queue: WorkQueue, group: asyncio.TaskGroup) -> None:
    """Begin one thing after the other in `group`, and wait for none, until cancelled: for work that keeps its own order."""
    while True:
        group.create_task(_do(await queue.get(), queue))


async def _do(work: Callable[[], Awaitable[None]], queue: WorkQueue) -> None:
    try:
        await work()
    except Exception:
        # A defect that one stream brings out must not end the watch over the others.
        log.exception("keeper_work_failed")
    finally:
        queue.task_done()
