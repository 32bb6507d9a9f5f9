"""Alembic's entry point: migrates on the connection, and in the transaction, of `monitor.store.database.migrate`."""

from __future__ import annotations

from alembic import context

from monitor.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite cannot alter constraints in place; batch mode rebuilds the table instead.
    render_as_batch=True,
    # SQLite can roll schema changes back, so a crash in the middle of a migration leaves the schema as it was.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
