"""Scores over time without video, for everything that judges them."""

from __future__ import annotations

from collections.abc import Sequence

from monitor.evaluation.scoring import Track, Window
from monitor.evaluation.stitching import LabelledTrack
from monitor.vocabulary import Posture


def windows(scores: Sequence[float], every_s: float, label: str = "violence") -> tuple[Window, ...]:
    """Return one window for each score, the first of which ends after `every_s` seconds."""
    ends_s = [(number + 1) * every_s for number in range(len(scores))]
    return tuple(
        Window(end_s - every_s / 2, end_s, {label: score}) for end_s, score in zip(ends_s, scores, strict=True)
    )


def track(calm: Sequence[float], close: Sequence[float] | None = None) -> Track:
    """Return a stretch with a calm window every 2 s and, where given, a close one every 0.5 s."""
    found = {Posture.CALM: windows(calm, 2.0)}
    if close is not None:
        found[Posture.CLOSE] = windows(close, 0.5)
    return Track(max(len(calm) * 2.0, len(close or ()) * 0.5), found)


def steady(length_s: float, score: float) -> Track:
    """Return a stretch that scores the same throughout, in both postures."""
    return track([score] * round(length_s / 2), [score] * round(length_s * 2))


def labelled(name: str, group: str, *, violent: bool, length_s: float = 4.0, dataset: str = "toy") -> LabelledTrack:
    """Return a clip that a perfect model has scored."""
    return LabelledTrack(name, dataset, group, violent, steady(length_s, 0.95 if violent else 0.05))
