"""Waiting for something outside the test's control: polled, and never for longer than a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


async def eventually(
    look: Callable[[], Awaitable[_T | None]], *, deadline_s: float = 15.0, interval_s: float = 0.05
) -> _T:
    """Return the first true value that `look` returns.

    Raises:
        TimeoutError: there was none; the message shows the last value.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_s
    while True:
        value = await look()
        if value:
            return value
        if loop.time() > give_up_at:
            message = f"still {value!r} after {deadline_s} s"
            raise TimeoutError(message)
        await asyncio.sleep(interval_s)
