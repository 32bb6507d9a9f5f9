"""Looks into the store for all lines at once: one decision wakes every line, and a look each would take a connection each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncConnection

from monitor.store import deliveries
from monitor.store.database import Database
from monitor.store.deliveries import Backlog, DeliveryRecord
from monitor.store.one_hop import run_in_one_hop


@dataclass(frozen=True, slots=True)
class Wish:
    """What a line wants to know.

    Attributes:
        at: What is due by then, or by when another line asked a moment ago; Unix seconds.
        limit: How many of them at most.
        later: Also when the first alert is due that is not due at `at`.
        newest: Also the highest sequence that the receiver has taken of each incident.
        standing: Also what waits and was given up, and whether the receiver is disabled.
    """

    receiver: str
    at: float
    limit: int
    later: bool
    newest: bool
    standing: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a line gets to know.

    Attributes:
        due: What is to be tried now, first one first.
        next_at: When the first of all others is due; None if there is none, or it was not asked for.
        backlog: None where it was not asked for.
    """

    due: Sequence[DeliveryRecord]
    next_at: float | None
    newest: Mapping[str, int] = field(default_factory=dict)
    backlog: Backlog | None = None
    disabled: bool = False


class Reader:
    """Answers whoever asks while it looks with its next look."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Wish, asyncio.Future[Found]]] = []
        self._looking: asyncio.Task[None] | None = None

    async def look(self, wish: Wish) -> Found:
        """Return what there is.

        Raises:
            StoreError: the store cannot be read.
        """
        found: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._waiting.append((wish, found))
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(), name="delivery reader")
        return await found

    async def finish(self) -> None:
        """Wait until the look that is under way is over: the store must not be closed under it."""
        if self._looking is not None:
            await asyncio.wait({self._looking})

    async def _look(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting, []
            wishes = [wish for wish, _ in asked]
            try:
                async with self._database.reading() as connection:
                    answers = await run_in_one_hop(connection, _answer_all(connection, wishes))
            except Exception as error:  # noqa: BLE001  # handed to whoever asked
                for _, found in asked:
                    if not found.done():
                        found.set_exception(error)
            else:
                for (_, found), answer in zip(asked, answers, strict=True):
                    if not found.done():
                        found.set_result(answer)
        self._looking = None


async def _answer_all(connection: AsyncConnection, wishes: Sequence[Wish]) -> list[Found]:
    # One moment for all: what is due is either in the one answer or in the other.
    at = min(wish.at for wish in wishes)
    receivers = [wish.receiver for wish in wishes]
    together = await deliveries.due_of_all(connection, receivers, at=at, limit=min(wish.limit for wish in wishes))
    return [
        await _answer(connection, wish, at, None if together is None else together[wish.receiver]) for wish in wishes
    ]


async def _answer(connection: AsyncConnection, wish: Wish, at: float, due: Sequence[DeliveryRecord] | None) -> Found:
    if due is None:
        due = await deliveries.due(connection, wish.receiver, at=at, limit=wish.limit)
    incidents = {row.incident_id for row in due if row.incident_id is not None} if wish.newest else set()
    return Found(
        due=due,
        next_at=await deliveries.next_due_at(connection, wish.receiver, after=at) if wish.later else None,
        newest=await deliveries.newest_taken(connection, wish.receiver, incidents) if incidents else {},
        backlog=await deliveries.backlog(connection, wish.receiver) if wish.standing else None,
        disabled=wish.standing and wish.receiver in await deliveries.disabled_receivers(connection),
    )
