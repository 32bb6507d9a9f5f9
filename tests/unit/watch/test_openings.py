from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from monitor.vocabulary import Posture
from monitor.watch.openings import Openings
from tests.fakes.recorder import Recorder


class Crowd:
    """Streams that want to open, each in a thread of its own."""

    def __init__(self, most: int, *, under_pressure: Callable[[], bool] = lambda: False, pressed: int = 1) -> None:
        self.openings = Openings(under_pressure, most=most, most_under_pressure=pressed)
        self.entered: Recorder[str] = Recorder()
        self.waiting: Recorder[str] = Recorder()
        self.stop = threading.Event()
        self._pool = ThreadPoolExecutor(64)

    def come(self, name: str, posture: Posture = Posture.CALM, *, failed: bool = False, at_once: bool) -> Future[bool]:
        """Let a stream ask; return when it has entered, or waits."""

        def enter() -> bool:
            granted = self.openings.enter(
                lambda: posture, failed=failed, stop=self.stop, on_wait=lambda: self.waiting(name)
            )
            if granted:
                self.entered(name)
            return granted

        asked = self._pool.submit(enter)
        (self.entered if at_once else self.waiting).until(lambda names: name in names)
        return asked

    def close(self) -> None:
        self.stop.set()
        self._pool.shutdown()


def test_only_so_many_open_at_once_and_the_closest_and_the_untried_go_first() -> None:
    crowd = Crowd(most=2)
    crowd.come("a", at_once=True)
    crowd.come("b", at_once=True)
    crowd.come("failed-close", Posture.CLOSE, failed=True, at_once=False)
    crowd.come("failed", failed=True, at_once=False)
    crowd.come("calm-1", at_once=False)
    crowd.come("calm-2", at_once=False)
    crowd.come("full", Posture.FULL, at_once=False)
    expected = ["full", "failed-close", "calm-1", "calm-2"]
    for left, name in enumerate(expected):
        crowd.openings.leave(failed=False)
        entered = crowd.entered.until(lambda names, left=left: len(names) == left + 3)  # type: ignore[misc]  # a default argument
        assert entered[-1] == name
    # One of two places is a failed stream's already, and it may have no more than half.
    crowd.openings.leave(failed=False)
    crowd.openings.leave(failed=True)
    assert crowd.entered.until(lambda names: len(names) == 7)[-1] == "failed"
    crowd.close()


def test_a_crowd_of_dead_addresses_leaves_room_for_live_ones() -> None:
    crowd = Crowd(most=4)
    for number in range(2):
        crowd.come(f"dead-{number}", failed=True, at_once=True)
    for number in range(2, 6):
        crowd.come(f"dead-{number}", failed=True, at_once=False)
    for number in range(2):
        crowd.come(f"live-{number}", at_once=True)
    crowd.close()


def test_under_pressure_fewer_open_and_when_it_passes_more_do() -> None:
    pressed = threading.Event()
    pressed.set()
    crowd = Crowd(most=3, under_pressure=pressed.is_set)
    crowd.come("a", at_once=True)
    crowd.come("b", at_once=False)
    crowd.come("c", at_once=False)
    assert crowd.entered.items == ["a"]
    pressed.clear()
    # Nobody left: they find out by themselves.
    assert sorted(crowd.entered.until(lambda names: len(names) == 3)) == ["a", "b", "c"]
    crowd.close()


def test_a_stream_that_is_released_waits_no_longer_and_takes_no_place() -> None:
    crowd = Crowd(most=1)
    crowd.come("a", at_once=True)
    waiting = crowd.come("b", at_once=False)
    crowd.stop.set()
    begun_s = time.monotonic()
    assert waiting.result(10) is False
    assert time.monotonic() - begun_s < 5
    crowd.openings.leave(failed=False)
    assert crowd.openings._under_way == 0
    crowd.close()
