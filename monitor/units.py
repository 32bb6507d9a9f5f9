"""Durations and sizes as people write them."""

from __future__ import annotations

import re

_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3, "TiB": 1024**4}
_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", re.ASCII)


def parse_duration_s(text: str) -> float:
    """Return seconds for text such as ``250ms``, ``20s``, ``10m``, ``12h`` or ``30d``.

    Raises:
        ValueError: no number, no unit or an unknown unit; the message says which units there are.
    """
    return _parse(text, _DURATION_S, "a duration", "20s")


def parse_size_bytes(text: str) -> int:
    """Return bytes for text such as ``64KiB``, ``512MiB`` or ``2GiB``.

    Raises:
        ValueError: no number, no unit, an unknown unit or a fraction of a byte.
    """
    size = _parse(text, _SIZE_BYTES, "a size", "512MiB")
    if size != int(size):
        message = f"{text!r} is no whole number of bytes"
        raise ValueError(message)
    return int(size)


def _parse(text: str, units: dict[str, float] | dict[str, int], what: str, example: str) -> float:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or match[2] not in units:
        message = f"{text!r} is not {what}: write a number and a unit ({', '.join(units)}), such as {example}"
        raise ValueError(message)
    return float(match[1]) * units[match[2]]


def format_duration(duration_s: float) -> str:
    """Return the shortest exact wording, such as ``30d`` for 2592000 or ``1.5s``."""
    for unit in ("d", "h", "m"):
        whole, rest = divmod(duration_s, _DURATION_S[unit])
        if duration_s and rest == 0:
            return f"{int(whole)}{unit}"
    return f"{int(duration_s) if duration_s == int(duration_s) else duration_s!r}s"


def format_size(size_bytes: int) -> str:
    """Return the shortest exact wording, such as ``64KiB`` for 65536 or ``1000B``."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        whole, rest = divmod(size_bytes, _SIZE_BYTES[unit])
        if size_bytes and rest == 0:
            return f"{whole}{unit}"
    return f"{size_bytes}B"
