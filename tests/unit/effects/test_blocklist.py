from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from monitor.effects.blocklist import BlockList
from monitor.store.blocks import BlockRecord
from monitor.vocabulary import StreamRef
from tests.fakes.clock import ManualClock

REFS = [StreamRef("edge", "live", name) for name in "abc"]


def record(ref: StreamRef, until: float) -> BlockRecord:
    return BlockRecord(
        id=f"{ref.name}{until}",
        server=ref.server,
        app=ref.app,
        name=ref.name,
        created_at=0.0,
        until=until,
        incident_id=None,
        effect_id=None,
        by="ada",
        why="",
    )


def active() -> float:
    value = REGISTRY.get_sample_value("livecordon_blocks_active")
    assert value is not None
    return value


async def test_a_block_ends_by_itself_and_nothing_of_it_stays() -> None:
    clock = ManualClock()
    now = clock.now().timestamp()
    blocks = BlockList(clock)
    blocks.replace([record(REFS[0], now + 10), record(REFS[0], now + 60), record(REFS[1], now + 10)])
    assert active() == 2
    await clock.advance(10)
    assert [blocks.is_blocked(ref) for ref in REFS] == [True, False, False]
    blocks.forget_expired()
    assert (len(blocks), active()) == (1, 1)
    blocks.change(REFS[0], None)
    assert not blocks.is_blocked(REFS[0])
    assert active() == 0


STEPS = st.lists(
    st.tuples(st.sampled_from(REFS), st.none() | st.integers(1, 50), st.integers(0, 20)), min_size=1, max_size=30
)


@given(STEPS)
async def test_it_bars_as_the_last_word_on_each_publisher_says(
    steps: list[tuple[StreamRef, int | None, int]],
) -> None:
    clock = ManualClock()
    blocks = BlockList(clock)
    last: dict[StreamRef, float | None] = {}
    for ref, for_s, then_s in steps:
        last[ref] = None if for_s is None else clock.now().timestamp() + for_s
        blocks.change(ref, last[ref])
        await clock.advance(then_s)
        now = clock.now().timestamp()
        wanted = {ref for ref, until in last.items() if until is not None and until > now}
        assert {ref for ref in REFS if blocks.is_blocked(ref)} == wanted
        blocks.forget_expired()
        assert len(blocks) == len(wanted)


async def test_a_publisher_that_is_barred_again_and_again_costs_no_memory() -> None:
    clock = ManualClock()
    blocks = BlockList(clock)
    tracemalloc.start()
    try:
        for number in range(20_000):
            blocks.change(REFS[number % 3], clock.now().timestamp() + 5)
            if number % 10 == 0:
                await clock.advance(1)
        assert tracemalloc.get_traced_memory()[0] < 200_000
    finally:
        tracemalloc.stop()
