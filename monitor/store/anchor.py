"""The audit log's newest row, kept in a file beside the store: rows cut off the end of the log leave no trace in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from monitor.store.audit import GENESIS_HASH, Head

FILE_NAME: Final = "audit.head"


def write_anchor(folder: Path, head: Head, *, at: float) -> None:
    """Keep `head`, as it was at Unix time `at`, in ``audit.head``; replaced as a whole, never half. Blocking.

    Raises:
        OSError: it cannot be written; what was there stays.
    """
    new = folder / f"{FILE_NAME}.new"
    with new.open("w", encoding="ascii") as opened:
        opened.write(json.dumps({"number": head.number, "hash": head.hash, "at": at}) + "\n")
        opened.flush()
        os.fsync(opened.fileno())
    new.chmod(0o640)
    new.replace(folder / FILE_NAME)


def read_anchor(folder: Path) -> Head | None:
    """Return what was kept; None if nothing was, or it cannot be understood. Blocking."""
    try:
        kept = json.loads((folder / FILE_NAME).read_text(encoding="ascii"))
        number, digest = kept["number"], kept["hash"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not isinstance(number, int) or not isinstance(digest, str) or len(digest) != len(GENESIS_HASH):
        return None
    return Head(number, digest)
