"""Two complete packages as an operator might bring them: many labels from two streams, and one picture with a softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.fakes.model_packages import make_clip, write_package

FRAMES, HEIGHT, WIDTH = 8, 48, 64
FLOW_HEIGHT, FLOW_WIDTH = 24, 32
LABELS = ("violence", "weapon", "blood")


def write_two_stream_package(folder: Path) -> Path:
    """Write a multi-label model: RGB clip (NCTHW, BGR, ImageNet-like pixels, letterbox) beside half-size optical flow.

    `violence` grows with motion, `weapon` with brightness, and `blood` with red; all by a sigmoid in the manifest.
    """
    nodes = [
        helper.make_node("ReduceMean", ["rgb"], ["colours"], axes=[2, 3, 4], keepdims=0),
        helper.make_node("Abs", ["flow"], ["speed"]),
        helper.make_node("ReduceMean", ["speed"], ["motion"], axes=[1, 2, 3, 4], keepdims=0),
        helper.make_node("Unsqueeze", ["motion", "one"], ["motion_column"]),
        helper.make_node("Concat", ["motion_column", "colours"], ["features"], axis=1),
        helper.make_node("MatMul", ["features", "weights"], ["weighed"]),
        helper.make_node("Add", ["weighed", "bias"], ["logits"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "one": np.array([1], np.int64),
        # Rows: motion, then blue, green, red.
        "weights": np.array([[6, 0, 0], [0, 3, -4], [0, 3, -4], [0, 3, 8]], np.float32),
        "bias": np.array([-3, -1, -2], np.float32),
    }
    model = _model(
        nodes,
        {"rgb": ["n", 3, FRAMES, HEIGHT, WIDTH], "flow": ["n", 2, FRAMES - 1, FLOW_HEIGHT, FLOW_WIDTH]},
        {"logits": ["n", 3]},
        constants,
    )
    points = {"review": 0.5, "act": 0.8, "rule": "toy"}
    manifest = {
        **_facts("two-stream"),
        "clip": {"frames": FRAMES, "spacing_s": 0.1, "width": WIDTH, "height": HEIGHT, "fit": "letterbox"},
        "inputs": [
            {
                "name": "rgb",
                "kind": "frames",
                "layout": "NCTHW",
                "dtype": "float32",
                "colour": "bgr",
                "scaling": {"mean": [0.406, 0.456, 0.485], "std": [0.225, 0.224, 0.229]},
            },
            {
                "name": "flow",
                "kind": "dis_flow",
                "layout": "NCTHW",
                "dtype": "float32",
                "preset": "ultrafast",
                "size": {"width": FLOW_WIDTH, "height": FLOW_HEIGHT},
            },
        ],
        "outputs": [
            {
                "name": "logits",
                "labels": list(LABELS),
                "activation": "sigmoid",
                "temperature": 1.5,
                "calibration": {"blood": {"slope": 1.2, "offset": -0.3}},
            }
        ],
        "operating_points": dict.fromkeys(LABELS, points),
    }
    red = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    red[..., 0] = 255
    return write_package(
        folder,
        manifest=manifest,
        model=model,
        test_clips=[make_clip(np.zeros_like(red)), make_clip(red)],
        test_scores=[expected_still_scores(0, 0, 0), expected_still_scores(255, 0, 0)],
    )


def expected_still_scores(red: int, green: int, blue: int) -> list[float]:
    """Return what the two-stream model gives for an even clip without motion, reckoned by hand."""
    blue_in, green_in, red_in = (blue / 255 - 0.406) / 0.225, (green / 255 - 0.456) / 0.224, (red / 255 - 0.485) / 0.229
    violence, weapon = -3.0, 3 * (blue_in + green_in + red_in) - 1
    blood = (8 * red_in - 4 * blue_in - 4 * green_in - 2) / 1.5
    return [_sigmoid(violence / 1.5), _sigmoid(weapon / 1.5), _sigmoid(1.2 * blood - 0.3)]


def write_picture_package(folder: Path) -> Path:
    """Write a softmax over four labels of single pictures (NHWC, centre crop, uint8), looked at four times, highest counts."""
    nodes = [
        helper.make_node("Cast", ["picture"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["colours"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colours", "weights"], ["weighed"]),
        helper.make_node("Add", ["weighed", "bias"], ["logits"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "weights": (np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32) / 32),
        "bias": np.array([4, 0, 0, 0], np.float32),
    }
    model = _model(nodes, {"picture": ["n", 32, 32, 3]}, {"logits": ["n", 4]}, constants, TensorProto.UINT8)
    manifest = {
        **_facts("picture"),
        "clip": {"frames": 4, "spacing_s": 0.1, "width": 32, "height": 32, "fit": "crop", "combine": "max"},
        "inputs": [{"name": "picture", "kind": "frames", "layout": "NHWC", "dtype": "uint8"}],
        "outputs": [{"name": "logits", "labels": ["normal", "gore", "field", "sea"], "activation": "softmax"}],
        "operating_points": {"gore": {"review": 0.5, "act": 0.9, "rule": "toy"}},
    }
    dark, red = np.zeros((4, 32, 32, 3), np.uint8), np.zeros((4, 32, 32, 3), np.uint8)
    red[2, ..., 0] = 255
    return write_package(
        folder,
        manifest=manifest,
        model=model,
        test_clips=[make_clip(dark), make_clip(red)],
        test_scores=[[1 / (3 + np.exp(4))], [np.exp(255 / 32) / (np.exp(255 / 32) + np.exp(4) + 2)]],
    )


def _sigmoid(value: float) -> float:
    return float(1 / (1 + np.exp(-value)))


def _facts(name: str) -> dict[str, Any]:
    return {
        "manifest_version": 1,
        "name": name,
        "version": "1.0.0",
        "summary": "A toy.",
        "file": "model.onnx",
        "licence": "Apache-2.0",
        "training_data": "none",
        "limits": "a toy",
        "self_test": {"file": "self_test.npz", "tolerance": 0.001},
    }


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    constants: dict[str, NDArray[Any]],
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model, full_check=True)
    return model
