"""Collects what other threads or callbacks say, and waits for it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Recorder(Generic[_Item]):
    """Call it with each item; `until` waits, in a thread of the test, until the items satisfy a condition."""

    def __init__(self) -> None:
        self.items: list[_Item] = []
        self._changed = threading.Condition()

    def __call__(self, item: _Item) -> None:
        with self._changed:
            self.items.append(item)
            self._changed.notify_all()

    def until(self, condition: Callable[[list[_Item]], bool], deadline_s: float = 15.0) -> list[_Item]:
        """Return the items as soon as they satisfy `condition`; TimeoutError, with the items, if they never do."""
        give_up_at = time.monotonic() + deadline_s
        with self._changed:
            while not condition(self.items):
                left_s = give_up_at - time.monotonic()
                if left_s <= 0:
                    message = f"after {deadline_s} s: {self.items!r}"
                    raise TimeoutError(message)
                self._changed.wait(left_s)
            return list(self.items)


async def until(look: Callable[[], _Item], *, deadline_s: float = 15.0, interval_s: float = 0.02) -> _Item:
    """Return the first true value of `look`; for what other processes do, where nothing tells when it is done.

    Raises:
        TimeoutError: there was none; the message shows the last value.
    """
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + deadline_s
    while not (value := look()):
        if loop.time() > give_up_at:
            message = f"still {value!r} after {deadline_s} s"
            raise TimeoutError(message)
        await asyncio.sleep(interval_s)
    return value
