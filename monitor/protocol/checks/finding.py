"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.yaml_source import Path


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake: where the file says it, what is wrong, and how to mend it."""

    path: Path
    what: str
    mend: str
