"""From a partner's words to where its alert stands, and to the receipt for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from monitor.alerts.crisis_events import CrisisData
from monitor.alerts.envelope import IncidentData
from monitor.alerts.event_models import AnyEvent
from monitor.alerts.work_events import ReceiptData
from monitor.daemon.peers import Peer
from monitor.store.partners import AlertState, PartnerAlert
from monitor.vocabulary import Severity

WITHDRAWN: Final = frozenset({"dismissed", "withdrawn"})
"""Words by which an alert is taken back for good."""

_OVER: Final = frozenset({"released", "concluded"})
"""Words after which an alert stands no more, unless something newer is said."""

_NO_ALERT: Final = frozenset({"closed", "acknowledged", "overdue", "review_overdue"})
"""Words that change nothing about whether an alert stands."""


def id_of(about: IncidentData | CrisisData) -> str:
    """Return the sender's id of what it speaks of."""
    return about.crisis_id if isinstance(about, CrisisData) else about.incident_id


def alert_of(
    peer: Peer, about: IncidentData | CrisisData, word: str, known: PartnerAlert | None, now: float
) -> PartnerAlert:
    """Return an alert as it stands after a partner's word, which is no older than what is known."""
    if word in WITHDRAWN:
        state = AlertState.WITHDRAWN
    elif word in _OVER or (word == "closed" and known is None):
        state = AlertState.OVER
    elif word in _NO_ALERT and known is not None:
        state = known.state
    else:
        state = AlertState.STANDING
    if isinstance(about, CrisisData):
        # What is only being assessed asks for a look.
        severity, stream_name = ("review" if word == "assessing" else "act"), None
    else:
        severity, stream_name = about.severity, about.stream_name
    fresh = PartnerAlert(
        partner=peer.name,
        incident_id=id_of(about),
        state=state,
        sequence=max(about.sequence, 0 if known is None else known.sequence),
        word=word,
        severity=severity,
        label=about.label,
        stream_name=stream_name,
        page_link=about.page_link,
        drill=about.drill,
        first_at=now if known is None else known.first_at,
        heard_at=now,
        until=now + peer.settings.watch_for,
    )
    if known is None:
        return fresh
    kept: dict[str, Any] = {"streams": known.streams, "disagrees": known.disagrees, "receipt": known.receipt}
    if known.state is AlertState.STANDING:
        # What is contained is quiet, and no less grave for that.
        kept["severity"] = max(known.severity, fresh.severity, key=Severity.from_word)
    if word in _NO_ALERT:
        # It ends no watch, and begins none anew.
        kept = {**kept, "until": known.until, "word": known.word, "severity": known.severity}
    return replace(fresh, **kept)


def receipt_for(
    event: AnyEvent, alert: PartnerAlert | None, taken: str, *, acted: Sequence[str] = (), matched: int = 0
) -> ReceiptData:
    """Return what a partner is told of one of its events."""
    about = event.data
    incident_id = id_of(about) if isinstance(about, IncidentData | CrisisData) else None
    before = None if alert is None else alert.receipt
    return ReceiptData.model_validate(
        {
            "incident_id": incident_id,
            "event_id": event.id,
            "sequence": 0 if before is None else int(before["sequence"]) + 1,
            "taken": taken,
            "acted": tuple(acted),
            "matched": matched,
            "disagree": alert is not None and alert.disagrees,
            "drill": bool(getattr(about, "drill", False)),
        }
    )


def kept_of(receipt: ReceiptData) -> dict[str, Any]:
    """Return a receipt as it is kept with its alert."""
    return receipt.model_dump(mode="json")
