"""Processes that decide and deliver, for tests that kill them: each goes on where the store says that the last one was."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import structlog
from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from yarl import URL

from monitor.alerts.addresses import Reach
from monitor.alerts.events import IncidentSnapshot, compose
from monitor.alerts.outbox import Outbox
from monitor.alerts.signing import Signer
from monitor.alerts.webhook import SignedWebhook
from monitor.clock import SystemClock
from monitor.store import deliveries
from monitor.store.database import Database
from monitor.store.deliveries import OutgoingEvent
from monitor.store.tables import delivery
from monitor.vocabulary import AlertEvent
from tests.fakes.receiver import SECRET

SEQUENCES = 4
CONCURRENCY = 4


def an_event(number: int, snapshot: IncidentSnapshot) -> OutgoingEvent:
    """Return the event of this number: each incident has `SEQUENCES`, begun in turn with those of its neighbours."""
    block, place = divmod(number, SEQUENCES * 10)
    incident, sequence = block * 10 + place % 10, place // 10 + 1
    changed = replace(snapshot, incident_id=f"incident-{incident}", sequence=sequence)
    return compose(AlertEvent.UPDATED, changed, source="site", event_id=f"event-{number}")


def context() -> ForkServerContext:
    """Return a way to start processes that have imported everything already."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__])
    return found


def start(
    way: ForkServerContext, store: Path, urls: Sequence[str], snapshot: IncidentSnapshot, total: int
) -> ForkServerProcess:
    """Start one; it runs until it is killed."""
    process = way.Process(target=_run, args=(store, tuple(urls), snapshot, total), daemon=True)
    process.start()
    return process


def _run(store: Path, urls: Sequence[str], snapshot: IncidentSnapshot, total: int) -> None:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    asyncio.run(_decide_and_deliver(store, urls, snapshot, total))


async def _decide_and_deliver(store: Path, urls: Sequence[str], snapshot: IncidentSnapshot, total: int) -> None:
    receivers = [
        SignedWebhook(
            name=f"r{number}",
            url=URL(url),
            signer=Signer([SecretStr(SECRET)]),
            reach=Reach.LOOPBACK,
            timeout_s=0.5,
            concurrency=CONCURRENCY,
        )
        for number, url in enumerate(urls)
    ]
    names = [receiver.name for receiver in receivers]
    async with Database(store, migrates=False) as database, Outbox(database, receivers, SystemClock()) as outbox:
        async with database.reading() as connection:
            decided = (await connection.execute(select(func.count(delivery.c.event_id.distinct())))).scalar_one()
        for number in range(decided, total):
            event = an_event(number, snapshot)

            async def work(connection: AsyncConnection, event: OutgoingEvent = event) -> int:
                return await deliveries.enqueue(connection, event, names, at=time.time())

            await database.write(work)
            outbox.wake()
        await asyncio.Event().wait()
