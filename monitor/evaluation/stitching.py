"""Streams that begin in peace, turn violent and calm down again, put together from labelled clips' scores.

What is stitched is scores over time, not video: each clip is sampled and scored by itself, as the head of a live stream
would be, and its windows are moved to where the clip stands in the stream. So no window sees a seam. Detector, protocol
and the change of postures then run over the whole as over any stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitor.evaluation.scoring import Track, join

LEAD_S, VIOLENCE_S, TAIL_S = 20.0, 10.0, 10.0
"""How long each part is at least, in seconds, as far as the clips go round."""

_SHORTEST_SHARE = 0.5
"""A part may be this share of what is wanted; where there is less, no further stream is made."""


@dataclass(frozen=True, slots=True)
class LabelledTrack:
    """The scores of one labelled clip.

    Attributes:
        name: Tells it from all others; the path in the list.
        group: What it shares scene or people with; groups are never used on two sides of a comparison.
    """

    name: str
    dataset: str
    group: str
    violent: bool
    track: Track


@dataclass(frozen=True, slots=True)
class StitchedStream:
    """Normal, then violence, then normal.

    Attributes:
        track: Its scores.
        onset_s, end_s: When violence begins and ends, in seconds of the stream.
        clips: Names of the clips it was made from, in order.
    """

    track: Track
    onset_s: float
    end_s: float
    clips: tuple[str, ...]


def stitch(
    clips: Sequence[LabelledTrack],
    *,
    seed: int = 0,
    lead_s: float = LEAD_S,
    violence_s: float = VIOLENCE_S,
    tail_s: float = TAIL_S,
) -> tuple[StitchedStream, ...]:
    """Make as many streams as the clips are enough for.

    Groups are taken whole and in random order, one after the other, until a part is as long as wanted. Each group serves
    once, in one part of one stream, with its clips of the one label (in order of name): no stream has a scene in two
    parts, and no two streams share one. Groups that hold one label only serve first, so that few clips are left over.

    Args:
        clips: Any number, of either label.
        seed: The same clips and seed give the same streams, in whatever order the clips come.
        lead_s: Wanted length of the first part, in seconds.
        violence_s: Of the second.
        tail_s: Of the third.
    """
    by_group: dict[str, list[LabelledTrack]] = {}
    for clip in sorted(clips, key=lambda clip: clip.name):
        by_group.setdefault(clip.group, []).append(clip)
    random = np.random.default_rng(seed)
    names = [str(name) for name in random.permutation(sorted(by_group))]
    kinds = {name: {clip.violent for clip in by_group[name]} for name in names}
    mixed = deque(name for name in names if len(kinds[name]) == 2)
    supplies = {violent: deque(name for name in names if kinds[name] == {violent}) for violent in (True, False)}

    def take(wanted_s: float, *, violent: bool) -> list[LabelledTrack] | None:
        taken: list[LabelledTrack] = []
        while _length_s(taken) < wanted_s and (supplies[violent] or mixed):
            group = (supplies[violent] or mixed).popleft()
            taken += (clip for clip in by_group[group] if clip.violent is violent)
        return taken if taken and _length_s(taken) >= wanted_s * _SHORTEST_SHARE else None

    streams: list[StitchedStream] = []
    while True:
        parts = (take(violence_s, violent=True), take(lead_s, violent=False), take(tail_s, violent=False))
        violence, lead, tail = parts
        if violence is None or lead is None or tail is None:
            return tuple(streams)
        onset_s = _length_s(lead)
        streams.append(
            StitchedStream(
                track=join([clip.track for clip in (*lead, *violence, *tail)]),
                onset_s=onset_s,
                end_s=onset_s + _length_s(violence),
                clips=tuple(clip.name for clip in (*lead, *violence, *tail)),
            )
        )


def _length_s(clips: Sequence[LabelledTrack]) -> float:
    return sum(clip.track.length_s for clip in clips)
