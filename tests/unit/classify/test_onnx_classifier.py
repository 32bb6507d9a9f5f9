from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.errors import ClassifierError, ModelPackageError
from tests.fakes import model_packages as toys
from tests.fakes.model_packages import grey_frames, make_clip


def test_softmax_of_a_single_image(tmp_path: Path) -> None:
    classifier = OnnxClassifier(load_package(toys.write_image_package(tmp_path)))
    scores = classifier.classify([make_clip(grey_frames(level)) for level in (0, 128, 255)])
    assert classifier.labels == ("bright",)
    assert classifier.name == "toy-image@1.2.3"
    assert classifier.provider == "cpu"
    assert scores.dtype == np.float32
    wanted = [1 / (1 + math.exp(2 - 4 * level / 255)) for level in (0, 128, 255)]
    np.testing.assert_allclose(scores, np.array(wanted)[:, None], atol=1e-5)


def test_two_inputs_and_two_labels(tmp_path: Path) -> None:
    classifier = OnnxClassifier(load_package(toys.write_motion_package(tmp_path)))
    scores = classifier.classify([make_clip(grey_frames(0, 0, 102, 102), 0.25)])
    np.testing.assert_allclose(scores, [[0.2, 0.25]], atol=1e-5)


def test_sigmoid_is_applied_where_the_manifest_says_so(tmp_path: Path) -> None:
    manifest = toys.image_manifest()
    manifest["outputs"][0]["activation"] = "sigmoid"
    scores = [[1 / (1 + math.exp(2))], [1 / (1 + math.exp(-2))]]
    folder = toys.write_image_package(tmp_path, manifest=manifest, test_scores=scores)
    assert OnnxClassifier(load_package(folder)).classify([make_clip(grey_frames(255))])[0, 0] == pytest.approx(
        0.8808, abs=1e-4
    )


def test_no_clips_give_no_scores(tmp_path: Path) -> None:
    assert OnnxClassifier(load_package(toys.write_motion_package(tmp_path))).classify([]).shape == (0, 2)


def test_nan_is_an_error_never_a_score(tmp_path: Path) -> None:
    model = toys.motion_model(divide_by_change=True)
    clips = [make_clip(grey_frames(0, 1, 2, 3))]
    folder = toys.write_motion_package(tmp_path, model=model, test_clips=clips, test_scores=[[1.0, 0.1]])
    classifier = OnnxClassifier(load_package(folder))
    still = make_clip(grey_frames(9, 9, 9, 9))
    with pytest.raises(ClassifierError, match="gave a score that is no probability"):
        classifier.classify([clips[0], still])


def test_a_score_beyond_one_is_an_error(tmp_path: Path) -> None:
    classifier = OnnxClassifier(load_package(toys.write_motion_package(tmp_path)))
    with pytest.raises(ClassifierError, match="gave a score that is no probability"):
        classifier.classify([make_clip(grey_frames(0, 0, 0, 0), spacing_s=1.5)])


@pytest.mark.parametrize("shape", [(3, 24, 32, 3), (4, 32, 24, 3), (4, 24, 32, 1)])
def test_a_clip_of_another_shape_is_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    classifier = OnnxClassifier(load_package(toys.write_motion_package(tmp_path)))
    with pytest.raises(ClassifierError, match=r"wants frames of shape \(4, 24, 32, 3\)"):
        classifier.classify([make_clip(np.zeros(shape, np.uint8))])


def test_stored_scores_that_do_not_come_out_refuse_the_package(tmp_path: Path) -> None:
    folder = toys.write_motion_package(tmp_path, test_scores=[[0.2, 0.1], [0.9, 0.3]])
    with pytest.raises(
        ModelPackageError, match=r"self_test: the self-test's scores are off by 0\.1000, more than 0\.001"
    ):
        OnnxClassifier(load_package(folder))


def test_a_self_test_that_gives_no_probability_refuses_the_package(tmp_path: Path) -> None:
    clips = [make_clip(grey_frames(0, 0, 0, 0), spacing_s=2.0)]
    folder = toys.write_motion_package(tmp_path, test_clips=clips, test_scores=[[0.0, 1.0]])
    with pytest.raises(ModelPackageError, match=r"the self-test failed: toy-motion@1\.2\.3 gave a score"):
        OnnxClassifier(load_package(folder))


@pytest.mark.parametrize(
    "arrays",
    [
        {"frames": np.zeros((1, 4, 24, 32, 3), np.uint8)},
        {
            "frames": np.zeros((0, 4, 24, 32, 3), np.uint8),
            "times_s": np.zeros((0, 4)),
            "scores": np.zeros((0, 2), np.float32),
        },
        {
            "frames": np.zeros((1, 4, 24, 32, 3), np.uint8),
            "times_s": np.zeros((1, 4)),
            "scores": np.zeros((1, 1), np.float32),
        },
        {
            "frames": np.array([{}], object),
            "times_s": np.zeros((1, 4)),
            "scores": np.zeros((1, 2), np.float32),
        },
    ],
    ids=["no scores", "no clips", "scores of another model", "pickled objects"],
)
def test_a_self_test_that_tests_nothing_refuses_the_package(tmp_path: Path, arrays: dict[str, Any]) -> None:
    folder = toys.write_motion_package(tmp_path)
    np.savez(folder / "self_test.npz", **arrays)
    with pytest.raises(ModelPackageError, match=r"self_test\.npz"):
        OnnxClassifier(load_package(folder))


def test_a_truncated_self_test_refuses_the_package(tmp_path: Path) -> None:
    folder = toys.write_motion_package(tmp_path)
    (folder / "self_test.npz").write_bytes((folder / "self_test.npz").read_bytes()[:100])
    with pytest.raises(ModelPackageError, match=r"is no \.npz"):
        OnnxClassifier(load_package(folder))
