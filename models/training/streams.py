"""What comes of scores on streams: stitched from clips, through the daemon's own detection and protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.training.clips import Labelled
from models.training.live import POSTURES
from models.training.packaging import LABEL
from models.training.workshop import Arrays
from monitor import shipped
from monitor.classify.package import load_package
from monitor.config.models import DetectionSection
from monitor.detect.rules import rules_for
from monitor.evaluation.evaluation import Evaluation, summarise
from monitor.evaluation.figures import Method
from monitor.evaluation.listing import ClipRow
from monitor.evaluation.scoring import Cost, ScoredFile, Track, Window
from monitor.incidents.library import load_protocols
from monitor.vocabulary import Posture

SOON_S = 5.0
CLOSEST = 1e-6
"""Scores are taken to be at least so far from 0 and 1, where log-odds end."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Streams stitched from clips, with the shipped detection rules.

    Attributes:
        streams: How many had violence in them.
        noticed, soon: Of those, how many were noticed while it lasted, and within `SOON_S` of its beginning.
        median_s: Seconds from its beginning to the notice, where there was one.
        false_per_hour: Notices per hour of normal video.
        low, high: 95 % interval of that.
        hours: Of normal video.
    """

    streams: int
    noticed: int
    soon: int
    median_s: float
    false_per_hour: float
    low: float
    high: float
    hours: float


def judge_streams(
    clips: Sequence[Labelled], parts: Sequence[Arrays], package: Path, line: tuple[float, float], sampling: Posture
) -> Evaluation:
    """Return what detection and the shipped protocols make of the clips.

    Args:
        clips: As listed.
        parts: As `score_fold_as_live` returned them.
        package: Whose operating points count.
        line: Slope and offset of the calibration.
        sampling: The posture in which streams are watched at least.
    """
    windows = np.concatenate([part["windows"] for part in parts])
    score = np.clip(windows[:, 4], CLOSEST, 1 - CLOSEST)
    logits = np.log(score / (1 - score)) * line[0] + line[1]
    windows[:, 4] = 1 / (1 + np.exp(-logits))
    scored = []
    for index, length_s in np.concatenate([part["lengths"] for part in parts]):
        clip, own = clips[int(index)], windows[windows[:, 0] == index]
        tracks = {
            posture: tuple(Window(row[2], row[3], {LABEL: row[4]}) for row in own[own[:, 1] == number].tolist())
            for number, posture in enumerate(POSTURES)
        }
        row = ClipRow(int(index), clip.path, Path(clip.path), clip.violent, clip.dataset, clip.group, grouped=True)
        costs = {posture: Cost(0.0, 0.0, max(1, len(found))) for posture, found in tracks.items()}
        scored.append((row, ScoredFile(Track(float(length_s), tracks), costs)))
    protocols = load_protocols(shipped.protocols_dir())
    rules = rules_for(DetectionSection(), load_package(package))
    method = Method(LABEL, rules, protocols["assisted"], protocols["immediate"], sampling, resamples=500)
    return summarise(scored, (), model="held-out", method=method)


def noticed(found: Evaluation) -> dict[str, Noticed]:
    """Return how soon violence was noticed and how often nothing was, for reviews and for cuts."""
    figures = found.all
    rates = {"review": figures.false_reviews_per_hour, "cut": figures.false_cuts_per_hour}
    answer = {}
    for name, onsets in found.onsets.items():
        rate, delays_s = rates[name], np.array(onsets.delays_s)
        answer[name] = Noticed(
            streams=onsets.streams,
            noticed=len(delays_s),
            soon=int((delays_s <= SOON_S).sum()),
            median_s=float(np.median(delays_s)) if len(delays_s) else float("nan"),
            false_per_hour=rate.value or 0.0,
            low=rate.interval.low if rate.interval else 0.0,
            high=rate.interval.high if rate.interval else float("nan"),
            hours=figures.normal_hours,
        )
    return answer
