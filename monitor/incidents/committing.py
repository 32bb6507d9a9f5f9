"""Makes decisions durable, and then, or where the store refuses without it, lets them act."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from monitor import faults
from monitor.effects.decided import DecidedEffects
from monitor.errors import StoreError
from monitor.incidents.book import Book
from monitor.incidents.journal import Journal
from monitor.incidents.records import OpenIncident
from monitor.incidents.writing import Step, Written, write_step
from monitor.metrics import TRANSITIONS
from monitor.protocol.decision import Decision
from monitor.protocol.events import DeadlinePassed, Reviewed
from monitor.store.blocks import BlockRecord
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.store.strikes import StrikeRecord
from monitor.vocabulary import StreamRef

_T = TypeVar("_T")

log = structlog.get_logger()


class EngineListener(Protocol):
    """Told after each commit; must not block and must not raise."""

    def committed(self, incident: OpenIncident, decision: Decision) -> None:
        """An incident changed; new effects and alerts may wait in the store."""
        ...

    def asked(self, incident: OpenIncident, effects: Sequence[EffectRecord]) -> None:
        """These effects, as their rows are, were committed just now and can be begun; `committed` follows."""
        ...

    def uncommitted(self, incident: OpenIncident, effects: Sequence[EffectRecord], barred_until: float | None) -> None:
        """An incident changed, and the store does not take it: do these effects without it, and bar its publisher."""
        ...

    def blocks_loaded(self, active: Sequence[BlockRecord]) -> None:
        """These, and no others, are the blocks in force."""
        ...

    def block_changed(self, ref: StreamRef, until: float | None) -> None:
        """This publisher is barred until this Unix time, or, with None, not at all."""
        ...

    def strikes_changed(self, records: Sequence[StrikeRecord]) -> None:
        """These strikes are as they are here: new, or lifted."""
        ...


class Committer:
    """Writes steps and tells of them; one at a time for each stream, which the caller sees to."""

    def __init__(
        self,
        database: Database,
        decided: DecidedEffects,
        listener: EngineListener,
        book: Book,
        wake: Callable[[], None],
    ) -> None:
        """Write to `database` and `book`; `wake` is called after every change."""
        self._database = database
        self._decided = decided
        self._listener = listener
        self._book = book
        self._wake = wake
        self.journal = Journal(database, decided)
        self.behind = asyncio.Event()
        """Set while the journal holds something."""

    async def commit(self, step: Step, *, durable: bool = False) -> None:
        """Write a step; the journal takes it where the store does not, and what can be done at once is done.

        Whoever is cancelled meanwhile waits for the end first: store and memory never part.

        Args:
            step: What was decided.
            durable: Nothing may come of it unless it is written.

        Raises:
            StoreError: it must be `durable`, and was not written; or another daemon has taken over the store.
        """
        await to_its_end(self._commit(step, durable=durable))

    async def catch_up(self, now: float) -> bool:
        """Write what the journal holds; returns whether nothing is left.

        Raises:
            StoreError: another daemon has taken over the store.
        """
        if len(self.journal):
            for written in await to_its_end(self.journal.write(now=now)):
                record = written.incident.record
                self._tell(written)
                self._listener.committed(self._book.get(record.id) or written.incident, written.decision)
        if not len(self.journal):
            self.behind.clear()
        return not len(self.journal)

    async def _commit(self, step: Step, *, durable: bool) -> None:
        stream_id = step.incident.record.stream_id
        if self.journal.must_take(stream_id):
            if durable:
                raise StoreError("the store takes nothing now, and decisions wait for it", reason="store_away")
            self._act(step, None)
            return

        async def work(connection: AsyncConnection) -> Written | None:
            written = await write_step(connection, self._decided, step)
            if step.decision.closed:
                faults.reach("closing_half_written")
            return written

        try:
            written = await self._database.write(work)
        except StoreError as error:
            if durable or error.reason == "in_use":
                raise
            self._act(step, error)
            return
        _reach(step)
        if written is not None:
            self._book.remember(written.incident)
            self._note(written.incident, step.decision)
            self._tell(written)
            if step.decision.effects:
                self._listener.asked(written.incident, step.rows())
            self._listener.committed(written.incident, step.decision)

    def _tell(self, written: Written) -> None:
        if written.bars:
            self._listener.block_changed(written.incident.record.ref, written.barred_until)
            self._listener.strikes_changed(written.strikes)

    def _act(self, step: Step, refusal: StoreError | None) -> None:
        effects = step.effects()
        record, barred_until = self._decided.foresee(effects, step.incident.record)
        incident = replace(step.incident, record=record)
        self.journal.note(step, refusal)
        self.behind.set()
        self._book.remember(incident)
        self._note(incident, step.decision)
        self._listener.uncommitted(incident, self._decided.without_store(effects), barred_until)

    def _note(self, incident: OpenIncident, decision: Decision) -> None:
        self._wake()
        if not decision.transitioned:
            return
        if not incident.record.drill:
            TRANSITIONS.labels(decision.reason.value).inc()
        log.info(
            "protocol_transition",
            stream_id=incident.record.stream_id,
            incident_id=incident.record.id,
            before=decision.before,
            after=decision.after.state,
            reason=decision.reason.value,
            effects=[request.kind.value for request in decision.effects],
            drill=incident.record.drill,
        )

    def record_of(self, incident_id: str) -> IncidentRecord | None:
        """Return an open incident's row as it stands in memory."""
        incident = self._book.get(incident_id)
        return None if incident is None else incident.record


async def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Await `work`; cancellation waits for its end first, and then cancels."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("write_failed_while_stopping", error_type=type(error).__name__)
        raise


def _reach(step: Step) -> None:
    if step.decision.closed:
        faults.reach("closed")
    match step.event:
        case Reviewed():
            faults.reach("review_committed")
        case DeadlinePassed():
            faults.reach("deadline_committed")
        case _:
            faults.reach("outcome_committed" if step.ended else "decision_committed")
