"""`livecordon models`: what there is, what it claims, what is wrong with it, and a draft that passes its own check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from monitor.classify.drafting import draft_of
from monitor.classify.manifest import parse_manifest
from monitor.classify.onnx_file import read_onnx
from monitor.cli.main import main
from tests.fakes import model_packages as toys

Said = pytest.CaptureFixture[str]


def run(capsys: Said, *arguments: str) -> tuple[int, str, str]:
    status = main(["models", *arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


def graph(
    inputs: Mapping[str, tuple[int, list[Any]]], output: list[Any], last: str = "", columns: int = 2, **metadata: str
) -> onnx.ModelProto:
    """Return a model that averages its first input and has as many columns as wanted, ending with operator `last`."""
    first, (_, shape) = next(iter(inputs.items()))
    nodes = [
        helper.make_node("Cast", [first], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=list(range(1, len(shape))), keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "weights"], ["logits"]),
    ]
    ends = "logits"
    if len(output) == 1:
        nodes.append(helper.make_node("Squeeze", ["logits", "one"], ["flat"]))
        ends = "flat"
    if last:
        nodes.append(helper.make_node(last, [ends], ["made"]))
        ends = "made"
    nodes.append(helper.make_node("Identity", [ends], ["out"]))
    constants = [
        onnx.numpy_helper.from_array(np.array([1], np.int64), "one"),
        onnx.numpy_helper.from_array(np.linspace(-2, 3, columns, dtype=np.float32)[None], "weights"),
    ]
    made = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in inputs.items()],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, output)],
        constants,
    )
    model = helper.make_model(made, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    helper.set_model_props(model, metadata)
    return model


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "some Model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_the_shipped_packages_are_listed(capsys: Said) -> None:
    status, out, _ = run(capsys, "list")
    assert status == 0
    assert out.startswith("violent-motion 0.")
    (row,) = json.loads(run(capsys, "list", "--json")[1])
    assert row["labels"] == ["violence"]
    assert row["runs"] == "here"


def test_unusable_packages_are_listed_as_such(capsys: Said, tmp_path: Path) -> None:
    toys.write_image_package(tmp_path / "good")
    toys.write_image_package(tmp_path / "bad")
    (tmp_path / "bad" / "manifest.yaml").write_text("name: 5\n")
    status, out, _ = run(capsys, "list", "--models-dir", str(tmp_path))
    assert status == 0
    assert out.splitlines() == [
        f"bad: unusable; see: livecordon models check {tmp_path / 'bad'}",
        "good 1.2.3 (bright): Bright pictures score high.",
    ]
    assert run(capsys, "list", "--models-dir", str(tmp_path / "nothing"))[1].startswith("no packages in ")


def test_show_says_what_stands_behind_the_thresholds(capsys: Said) -> None:
    status, out, _ = run(capsys, "show", "violent-motion")
    assert status == 0
    for words in (
        "licence   Apache-2.0",
        "sha256    ",
        "farneback_flow, NTHWC",
        "violence: review from 0.",
        "limits: ",
        "recall",
    ):
        assert words in out
    document = json.loads(run(capsys, "show", "violent-motion", "--json")[1])
    assert document["operating_points"]["violence"]["measured"]


def test_show_of_a_package_that_is_not_there_is_wrong_usage(capsys: Said) -> None:
    status, out, err = run(capsys, "show", "nothing")
    assert (status, out) == (2, "")
    assert "packages here: violent-motion" in err


def test_show_of_a_remote_package(capsys: Said, tmp_path: Path) -> None:
    manifest = {**toys.motion_manifest(), "remote": {"protocol": "kserve_v2", "model": "fights", "version": "3"}}
    del manifest["file"]
    folder = toys.write_motion_package(tmp_path / "toy-motion", manifest=manifest)
    assert "remote    kserve_v2, model fights version 3" in run(capsys, "show", str(folder))[1]
    status, _, err = run(capsys, "check", str(folder))
    assert status == 0
    assert "remote: the server was not asked" in err


def test_check_of_the_shipped_model_finds_nothing_and_tells_what_it_costs(capsys: Said) -> None:
    from monitor import shipped

    status, out, err = run(capsys, "check", str(shipped.models_dir() / "violent-motion"))
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == "ok"
    assert "ms of one core per clip" in out
    assert "opset 17" in out


def test_check_tells_everything_at_once(capsys: Said, tmp_path: Path) -> None:
    manifest = toys.motion_manifest()
    manifest["inputs"][0]["layout"] = "NHWT"
    manifest["outputs"] = [{"name": "nothing", "labels": ["brightness", "slowness"]}]
    folder = toys.write_motion_package(tmp_path / "toy-motion", manifest=manifest, sha256="0" * 64)
    np.savez(folder / "self_test.npz", frames=np.zeros(3), times_s=np.zeros(3), scores=np.zeros(3))
    status, out, err = run(capsys, "check", str(folder), "--no-measure")
    assert status == 2
    mistakes = [line for line in err.splitlines() if not line.startswith("warning")]
    lines = (folder / "manifest.yaml").read_text().splitlines()
    found = {}
    for mistake in mistakes:
        file, line, where, _ = mistake.split(":", 3)
        assert file == str(folder / "manifest.yaml")
        found[where.strip()] = lines[int(line) - 1] if line.strip().isdigit() else line
    assert set(found) >= {"sha256", "inputs[0]", "outputs[0]"}
    assert found["sha256"].startswith("sha256: ")
    assert "self_test.npz does not fit" in err
    assert out.splitlines()[-1].startswith("4 problems")


def test_check_as_json(capsys: Said, tmp_path: Path) -> None:
    folder = toys.write_image_package(tmp_path / "other-name")
    status, out, _ = run(capsys, "check", str(folder), "--json", "--no-measure")
    document = json.loads(out)
    assert (status, document["ok"], document["opset"]) == (0, True, 17)
    assert [warning["where"] for warning in document["warnings"]] == ["operating_points.bright", "name"]


def test_stored_clips_that_all_score_the_same_are_worth_a_warning(capsys: Said, tmp_path: Path) -> None:
    clip = toys.make_clip(toys.grey_frames(0))
    folder = toys.write_image_package(
        tmp_path / "toy-image", test_clips=[clip, clip], test_scores=[[1 / (1 + np.exp(2))]] * 2
    )
    assert "the test would not notice wrong inputs" in run(capsys, "check", str(folder))[2]


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (((TensorProto.FLOAT, ["n", 3, 48, 64]), ["n", 2], ""), ("NCHW", "frames", 1, "softmax")),
        (((TensorProto.UINT8, ["n", 48, 64, 3]), ["n", 2], "Softmax"), ("NHWC", "frames", 1, "none")),
        (((TensorProto.FLOAT, ["n", 3, 16, 32, 32]), ["n", 1], "Sigmoid"), ("NCTHW", "frames", 16, "none")),
        (((TensorProto.FLOAT16, ["n", 8, 3, 32, 32]), ["n", 1], ""), ("NTCHW", "frames", 8, "sigmoid")),
        (((TensorProto.FLOAT, ["n", "t", "h", "w", 3]), ["n"], ""), ("NTHWC", "frames", 16, "sigmoid")),
        (((TensorProto.FLOAT, ["n", 7, 32, 32, 2]), ["n", 2], "LogSoftmax"), ("NTHWC", "dis_flow", 8, "softmax")),
        (((TensorProto.UINT8, ["n", 8, 32, 32]), ["n", 2], ""), ("NTHW", "luma", 8, "softmax")),
    ],
)
def test_a_draft_passes_its_check_at_once(
    capsys: Said, tmp_path: Path, ends: tuple[tuple[int, list[Any]], list[Any], str], expected: tuple[Any, ...]
) -> None:
    taken, output, last = ends
    columns = output[1] if len(output) == 2 else 1
    path = saved(tmp_path, graph({"x": taken}, output, last, columns))
    folder = tmp_path / "my-model"

    assert run(capsys, "init", str(path), "-o", str(folder))[0] == 0

    text = (folder / "manifest.yaml").read_text()
    manifest, _ = parse_manifest(text, "manifest.yaml")
    (part,), (made,) = manifest.inputs, manifest.outputs
    assert (part.layout, part.kind, manifest.clip.frames, made.activation) == expected
    assert manifest.name == "my-model"
    status, out, err = run(capsys, "check", str(folder), "--no-measure")
    assert status == 0, err
    assert out.splitlines()[-1].startswith("ok, ")
    # Whatever a person must write is still to be written.
    assert "training_data: nobody has written this yet" in err


def test_two_streams_are_drafted_together(tmp_path: Path) -> None:
    inputs = {
        "pixels": (TensorProto.FLOAT, ["n", 3, 8, 40, 56]),
        "flow": (TensorProto.FLOAT, ["n", 2, 7, 40, 56]),
        "gaps": (TensorProto.FLOAT, ["n", 7]),
    }
    model = graph(inputs, ["n", 3], columns=3, names="{0: 'Normal', 1: 'Fist fight', 2: 'Weapon'}")
    draft = draft_of(saved(tmp_path, model), "toy")
    assert [(part.kind, part.layout) for part in draft.inputs] == [
        ("frames", "NCTHW"),
        ("dis_flow", "NCTHW"),
        ("spacing", "NT"),
    ]
    assert (draft.frames, draft.width, draft.height) == (8, 56, 40)
    assert draft.outputs[0].labels == ("normal", "fist-fight", "weapon")
    assert draft.reported == ("fist-fight", "weapon")


def test_labels_can_be_given(capsys: Said, tmp_path: Path) -> None:
    path = saved(tmp_path, toys.image_model())
    folder = tmp_path / "p"
    assert run(capsys, "init", str(path), "-o", str(folder), "--labels", "normal, weapon")[0] == 0
    document = yaml.safe_load((folder / "manifest.yaml").read_text())
    assert document["outputs"][0]["labels"] == ["normal", "weapon"]
    assert list(document["operating_points"]) == ["weapon"]
    assert (folder / "model.onnx").read_bytes() == path.read_bytes()


def test_probabilities_are_recognised_by_what_comes_out(tmp_path: Path) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["x"], ["p"]), helper.make_node("Flatten", ["p"], ["f"])]
    nodes.append(helper.make_node("LpNormalization", ["f"], ["out"], axis=1, p=1))
    made = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3])],
    )
    model = helper.make_model(made, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])
    (output,) = draft_of(saved(tmp_path, model), "toy").outputs
    assert output.activation == "none"


def test_a_changed_manifest_needs_a_self_test_recorded_anew(capsys: Said, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    run(capsys, "init", str(saved(tmp_path, toys.image_model())), "-o", str(folder))
    manifest = folder / "manifest.yaml"
    manifest.write_text(manifest.read_text().replace("divide_by: 255", "divide_by: 100"))
    status, _, err = run(capsys, "check", str(folder), "--no-measure")
    assert status == 2
    assert "scores are off by" in err
    assert run(capsys, "check", str(folder), "--no-measure", "--record")[0] == 0
    assert run(capsys, "check", str(folder), "--no-measure")[0] == 0


@pytest.mark.parametrize(
    ("model", "complaints"),
    [
        (lambda: toys.image_model(batch=1), ["takes batches of 1 only: export it with a dynamic first axis"]),
        (
            lambda: graph({"x": (TensorProto.DOUBLE, ["n", 3, 32, 32])}, ["n", 2]),
            ["it is tensor(double): export the graph with"],
        ),
        (
            lambda: graph({"x": (TensorProto.FLOAT, [4, 5, 3, 8, 32, 32])}, ["n", 2]),
            ["takes batches of 4 only", "no clip can be brought into its shape"],
        ),
    ],
)
def test_a_graph_that_no_manifest_describes_is_refused_with_every_reason(
    capsys: Said, tmp_path: Path, model: Callable[[], onnx.ModelProto], complaints: list[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model().SerializeToString())
    status, _, err = run(capsys, "init", str(path), "-o", str(tmp_path / "p"))
    assert status == 2
    assert len(err.splitlines()) == len(complaints)
    for complaint in complaints:
        assert complaint in err
    assert not (tmp_path / "p").exists()


def test_wrong_usage(capsys: Said, tmp_path: Path) -> None:
    path = saved(tmp_path, toys.image_model())
    assert run(capsys, "init", str(path), "-o", str(tmp_path))[0] == 2
    assert run(capsys, "init", str(path), "-o", str(tmp_path / "p"), "--labels", "Fight Club,x")[0] == 2
    assert run(capsys, "init", str(path), "-o", str(tmp_path / "p"), "--labels", "one")[0] == 2
    assert run(capsys, "init", str(tmp_path / "nothing.onnx"))[0] == 2
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    status, _, err = run(capsys, "init", str(tmp_path / "no.onnx"))
    assert status == 2
    assert "no ONNX graph" in err
    status, _, err = run(capsys, "check", str(tmp_path / "nowhere"))
    assert status == 2
    assert "packages here: violent-motion" in " ".join(err.split())
    assert run(capsys, "check", "violent-motion", "--no-measure")[0] == 0


def test_damaged_files_are_read_as_far_as_they_go() -> None:
    content = graph({"x": (TensorProto.FLOAT, ["n", 3, 32, 32])}, ["n", 2], "Softmax").SerializeToString()
    whole = read_onnx(content, ["out"])
    assert (whole.opset, whole.last_operators) == (17, {"out": "Softmax"})
    rng = np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(content[: rng.integers(0, len(content) + 1)])
        for at in rng.integers(0, max(1, len(damaged)), 4):
            damaged[at : at + 1] = bytes([rng.integers(0, 256)])
        assert set(read_onnx(bytes(damaged), ["out"]).last_operators) == {"out"}
