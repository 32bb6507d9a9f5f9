"""The labelled clips: the list, folds that never split a group, and frames decoded once into a cache."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

SHORT_SIDE = 144
"""Short side in pixels of the cached frames: larger than the model's input, so that crops keep detail."""

LONGEST_S = 20.0
"""Longer clips keep this much, in equal pieces from the start, the middle and the end."""

MOST_FRAMES_PER_S = 30.5
"""Frames beyond this rate are left out, as no stream's 15-per-second grid would ever pick them."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One row of the list of clips.

    Attributes:
        path: Below the data folder.
        violent: The label.
        dataset, group: As listed; folds never split a group.
        licence: As listed.
    """

    path: str
    violent: bool
    dataset: str
    group: str
    licence: str


@dataclass(frozen=True, slots=True)
class Video(Labelled):
    """A labelled clip's luma frames and their times.

    Attributes:
        luma: uint8, shape ``(frames, height, width)``, short side `SHORT_SIDE`.
        times_s: float64, shape ``(frames,)``; a gap of more than a second separates pieces of a long clip.
    """

    luma: NDArray[np.uint8]
    times_s: NDArray[np.float64]


def list_clips(data_dir: Path) -> list[Labelled]:
    """Return every clip that ``clips.csv`` lists."""
    with (data_dir / "clips.csv").open(newline="") as listing:
        return [
            Labelled(row["path"], row["label"] == "violence", row["dataset"], row["group"], row["licence"])
            for row in csv.DictReader(listing)
        ]


def load_video(clip: Labelled, data_dir: Path, decoded_dir: Path) -> Video:
    """Return the clip's frames, decoding it when `decoded_dir` does not hold it yet."""
    path = data_dir / clip.path
    facts = f"{clip.path} {path.stat().st_size}"
    cached = decoded_dir / f"{hashlib.sha256(facts.encode()).hexdigest()[:24]}-{SHORT_SIDE}.npz"
    if not cached.exists():
        decoded_dir.mkdir(parents=True, exist_ok=True)
        luma, times_s = _decode(path)
        # Several processes may decode the same clip: each writes its own file, and the last one to finish stays.
        partial = cached.with_name(f"{os.getpid()}-{cached.name}")
        np.savez(partial, luma=luma, times_s=times_s)
        partial.replace(cached)
    with np.load(cached) as arrays:
        return Video(clip.path, clip.violent, clip.dataset, clip.group, clip.licence, arrays["luma"], arrays["times_s"])


def assign_folds(videos: Sequence[Labelled], folds: int, seed: int) -> NDArray[np.int64]:
    """Return one fold number per video: groups stay whole, and the folds hold about equally many of each label.

    Groups are dealt largest first, each to the fold that then has the fewest videos of its kind.
    """
    rng = np.random.default_rng(seed)
    kinds = sorted({(video.dataset, video.violent) for video in videos})
    groups: dict[str, NDArray[np.int64]] = {}
    for video in videos:
        groups.setdefault(video.group, np.zeros(len(kinds), np.int64))[kinds.index((video.dataset, video.violent))] += 1
    names = sorted(groups)
    rng.shuffle(names)
    names.sort(key=lambda name: -int(groups[name].sum()))
    totals = np.maximum(np.sum(list(groups.values()), axis=0), 1)
    load = np.zeros((folds, len(kinds)))
    fold_of: dict[str, int] = {}
    for name in names:
        share = groups[name] / totals
        # The squared load after the deal is smallest where the group's kinds are scarcest.
        fold_of[name] = int(np.argmin([((load + np.eye(folds)[[f]].T * share) ** 2).sum() for f in range(folds)]))
        load[fold_of[name]] += share
    return np.array([fold_of[video.group] for video in videos])


def _decode(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    frames: list[NDArray[np.uint8]] = []
    times_s: list[float] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        duration_s = float((container.duration or 0) / av.time_base)
        shrink = SHORT_SIDE / min(stream.width, stream.height)
        size = (round(stream.width * shrink), round(stream.height * shrink))
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            time_s = float(frame.pts * Fraction(stream.time_base or 1))
            if not _kept(time_s, duration_s) or (times_s and time_s - times_s[-1] < 1 / MOST_FRAMES_PER_S):
                continue
            rgb = frame.to_ndarray(format="rgb24")
            luma = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
            frames.append(np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8))
            times_s.append(time_s)
    return np.stack(frames), np.array(times_s)


def _kept(time_s: float, duration_s: float) -> bool:
    if duration_s <= LONGEST_S:
        return True
    piece_s = LONGEST_S / 3
    starts_s = (0.0, (duration_s - piece_s) / 2, duration_s - piece_s)
    return any(start_s <= time_s < start_s + piece_s for start_s in starts_s)
