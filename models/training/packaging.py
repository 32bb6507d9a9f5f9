"""Writes the package: graph with its fitted head, self-test vectors, manifest."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import yaml
from numpy.typing import NDArray

from models.training.fitting import STRONGEST, Head, Layer
from models.training.graph_builder import GraphBuilder
from models.training.motion_features import MotionFeatures
from models.training.samples import FLOW_WINDOW_PX
from models.training.velocity import FRAMES, HEIGHT, SPACING_S, WIDTH
from monitor.classify.manifest import Manifest
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.video.clip import Clip
from monitor.vocabulary import Posture

LABEL = "violence"
TOLERANCE = 0.02
"""Optical flow differs in the last digits between builds of OpenCV."""


def build_graph(head: Head) -> onnx.ModelProto:
    """Return the whole model: luma, flow and gaps in, probability out."""
    graph = GraphBuilder()
    measured = MotionFeatures(graph)
    scaled = graph.div(graph.sub(measured.matrix(), graph.const(head.mean)), graph.const(head.std))
    scaled = graph.op("Clip", scaled, graph.const(-STRONGEST), graph.const(STRONGEST))
    logits = [_network(graph, scaled, member.layers, member.share * head.slope) for member in head.members]
    score = graph.op("Sigmoid", graph.add(graph.op("Sum", *logits), graph.const([head.offset])))
    return graph.build("violent_motion", {"score": (score, ["batch", 1])})


def _network(graph: GraphBuilder, values: str, layers: tuple[Layer, ...], share: float) -> str:
    *hidden, (last_weights, last_bias) = layers
    for weights, bias in hidden:
        values = graph.op("Relu", graph.op("Gemm", values, graph.const(weights), graph.const(bias)))
    return graph.op("Gemm", values, graph.const(last_weights * share), graph.const(last_bias * share))


def write_package(folder: Path, model: onnx.ModelProto, facts: dict[str, Any]) -> None:
    """Write model, self-test and manifest, then load them back as the daemon would.

    Args:
        folder: Where to.
        model: The graph.
        facts: What the manifest says beyond the inputs and outputs: name, version, summary, licence,
            operating_points, training_data, limits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    document = {
        "manifest_version": 1,
        **{key: facts[key] for key in ("name", "version", "summary", "licence")},
        "file": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "clip": {
            "frames": FRAMES,
            "spacing_s": round(SPACING_S, 4),
            "width": WIDTH,
            "height": HEIGHT,
            "colour": "rgb",
        },
        "inputs": [
            {"name": "luma", "kind": "luma", "layout": "NTHW", "dtype": "uint8"},
            {
                "name": "flow",
                "kind": "farneback_flow",
                "layout": "NTHWC",
                "dtype": "float32",
                "window_px": FLOW_WINDOW_PX,
            },
            {"name": "gaps", "kind": "spacing", "layout": "NT", "dtype": "float32"},
        ],
        "outputs": [{"name": "score", "labels": [LABEL], "activation": "none"}],
        **{key: facts[key] for key in ("operating_points", "training_data", "limits")},
        "self_test": {"file": "self_test.npz", "tolerance": TOLERANCE},
    }
    Manifest.model_validate(document)
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)
    (folder / "manifest.yaml").write_text("# Written by models/training/train.py.\n" + text)
    frames, times_s = self_test_clips()
    np.savez_compressed(folder / "self_test.npz", frames=frames, times_s=times_s, scores=np.zeros((len(frames), 1)))
    clips = [as_clip(*pair) for pair in zip(frames, times_s, strict=True)]
    scores = OnnxClassifier.untested(load_package(folder)).classify(clips)
    np.savez_compressed(folder / "self_test.npz", frames=frames, times_s=times_s, scores=scores)


def cpu_ms_per_clip(folder: Path, rounds: int = 50) -> float:
    """Return CPU milliseconds to prepare and score one clip, one at a time on one thread; the median of many."""
    classifier = OnnxClassifier.untested(load_package(folder))
    frames, times_s = self_test_clips()
    clip = as_clip(frames[-1], times_s[-1])
    spent_s = []
    for _ in range(rounds):
        began_s = time.process_time()
        classifier.classify([clip])
        spent_s.append(time.process_time() - began_s)
    return float(np.median(spent_s)) * 1000


def session_mib(folder: Path) -> float:
    """Return what a process that has nothing of the kind yet grows by when it loads the package and scores with it."""
    root, check = Path(__file__).parents[2], ("-m", "monitor", "models", "check", "--json", str(folder.absolute()))
    done = subprocess.run([sys.executable, *check], cwd=root, stdout=subprocess.PIPE, check=True)  # noqa: S603 - our own command
    return float(json.loads(done.stdout)["costs"][0]["memory_mib"])


def as_clip(frames: NDArray[np.uint8], times_s: NDArray[np.float64]) -> Clip:
    """Return a clip as sampling delivers it."""
    return Clip(
        frames=frames,
        times_s=tuple(float(time_s) for time_s in times_s),
        arrived_at=0.0,
        posture=Posture.CALM,
        spacing_honoured=True,
    )


def self_test_clips() -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Return made-up clips, ``(3, T, H, W, 3)``, and their times, ``(3, T)``: still, panning, discs that fight."""
    rng = np.random.default_rng(7)
    noise = cv2.GaussianBlur(rng.random((HEIGHT * 2, WIDTH * 2)).astype(np.float32), (0, 0), 3)
    texture = cv2.normalize(noise, None, 16, 235, cv2.NORM_MINMAX).astype(np.uint8) & 0xF8  # type: ignore[call-overload] # None is allowed
    still = [texture[:HEIGHT, :WIDTH]] * FRAMES
    pan = [texture[step : step + HEIGHT, step * 2 : step * 2 + WIDTH] for step in range(FRAMES)]
    places = rng.uniform((10, 10), (WIDTH - 10, HEIGHT - 10), (6, 2))
    fight = []
    for _ in range(FRAMES):
        places = np.clip(places + rng.normal(0, 4, places.shape), 4, (WIDTH - 4, HEIGHT - 4))
        picture = texture[:HEIGHT, :WIDTH].copy()
        for number, (x, y) in enumerate(places):
            cv2.circle(picture, (int(x), int(y)), 3 + number, (40 * number,), -1)
        fight.append(picture)
    grey = np.stack([np.stack(clip) for clip in (still, pan, fight)])
    times_s = np.stack([np.arange(FRAMES) * SPACING_S, np.arange(FRAMES) * SPACING_S, np.arange(FRAMES) * 0.08])
    return np.repeat(grey[..., None], 3, axis=4), times_s
