"""Toy model packages, made on the spot: whole by default, broken as a test asks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper

from monitor.video.clip import Clip
from monitor.vocabulary import Posture

HEIGHT, WIDTH, FRAMES = 24, 32, 4


def make_clip(frames: NDArray[np.uint8], spacing_s: float = 0.1) -> Clip:
    """Return a clip of evenly spaced frames."""
    return Clip(
        frames=frames,
        times_s=tuple(step * spacing_s for step in range(len(frames))),
        arrived_at=0.0,
        posture=Posture.CALM,
        spacing_honoured=True,
    )


def grey_frames(*levels: int) -> NDArray[np.uint8]:
    """Return one even grey picture per level."""
    return np.stack([np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in levels])


def image_model(dtype: int = TensorProto.FLOAT, batch: str | int = "batch", columns: int = 2) -> onnx.ModelProto:
    """Return a single-image model: logits ``[0, 4 * mean - 2]`` of pixels in [0, 1], NCHW, named `image` and `logits`."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "weights"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["logits"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "one": np.array([1], np.int64),
        "weights": np.array([[0, 4, 0][:columns]], np.float32),
        "bias": np.array([0, -2, 0][:columns], np.float32),
    }
    inputs = [helper.make_tensor_value_info("image", dtype, [batch, 3, HEIGHT, WIDTH])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, columns])]
    return _model(nodes, inputs, outputs, constants)


def motion_model(divide_by_change: bool = False, brighter: float = 1.0) -> onnx.ModelProto:
    """Return a two-label model of two inputs: `brightness` from `pixels` (NTHW luma), `slowness` from `spacing` (N).

    With `divide_by_change`, `brightness` is 0/0 on a clip that does not change. `brighter` multiplies `brightness`.
    """
    nodes = [
        helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "share"], ["bright"]),
        helper.make_node("Unsqueeze", ["spacing", "one"], ["slow_column"]),
        helper.make_node("Unsqueeze", ["even" if divide_by_change else "bright", "one"], ["bright_column"]),
        helper.make_node("Concat", ["bright_column", "slow_column"], ["scores"], axis=1),
    ]
    if divide_by_change:
        nodes[3:3] = [
            helper.make_node("Slice", ["floats", "zero", "one", "one"], ["first"]),
            helper.make_node("Sub", ["floats", "first"], ["change"]),
            helper.make_node("ReduceL1", ["change"], ["amount"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Div", ["amount", "amount"], ["even"]),
        ]
    constants: dict[str, NDArray[Any]] = {
        "one": np.array([1], np.int64),
        "zero": np.array([0], np.int64),
        "share": np.array(brighter / 255, np.float32),
    }
    inputs = [
        helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch", FRAMES, HEIGHT, WIDTH]),
        helper.make_tensor_value_info("spacing", TensorProto.FLOAT, ["batch"]),
    ]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 2])]
    return _model(nodes, inputs, outputs, constants)


def image_manifest() -> dict[str, Any]:
    """Return the manifest that fits `image_model`; `sha256` is filled in when written."""
    return {
        "manifest_version": 1,
        "name": "toy-image",
        "version": "1.2.3",
        "summary": "Bright pictures score high.",
        "file": "model.onnx",
        "sha256": "",
        "licence": "Apache-2.0",
        "clip": {"frames": 1, "spacing_s": 1.0, "width": WIDTH, "height": HEIGHT},
        "inputs": [
            {
                "name": "image",
                "kind": "frames",
                "layout": "NCHW",
                "dtype": "float32",
                "scaling": {"divide_by": 255},
            },
        ],
        "outputs": [{"name": "logits", "labels": ["normal", "bright"], "activation": "softmax"}],
        "operating_points": {"bright": {"review": 0.5, "act": 0.7, "rule": "toy"}},
        "training_data": "none",
        "limits": "a toy",
        "self_test": {"file": "self_test.npz", "tolerance": 0.001},
    }


def motion_manifest() -> dict[str, Any]:
    """Return the manifest that fits `motion_model`."""
    points = {"review": 0.5, "act": 0.7, "rule": "toy"}
    return {
        **image_manifest(),
        "name": "toy-motion",
        "clip": {"frames": FRAMES, "spacing_s": 0.1, "width": WIDTH, "height": HEIGHT},
        "inputs": [
            {"name": "pixels", "kind": "luma", "layout": "NTHW", "dtype": "uint8"},
            {"name": "spacing", "kind": "spacing", "layout": "N", "dtype": "float32"},
        ],
        "outputs": [{"name": "scores", "labels": ["brightness", "slowness"]}],
        "operating_points": {"brightness": points, "slowness": points},
    }


def write_image_package(folder: Path, **changes: Any) -> Path:
    """Write the single-image package; `changes` are those of `write_package`."""
    return write_package(
        folder,
        **{
            "manifest": image_manifest(),
            "model": image_model(),
            "test_clips": [make_clip(grey_frames(0)), make_clip(grey_frames(255))],
            "test_scores": [[1 / (1 + np.exp(2))], [1 / (1 + np.exp(-2))]],
            **changes,
        },
    )


def write_motion_package(folder: Path, **changes: Any) -> Path:
    """Write the two-input package; `changes` are those of `write_package`."""
    return write_package(
        folder,
        **{
            "manifest": motion_manifest(),
            "model": motion_model(),
            "test_clips": [make_clip(grey_frames(0, 51, 51, 102)), make_clip(grey_frames(255, 255, 255, 255), 0.3)],
            "test_scores": [[0.2, 0.1], [1.0, 0.3]],
            **changes,
        },
    )


def write_package(
    folder: Path,
    *,
    manifest: dict[str, Any],
    model: onnx.ModelProto,
    test_clips: Sequence[Clip],
    test_scores: Sequence[Sequence[float]],
    sha256: str | None = None,
) -> Path:
    """Write model, self-test and manifest into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    np.savez_compressed(
        folder / "self_test.npz",
        frames=np.stack([clip.frames for clip in test_clips]),
        times_s=np.array([clip.times_s for clip in test_clips], np.float64),
        scores=np.array(test_scores, np.float32),
    )
    document = {**manifest, "sha256": sha256 or hashlib.sha256(content).hexdigest()}
    if "remote" in manifest:
        del document["sha256"]
    (folder / "manifest.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    return folder


def add_variant(
    folder: Path, name: str, model: onnx.ModelProto, *, tolerance: float = 0.01, sha256: str | None = None
) -> Path:
    """Add a variant to the package in `folder`, and return its file."""
    content = model.SerializeToString()
    file = folder / f"model.{name}.onnx"
    file.write_bytes(content)
    manifest = yaml.safe_load((folder / "manifest.yaml").read_text())
    variant = {"file": file.name, "sha256": sha256 or hashlib.sha256(content).hexdigest(), "tolerance": tolerance}
    manifest.setdefault("variants", {})[name] = variant
    (folder / "manifest.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return file


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    stored = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, stored)
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model
