"""What must hold on every kind of store: migrations, transactions, writes that share a commit, one daemon at a time."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, Connection, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.errors import StoreError
from monitor.store import audit
from monitor.store.database import Database
from monitor.store.migrating import migrate
from monitor.store.ownership import sole_owner
from monitor.store.postgres import PostgresBackend, postgres_url
from monitor.store.tables import metadata, receiver_state
from tests.fakes.postgres import RealPostgres
from tests.fakes.samples import growth


async def receivers(database: Database) -> list[str]:
    query = select(receiver_state.c.receiver).order_by(receiver_state.c.receiver)
    async with database.reading() as connection:
        return list((await connection.execute(query)).scalars())


async def add(connection: AsyncConnection, name: str) -> str:
    await connection.execute(insert(receiver_state).values(receiver=name))
    return name


async def test_the_migrations_lead_to_the_tables(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with database.reading() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_store_is_migrated_once_and_opened_again(place: Path | URL) -> None:
    for _ in range(2):
        async with Database(place) as database:
            await database.check_writable()


async def test_its_size_and_how_long_it_takes_are_known(database: Database) -> None:
    writes, reads = (growth("livecordon_store_seconds_count", operation=one) for one in ("write", "read"))
    await database.write(lambda connection: add(connection, "measured"))
    assert await receivers(database) == ["measured"]
    assert (writes(), reads()) == (1, 1)
    assert await database.size_bytes() > 4096


async def test_an_exception_rolls_the_whole_transaction_back(database: Database) -> None:
    async def write() -> None:
        async with database.transaction() as connection:
            await add(connection, "a")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write()
    assert await receivers(database) == []


async def test_a_reader_sees_one_moment_and_blocks_no_writer(database: Database) -> None:
    count = select(func.count()).select_from(receiver_state)
    async with database.reading() as reading:
        assert (await reading.execute(count)).scalar_one() == 0
        async with database.transaction() as writing:
            await add(writing, "a")
        assert (await reading.execute(count)).scalar_one() == 0
    assert await receivers(database) == ["a"]


async def test_writes_at_one_time_share_a_commit_and_each_gets_its_own_result(database: Database) -> None:
    transactions: set[int] = set()

    async def work(connection: AsyncConnection, name: str) -> str:
        raw = await connection.get_raw_connection()
        transactions.add(id(raw))
        return await add(connection, name)

    names = [f"r{number:03d}" for number in range(100)]
    results = await asyncio.gather(*(database.write(partial(work, name=name)) for name in names))
    assert results == names
    assert await receivers(database) == names
    assert len(transactions) <= 3


async def test_one_write_that_fails_takes_no_other_with_it(database: Database) -> None:
    async def failing(connection: AsyncConnection) -> str:
        await add(connection, "half")
        raise ZeroDivisionError

    async def twice(connection: AsyncConnection) -> str:
        await add(connection, "b")
        return await add(connection, "b")

    results = await asyncio.gather(
        database.write(lambda one: add(one, "a")),
        database.write(failing),
        database.write(twice),
        database.write(lambda one: add(one, "c")),
        return_exceptions=True,
    )
    assert [results[0], results[3]] == ["a", "c"]
    assert isinstance(results[1], ZeroDivisionError)
    assert isinstance(results[2], StoreError)
    assert await receivers(database) == ["a", "c"]


async def test_the_audit_chain_stays_whole_under_many_writers(database: Database) -> None:
    async def note(connection: AsyncConnection, number: int) -> None:
        detail = {"number": number, "text": "é\x00 ☃", "share": number / 7}
        await audit.append(connection, at=number / 3, actor="ana", action="noted", incident_id=None, detail=detail)

    await asyncio.gather(*(database.write(partial(note, number=number)) for number in range(50)))
    async with database.reading() as connection:
        log = await audit.entries(connection)
    assert len(log) == 50
    assert audit.first_broken(log) is None
    async with database.transaction() as connection:
        await connection.execute(
            update(metadata.tables["audit"]).where(metadata.tables["audit"].c.number == 20).values(actor="eve")
        )
    async with database.reading() as connection:
        assert audit.first_broken(await audit.entries(connection)) == 20


@pytest.mark.postgres
async def test_a_daemon_that_lost_its_claim_writes_nothing_more(postgres: RealPostgres) -> None:
    place = postgres.store()
    async with Database(place) as database, Database(place) as second:
        await database.claim()
        await database.check_writable()
        await second.claim()
        with pytest.raises(StoreError, match="another Livecordon daemon") as caught:
            await database.write(lambda one: add(one, "late"))
        assert (caught.value.reason, caught.value.retryable) == ("in_use", False)
        await second.write(lambda one: add(one, "mine"))
        assert await receivers(second) == ["mine"]


async def test_one_daemon_at_a_time(place: Path | URL) -> None:
    with sole_owner(place):
        with pytest.raises(StoreError, match="another Livecordon daemon") as caught, sole_owner(place):
            pytest.fail("two at once")
        assert (caught.value.reason, caught.value.retryable) == ("in_use", False)
    with sole_owner(place):
        pass


@pytest.mark.postgres
async def test_a_connection_that_the_server_closes_is_replaced(postgres: RealPostgres) -> None:
    place = postgres.store()
    async with Database(place) as database:
        await database.write(lambda one: add(one, "before"))
        postgres.query(
            "postgres",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{place.database}'",
        )
        await database.write(lambda one: add(one, "after"))
        assert await receivers(database) == ["after", "before"]


@pytest.mark.postgres
async def test_a_server_that_is_not_there_is_said_in_words_without_its_address(tmp_path: Path) -> None:
    nowhere = postgres_url(f"postgresql://ana:hunter2@/livecordon?host={tmp_path}")
    with pytest.raises(StoreError, match="the PostgreSQL store: the store cannot be opened") as caught:
        async with Database(nowhere):
            pytest.fail("it opened")
    assert caught.value.reason == "open_failed"
    assert "hunter2" not in repr(caught.value)
    with pytest.raises(StoreError, match="cannot be opened"), sole_owner(nowhere):
        pytest.fail("held")


@pytest.mark.postgres
async def test_another_programs_database_stays_untouched(postgres: RealPostgres) -> None:
    name = postgres.empty()
    postgres.query(name, "CREATE TABLE recipe (name TEXT)")
    with pytest.raises(StoreError, match="another program"):
        migrate(PostgresBackend(postgres.url(name)))
    assert postgres.query(name, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [("recipe",)]


@pytest.mark.parametrize("address", ["", "http://db/livecordon", "mysql://db/x", "not an address", "sqlite:///x"])
def test_what_is_no_postgres_address_is_refused_without_being_quoted(address: str) -> None:
    with pytest.raises(ValueError, match="this is no PostgreSQL address") as caught:
        postgres_url(address)
    assert not address or address not in str(caught.value)
