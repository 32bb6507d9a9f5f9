"""Numbers, times and words as people read them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: datetime) -> str:
    """Return the time of day in UTC, such as ``19:54:12``."""
    return at.astimezone(UTC).strftime("%H:%M:%S")


def day_moment(at: datetime) -> str:
    """Return day and time in UTC, such as ``23 Nov 2026, 19:54:12 UTC``."""
    return f"{at.astimezone(UTC):%-d %b %Y, %H:%M:%S} UTC"


def iso(at: datetime) -> str:
    """Return ISO 8601 for machines."""
    return at.astimezone(UTC).isoformat(timespec="seconds")


def span(duration_s: float) -> str:
    """Return a duration in its one or two largest units, such as ``41 s``, ``3 min`` or ``2 h 5 min``."""
    whole = max(0, int(duration_s))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def size(size_bytes: int) -> str:
    """Return a size with one decimal, such as ``1.4 MiB``."""
    amount, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{int(amount)} B" if unit == "B" else f"{amount:.1f} {unit}"


def words(name: str) -> str:
    """Return a snake_case or kebab-case word as plain words."""
    return name.replace("_", " ").replace("-", " ")


def percent(score: float) -> str:
    """Return a score in [0, 1] with two decimals."""
    return f"{score:.2f}"
