"""The table that the model is fitted to: one row of measurements per window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from rich.progress import track

from models.training.clips import Video
from models.training.graph_builder import GraphBuilder
from models.training.motion_features import MotionFeatures
from models.training.windows import Disturbance, Window, hard_normal, plain_window, starts
from monitor.classify.preparation import farneback_flow

FLOW_WINDOW_PX = 7
EVALUATION_ONLY = frozenset({"active-eval"})
"""Datasets whose licence forbids training a model that ships."""

PLAIN_PER_VIDEO = 12
DISTURBED_PER_VIDEO = {"scfd": 30, "benign": 60, "active": 90}
"""The normal sets beside the surveillance videos are small: they are seen in more variations."""
STRONGLY_DISTURBED = 0.15
"""Share of disturbed windows, of either label, under strong camera shake, pan and zoom."""
SHAKEN_PER_VIDEO = 4
HARD_NORMALS = 3750
BATCH = 16


class Kind(IntEnum):
    """Where a window comes from. Shaken ones are for evaluation only."""

    PLAIN = 0
    DISTURBED = 1
    HARD_NORMAL = 2
    SHAKEN = 3


@dataclass(frozen=True, slots=True)
class Samples:
    """Windows as the model sees them.

    Attributes:
        features: float32, ``(windows, measurements)``.
        names: What each column measures.
        video: int64, ``(windows,)``: index of the clip.
        kind: int64, ``(windows,)``: a `Kind`.
        violent: bool, ``(windows,)``.
    """

    features: NDArray[np.float32]
    names: tuple[str, ...]
    video: NDArray[np.int64]
    kind: NDArray[np.int64]
    violent: NDArray[np.bool_]


def build_samples(videos: Sequence[Video], seed: int) -> Samples:
    """Cut, disturb and measure windows of all clips; only plain and shaken ones of those for evaluation only."""
    graph = GraphBuilder()
    measured = MotionFeatures(graph)
    model = graph.build("features", {"features": (measured.matrix(), ["batch", len(measured.names)])})
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    rows: list[NDArray[np.float32]] = []
    origins: list[tuple[int, Kind]] = []
    waiting: list[Window] = []
    for index, kind, window in _windows(videos, seed):
        waiting.append(window)
        origins.append((index, kind))
        if len(waiting) == BATCH:
            rows.append(_measure(session, waiting))
            waiting.clear()
    if waiting:
        rows.append(_measure(session, waiting))
    video, kinds = np.array(origins, np.int64).T
    violent = np.array([video.violent for video in videos])[video]
    return Samples(np.concatenate(rows), tuple(measured.names), video, kinds, violent)


def balanced_weights(samples: Samples, chosen: NDArray[np.bool_], hard_share: float = 0.4) -> NDArray[np.float64]:
    """Return weights for the `chosen` rows, 0 for the others: clips weigh the same, and so do both labels.

    Args:
        samples: The table.
        chosen: bool, ``(windows,)``.
        hard_share: Weight of all made-up normal windows together, as a share of that of the real normal ones.
    """
    weights = np.zeros(len(chosen))
    real = chosen & (samples.kind != Kind.HARD_NORMAL)
    counts = np.bincount(samples.video[real], minlength=int(samples.video.max()) + 1)
    weights[real] = 1 / counts[samples.video[real]]
    hard = chosen & (samples.kind == Kind.HARD_NORMAL)
    if hard.any():
        weights[hard] = hard_share * weights[real & ~samples.violent].sum() / hard.sum()
    violent = chosen & samples.violent
    if violent.any():
        weights[violent] *= weights[chosen & ~samples.violent].sum() / weights[violent].sum()
    return np.asarray(weights / weights[chosen].mean())


def _windows(videos: Sequence[Video], seed: int) -> Iterator[tuple[int, Kind, Window]]:
    rng = np.random.default_rng(seed)
    for index, video in enumerate(track(videos, description="measuring clips")):
        for first in starts(video, PLAIN_PER_VIDEO):
            yield index, Kind.PLAIN, plain_window(video, first)
        for first in starts(video, SHAKEN_PER_VIDEO, rng):
            if (window := Disturbance(rng, strong=True).apply(video, first)) is not None:
                yield index, Kind.SHAKEN, window
        if video.dataset in EVALUATION_ONLY:
            continue
        for first in starts(video, DISTURBED_PER_VIDEO[video.dataset], rng):
            strong = bool(rng.random() < STRONGLY_DISTURBED)
            if (window := Disturbance(rng, strong=strong).apply(video, first)) is not None:
                yield index, Kind.DISTURBED, window
    normal = [i for i, v in enumerate(videos) if not v.violent and v.dataset not in EVALUATION_ONLY]
    for _ in track(range(HARD_NORMALS), description="making hard normals"):
        index, other = (int(i) for i in rng.choice(normal, 2, replace=False))
        if (window := hard_normal(videos[index], videos[other], rng)) is not None:
            yield index, Kind.HARD_NORMAL, window


def _measure(session: ort.InferenceSession, windows: Sequence[Window]) -> NDArray[np.float32]:
    feeds = {
        "luma": np.stack([window.luma for window in windows]),
        "flow": np.stack([farneback_flow(window.luma, FLOW_WINDOW_PX) for window in windows]),
        "gaps": np.stack([window.gaps_s for window in windows]),
    }
    return np.asarray(session.run(None, feeds)[0], np.float32)
