from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import insert, text

from monitor.errors import StoreError
from monitor.store.database import Database
from monitor.store.tables import block, receiver_state
from tests.fakes.store import copy_empty_store


async def fill(path: Path) -> None:
    copy_empty_store(path)
    rows = [
        {
            "id": f"block-{number:06d}",
            "server": "edge",
            "app": "live",
            "name": f"cam{number}",
            "created_at": 0.0,
            "until": 1e9,
            "by": "protocol",
            "why": "x" * 200,
        }
        for number in range(2_000)
    ]
    async with Database(path) as database, database.transaction() as connection:
        await connection.execute(insert(block), rows)


def flip(path: Path, *, page: int) -> None:
    """Overwrite a page's header and cells, as a failing disk does."""
    content = bytearray(path.read_bytes())
    content[page * 4096 : page * 4096 + 2048] = b"\xa5" * 2048
    path.write_bytes(content)


def page_of(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return int(root) - 1


async def test_flipped_bytes_are_refused_at_the_start_in_words(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    await fill(path)
    flip(path, page=page_of(path, "block"))
    with pytest.raises(StoreError, match=r"store\.sqlite3: the store is damaged .*livecordon db restore") as caught:
        async with Database(path):
            pytest.fail("it opened")
    assert (caught.value.reason, caught.value.retryable) == ("corrupt", False)


async def test_damage_while_it_runs_is_told_by_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    await fill(path)
    async with Database(path) as database:
        flip(path, page=page_of(path, "block"))
        with pytest.raises(StoreError) as caught:
            async with database.transaction() as connection:
                await connection.execute(text("UPDATE block SET until = 5"))
    assert caught.value.reason == "corrupt"


async def test_a_disk_that_is_full_is_told_by_its_reason_and_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    copy_empty_store(path)
    async with Database(path) as database:
        async with database.engine.connect() as connection:
            # As full as a disk can be, for this connection, which the pool will hand out again.
            pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
            await connection.execute(text(f"PRAGMA max_page_count = {pages + 4}"))
        rows = [{"receiver": f"r{number}", "disabled_reason": "x" * 2_000} for number in range(200)]
        with pytest.raises(StoreError) as caught:
            await database.write(lambda connection: connection.execute(insert(receiver_state), rows))
        assert caught.value.reason == "disk_full"
        async with database.reading() as connection:
            assert (await connection.execute(text("SELECT count(*) FROM receiver_state"))).scalar_one() == 0


async def test_another_programs_lock_is_told_by_its_reason_and_not_waited_for_long(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    copy_empty_store(path)
    async with Database(path) as database:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError) as caught:
                await database.check_writable()
            other.execute("ROLLBACK")
        assert caught.value.reason == "locked"
        await database.check_writable()
