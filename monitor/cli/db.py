"""`livecordon db`: the store, as an operator keeps it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from pathlib import Path

import click
from sqlalchemy import URL

from monitor.cli.options import config_option
from monitor.config.loading import load_config
from monitor.daemon.place import store_place
from monitor.errors import StoreError
from monitor.store import audit
from monitor.store.database import Database
from monitor.store.migrating import migrate as migrate_store
from monitor.store.ownership import sole_owner
from monitor.store.postgres import PostgresBackend
from monitor.store.sqlite import SqliteBackend


@click.group()
def db() -> None:
    """Check, copy, restore and migrate the store."""


@db.command()
@config_option
def check(*, config_file: Path | None) -> int:
    """Read the whole store and the audit log's chain; exit with 1 if anything is damaged. The daemon may run."""
    place = _place(config_file)
    if isinstance(place, Path) and not place.exists():
        raise StoreError(f"{place}: there is no store", reason="open_failed")
    entries = _check(place)
    click.echo(f"ok: {entries} entries in the audit log, each covered by the next")
    return 0


@db.command()
@click.argument("target", type=click.Path(path_type=Path))
@config_option
def backup(*, target: Path, config_file: Path | None) -> int:
    """Write a consistent copy of the store to TARGET, which must not exist. The daemon may run."""
    place = _sqlite(_place(config_file), "pg_dump")
    if target.exists():
        raise StoreError(f"{target}: there is something already; name another file", reason="exists", retryable=False)
    try:
        SqliteBackend(place).save_copy(target)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{target}: the copy could not be written ({type(error).__name__})") from error
    click.echo(f"{target}: ok, {_check(target)} entries in the audit log")
    return 0


@db.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@config_option
def restore(*, source: Path, config_file: Path | None) -> int:
    """Put the copy SOURCE in the store's place. The daemon must be stopped; what was there is kept beside it."""
    place = _sqlite(_place(config_file), "pg_restore")
    with sole_owner(place):
        new = place.with_name(f"{place.name}.restoring")
        shutil.copyfile(source, new)
        new.chmod(0o640)
        try:
            entries = _check(new)
        except StoreError:
            new.unlink()
            raise
        kept = f"{place.name}.replaced-{int(time.time())}"
        # With the file go its side files: another database's log beside this one would be taken for its own.
        for suffix in ("", "-wal", "-shm"):
            old = place.with_name(place.name + suffix)
            if old.exists():
                old.rename(place.with_name(kept + suffix))
        for suffix in ("-wal", "-shm"):
            new.with_name(new.name + suffix).unlink(missing_ok=True)
        new.rename(place)
    click.echo(f"{place}: restored, {entries} entries in the audit log; what was there is now {kept}")
    return 0


@db.command()
@config_option
def migrate(*, config_file: Path | None) -> int:
    """Bring the store to the newest schema, as the next start would. The daemon must be stopped."""
    place = _place(config_file)
    with sole_owner(place):
        backend = SqliteBackend(place) if isinstance(place, Path) else PostgresBackend(place)
        backend.prepare()
        migrate_store(backend)
    click.echo("ok")
    return 0


def _place(config_file: Path | None) -> Path | URL:
    return store_place(load_config(config_file, os.environ), os.environ)


def _sqlite(place: Path | URL, instead: str) -> Path:
    if isinstance(place, Path):
        return place
    raise StoreError(f"the store is a PostgreSQL database: use {instead}", reason="not_a_file", retryable=False)


def _check(place: Path | URL) -> int:
    """Return how many entries the audit log of an undamaged store has."""
    if isinstance(place, Path) and (trouble := SqliteBackend(place).damage()) is not None:
        raise StoreError(f"{place}: the store is damaged ({trouble}); restore the newest copy", reason="corrupt")
    chain = asyncio.run(_chain(place))
    if chain.broken is not None:
        raise StoreError(
            f"entry {chain.broken} of the audit log was changed, removed or put in; compare with a copy",
            reason="audit_broken",
        )
    return chain.head.number


async def _chain(place: Path | URL) -> audit.Chain:
    chain = audit.Chain()
    async with Database(place, migrates=False) as database, database.reading() as connection:
        async for page in audit.pages(connection):
            if not chain.follow(page):
                break
    return chain
