"""Requests that wait for the shared classifier: one per watcher, the newest first, nobody passed over for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

_PASSED_OVER_AT_MOST: Final = 2
_Client = TypeVar("_Client", bound=Hashable)


@dataclass(slots=True, eq=False)
class Waiting(Generic[_Client]):
    """One request and whose it is.

    Attributes:
        clips: How many clips it has.
        since_s: Since when it has waited, on the monotonic clock.
        passed_over: How many batches it has been left out of.
    """

    client: _Client
    generation: int
    slots: tuple[int, ...]
    since_s: float
    passed_over: int = 0

    @property
    def clips(self) -> int:
        """How many clips it has."""
        return len(self.slots)


@dataclass(slots=True)
class WaitingRequests(Generic[_Client]):
    """A bounded store between the thread that listens and the one that scores. Thread-safe.

    At most one request per client waits: a newer one takes its place. Batches take the request that came last first; one
    that was left out of two batches goes before it, so under overload everybody has a turn.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    _waiting: dict[_Client, Waiting[_Client]] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _closed: bool = False

    def put(self, client: _Client, generation: int, slots: tuple[int, ...]) -> None:
        """Add a request without ever waiting."""
        with self._changed:
            before = self._waiting.pop(client, None)
            # A client that keeps replacing its request neither gains nor loses its turn by that.
            passed_over = 0 if before is None else before.passed_over
            self._waiting[client] = Waiting(client, generation, slots, self.monotonic_s(), passed_over)
            self._changed.notify()

    def take(self, most: int, fill_s: float) -> list[Waiting[_Client]]:
        """Wait for requests and return those of one batch; empty once the store is closed.

        Args:
            most: Largest batch, in clips; a request that is larger comes by itself.
            fill_s: How long the first request of an unfilled batch may wait for company, in seconds.
        """
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            while not self._closed and self._waiting and sum(one.clips for one in self._waiting.values()) < most:
                left_s = min(one.since_s for one in self._waiting.values()) + fill_s - self.monotonic_s()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            if self._closed:
                return []
            return self._batch(most)

    def forget(self, client: _Client) -> None:
        """Drop what a client that is gone has asked for."""
        with self._changed:
            self._waiting.pop(client, None)

    def close(self) -> None:
        """Drop everything and let `take` return."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _batch(self, most: int) -> list[Waiting[_Client]]:
        overdue = [one for one in self._waiting.values() if one.passed_over >= _PASSED_OVER_AT_MOST]
        others = [one for one in self._waiting.values() if one.passed_over < _PASSED_OVER_AT_MOST]
        # Among those that were passed over, whoever has waited longest.
        order = sorted(overdue, key=lambda one: one.since_s) + sorted(others, key=lambda one: -one.since_s)
        batch: list[Waiting[_Client]] = []
        room = most
        for one in order:
            if batch and one.clips > room:
                one.passed_over += 1
                continue
            batch.append(one)
            room -= one.clips
        for one in batch:
            del self._waiting[one.client]
        return batch
