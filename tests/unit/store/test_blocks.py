from __future__ import annotations

import time
from pathlib import Path
from uuid import uuid4

from sqlalchemy import insert

from monitor.store import blocks
from monitor.store.tables import block
from monitor.vocabulary import StreamRef
from tests.fakes.store import flaky_store

CAM1 = StreamRef("edge", "live", "cam1")


async def test_one_publishers_blocks_are_found_among_a_hundred_thousand(tmp_path: Path) -> None:
    rows = [
        {
            "id": str(uuid4()),
            "server": "edge",
            "app": "live",
            "name": f"cam{number}",
            "created_at": 0.0,
            "until": 1e9,
            "by": "protocol",
            "why": "",
        }
        for number in range(100_000)
    ]
    async with flaky_store(tmp_path / "store.sqlite3") as database, database.transaction() as connection:
        await connection.execute(insert(block), rows)
    async with flaky_store(tmp_path / "store.sqlite3") as database, database.reading() as connection:
        query = await connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT max(until) FROM block WHERE server='edge' AND app='live' AND name='cam5'"
            " AND lifted_at IS NULL AND until > 1"
        )
        assert "ix_block_publisher" in str(query.all())
        began_s = time.process_time()
        for _ in range(50):
            assert await blocks.end_of(connection, CAM1, at=1.0) == 1e9
    assert (time.process_time() - began_s) / 50 < 0.02
