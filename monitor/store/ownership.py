"""One daemon for one store: two would carry out every effect twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, text
from sqlalchemy.exc import SQLAlchemyError

from monitor.errors import StoreError
from monitor.store.postgres import PostgresBackend

_LOCK_KEY = 0x4C_69_76_65_63_6F_72_64
"""Which of a PostgreSQL database's advisory locks is ours: ``Livecord`` in ASCII."""


@contextmanager
def sole_owner(store: Path | URL) -> Iterator[None]:
    """Hold the store at `store` for this process inside the block; the system lets go when the process dies. Blocking.

    An SQLite file is held by a lock on a file beside it, a PostgreSQL database by an advisory lock on a connection of
    its own. Should that connection break, the daemon goes on until another one takes the store over; see
    `Database.claim`.

    Raises:
        StoreError: another process holds it (`reason` ``in_use``), or it cannot be reached (``open_failed``).
    """
    with _sole_owner_of_file(store) if isinstance(store, Path) else _sole_owner_of_database(store):
        yield


@contextmanager
def _sole_owner_of_database(url: URL) -> Iterator[None]:
    backend = PostgresBackend(url)
    engine = backend.migrating_engine()
    try:
        try:
            connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        except SQLAlchemyError:
            # The driver's message quotes the address.
            raise StoreError(
                f"{backend.shown}: the store cannot be opened; {backend.mend}", reason="open_failed"
            ) from None
        with connection:
            held = connection.execute(text("SELECT pg_try_advisory_lock(:key)").bindparams(key=_LOCK_KEY)).scalar_one()
            if not held:
                raise StoreError(
                    f"{backend.shown}: another Livecordon daemon uses this store; stop it, or name another database",
                    reason="in_use",
                    retryable=False,
                )
            yield
    finally:
        engine.dispose()


@contextmanager
def _sole_owner_of_file(store: Path) -> Iterator[None]:
    file = store.with_name(f"{store.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:
        raise StoreError(
            f"{file}: the store's folder cannot be written ({type(error).__name__}); check its permissions and free space",
            reason="open_failed",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"{store}: another Livecordon daemon uses this store; stop it, or name another data_dir",
                reason="in_use",
                retryable=False,
            ) from error
        yield
    finally:
        os.close(descriptor)
