"""A connection whose thread can run a whole piece of work at once.

The driver runs each call of each cursor in the connection's thread: a dozen visits for one decision, and on a busy machine
each waits for its turn twice. Work that awaits nothing but its connection can be run in that thread from end to end instead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy.ext.asyncio import AsyncConnection
from typing_extensions import override

_T = TypeVar("_T")


class OneHopConnection(aiosqlite.Connection):
    """Runs calls that come from its own thread where they are."""

    async def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run `work` in the connection's thread; it may await nothing but this connection."""
        result: _T = await self._execute(_to_its_end, work)
        return result

    @override
    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == self._thread.ident:
            return fn(*args, **kwargs)
        return await super()._execute(fn, *args, **kwargs)  # type: ignore[no-untyped-call] # the driver has no types here


async def run_in_one_hop(connection: AsyncConnection, work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` in the thread of `connection`; on the event loop, where the driver has none.

    Cancellation leaves the thread at work: the transaction must be waited for.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    return await (driver.run(work) if isinstance(driver, OneHopConnection) else work)


def _to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    try:
        work.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    work.close()
    message = "a write awaited something else than its connection"
    raise RuntimeError(message)
