"""The table that the model is fitted to and judged by: one row of measurements per window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.training.clips import Labelled, load_video
from models.training.conditions import conditioned_windows
from models.training.graph_builder import GraphBuilder
from models.training.hard_normals import hard_normal
from models.training.motion_features import MotionFeatures
from models.training.picking import random_starts, starts
from models.training.windows import Disturbance, Window, plain_window
from models.training.workshop import Arrays, Workshop, fingerprint
from monitor.classify.preparation import farneback_flow

FLOW_WINDOW_PX = 7
EVALUATION_ONLY = frozenset({"active-eval"})
"""Datasets whose licence forbids training a model that ships."""

PLAIN_PER_VIDEO = 12
DISTURBED_PER_VIDEO = {"scfd": 30, "benign": 60, "active": 90}
"""The normal sets beside the surveillance videos are small: they are seen in more variations."""
OTHERS_PER_VIDEO = 30
HARD_NORMALS_PER_VIDEO = 9
PER_TASK = 60
CLIPS_PER_TASK = 12
BATCH = 16


class Kind(IntEnum):
    """Where a window comes from; those under a condition of `conditions.NAMES` count from `CONDITION` on."""

    PLAIN = 0
    DISTURBED = 1
    HARD_NORMAL = 2
    CONDITION = 10


@dataclass(frozen=True, slots=True)
class Samples:
    """Windows as the model sees them.

    Attributes:
        features: float32, ``(windows, measurements)``.
        video: int64, ``(windows,)``: index of the clip.
        other: int64, ``(windows,)``: index of a second clip of which a made window shows parts, else that of the first.
        kind: int64, ``(windows,)``: a `Kind`, or `Kind.CONDITION` plus the condition's place.
        violent: bool, ``(windows,)``.
    """

    features: NDArray[np.float32]
    video: NDArray[np.int64]
    other: NDArray[np.int64]
    kind: NDArray[np.int64]
    violent: NDArray[np.bool_]

    def save(self, path: Path) -> None:
        """Write the table, as a whole or not at all."""
        partial = path.with_suffix(".part")
        with partial.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Samples:
        """Read what `save` wrote."""
        with np.load(path) as arrays:
            return cls(**arrays)


def build_samples(clips: Sequence[Labelled], data_dir: Path, workshop: Workshop, seed: int) -> Samples:
    """Cut, disturb and measure windows of all clips; of those for evaluation only, none are made for training."""
    decoded = workshop.folder / "decoded"
    code = (
        "picking.py",
        "windows.py",
        "hard_normals.py",
        "conditions.py",
        "velocity.py",
        "motion_features.py",
        "samples.py",
        "clips.py",
    )
    name = fingerprint(code, [(clip, (data_dir / clip.path).stat().st_size) for clip in clips], seed)
    one = [(index, clip, data_dir, decoded, seed) for index, clip in enumerate(clips)]
    normal = [(index, clip) for index, clip in enumerate(clips) if not clip.violent and _trainable(clip)]
    made = [
        (number, normal, data_dir, decoded, seed)
        for number in range(-(-HARD_NORMALS_PER_VIDEO * len(clips) // PER_TASK))
    ]
    parts = workshop.do(f"measured-{name}", measure_clip, one, "measuring clips")
    parts += workshop.do(f"made-{name}", measure_hard_normals, made, "making hard normals")
    columns = {key: np.concatenate([part[key] for part in parts]) for key in ("features", "video", "other", "kind")}
    violent = np.array([clip.violent for clip in clips])[columns["video"]]
    return Samples(**columns, violent=violent)


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


def measure_clip(index: int, clip: Labelled, data_dir: Path, decoded: Path, seed: int) -> Arrays:
    """Return the rows of one clip: undisturbed windows, disturbed ones for training, those under all conditions."""
    video = load_video(clip, data_dir, decoded)
    rng = np.random.default_rng([seed, index])

    def windows() -> Iterator[tuple[int, Window | None]]:
        for first in starts(video, PLAIN_PER_VIDEO):
            yield Kind.PLAIN, plain_window(video, first)
        for number, window in conditioned_windows(video, rng):
            yield Kind.CONDITION + number, window
        if _trainable(clip):
            for first in random_starts(video, DISTURBED_PER_VIDEO.get(clip.dataset, OTHERS_PER_VIDEO), rng):
                yield Kind.DISTURBED, Disturbance(rng).apply(video, first)

    return _measured((window, kind, index, index) for kind, window in windows())


def measure_hard_normals(
    number: int, normal: Sequence[tuple[int, Labelled]], data_dir: Path, decoded: Path, seed: int
) -> Arrays:
    """Return about `PER_TASK` rows of made normal windows, each of two of a few of the `normal` clips."""
    rng = np.random.default_rng([seed, 1_000_000 + number])
    drawn = [normal[int(i)] for i in rng.choice(len(normal), min(CLIPS_PER_TASK, len(normal)), replace=False)]
    videos = [(index, load_video(clip, data_dir, decoded)) for index, clip in drawn]

    def windows() -> Iterator[tuple[Window | None, int, int, int]]:
        for _ in range(PER_TASK):
            (index, video), (other, second) = (videos[int(i)] for i in rng.choice(len(videos), 2, replace=False))
            yield hard_normal(video, second, rng), Kind.HARD_NORMAL, index, other

    return _measured(windows())


def _measured(windows: Iterator[tuple[Window | None, int, int, int]]) -> Arrays:
    rows: list[NDArray[np.float32]] = []
    origins: list[tuple[int, int, int]] = []
    waiting: list[Window] = []
    for window, *origin in windows:
        if window is None:
            continue
        waiting.append(window)
        origins.append((origin[0], origin[1], origin[2]))
        if len(waiting) == BATCH:
            rows.append(_features(waiting))
            waiting.clear()
    if waiting:
        rows.append(_features(waiting))
    kind, video, other = np.array(origins, np.int64).reshape(-1, 3).T
    features = np.concatenate(rows) if rows else np.zeros((0, len(_session()[0])), np.float32)
    return {"features": features, "kind": kind, "video": video, "other": other}


@cache
def _session() -> tuple[tuple[str, ...], ort.InferenceSession]:
    graph = GraphBuilder()
    measured = MotionFeatures(graph)
    model = graph.build("features", {"features": (measured.matrix(), ["batch", len(measured.names)])})
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return tuple(measured.names), ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _features(windows: Sequence[Window]) -> NDArray[np.float32]:
    feeds = {
        "luma": np.stack([window.luma for window in windows]),
        "flow": np.stack([farneback_flow(window.luma, FLOW_WINDOW_PX) for window in windows]),
        "gaps": np.stack([window.gaps_s for window in windows]),
    }
    return np.asarray(_session()[1].run(None, feeds)[0], np.float32)


def _trainable(clip: Labelled) -> bool:
    return clip.dataset not in EVALUATION_ONLY
