"""A file scored as a live stream would be: the same sampling, the same classifier, only faster.

A *window* is what the rest of the code calls a clip: the few samples that one inference looks at. Here the word clip is
taken, for the labelled files that people call so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from monitor.classify.port import Classifier
from monitor.errors import SourceError
from monitor.video.clip import Clip, ClipSpec
from monitor.video.source import SourceInfo, VideoSource
from monitor.video.steering import CALM_LONGEST_S
from monitor.vocabulary import Posture

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Window:
    """One inference.

    Attributes:
        start_s, end_s: Presentation times of its first and last frame, in stream seconds.
        scores: Score in [0, 1] per label.
    """

    start_s: float
    end_s: float
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Track:
    """What a model made of a stretch of video, in each posture in which it was sampled.

    Attributes:
        length_s: Length of the stretch in seconds; not below the end of its last window.
        windows: Per posture, in order of time.
    """

    length_s: float
    windows: Mapping[Posture, tuple[Window, ...]]


@dataclass(frozen=True, slots=True)
class Cost:
    """What scoring took.

    Attributes:
        decode_cpu_s: Processor seconds of this process spent on reading, decoding and scaling.
        classify_cpu_s: Processor seconds of this process spent on the model and on preparing its inputs.
        windows: How many windows that gave.
    """

    decode_cpu_s: float
    classify_cpu_s: float
    windows: int


@dataclass(frozen=True, slots=True)
class ScoredFile:
    """A file's windows, and what they cost in each posture."""

    track: Track
    costs: Mapping[Posture, Cost]


def score_file(
    path: Path,
    classifier: Classifier,
    postures: Sequence[Posture],
    *,
    open_timeout_s: float = OPEN_TIMEOUT_S,
    read_timeout_s: float = READ_TIMEOUT_S,
) -> ScoredFile:
    """Sample and score a file from end to end, once in each posture.

    No detector and no protocol takes part, so that the scores hold whatever the thresholds are; `judging.judge` goes from
    one posture to another as a watcher would.

    Args:
        path: The file.
        classifier: Called in this thread, with one clip at a time.
        postures: In which to sample.
        open_timeout_s: Deadline in seconds for opening.
        read_timeout_s: Silence in seconds after which the file counts as stalled.

    Raises:
        SourceError: it cannot be opened, has no video, breaks off, shows no picture (`reason` ``decode_failed``), or is too
            short for one whole window (`reason` ``too_short``).
        ClassifierError: inference failed.
    """
    windows: dict[Posture, tuple[Window, ...]] = {}
    costs: dict[Posture, Cost] = {}
    declared_s: float | None = None
    for posture in postures:
        began_s = time.process_time()
        spent_s = 0.0
        found: list[Window] = []
        with VideoSource.open(
            str(path.absolute()), open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s, live=False
        ) as source:
            declared_s = source.info.duration_s
            clips = source.clips(
                classifier.clip_spec,
                posture=partial(_always, posture),
                keep=None,
                stop=threading.Event(),
                decode_slots=None,
            )
            for clip in clips:
                if not found:
                    _refuse_padded(clip, classifier.clip_spec, source.info)
                before_s = time.process_time()
                scores = classifier.classify([clip])[0]
                spent_s += time.process_time() - before_s
                by_label = dict(zip(classifier.labels, map(float, scores), strict=True))
                found.append(Window(clip.times_s[0], clip.times_s[-1], by_label))
        costs[posture] = Cost(time.process_time() - began_s - spent_s, spent_s, len(found))
        if not found:
            raise SourceError("no picture of it could be decoded", reason="decode_failed", retryable=False)
        windows[posture] = tuple(found)
    last_s = max(found[-1].end_s for found in windows.values())
    # Sound may go on after the picture, and containers declare what they like: beyond this there was nothing to see.
    length_s = max(last_s, min(declared_s or last_s, last_s + CALM_LONGEST_S))
    return ScoredFile(Track(length_s, windows), costs)


def join(tracks: Sequence[Track]) -> Track:
    """Return `tracks` one after the other as one stream, each moved by the length of those before it.

    No window lies across a seam, where a real stream would have one or two that see the cut.

    Args:
        tracks: At least one; only postures that all of them have are kept.
    """
    postures = set.intersection(*(set(track.windows) for track in tracks))
    windows: dict[Posture, list[Window]] = {posture: [] for posture in Posture if posture in postures}
    length_s = 0.0
    for track in tracks:
        for posture in windows:
            windows[posture] += (
                Window(window.start_s + length_s, window.end_s + length_s, window.scores)
                for window in track.windows[posture]
            )
        length_s += track.length_s
    return Track(length_s, {posture: tuple(joined) for posture, joined in windows.items()})


def _always(posture: Posture) -> Posture:
    return posture


def _refuse_padded(first: Clip, spec: ClipSpec, info: SourceInfo) -> None:
    """Refuse a clip whose missing end repeats the last frame: on it the model would see everything stop."""
    frame_s = max(spec.spacing_s, 1 / info.frame_rate if info.frame_rate else 0.0)
    whole_s = (spec.frames - 1) * spec.spacing_s
    if first.times_s[-1] - first.times_s[0] + frame_s < whole_s:
        raise SourceError(f"it ends before one window of {whole_s:.2f} s is full", reason="too_short", retryable=False)
