from __future__ import annotations

import asyncio

import pytest

from monitor.clock import Clock
from tests.fakes.clock import START, ManualClock


async def test_sleepers_wake_in_the_order_of_their_due_times_at_their_own_times() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, delay_s: float) -> None:
        await clock.sleep(delay_s)
        woken.append((name, clock.monotonic_s()))

    tasks = [asyncio.create_task(sleeper("late", 5)), asyncio.create_task(sleeper("early", 2))]
    await clock.wait_for_sleepers(2)
    assert clock.next_due_in_s == 2
    await clock.advance(1.5)
    assert woken == []
    await clock.advance(10)
    assert woken == [("early", 2), ("late", 5)]
    assert (clock.now() - START).total_seconds() == 11.5
    await asyncio.gather(*tasks)


async def test_a_loop_that_sleeps_again_is_followed_through_one_advance() -> None:
    clock = ManualClock()
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic_s())

    task = asyncio.create_task(ticker())
    await clock.wait_for_sleepers()
    await clock.advance(3)
    assert ticks == [1, 2, 3]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.sleepers == 0


def test_it_is_a_clock() -> None:
    clock: Clock = ManualClock()
    assert clock.now().tzinfo is not None
