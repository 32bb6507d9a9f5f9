"""Brings a store to the newest schema, after keeping a copy of what was there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect

from monitor.errors import StoreError
from monitor.store.postgres import PostgresBackend
from monitor.store.sqlite import SqliteBackend

Backend = SqliteBackend | PostgresBackend


def migrate(place: Path | Backend) -> None:
    """Bring the store at `place` to the newest schema, in one transaction; an SQLite file is made when absent. Blocking.

    An SQLite file that has an older schema is copied first, to ``<file>.before-<revision>``.

    Raises:
        StoreError: the store belongs to another program, or to a newer version of this one.
        sqlalchemy.exc.SQLAlchemyError: it cannot be read or written.
        OSError: the copy cannot be written.
    """
    backend = SqliteBackend(place) if isinstance(place, Path) else place
    config = _alembic()
    engine = backend.migrating_engine()
    try:
        with engine.connect() as connection:
            _refuse_foreign(connection, backend)
            revision = MigrationContext.configure(connection).get_current_revision()
        newest = ScriptDirectory.from_config(config).get_current_head()
        if revision is not None and revision != newest and _is_known(config, revision):
            backend.before_migration(revision)
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(
            f"{backend.shown}: the store was written by a newer Livecordon; run that version, or restore the copy of "
            "the store from before the upgrade",
            reason="newer_schema",
            retryable=False,
        ) from error
    finally:
        engine.dispose()


def _alembic() -> AlembicConfig:
    config = AlembicConfig()
    # Options go through an interpolation that gives % a meaning; attributes do not.
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _is_known(config: AlembicConfig, revision: str) -> bool:
    return revision in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _refuse_foreign(connection: Connection, backend: Backend) -> None:
    tables = set(inspect(connection).get_table_names())
    if tables and "alembic_version" not in tables:
        raise StoreError(
            f"{backend.shown}: this is the database of another program; name another one in store.path or store.url",
            reason="foreign_database",
            retryable=False,
        )
