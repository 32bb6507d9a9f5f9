"""From what a watcher sends as evidence to what is kept."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

import structlog

from monitor.effects.preserve import Kept, KeptVideo
from monitor.evidence.package import Frame, ScoredClip, Video
from monitor.watch.messages import Evidence
from monitor.watch.spool_duty import HandedOver

MOST_VIDEOS: Final = 16
"""More files than a watcher writes for one request."""

_VIDEO_NAME: Final = re.compile(r"[0-9]{1,3}\.(mp4|mkv)", re.ASCII)
_WORD: Final = re.compile(r"[a-z_]{0,40}", re.ASCII)
_CONTAINER_BYTES: Final = 1024 * 1024

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


def kept_video_of(handed_over: HandedOver, stream_id: str, stream_bytes: int) -> KeptVideo:
    """Return what can be kept of the video that a watcher says it has written. The files themselves are not looked at yet.

    Args:
        handed_over: What the watcher says.
        stream_id: Whose video it is.
        stream_bytes: Most that the spool keeps of one stream; a file that is larger than a container around it can make
            it is refused when it is read.
    """
    folder = handed_over.folder
    named = [(file, _VIDEO_NAME.fullmatch(file.name)) for file in handed_over.files[:MOST_VIDEOS]]
    files = tuple(
        Video(
            path=folder / file.name,
            suffix=match[1],
            most_bytes=stream_bytes + stream_bytes // 16 + _CONTAINER_BYTES,
            sha256=file.sha256,
            start_s=file.start_s,
            end_s=file.end_s,
            arrived_from=file.arrived_from,
            arrived_to=file.arrived_to,
        )
        for file, match in named
        if folder is not None
        and match is not None
        and all(map(math.isfinite, (file.start_s, file.end_s, file.arrived_from, file.arrived_to)))
    )
    trouble = handed_over.trouble if _WORD.fullmatch(handed_over.trouble) else "video_refused"
    if len(files) < len(handed_over.files):
        log.error("evidence_refused", stream_id=stream_id, items=len(handed_over.files) - len(files))
        trouble = trouble or "video_refused"
    return KeptVideo(files, trouble)
