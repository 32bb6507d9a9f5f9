"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How bad it is. `unknown`: this machine does not tell."""

    OK = "ok"
    UNKNOWN = "unknown"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line.

    Attributes:
        subject: What was looked at, in one word.
        what: What was found; no secrets.
        mend: What to do about it; empty where there is nothing to do.
    """

    grade: Grade
    subject: str
    what: str
    mend: str = ""
