"""What only PostgreSQL needs: its address, its snapshots for readers, its words for what went wrong."""

from __future__ import annotations

from typing import Final

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from monitor.errors import StoreError

_DRIVER: Final = "postgresql+psycopg"
_OPTIONS: Final = {
    "connect_timeout": "5",
    "application_name": "livecordon",
    # A server that went away without a word must not hold up decisions: they go on without the store.
    "tcp_user_timeout": "5000",
    "options": "-c lock_timeout=2s -c statement_timeout=10s -c idle_in_transaction_session_timeout=60s -c timezone=UTC",
}

_REASONS: Final = {
    "53100": "disk_full",
    "55P03": "locked",
    "57014": "locked",
    "25006": "read_only",
    "58030": "io_error",
    "XX001": "corrupt",
    "XX002": "corrupt",
}


def postgres_url(address: str) -> URL:
    """Return `address` (``postgresql://user:password@host/database``) with the driver that is used here.

    Raises:
        ValueError: it is no such address; the message quotes nothing of it.
    """
    try:
        url = make_url(address)
    except ArgumentError:
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        message = "this is no PostgreSQL address: write postgresql://user:password@host/database"
        raise ValueError(message)
    return url.set(drivername=_DRIVER)


class PostgresBackend:
    """A store that several machines reach. Its durability is the server's: leave ``synchronous_commit`` on."""

    shown = "the PostgreSQL store"
    mend = "check that the server answers, that the address and password are right, and that the database exists"

    def __init__(self, url: URL) -> None:
        try:
            import psycopg  # noqa: F401, PLC0415 - an extra: found missing here, in words, and not in a traceback
        except ImportError as error:
            raise StoreError(
                "store.url needs psycopg, which is not installed; install livecordon[postgres]",
                reason="driver_missing",
                retryable=False,
            ) from error
        self.url = url.set(drivername=_DRIVER).update_query_dict(
            {key: value for key, value in _OPTIONS.items() if key not in url.query}
        )

    def prepare(self) -> None:
        """Do nothing: whoever runs the server made the database."""

    def engine(self) -> AsyncEngine:
        """Return the engine that the daemon works with."""
        # A connection that the server closed meanwhile is replaced before it is used.
        engine = create_async_engine(self.url, hide_parameters=True, pool_pre_ping=True, pool_size=4)
        event.listen(engine.sync_engine, "begin", _begin)
        return engine

    def migrating_engine(self) -> Engine:
        """Return an engine on which changes of the schema are in the caller's transaction."""
        return create_engine(self.url, poolclass=NullPool, hide_parameters=True)

    def before_migration(self, revision: str) -> None:
        """Do nothing: ``pg_dump`` is the operator's, and the migration is one transaction."""

    def reason_of(self, error: SQLAlchemyError) -> str | None:
        """Return the static word for what went wrong; None when there is none."""
        if not isinstance(error, DBAPIError):
            return None
        if error.connection_invalidated:
            return "unreachable"
        state = getattr(error.orig, "sqlstate", None)
        if state is None or state.startswith(("08", "57P")):
            return "unreachable"
        return _REASONS.get(state)


def _begin(connection: Connection) -> None:
    # A reader sees one moment, as in SQLite; a writer sees what the one before it committed.
    if connection.get_execution_options().get("livecordon_read_only", False):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
