"""From outputs to scores: every activation, calibration and combination, and what must never pass."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.classify.manifest import InputPart, Manifest
from monitor.classify.preparation import feeds_of, prepare
from monitor.classify.scores import scores_of
from monitor.errors import ClassifierError
from tests.fakes import model_packages as toys
from tests.fakes.model_packages import make_clip

LOGITS = st.floats(-200, 200, width=32)


def manifest(combine: str | None = None, frames: int = 1, **output: Any) -> Manifest:
    document = toys.image_manifest() | {"sha256": "0" * 64}
    document["clip"] = {**document["clip"], "frames": frames, **({"combine": combine} if combine else {})}
    document["outputs"] = [{"name": "logits", "labels": ["normal", "bright"], **output}]
    return Manifest.model_validate(document)


def score(values: list[list[float]], made: Manifest, clips: int = 1) -> list[float]:
    return [float(row[0]) for row in scores_of(made, [np.array(values, np.float32)], clips, "toy")]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


@given(LOGITS, LOGITS, st.floats(0.1, 10))
def test_temperature_divides_the_logits(one: float, two: float, temperature: float) -> None:
    (soft,) = score([[one, two]], manifest(activation="softmax", temperature=temperature))
    gap = max(-500.0, min(500.0, (two - one) / temperature))
    assert soft == pytest.approx(sigmoid(gap), abs=1e-4)
    (plain,) = score([[one, two]], manifest(activation="sigmoid", temperature=temperature))
    assert plain == pytest.approx(sigmoid(max(-500.0, min(500.0, two / temperature))), abs=1e-4)


@given(st.floats(0, 1, width=32), st.floats(0.1, 5), st.floats(-5, 5))
def test_platt_scaling_keeps_the_order_and_stays_a_probability(p: float, slope: float, offset: float) -> None:
    made = manifest(calibration={"bright": {"slope": slope, "offset": offset}})
    lower, higher = score([[0, p / 2], [0, p]], made, clips=2)
    assert 0 <= lower <= higher <= 1
    if 0.001 < p < 0.999:
        assert higher == pytest.approx(sigmoid(slope * math.log(p / (1 - p)) + offset), abs=1e-3)


def test_frames_that_are_scored_one_by_one_are_combined() -> None:
    rows = [[0, 0.1], [0, 0.3], [0, 0.8], [0, 0.2], [0, 0.2], [0, 0.2]]
    assert score(rows, manifest("mean", 3), clips=2) == pytest.approx([0.4, 0.2])
    assert score(rows, manifest("max", 3), clips=2) == pytest.approx([0.8, 0.2])
    frames = np.stack([np.full((24, 32, 3), level, np.uint8) for level in (0, 51, 255)])
    batch = feeds_of(manifest("max", 3), [make_clip(frames), make_clip(frames[::-1])])["image"]
    assert batch.shape == (6, 3, 24, 32)
    np.testing.assert_allclose(batch[:, 0, 0, 0], [0, 0.2, 1, 1, 0.2, 0], atol=1e-6)


@pytest.mark.parametrize("values", [[[0.1, math.nan]], [[0.1, 1.5]], [[0.1, -0.2]], [[0.1, math.inf]]])
def test_what_is_no_probability_never_passes(values: list[list[float]]) -> None:
    for combine, frames in ((None, 1), ("mean", 2), ("max", 2)):
        with pytest.raises(ClassifierError, match="no probability"):
            score([[0.1, 0.1]] * (frames - 1) + values, manifest(combine, frames))


def test_the_number_of_rows_is_checked() -> None:
    with pytest.raises(ClassifierError, match="gave 1 rows of logits for 3 frames"):
        score([[0.1, 0.2]], manifest("max", 3))
    with pytest.raises(ClassifierError, match="not one column per label"):
        score([[0.1, 0.2, 0.3]], manifest())


def test_a_single_label_may_come_without_an_axis_of_its_own() -> None:
    made = manifest(labels=["bright"])
    assert scores_of(made, [np.array([0.25, 0.5], np.float32)], 2, "toy").tolist() == [[0.25], [0.5]]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"activation": "none", "temperature": 2}, "a temperature needs sigmoid or softmax"),
        ({"calibration": {"other": {"slope": 1}}}, "calibration names labels that this output does not have: other"),
    ],
)
def test_calibration_that_means_nothing_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        manifest(**change)


@pytest.mark.parametrize(
    "change", [{"remote": {"protocol": "kserve_v2", "model": "m"}}, {"file": None, "sha256": None}, {"sha256": None}]
)
def test_a_manifest_names_exactly_one_model(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"there (is no model|are two models)"):
        Manifest.model_validate(toys.image_manifest() | {"sha256": "0" * 64} | change)


def test_blue_comes_first_where_the_model_wants_it_so() -> None:
    frames = np.zeros((1, 24, 32, 3), np.uint8)
    frames[..., 0], frames[..., 2] = 200, 50
    scaling = {"divide_by": 1, "mean": [50, 0, 100], "std": [1, 1, 2]}
    for dtype in ("uint8", "float32"):
        extra = {"scaling": scaling} if dtype == "float32" else {}
        part = InputPart.model_validate(
            {"name": "x", "kind": "frames", "layout": "NCHW", "dtype": dtype, "colour": "bgr", **extra}
        )
        wanted = [0, 0, 50] if dtype == "float32" else [50, 0, 200]
        assert prepare([part], [make_clip(frames)])["x"][0, :, 3, 3].tolist() == wanted
    with pytest.raises(ValueError, match="only frames have an order of colours"):
        InputPart.model_validate({"name": "x", "kind": "luma", "layout": "NHW", "dtype": "uint8", "colour": "bgr"})
