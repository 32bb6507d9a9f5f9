"""JSON of acknowledgements."""

from __future__ import annotations

from datetime import datetime

import msgspec

from monitor.web.acknowledge_port import AcknowledgedView
from monitor.web.display import displayable


class AcknowledgedBy(msgspec.Struct, frozen=True):
    """Who said first that they are on an incident."""

    by: str
    at: datetime
    via: str


def acknowledged(view: AcknowledgedView) -> AcknowledgedBy:
    """Return one for JSON."""
    return AcknowledgedBy(displayable(view.by), view.at, view.via)
