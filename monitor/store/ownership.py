"""One daemon for one store: two would carry out every effect twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.errors import StoreError


@contextmanager
def sole_owner(store: Path) -> Iterator[None]:
    """Hold the store at `store` for this process inside the block; the system lets go when the process dies.

    Raises:
        StoreError: another process holds it (`reason` ``in_use``), or its folder cannot be written (``open_failed``).
    """
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
