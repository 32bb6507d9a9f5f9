"""Packages of somebody else's that add kinds of media servers, installed for the length of a test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.config import schema, server_plugins


def write_package(folder: Path, *, distribution: str, module: str, source: str, entry_points: str) -> None:
    """Put a module and the metadata of its distribution into `folder`, as an installer does into site-packages."""
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(entry_points)


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Have what lies in `folder` found, and forgotten afterwards."""
    known = set(sys.modules)
    _forget()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - known:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
                del sys.modules[name]
        _forget()


def _forget() -> None:
    server_plugins._offered.cache_clear()
    server_plugins._load.cache_clear()
    schema._plugin_schema.cache_clear()
