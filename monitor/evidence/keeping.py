"""Which evidence packages have been kept for long enough, and their end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

import structlog

from monitor.errors import EffectError
from monitor.evidence.package import MANIFEST, PackageSummary, read_summary

HOLD: Final = "hold"
"""A file of this name in an incident's folder keeps its evidence whatever its age: somebody has a right to it, or a duty."""

_GOING: Final = ".going-"

log = structlog.get_logger()


def expired(root: Path, before: float, *, kept: Collection[str] = ()) -> list[PackageSummary]:
    """Return packages that were made before the Unix time `before`, oldest first. Blocking.

    Left out are those of incidents in `kept`, those on hold, and those that cannot be read, which are logged: of them nobody knows how
    old they are.
    """
    found = []
    for manifest in root.glob(f"*/*/{MANIFEST}"):
        package, incident = manifest.parent, manifest.parent.parent
        if package.name.startswith(".") or incident.name in kept or (incident / HOLD).exists():
            continue
        try:
            summary = read_summary(root, package)
        except EffectError:
            log.error("evidence_damaged", incident_id=incident.name, package=package.name)  # noqa: TRY400 - said all
            continue
        if summary.preserved_at < before:
            found.append(summary)
    return sorted(found, key=lambda package: package.preserved_at)


def remove(root: Path, reference: str) -> None:
    """Delete a package: out of sight at once, then file by file; what a crash left half-deleted goes, too. Blocking.

    Raises:
        OSError: it is still there, or some of its files are.
    """
    package = root / reference
    package.rename(package.with_name(f"{_GOING}{package.name}"))
    for going in package.parent.glob(f"{_GOING}*"):
        shutil.rmtree(going)
    # Another package of the same incident may be there still.
    with contextlib.suppress(OSError):
        package.parent.rmdir()
