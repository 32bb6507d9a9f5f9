"""Drills: a protocol run on a live stream for practice, from a detection that nobody's model made."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from monitor import shipped
from monitor.daemon.parts import Parts
from monitor.daemon.streams import StreamRegistry, WatchedStream
from monitor.errors import ProtocolDefinitionError
from monitor.incidents.engine import IncidentEngine
from monitor.incidents.library import load_protocols
from monitor.incidents.records import StreamContext
from monitor.protocol.binding import bound, unbindable
from monitor.protocol.definition import Definition
from monitor.protocol.events import DetectionRaised
from monitor.servers.port import MediaServer
from monitor.vocabulary import Severity, StreamRef
from monitor.web.people_port import DrillOutcome, DrillResult

DRILL_SCORE = 1.0
"""The score of the detection that a drill begins with; no model gave it."""

log = structlog.get_logger()


class Drills:
    """Begins drills; implements `monitor.web.people_port.DrillService`.

    A drill is an incident beside the real ones: it never takes the place of one, and real detections go on as ever.
    """

    def __init__(
        self,
        registry: StreamRegistry,
        servers: Mapping[str, MediaServer],
        engine: IncidentEngine,
        parts: Parts,
    ) -> None:
        """Begin drills on the streams of `registry`.

        Args:
            registry: The streams that are live.
            servers: Media servers by name: a drill runs as its stream's server could carry it out.
            engine: Runs it.
            parts: Where protocols are that a drill may name, and what the model detects.
        """
        self._registry = registry
        self._servers = servers
        self._engine = engine
        self._parts = parts

    async def begin(self, ref: StreamRef, *, protocol: str | None, severity: Severity, by: str) -> DrillResult:
        """Begin a drill; durable on return. See the port."""
        stream = self._registry.get(ref.stream_id)
        if stream is None:
            return DrillResult(DrillOutcome.UNKNOWN_STREAM)
        definition = await self._definition(stream, protocol)
        if definition is None:
            return DrillResult(DrillOutcome.UNKNOWN_PROTOCOL)
        detection = DetectionRaised(next(iter(self._parts.rules)), severity, DRILL_SCORE)
        context = StreamContext(
            ref=stream.ref, session="", definition=definition, dry_run=True, model=stream.model, drill=True
        )
        if self._engine.open_drill(ref) is not None:
            return DrillResult(DrillOutcome.UNDER_WAY)
        incident = await self._engine.begin_drill(context, detection, actor=by)
        if incident is None:
            return DrillResult(DrillOutcome.NOTHING_HAPPENS)
        log.info(
            "drill_begun", stream_id=ref.stream_id, incident_id=incident.record.id, protocol=definition.name, by=by
        )
        return DrillResult(DrillOutcome.BEGUN, incident.record.id)

    async def _definition(self, stream: WatchedStream, protocol: str | None) -> Definition | None:
        if protocol is None or protocol == stream.definition.name:
            return stream.definition
        directory = self._parts.config.protocol.directory or shipped.protocols_dir()
        try:
            definition = (await asyncio.to_thread(load_protocols, directory)).get(protocol)
        except ProtocolDefinitionError:
            # A file has been changed since the start, and has mistakes now.
            return None
        can_hold = self._servers[stream.ref.server].capabilities.hold
        if definition is None or unbindable(definition, can_hold=can_hold):
            return None
        return bound(definition, can_hold=can_hold)
