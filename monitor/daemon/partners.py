"""Partners: what they send is checked, noted and acted upon; what comes of it, they are told.

A partner's word is advice. It raises how closely streams are watched, and is an event for the protocols of streams of the same
name; it cuts nothing unless a protocol says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import structlog
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.alerts.crisis_events import CrisisData
from monitor.alerts.envelope import IncidentData
from monitor.alerts.event_models import AnyEvent, parse
from monitor.alerts.events import CONTENT_TYPE, compose_receipt
from monitor.alerts.verifying import Doubt
from monitor.alerts.work_events import ReceiptData
from monitor.clock import Clock, wait_until
from monitor.daemon.feed import Feed
from monitor.daemon.partner_book import REMEMBERED_S, PartnerBook, names
from monitor.daemon.partner_words import WITHDRAWN, alert_of, id_of, kept_of, receipt_for
from monitor.daemon.peers import Peer
from monitor.daemon.reports import RateLimit
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.daemon.views import utc
from monitor.errors import StoreError
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import OpenIncident, StreamContext
from monitor.metrics import PARTNER_EVENTS, STORE_FAILURES
from monitor.protocol.decision import Decision, Reason
from monitor.protocol.events import PartnerAlerted
from monitor.store import audit, partners
from monitor.store.database import Database
from monitor.store.deliveries import enqueue
from monitor.store.partners import AlertState, PartnerAlert
from monitor.vocabulary import PartnerSignal, Posture, StreamRef
from monitor.web.partners_port import PartnerAlertView, PartnerReply

_KEEP_EVENTS_S: Final = 14 * 86_400.0
"""Senders give up after three days; operators replay a little longer."""

_KEEP_ALERTS_S: Final = 90 * 86_400.0
_RETRY_S: Final = 1.0
_LOOK_EVERY_S: Final = 1.0
_FORGET_EVERY_S: Final = 3600.0

log = structlog.get_logger()


class Partners:
    """Implements `monitor.web.partners_port.PartnerService`.

    Attributes:
        book: What was heard.
        feed: What partners were to be told.
    """

    def __init__(
        self,
        database: Database,
        engine: IncidentEngine,
        registry: StreamRegistry,
        clock: Clock,
        peers: Sequence[Peer],
        *,
        source: str,
        context_of: Callable[[WatchedStream, bool], StreamContext],
        is_blocked: Callable[[StreamRef], bool],
        refresh: Callable[[str], None],
        on_change: Callable[[], None],
        on_enqueued: Callable[[], None],
    ) -> None:
        """Take the word of `peers`.

        Args:
            database: Where all of it is noted.
            engine: Whose protocols are told.
            registry: What is live.
            clock: For times and limits.
            peers: Partners.
            source: CloudEvents source of receipts.
            context_of: What the engine needs to know of a stream, and whether it is live.
            is_blocked: Whether a publisher is kept out.
            refresh: Watches a stream as closely as is asked for now.
            on_change: Called whenever a page would look different.
            on_enqueued: Called when a receipt waits in the outbox.
        """
        self._database = database
        self._engine = engine
        self._registry = registry
        self._clock = clock
        self._source = source
        self._context_of = context_of
        self._is_blocked = is_blocked
        self._refresh = refresh
        self._on_change = on_change
        self._on_enqueued = on_enqueued
        self.book = PartnerBook(peers)
        self.feed = Feed(database, self.book, clock)
        self._limits = {peer.name: RateLimit(peer.settings.per_minute) for peer in peers}
        self._one_at_a_time = asyncio.Lock()
        self._wake = asyncio.Event()

    async def load(self) -> None:
        """Take up what was heard before the daemon last stopped.

        Raises:
            StoreError: the store cannot be read.
        """
        now = self._now()
        async with self._database.reading() as connection:
            for alert in reversed(await partners.recent(connection, since=now - REMEMBERED_S)):
                self.book.put(alert)
        self.book.forget(now)

    def floor(self, ref: StreamRef) -> Posture:
        """Return how closely a stream is to be watched at least."""
        return self.book.floor(ref, self._now())

    def decided(self, incident: OpenIncident, decision: Decision) -> None:
        """Take note of what was decided about an incident here; see `monitor.incidents.engine.EngineListener`."""
        disagrees = decision.reason is Reason.REVIEW_DISMISSED
        for alert in self.book.concerning(incident):
            self.book.note(alert, incident.record.stream_id, disagrees=disagrees)
            self._wake.set()

    def alerts(self) -> Sequence[PartnerAlertView]:
        """Return what was heard in the last day, newest first; see the port."""
        return [self._view(alert) for alert in self.book]

    async def take(self, partner: str, headers: Mapping[str, str], body: bytes) -> PartnerReply:
        """Check and act upon one event; see the port."""
        peer = self.book.peers.get(partner)
        now = self._now()
        if peer is None:
            return _refuse("unauthenticated", 401)
        genuine = peer.verifier.verify(headers, body, now=now)
        if isinstance(genuine, Doubt):
            log.warning("partner_doubted", partner=peer.name, reason=genuine.value)
            return _refuse("unauthenticated", 401)
        async with self._one_at_a_time:
            async with self._database.reading() as connection:
                before = await partners.answered(connection, peer.name, genuine.message_id)
            if before is not None:
                PARTNER_EVENTS.labels("repeated").inc()
                return self._signed(peer, before)
            if self._limits[peer.name].wait_s(peer.name, now) > 0:
                return _refuse("too_many", 429)
            self._limits[peer.name].take(peer.name, now)
            try:
                event = parse(body)
            except ValidationError:
                event = None
            if event is None or event.id != genuine.message_id:
                log.warning("partner_event_malformed", partner=peer.name)
                return _refuse("malformed", 400)
            return await self._take(peer, event, now)

    async def run(self) -> None:
        """Tell partners what has changed, and watch less closely when alerts end, until cancelled."""
        forget_at = self._now()
        while True:
            self._wake.clear()
            try:
                await self._follow_up()
                if self._now() >= forget_at:
                    await self._forget()
                    forget_at = self._now() + _FORGET_EVERY_S
            except StoreError as error:
                STORE_FAILURES.inc()
                log.error("partners_not_followed_up", reason=error.reason)  # noqa: TRY400 - the reason says it all
                await self._clock.sleep(_RETRY_S)
                continue
            end = self.book.next_end(self._now())
            # While an alert stands, streams of its name may appear.
            await wait_until(self._clock, self._wake, _FORGET_EVERY_S if end is None else _LOOK_EVERY_S)
            if end is not None and self._now() >= end:
                self._refresh_all()

    async def _take(self, peer: Peer, event: AnyEvent, now: float) -> PartnerReply:
        match event.data:
            case ReceiptData() as data:
                await self._note_receipt(peer, data, now)
                receipt = receipt_for(event, None, "taken")
            case IncidentData() | CrisisData() as about:
                taken, alert = await self._heard(peer, event, about, now)
                receipt = receipt_for(event, alert, taken, acted=self._acted(alert), matched=self._matched(alert))
            case _:
                receipt = receipt_for(event, None, "ignored")
        PARTNER_EVENTS.labels(receipt.taken).inc()
        log.warning("partner_event", partner=peer.name, type=event.type, taken=receipt.taken, event_id=event.id)
        composed = compose_receipt(receipt, at=self._clock.now(), source=self._source)

        async def note(connection: AsyncConnection) -> None:
            await partners.answer(connection, peer.name, event.id, composed.body, at=now)
            alert = None if receipt.incident_id is None else self.book.get(peer.name, receipt.incident_id)
            if alert is not None:
                alert = replace(alert, receipt=kept_of(receipt))
                self.book.put(alert)
                await partners.save(connection, alert)
            detail = {"partner": peer.name, "type": event.type, "event": event.id, "taken": receipt.taken}
            await audit.append(
                connection,
                at=now,
                actor=f"partner {peer.name}",
                action="partner_event",
                incident_id=None,
                detail=detail,
            )

        await self._database.write(note)
        self._on_change()
        return self._signed(peer, composed.body)

    async def _heard(
        self, peer: Peer, event: AnyEvent, about: IncidentData | CrisisData, now: float
    ) -> tuple[str, PartnerAlert | None]:
        """Note what was said of one incident or crisis, and do what follows."""
        known = await self._known(peer.name, id_of(about))
        if about.drill and peer.settings.drills == "refuse":
            return "refused", None
        if known is not None and known.state is AlertState.WITHDRAWN:
            # It beats whatever is delivered after it, also with a higher number.
            return "withdrawn", known
        word = event.type.rpartition(".")[2]
        if known is not None and about.sequence < known.sequence and word not in WITHDRAWN:
            return "stale", known
        alert = alert_of(peer, about, word, known, now)
        async with self._database.transaction() as connection:
            await partners.save(connection, alert)
        self.book.put(alert)
        self._refresh_all()
        if alert.state is AlertState.STANDING:
            await self._tell_raised(alert)
        elif known is None or known.state is AlertState.STANDING:
            await self._tell_withdrawn(alert)
        return "taken", self.book.get(peer.name, alert.incident_id)

    async def _known(self, partner: str, incident_id: str) -> PartnerAlert | None:
        if (alert := self.book.get(partner, incident_id)) is not None:
            return alert
        # Older than what is in memory, or from before another start.
        async with self._database.reading() as connection:
            return await partners.load(connection, partner, incident_id)

    async def _tell_raised(self, alert: PartnerAlert) -> None:
        """Tell the protocols of matching streams that have not been told."""
        if self.book.peers[alert.partner].settings.trust != "protocol" or not self.book.counts(alert):
            return
        for stream in list(self._registry):
            stream_id = stream.ref.stream_id
            if stream_id in alert.streams or not names(alert, stream.ref):
                continue
            alert = self.book.note(alert, stream_id)
            event = PartnerAlerted(alert.partner, PartnerSignal.RAISED)
            await self._engine.handle(self._context_of(stream, True), event)

    async def _tell_withdrawn(self, alert: PartnerAlert) -> None:
        """Tell the incidents that the alert concerned that it is taken back; it begins none."""
        if self.book.peers[alert.partner].settings.trust != "protocol":
            return
        for stream_id in alert.streams:
            incident = self._engine.open_incident(stream_id)
            if incident is None:
                continue
            context = StreamContext(
                ref=incident.record.ref,
                session=incident.record.session,
                definition=incident.definition,
                dry_run=incident.record.dry_run,
                model=incident.record.model,
            )
            await self._engine.handle(context, PartnerAlerted(alert.partner, PartnerSignal.WITHDRAWN))

    async def _follow_up(self) -> None:
        """Tell the protocols of streams that appeared, and partners what has changed."""
        async with self._one_at_a_time:
            for alert in list(self.book):
                if alert.state is AlertState.STANDING:
                    await self._tell_raised(alert)
            for alert in list(self.book):
                await self._tell_partner(alert)

    async def _tell_partner(self, alert: PartnerAlert) -> None:
        peer = self.book.peers.get(alert.partner)
        before = alert.receipt
        if peer is None or before is None:
            return
        acted, matched = self._acted(alert), self._matched(alert)
        now_so = {"acted": list(acted), "matched": matched, "disagree": alert.disagrees}
        if {key: before[key] for key in now_so} == now_so:
            return
        number = int(before["sequence"]) + 1
        data = ReceiptData.model_validate({**before, **now_so, "sequence": number, "taken": "taken"})
        event = compose_receipt(data, at=self._clock.now(), source=self._source)
        alert = replace(alert, receipt=kept_of(data))

        async def note(connection: AsyncConnection) -> None:
            await partners.save(connection, alert)
            if peer.settings.url is not None:
                await enqueue(connection, event, [peer.name], at=self._now())

        await self._database.write(note)
        self.book.put(alert)
        self._on_change()
        self._on_enqueued()

    async def _note_receipt(self, peer: Peer, data: ReceiptData, now: float) -> None:
        """Write into the log of our own incident what a partner did about it."""
        detail: dict[str, Any] = {"partner": peer.name, **data.model_dump(mode="json")}

        async def note(connection: AsyncConnection) -> None:
            await audit.append(
                connection,
                at=now,
                actor=f"partner {peer.name}",
                action="partner_receipt",
                incident_id=data.incident_id,
                detail=detail,
            )

        await self._database.write(note)

    async def _forget(self) -> None:
        now = self._now()
        self.book.forget(now)

        async def work(connection: AsyncConnection) -> None:
            await partners.forget(connection, events_before=now - _KEEP_EVENTS_S, alerts_before=now - _KEEP_ALERTS_S)

        await self._database.write(work)

    def _acted(self, alert: PartnerAlert | None) -> tuple[str, ...]:
        if alert is None:
            return ()
        acted = ["shown"]
        if self.book.is_watched_for(alert, self._now()):
            acted.append("watched")
        if alert.streams:
            acted.append("told")
        contained = any(self._is_contained(stream_id) for stream_id in alert.streams)
        before = () if alert.receipt is None else alert.receipt["acted"]
        if contained:
            acted.append("contained")
        elif "contained" in before or "released" in before:
            acted.append("released")
        return tuple(acted)

    def _matched(self, alert: PartnerAlert | None) -> int:
        return 0 if alert is None else len(alert.streams)

    def _is_contained(self, stream_id: str) -> bool:
        incident = self._engine.open_incident(stream_id)
        stream = self._registry.get(stream_id)
        ref = incident.record.ref if incident is not None else None if stream is None else stream.ref
        return ref is not None and self._is_blocked(ref)

    def _refresh_all(self) -> None:
        for stream in list(self._registry):
            self._refresh(stream.ref.stream_id)

    def _signed(self, peer: Peer, body: bytes) -> PartnerReply:
        event_id = parse(body).id
        headers = peer.signer.headers(event_id, body, at=self._clock.now())
        return PartnerReply(200, body, {"Content-Type": CONTENT_TYPE, **headers})

    def _view(self, alert: PartnerAlert) -> PartnerAlertView:
        watched = self.book.is_watched_for(alert, self._now())
        return PartnerAlertView(
            partner=alert.partner,
            incident_id=alert.incident_id,
            state=alert.state.value,
            word=alert.word,
            severity=alert.severity,
            label=alert.label,
            title=alert.stream_name or "",
            page_link=alert.page_link,
            drill=alert.drill,
            first_at=utc(alert.first_at),
            heard_at=utc(alert.heard_at),
            watched_until=utc(alert.until) if watched else None,
            streams=tuple(alert.streams),
            acted=self._acted(alert),
            disagrees=alert.disagrees,
        )

    def _now(self) -> float:
        return self._clock.now().timestamp()


def _refuse(why: str, status: int) -> PartnerReply:
    PARTNER_EVENTS.labels(why).inc()
    return PartnerReply(status, refused=why)
