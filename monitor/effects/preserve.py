"""Preserve: keep what led up to a detection before anything else can lose it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from monitor.clock import Clock
from monitor.effects.port import DetailValue, EffectResult
from monitor.evidence.package import Frame, ScoredClip, write_package
from monitor.store.effects import EffectRecord
from monitor.store.incidents import IncidentRecord
from monitor.vocabulary import EffectOutcome


@dataclass(frozen=True, slots=True)
class Kept:
    """What a watcher still has of a stream's last minute."""

    frames: tuple[Frame, ...]
    scores: tuple[ScoredClip, ...]


class EvidenceSource(Protocol):
    """Where the last minute of a stream is kept."""

    async def kept(self, stream_id: str) -> Kept:
        """Return what is kept; empty when the stream is unknown or its watcher does not answer in time."""
        ...


class PreservePerformer:
    """Writes the last minute's sampled frames and scores into an evidence package."""

    def __init__(self, source: EvidenceSource, root: Path, clock: Clock) -> None:
        """Take samples from `source` and write below `root`."""
        self._source = source
        self._root = root
        self._clock = clock

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Write one package; fails with reason ``nothing_kept`` where no sample is left. See `Performer.perform`."""
        kept = await self._source.kept(incident.stream_id)
        if not kept.frames and not kept.scores:
            return EffectResult(EffectOutcome.FAILED, {"reason": "nothing_kept"})
        about = {
            "stream_id": incident.stream_id,
            "server": incident.server,
            "protocol": incident.protocol,
            "model": incident.model,
            "state": incident.state,
        }
        summary = await asyncio.to_thread(
            write_package,
            self._root,
            incident_id=incident.id,
            key=effect.key,
            about=about,
            preserved_at=self._clock.now().timestamp(),
            frames=kept.frames,
            scores=kept.scores,
        )
        detail: dict[str, DetailValue] = {
            "package": summary.reference,
            "frames": summary.frames,
            "scores": summary.scores,
            "sha256": summary.sha256,
        }
        return EffectResult(EffectOutcome.SUCCEEDED, detail)
