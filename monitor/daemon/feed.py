"""What a partner was to be told, to be read again in pages: for one that was away for longer than alerts are sent again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from sqlalchemy import and_, or_, select

from monitor.alerts.disclosure import disclosed
from monitor.alerts.verifying import Doubt
from monitor.clock import Clock
from monitor.daemon.partner_book import PartnerBook
from monitor.store.database import Database
from monitor.store.tables import delivery
from monitor.web.partners_port import PartnerReply

PAGE: Final = 200
_CONTENT_TYPE: Final = "application/x-ndjson"


class Feed:
    """Implements `monitor.web.partners_port.FeedService`: the outbox's rows of one partner, whatever became of them, oldest first."""

    def __init__(self, database: Database, book: PartnerBook, clock: Clock) -> None:
        self._database = database
        self._book = book
        self._clock = clock

    async def page(self, partner: str, headers: Mapping[str, str], target: bytes, after: str) -> PartnerReply:
        """Return one page; see the port."""
        peer = self._book.peers.get(partner)
        now = self._clock.now()
        if peer is None or isinstance(peer.verifier.verify(headers, target, now=now.timestamp()), Doubt):
            return PartnerReply(401, refused="unauthenticated")
        lines = []
        for row_id, event_id, whole in await self._rows(partner, after):
            body = disclosed(whole, peer.settings.shows)
            signed = peer.signer.headers(event_id, body, at=now)
            lines.append(json.dumps({"cursor": row_id, **signed, "body": body.decode()}) + "\n")
        return PartnerReply(200, "".join(lines).encode(), {"Content-Type": _CONTENT_TYPE})

    async def _rows(self, partner: str, after: str) -> list[tuple[str, str, bytes]]:
        query = select(delivery.c.id, delivery.c.event_id, delivery.c.body).where(delivery.c.receiver == partner)
        async with self._database.reading() as connection:
            if after:
                last = select(delivery.c.created_at).where(delivery.c.id == after, delivery.c.receiver == partner)
                at = (await connection.execute(last)).scalar_one_or_none()
                if at is not None:
                    same = and_(delivery.c.created_at == at, delivery.c.id > after)
                    query = query.where(or_(delivery.c.created_at > at, same))
            query = query.order_by(delivery.c.created_at, delivery.c.id).limit(PAGE)
            return [(row.id, row.event_id, row.body) for row in (await connection.execute(query)).all()]
