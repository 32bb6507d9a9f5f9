from __future__ import annotations

from tests.fakes.logs import logged

__all__ = ["logged"]
