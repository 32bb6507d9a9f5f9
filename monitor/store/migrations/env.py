"""Alembic's entry point: migrates with a plain synchronous connection, before the daemon opens its own."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool

from monitor.store.tables import metadata


def run_migrations() -> None:
    """Run every outstanding migration in one transaction."""
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        message = "sqlalchemy.url is not set"
        raise RuntimeError(message)
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        # SQLite cannot alter constraints in place; batch mode rebuilds the table instead.
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run_migrations()
