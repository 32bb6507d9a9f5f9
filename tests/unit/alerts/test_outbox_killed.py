from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

from monitor.clock import SystemClock
from monitor.store import deliveries
from monitor.store.database import Database
from monitor.store.deliveries import Backlog
from tests.fakes.receiver import FakeReceiver
from tests.unit.alerts.test_outbox import event

ROOT = Path(__file__).parents[3]
ALERTS = 40
KILLS_AFTER = (1, 13, 26)


async def start(store: Path, url: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fakes.outbox_process",
        str(store),
        url,
        cwd=ROOT,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def test_kill_9_loses_no_alert_and_repeats_at_most_the_one_under_way_and_the_one_being_recorded(
    tmp_path: Path, partner: FakeReceiver
) -> None:
    store = tmp_path / "store.sqlite3"
    async with Database(store) as database, database.transaction() as connection:
        for number in range(ALERTS):
            await deliveries.enqueue(connection, event(number), ["partner"], at=SystemClock().now().timestamp())
    for wanted in KILLS_AFTER:
        process = await start(store, partner.url)
        await partner.wait_for(wanted)
        process.kill()
        await process.wait()
    process = await start(store, partner.url)
    try:
        async with asyncio.timeout(60), Database(store) as database:
            left = Backlog(pending=ALERTS)
            while left.pending:
                await asyncio.sleep(0.05)  # another process delivers; nothing here could be waited for
                async with database.reading() as connection:
                    left = await deliveries.backlog(connection, "partner")
    finally:
        process.kill()
        await process.wait()
    times = Counter(partner.ids())
    assert set(times) == {f"event-{number}" for number in range(ALERTS)}
    assert sum(times.values()) - ALERTS <= 2 * len(KILLS_AFTER)
    assert all(request.verified for request in partner.requests)
