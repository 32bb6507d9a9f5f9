from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.errors import ModelPackageError
from tests.fakes import model_packages as toys
from tests.fakes.model_packages import grey_frames, make_clip

COARSE = 0.995
"""The variant's arithmetic is off by this factor: too much for the main file's tolerance of 0.001."""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return toys.write_motion_package(tmp_path / "toy")


def test_a_variant_is_chosen_by_name_and_the_plain_file_stays_the_default(package: Path) -> None:
    toys.add_variant(package, "int8", toys.motion_model(brighter=COARSE))
    plain, coarse = load_package(package), load_package(package, "int8")
    assert (plain.name, coarse.name) == ("toy-motion@1.2.3", "toy-motion@1.2.3+int8")
    assert (plain.tolerance, coarse.tolerance) == (0.001, 0.01)
    clip = make_clip(grey_frames(255, 255, 255, 255))
    assert OnnxClassifier(plain).classify([clip])[0, 0] == pytest.approx(1.0)
    assert OnnxClassifier(coarse).classify([clip])[0, 0] == pytest.approx(COARSE)


def test_a_variant_that_is_coarser_than_its_own_tolerance_is_refused(package: Path) -> None:
    toys.add_variant(package, "int8", toys.motion_model(brighter=COARSE), tolerance=0.002)
    with pytest.raises(ModelPackageError, match=r"the self-test's scores are off by 0\.0050, more than 0\.002"):
        OnnxClassifier(load_package(package, "int8"))


def test_an_unknown_variant_is_refused_and_the_known_ones_are_named(package: Path) -> None:
    with pytest.raises(ModelPackageError, match="there is no variant called fp16: there are: none"):
        load_package(package, "fp16")
    toys.add_variant(package, "int8", toys.motion_model())
    with pytest.raises(ModelPackageError, match="variants: there is no variant called fp16: there are: int8"):
        load_package(package, "fp16")


def test_a_variant_of_another_digest_is_refused(package: Path) -> None:
    toys.add_variant(package, "int8", toys.motion_model(), sha256="0" * 64)
    load_package(package)
    with pytest.raises(ModelPackageError, match=r"variants\.int8\.sha256: model\.int8\.onnx has SHA-256") as refused:
        load_package(package, "int8")
    assert refused.value.problems[0].line is not None


def test_a_variant_with_another_graph_is_refused(package: Path) -> None:
    toys.add_variant(package, "int8", toys.image_model())
    with pytest.raises(ModelPackageError, match="the graph has no input pixels"):
        load_package(package, "int8")


def test_a_variant_that_is_missing_is_refused(package: Path) -> None:
    toys.add_variant(package, "int8", toys.motion_model()).unlink()
    with pytest.raises(ModelPackageError, match=r"variants\.int8\.file: model\.int8\.onnx cannot be read"):
        load_package(package, "int8")


def test_a_package_without_variants_loads_as_before(package: Path) -> None:
    assert load_package(package).manifest.variants == {}
    np.testing.assert_array_equal(OnnxClassifier(load_package(package)).classify([]), np.zeros((0, 2)))
