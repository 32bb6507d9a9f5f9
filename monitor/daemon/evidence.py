"""From what a watcher sends as evidence to what is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

import structlog

from monitor.effects.preserve import Kept
from monitor.evidence.package import Frame, ScoredClip
from monitor.watch.messages import Evidence

log = structlog.get_logger()


def kept_of(evidence: Evidence, labels: Sequence[str]) -> Kept:
    """Return what can be kept of a watcher's evidence; what makes no sense is left out, and the rest is not lost by it."""
    frames = tuple(
        Frame(frame.time_s, frame.arrived_at, frame.jpeg)
        for frame in evidence.frames
        if math.isfinite(frame.time_s) and math.isfinite(frame.arrived_at)
    )
    scores = tuple(
        ScoredClip(clip.clip_start_s, clip.clip_end_s, dict(zip(labels, clip.scores, strict=True)))
        for clip in evidence.scores
        if len(clip.scores) == len(labels)
        and all(map(math.isfinite, (clip.clip_start_s, clip.clip_end_s, *clip.scores)))
    )
    left_out = len(evidence.frames) + len(evidence.scores) - len(frames) - len(scores)
    if left_out:
        log.error("evidence_refused", stream_id=evidence.stream_id, items=left_out)
    return Kept(frames, scores)
