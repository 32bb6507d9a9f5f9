from __future__ import annotations

import asyncio
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import TextClause, create_engine, text

from monitor.errors import StoreError
from monitor.store.database import Database
from monitor.store.migrating import migrate
from monitor.store.tables import metadata
from tests.fakes.store import flaky_store


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with flaky_store(tmp_path / "store.sqlite3") as opened:
        yield opened


async def receivers(database: Database) -> list[str]:
    async with database.reading() as connection:
        return list((await connection.execute(text("SELECT receiver FROM receiver_state ORDER BY 1"))).scalars())


def add_receiver(name: str) -> TextClause:
    return text("INSERT INTO receiver_state (receiver) VALUES (:name)").bindparams(name=name)


async def test_every_connection_is_durable_and_checks_references(database: Database) -> None:
    async with database.transaction() as writing, database.reading() as reading:
        for connection in (writing, reading):
            values = [
                (await connection.execute(text(f"PRAGMA {pragma}"))).scalar_one()
                for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert values == ["wal", 2, 1, 1000]


def test_the_migrations_lead_to_the_tables(tmp_path: Path) -> None:
    migrate(tmp_path / "store.sqlite3")
    engine = create_engine(f"sqlite:///{tmp_path / 'store.sqlite3'}")
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()


def test_a_migration_that_breaks_off_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.sqlite3"
    create_table = op.create_table
    made: list[str] = []

    def breaking(name: str, *columns: object, **options: object) -> object:
        made.append(name)
        if len(made) == 4:
            raise KeyboardInterrupt
        return create_table(name, *columns, **options)  # type: ignore[arg-type] # passed through

    monkeypatch.setattr(op, "create_table", breaking)
    with pytest.raises(KeyboardInterrupt):
        migrate(path)
    monkeypatch.undo()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    migrate(path)


async def test_an_exception_rolls_the_whole_transaction_back(database: Database) -> None:
    async def write() -> None:
        async with database.transaction() as connection:
            await connection.execute(add_receiver("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()
    assert await receivers(database) == []


async def test_a_refused_statement_is_a_store_error_without_values(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute(add_receiver("c4n4ry"))
    with pytest.raises(StoreError) as caught:
        async with database.transaction() as connection:
            await connection.execute(add_receiver("c4n4ry"))
    assert caught.value.reason == "write_failed"
    assert "c4n4ry" not in f"{caught.value}{caught.value.__cause__}"


async def test_writers_take_turns_and_readers_see_what_was_committed(database: Database) -> None:
    inside = asyncio.Event()

    async def slow() -> None:
        async with database.transaction() as connection:
            await connection.execute(add_receiver("slow"))
            inside.set()
            assert await receivers(database) == []

    async def add(name: str) -> None:
        await inside.wait()
        async with database.transaction() as connection:
            await connection.execute(add_receiver(name))

    async with asyncio.TaskGroup() as group:
        group.create_task(slow())
        for number in range(20):
            group.create_task(add(f"r{number:02d}"))
    assert await receivers(database) == [*(f"r{number:02d}" for number in range(20)), "slow"]


async def test_cancellation_anywhere_leaves_all_or_nothing_and_a_usable_store(database: Database) -> None:
    async def write(number: int) -> None:
        async with database.transaction() as connection:
            await connection.execute(add_receiver(f"{number:03d}a"))
            await connection.execute(add_receiver(f"{number:03d}b"))

    for number in range(120):
        task = asyncio.create_task(write(number))
        for _ in range(number % 40):
            await asyncio.sleep(0)
            if task.done():
                break
        task.cancel()
        await asyncio.wait({task})
    names = await receivers(database)
    assert len(names) % 2 == 0
    assert {name[:3] for name in names if name.endswith("a")} == {name[:3] for name in names if name.endswith("b")}
    await write(999)
    assert (await receivers(database))[-1] == "999b"
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # the pool that files get


async def test_a_reader_that_is_cancelled_gives_its_connection_back(database: Database) -> None:
    for rounds in range(40):
        task = asyncio.create_task(receivers(database))
        for _ in range(rounds % 20):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined] # the pool that files get


@pytest.mark.parametrize("name", ["a b", "100%", "why?", "a#b", "%(here)s"])
async def test_any_folder_name_will_do_and_only_the_owner_may_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "store.sqlite3"
    async with Database(path) as database:
        await database.check_writable()
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) & 0o007 for file in path.parent.iterdir()}
    assert path.name in modes
    assert set(modes.values()) == {0}


async def test_what_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    path.write_bytes(b"this is a letter to my aunt, and quite a long one\n" * 100)
    with pytest.raises(StoreError, match=r"store\.sqlite3: the store cannot be opened") as caught:
        async with Database(path):
            pytest.fail("it opened")
    assert caught.value.reason == "open_failed"
    assert path.read_bytes().startswith(b"this is a letter")


async def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="the store cannot be opened"):
        async with Database(tmp_path / "file" / "store.sqlite3"):
            pytest.fail("it opened")


async def test_another_programs_database_stays_untouched(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE recipe (name TEXT)")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program") as caught:
        async with Database(path):
            pytest.fail("it opened")
    assert (caught.value.reason, caught.value.retryable) == ("foreign_database", False)
    assert path.read_bytes() == before


async def test_a_newer_schema_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite3"
    migrate(path)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="newer Livecordon") as caught:
        async with Database(path):
            pytest.fail("it opened")
    assert (caught.value.reason, caught.value.retryable) == ("newer_schema", False)


async def test_a_store_that_cannot_be_written_is_noticed(tmp_path: Path) -> None:
    async with flaky_store(tmp_path / "store.sqlite3") as database:
        await database.check_writable()
        async with database.engine.connect() as connection:
            # As full as a disk can be, for this connection, which the pool will hand out again.
            raw = await connection.get_raw_connection()
            await raw.driver_connection.execute("PRAGMA query_only = 1")  # type: ignore[union-attr] # aiosqlite's
        with pytest.raises(StoreError):
            await database.check_writable()


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    database = Database(tmp_path / "store.sqlite3")
    with pytest.raises(RuntimeError, match="not open"):
        _ = database.engine
    shutil.rmtree(tmp_path)
