from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from monitor import shipped
from monitor.classify.package import find_package, load_package
from monitor.errors import ModelPackageError
from monitor.video.clip import ClipSpec
from tests.fakes import model_packages as toys


def only_problem(folder: Path) -> str:
    with pytest.raises(ModelPackageError) as caught:
        load_package(folder)
    assert len(caught.value.problems) == 1, caught.value
    problem = caught.value.problems[0]
    assert problem.file == str(folder / "manifest.yaml")
    return str(problem).removeprefix(problem.file)


def test_a_whole_package_loads(tmp_path: Path) -> None:
    package = load_package(toys.write_motion_package(tmp_path / "toy"))
    assert package.name == "toy-motion@1.2.3"
    assert package.clip_spec == ClipSpec(frames=4, spacing_s=0.1, width=32, height=24)
    assert package.manifest.labels == ("brightness", "slowness")
    assert package.manifest.operating_points["slowness"].review == 0.5
    assert package.manifest.operating_points["slowness"].act == 0.7


def test_labels_without_operating_points_are_not_reported(tmp_path: Path) -> None:
    assert load_package(toys.write_image_package(tmp_path / "toy")).manifest.labels == ("bright",)


def test_a_model_other_than_the_one_that_was_hashed_is_refused(tmp_path: Path) -> None:
    folder = toys.write_image_package(tmp_path / "toy")
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(bytes(content))
    complaint = only_problem(folder)
    assert complaint.startswith(":6: sha256: model.onnx has SHA-256 ")
    assert "not the one written here" in complaint


@pytest.mark.parametrize(
    ("missing", "complaint"),
    [
        ("manifest.yaml", ": manifest.yaml cannot be read: No such file or directory: restore the file"),
        ("model.onnx", ": file: model.onnx cannot be read: No such file or directory: restore the file"),
        ("self_test.npz", ": self_test.file: there is no self_test.npz beside the manifest: restore the file"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, missing: str, complaint: str) -> None:
    folder = toys.write_image_package(tmp_path / "toy")
    (folder / missing).unlink()
    assert only_problem(folder).endswith(complaint)


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    folder = toys.write_image_package(tmp_path / "toy")
    content = b"GIF89a no graph"
    (folder / "model.onnx").write_bytes(content)
    manifest = (folder / "manifest.yaml").read_text()
    import hashlib

    lines = [f"sha256: {hashlib.sha256(content).hexdigest()}" if "sha256" in x else x for x in manifest.splitlines()]
    (folder / "manifest.yaml").write_text("\n".join(lines))
    assert "file: model.onnx is no ONNX graph that can be loaded" in only_problem(folder)


def test_a_key_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = toys.write_image_package(tmp_path / "toy")
    with (folder / "manifest.yaml").open("a") as manifest:
        manifest.write("licence: MIT\n")
    assert "licence: the key is there twice, first in line 7" in only_problem(folder)


Change = Callable[[dict[str, Any]], object]

MISTAKES: dict[str, tuple[Change, str]] = {
    "unknown key": (lambda m: m.update(thresholds={}), "thresholds: unknown key: remove it or mend its spelling"),
    "missing key": (lambda m: m.pop("limits"), ": limits: this key is missing: add it"),
    "other version": (lambda m: m.update(manifest_version=2), "manifest_version: Input should be 1"),
    "path outside": (lambda m: m.update(file="../model.onnx"), "file: name a file that lies beside the manifest"),
    "no digest": (lambda m: m.update(name="Toy!"), "name: String should match pattern"),
    "twice the axis": (lambda m: m["inputs"][0].update(layout="NHHW"), "inputs[0]: layout names an axis twice"),
    "no rows": (lambda m: m["inputs"][0].update(layout="NTW"), "inputs[0]: layout lacks H or W"),
    "no channels": (lambda m: m["inputs"][0].update(layout="NHW"), "inputs[0]: layout lacks C"),
    "scaled bytes": (
        lambda m: m["inputs"][0].update(dtype="uint8"),
        "inputs[0]: scaling is for frames and luma in float32 or float16",
    ),
    "two means": (
        lambda m: m["inputs"][0]["scaling"].update(mean=[0.1, 0.2]),
        "inputs[0]: scaling has one number, or one per channel, for mean and for std",
    ),
    "flow of one frame": (
        lambda m: m["inputs"].append({"name": "flow", "kind": "dis_flow", "layout": "NTHWC", "dtype": "float32"}),
        "flow and spacing need clips of two frames or more",
    ),
    "flow in bytes": (
        lambda m: m["inputs"][0].update(kind="dis_flow", dtype="uint8", scaling=None),
        "inputs[0]: flow and spacing have fractions: use float32 or float16",
    ),
    "act below review": (lambda m: m["operating_points"]["bright"].update(act=0.4), "act is below review"),
    "point for no label": (
        lambda m: m["operating_points"].update(dark={"review": 0.5, "act": 0.6, "rule": "toy"}),
        "operating_points name labels that no output has: dark",
    ),
    "softmax of one": (lambda m: m["outputs"][0].update(labels=["bright"]), "softmax needs two labels or more"),
    "label twice": (lambda m: m["outputs"][0].update(labels=["bright", "bright"]), "a label is there twice"),
    "same input twice": (lambda m: m["inputs"].append(m["inputs"][0]), "two inputs have the same name"),
    "unknown input": (
        lambda m: m["inputs"][0].update(name="picture"),
        "inputs[0]: the graph has no input picture; it has image",
    ),
    "unknown output": (
        lambda m: m["outputs"][0].update(name="scores"),
        "outputs[0]: the graph has no output scores; it has logits",
    ),
    "three labels": (
        lambda m: m["outputs"][0].update(labels=["normal", "bright", "dark"]),
        "outputs[0]: output logits has shape ['batch', 2] in the graph, where the manifest means ['batch', 3]",
    ),
    "wrong layout": (
        lambda m: m["inputs"][0].update(layout="NHWC"),
        "inputs[0]: input image has shape ['batch', 3, 24, 32] in the graph, where the manifest means ['batch', 24, 32, 3]",
    ),
    "wrong type": (
        lambda m: m["inputs"][0].update(dtype="float16"),
        "inputs[0]: input image is tensor(float) in the graph, not float16",
    ),
    "wrong size": (lambda m: m["clip"].update(width=64), "where the manifest means ['batch', 3, 24, 64]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_has_its_complaint(tmp_path: Path, mistake: str) -> None:
    change, complaint = MISTAKES[mistake]
    manifest = toys.image_manifest()
    change(manifest)
    folder = toys.write_image_package(tmp_path / "toy", manifest=copy.deepcopy(manifest))
    with pytest.raises(ModelPackageError) as caught:
        load_package(folder)
    assert complaint in "\n".join(map(str, caught.value.problems))
    assert caught.value.problems[0].line is not None


def test_an_input_that_nobody_feeds_is_refused(tmp_path: Path) -> None:
    manifest = toys.motion_manifest()
    del manifest["inputs"][1]
    folder = toys.write_motion_package(tmp_path / "toy", manifest=manifest)
    assert "inputs: the graph also asks for spacing" in only_problem(folder)


def test_a_graph_with_a_fixed_batch_is_refused(tmp_path: Path) -> None:
    folder = toys.write_image_package(tmp_path / "toy", model=toys.image_model(batch=1))
    assert "takes batches of 1 only: export it with a dynamic first axis" in only_problem(folder)


def test_a_graph_that_takes_doubles_is_refused(tmp_path: Path) -> None:
    folder = toys.write_image_package(tmp_path / "toy", model=toys.motion_model())
    with pytest.raises(ModelPackageError) as caught:
        load_package(folder)
    # Every mistake is told at once: the input, what is left over, the output.
    assert [problem.where for problem in caught.value.problems] == ["inputs[0]", "inputs", "outputs[0]"]
    assert TensorProto.UINT8 in {node.type.tensor_type.elem_type for node in toys.motion_model().graph.input}


def test_packages_are_found_by_name_or_folder(tmp_path: Path) -> None:
    folder = toys.write_image_package(tmp_path / "toy")
    assert find_package("toy", tmp_path) == folder
    assert find_package(str(folder), tmp_path / "elsewhere") == folder


def test_an_unknown_package_lists_those_there_are(tmp_path: Path) -> None:
    toys.write_image_package(tmp_path / "one")
    toys.write_image_package(tmp_path / "two")
    with pytest.raises(ModelPackageError, match=r"is called three: packages here: one, two$"):
        find_package("three", tmp_path)


def test_the_shipped_folder_is_the_default() -> None:
    assert find_package("violent-motion") == shipped.models_dir() / "violent-motion"
