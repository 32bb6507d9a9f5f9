"""Collects what other threads or callbacks say, and waits for it."""

from __future__ import annotations

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
