"""Statements that each database spells in its own way, behind one."""

from __future__ import annotations

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection


def upsert(connection: AsyncConnection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT that can be followed by ``on_conflict_do_nothing`` or ``on_conflict_do_update``."""
    return upsert_for(connection.dialect.name, table)


def upsert_for(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """As `upsert`, for the dialect of this name."""
    if dialect == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
