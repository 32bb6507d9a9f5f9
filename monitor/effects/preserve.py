"""Preserve: keep what led up to a detection before anything else can lose it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from monitor.clock import Clock
from monitor.effects.patience import Patience
from monitor.effects.port import DetailValue, EffectResult
from monitor.errors import EffectError
from monitor.evidence.package import Frame, ScoredClip, Video, write_package
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


@dataclass(frozen=True, slots=True)
class KeptVideo:
    """The last minute's compressed video. `trouble` is a static word that says what is missing; empty if nothing is."""

    files: tuple[Video, ...] = ()
    trouble: str = ""


class VideoSource(Protocol):
    """Where the last minute of a stream's compressed video is kept."""

    def kept_video(self, stream_id: str) -> AbstractAsyncContextManager[KeptVideo]:
        """Return what is kept; its files are there for as long as the context lasts."""
        ...


class PreservePerformer:
    """Writes the last minute's sampled frames, scores and compressed video into an evidence package."""

    def __init__(self, source: EvidenceSource, root: Path, clock: Clock, videos: VideoSource | None = None) -> None:
        """Take samples from `source` and video from `videos`, if there is such a thing, and write below `root`."""
        self._videos = videos
        self._source = source
        self._root = root
        self._clock = clock

    async def perform(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        """Write one package; fails with reason ``nothing_kept`` where no sample is left. See `Performer.perform`.

        Tried once, unless the protocol says for how long: a watcher that has just died has a successor in a second, and a
        disk may be full for a minute.
        """
        began_s = self._clock.monotonic_s()
        patience = Patience.of(effect, default_within_s=0.0)
        delay_s = patience.first_delay_s
        tries = 0
        while True:
            tries += 1
            failure: EffectError | None = None
            result = EffectResult(EffectOutcome.FAILED)
            try:
                result = await self._try(effect, incident)
            except EffectError as error:
                failure = error
            done = result.outcome is EffectOutcome.SUCCEEDED or (failure is not None and not failure.retryable)
            if done or self._clock.monotonic_s() - began_s + delay_s > patience.within_s:
                break
            await self._clock.sleep(delay_s)
            delay_s = patience.next_delay_s(delay_s)
        if failure is not None:
            raise failure
        return EffectResult(result.outcome, {**result.detail, "tries": tries}) if tries > 1 else result

    async def _try(self, effect: EffectRecord, incident: IncidentRecord) -> EffectResult:
        kept = await self._source.kept(incident.stream_id)
        # Video second, frames and scores in hand: they are small, quick to get, and must not be lost by it.
        async with self._videos.kept_video(incident.stream_id) if self._videos else nullcontext(KeptVideo()) as video:
            return await self._write(effect, incident, kept, video)

    async def _write(
        self, effect: EffectRecord, incident: IncidentRecord, kept: Kept, video: KeptVideo
    ) -> EffectResult:
        if not kept.frames and not kept.scores and not video.files:
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
            videos=video.files,
        )
        detail: dict[str, DetailValue] = {
            "package": summary.reference,
            "frames": summary.frames,
            "scores": summary.scores,
            "sha256": summary.sha256,
        }
        if self._videos is not None:
            detail |= {"video_seconds": round(summary.video_s, 1), "video_bytes": summary.video_bytes}
            if trouble := video.trouble or ("video_refused" if summary.videos < len(video.files) else ""):
                detail["video_trouble"] = trouble
        return EffectResult(EffectOutcome.SUCCEEDED, detail)
