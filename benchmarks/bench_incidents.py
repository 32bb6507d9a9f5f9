"""What durable incidents cost: deadlines kept, effects begun, memory per calm stream.

Run it from the repository root on an idle machine: ``python benchmarks/bench_incidents.py [--folder DIR] [--incidents N]``.
The store lies below ``--folder`` (a temporary folder in the working directory by default): the disk decides.

1. So many incidents are under way, their deadlines spread over half a minute, while observations arrive: how late does each fire?
2. Detections come up, one stream after the other: how long until the first effect begins?
3. So many calm streams are listed and scored: how much memory does each cost in the daemon?
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


from monitor.clock import SystemClock
from monitor.config.watching import WatchSection
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.detect.persistence import DetectionRule, Detector, LevelRule
from monitor.effects.decided import DecidedEffects
from monitor.effects.port import EffectResult
from monitor.effects.runner import EffectRunner
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.records import StreamContext
from monitor.logs import configure_logging
from monitor.protocol.definition import After, Definition
from monitor.protocol.events import DetectionRaised
from monitor.servers.port import LiveStream
from monitor.store.database import Database
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectKind, EffectOutcome, Severity, StreamRef
from tests.fakes.incidents import TakenNotes
from tests.fakes.protocols import shipped

OBSERVATIONS_A_SECOND = 200
SPREAD_S = 30.0


class Performing:
    """Carries every effect out at once; notes when a stream's first effect begins."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}
        self.changed = asyncio.Event()

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:  # noqa: ARG002 - the port's
        """Return success; see `monitor.effects.port.Performer`."""
        self.begun.setdefault(incident.stream_id, time.monotonic())
        self.changed.set()
        return EffectResult(EffectOutcome.SUCCEEDED)

    async def first_of(self, stream_id: str) -> float:
        """Wait for a stream's first effect; return its monotonic time."""
        while stream_id not in self.begun:
            self.changed.clear()
            await self.changed.wait()
        return self.begun[stream_id]


def context(name: str, definition: Definition) -> StreamContext:
    """Return a live stream of this name."""
    return StreamContext(
        ref=StreamRef("edge", "live", name), session="1", definition=definition, dry_run=False, model="m"
    )


def due_after(definition: Definition, seconds: float) -> Definition:
    """Return `assisted` with another time for people to decide in."""
    urgent = definition.states["urgent"]
    first = next(one for one in urgent.transitions if isinstance(one.trigger, After))
    changed = tuple(
        replace(one, trigger=After(seconds)) if one.trigger == first.trigger else one for one in urgent.transitions
    )
    return replace(definition, states={**definition.states, "urgent": replace(urgent, transitions=changed)})


def detector() -> Detector:
    """Return a detector for one label."""
    rule = DetectionRule(
        review=LevelRule(0.6, hits=2, of=4),
        act=LevelRule(0.9, hits=2, of=4),
        clear_ratio=0.8,
        clear_after_s=10.0,
    )
    return Detector({"violence": rule})


async def observe(stop: asyncio.Event) -> int:
    """Score calm clips as the keeper does, so many a second; returns how many."""
    streams = [detector() for _ in range(OBSERVATIONS_A_SECOND)]
    count = 0
    began = time.monotonic()
    while not stop.is_set():
        streams[count % len(streams)].observe(time.time(), {"violence": 0.1})
        count += 1
        await asyncio.sleep(max(0.0, began + count / OBSERVATIONS_A_SECOND - time.monotonic()))
    return count


def quantiles_ms(values_s: Sequence[float]) -> str:
    """Return median, 99th percentile and maximum in words."""
    ordered = sorted(values_s)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"median {statistics.median(ordered) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, most {ordered[-1] * 1e3:.1f} ms"


async def deadlines_and_effects(folder: Path, incidents: int, detections: int) -> None:
    """Measure the first two figures on one store."""
    notes, performing = TakenNotes(), Performing()
    decided = asyncio.Event()
    clock = SystemClock()
    async with Database(folder / "store.sqlite3") as database:
        engine = IncidentEngine(database, clock, DecidedEffects(notes, 60.0), notes)
        runner = EffectRunner(database, clock, dict.fromkeys(EffectKind, performing), engine.finish_effect, engine)

        def on_commit() -> None:
            runner.wake()
            decided.set()

        notes.on_asked, notes.on_commit = runner.take, on_commit
        await engine.load()
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            work = [group.create_task(engine.run()), group.create_task(runner.run())]
            observing = group.create_task(observe(stop))
            raised = DetectionRaised("violence", Severity.ACT, 0.95)
            base = shipped()["assisted"]
            began = time.monotonic()
            wait_s = incidents * 0.02 + 5.0
            definitions = [due_after(base, wait_s + SPREAD_S * number / 50) for number in range(50)]
            await asyncio.gather(
                *(
                    engine.handle(context(f"cam{number}", definitions[number % 50]), raised)
                    for number in range(incidents)
                )
            )
            print(f"{incidents} incidents begun at one moment, durable after {time.monotonic() - began:.2f} s")
            while any(one.record.state == "urgent" for one in engine.open_incidents()):
                decided.clear()
                await decided.wait()
            late_s = []
            for one in engine.open_incidents():
                due_s = next(
                    t.trigger.delay_s
                    for t in one.definition.states["urgent"].transitions
                    if isinstance(t.trigger, After)
                )
                late_s.append(await entered(database, one.record.id) - one.record.opened_at - due_s)
            print(
                f"deadlines of {incidents} incidents, spread over {SPREAD_S:.0f} s, to the commit: {quantiles_ms(late_s)}"
            )

            to_effect_s = []
            for number in range(detections):
                fresh = context(f"fresh{number}", base)
                asked = time.monotonic()
                await engine.handle(fresh, raised)
                to_effect_s.append(await performing.first_of(fresh.ref.stream_id) - asked)
                await asyncio.sleep(0.05)
            print(f"{detections} detections, raised to first effect begun: {quantiles_ms(to_effect_s)}")
            stop.set()
            print(f"{await observing} observations meanwhile, {OBSERVATIONS_A_SECOND} a second wanted")
            for task in work:
                task.cancel()


async def entered(database: Database, incident_id: str) -> float:
    """Return when an incident left `urgent`."""
    from monitor.store import audit  # noqa: PLC0415 - beside its only use

    async with database.reading() as connection:
        log = await audit.entries(connection, incident_id=incident_id)
    return next(entry.at for entry in log if entry.detail["after"] == "containing")


def memory(streams: int) -> None:
    """Measure the third figure."""
    definition = shipped()["assisted"]
    registry = StreamRegistry(WatchSection())
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(streams):
        ref = StreamRef("edge", "live", f"camera-{number:06d}")
        live = LiveStream(
            ref=ref, session=str(number), publisher_address=None, started_at=None, viewers=0, video="h264"
        )
        watched = WatchedStream(
            live=live,
            definition=definition,
            detector=detector(),
            dry_run=False,
            title=f"live/{ref.name}",
            first_seen_at=0.0,
        )
        for second in range(60):
            watched.detector.observe(float(second), {"violence": 0.1 + second / 1000})
        watched.last_scores = {"violence": 0.1 + number / streams / 10}
        watched.last_arrived_at = 60.0 + number
        registry.add(watched)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{streams} calm streams: {(after - before) / streams:.0f} bytes each in the daemon")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path())
    parser.add_argument("--incidents", type=int, default=1_000)
    parser.add_argument("--detections", type=int, default=200)
    parser.add_argument("--streams", type=int, default=5_000)
    options = parser.parse_args()
    memory(options.streams)
    # As the daemon logs, and not as for a terminal.
    configure_logging("warning", "json")
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-incidents-") as folder:
        asyncio.run(deadlines_and_effects(Path(folder), options.incidents, options.detections))


if __name__ == "__main__":
    main()
