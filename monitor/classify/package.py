"""Model packages on disk: found by name, read, and checked against their own ONNX graph."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from monitor import shipped
from monitor.classify.manifest import (
    CHANNELS,
    FLOWS,
    MANIFEST_NAME,
    InputPart,
    Manifest,
    OutputPart,
    VariantPart,
    parse_manifest,
)
from monitor.errors import ModelPackageError, Problem
from monitor.video.clip import ClipSpec
from monitor.yaml_source import Path as YamlPath
from monitor.yaml_source import YamlDocument

MAX_MODEL_BYTES: Final = 2 * 1024**3
"""ONNX's own bound for one file."""

_SCORES_DEPEND_ON: Final = {"name", "version", "clip", "inputs", "outputs", "remote"}

_GRAPH_TYPES: Final = {"uint8": "tensor(uint8)", "float16": "tensor(float16)", "float32": "tensor(float)"}


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A package whose manifest, digest and graph agree.

    Attributes:
        folder: Where it lies.
        manifest: What its manifest says.
        model: The ONNX file's bytes: those that were hashed are those that run. Empty for a remote model.
        variant: Which of the manifest's variants `model` is; None for the main file.
    """

    folder: Path
    manifest: Manifest
    model: bytes
    variant: str | None = None

    @property
    def name(self) -> str:
        """``name@version``, and ``+variant`` where there is one."""
        return name_of(self.manifest, self.variant)

    @property
    def score_digest(self) -> str:
        """SHA-256, in hex, of everything that scores depend on: the graph, what it is fed with, and what becomes of its output.

        Whatever was learnt from scores, such as thresholds, holds for packages with the same digest and for no other.
        Words about the model, and its operating points, are not in it.
        """
        says = self.manifest.model_dump(mode="json", include=_SCORES_DEPEND_ON)
        content = json.dumps([self.variant, says], sort_keys=True).encode()
        return hashlib.sha256(content + hashlib.sha256(self.model).digest()).hexdigest()

    @property
    def tolerance(self) -> float:
        """Largest difference from the stored scores that passes the self-test."""
        manifest = self.manifest
        return manifest.self_test.tolerance if self.variant is None else manifest.variants[self.variant].tolerance

    @property
    def clip_spec(self) -> ClipSpec:
        """What sampling must deliver."""
        return clip_spec_of(self.manifest)


def name_of(manifest: Manifest, variant: str | None = None) -> str:
    """Return ``name@version``, and ``+variant`` where there is one."""
    name = f"{manifest.name}@{manifest.version}"
    return name if variant is None else f"{name}+{variant}"


def clip_spec_of(manifest: Manifest) -> ClipSpec:
    """Return what sampling must deliver."""
    clip = manifest.clip
    return ClipSpec(frames=clip.frames, spacing_s=clip.spacing_s, width=clip.width, height=clip.height, fit=clip.fit)


def find_package(name_or_path: str, models_dir: Path | None = None) -> Path:
    """Return the folder of a package.

    Args:
        name_or_path: A folder, or the name of one below `models_dir`.
        models_dir: Folder of packages; the shipped ones by default.

    Raises:
        ModelPackageError: there is no such package; the problem lists those that there are.
    """
    base = shipped.models_dir() if models_dir is None else models_dir
    named = base / name_or_path
    if "/" not in name_or_path and (named / MANIFEST_NAME).is_file():
        return named
    path = Path(name_or_path).expanduser()
    if (path / MANIFEST_NAME).is_file():
        return path
    there_are = ", ".join(sorted(found.parent.name for found in base.glob(f"*/{MANIFEST_NAME}"))) or "none"
    what = f"no folder with a {MANIFEST_NAME} is called {name_or_path}"
    raise ModelPackageError([Problem(str(base), "", what, f"packages here: {there_are}")])


def read_manifest(path: Path) -> tuple[Manifest, YamlDocument]:
    """Read the manifest of the package in folder `path`, and nothing else of it.

    Raises:
        ModelPackageError: it is missing or wrong; one problem per mistake.
    """
    file = path / MANIFEST_NAME
    return parse_manifest(_read(file, file, ""), str(file))


def variants_of(manifest: Manifest) -> str:
    """Return the names of a package's variants as words for people."""
    return ", ".join(sorted(manifest.variants)) or "none"


def load_package(path: Path, variant: str | None = None) -> ModelPackage:
    """Read a package and check that its parts agree; runs no inference, and asks no server.

    Args:
        path: The package's folder.
        variant: One of the manifest's variants instead of the main file.

    Raises:
        ModelPackageError: a file is missing, the manifest is wrong, there is no such variant, the digest differs, or the
            graph does not have the inputs and outputs that the manifest names. One problem per mistake.
    """
    manifest, document = read_manifest(path)
    graph: Manifest | VariantPart = manifest
    place: YamlPath = ()
    if variant is not None:
        if variant not in manifest.variants:
            what = f"there is no variant called {variant}"
            raise ModelPackageError([document.problem(("variants",), what, f"there are: {variants_of(manifest)}")])
        graph, place = manifest.variants[variant], ("variants", variant)
    model = b""
    problems = []
    if graph.file is not None:
        model = _read(path / graph.file, path / MANIFEST_NAME, ".".join(map(str, (*place, "file"))))
        digest = hashlib.sha256(model).hexdigest()
        if digest != graph.sha256:
            what = f"{graph.file} has SHA-256 {digest}, not the one written here"
            problems.append(document.problem((*place, "sha256"), what, "restore the file, or write its digest"))
        problems += _graph_problems(manifest, model, document, place)
    if not (path / manifest.self_test.file).is_file():
        what = f"there is no {manifest.self_test.file} beside the manifest"
        problems.append(document.problem(("self_test", "file"), what, "restore the file"))
    if problems:
        raise ModelPackageError(problems)
    return ModelPackage(folder=path, manifest=manifest, model=model, variant=variant)


def _read(path: Path, manifest_file: Path, where: str) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            what = f"{path.name} is larger than {MAX_MODEL_BYTES} bytes"
            raise ModelPackageError([Problem(str(manifest_file), where, what, "is it the right file?")])
        return path.read_bytes()
    except OSError as error:
        what = f"{path.name} cannot be read: {error.strerror}"
        raise ModelPackageError([Problem(str(manifest_file), where, what, "restore the file")]) from None


def _graph_problems(manifest: Manifest, model: bytes, document: YamlDocument, place: YamlPath) -> list[Problem]:
    # A watcher that has its clips scored elsewhere reads manifests, and has no use for the 40 MiB of this library.
    import onnxruntime as ort  # noqa: PLC0415 - see above

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
        first_line = str(error).partition("\n")[0][:300]
        name = (manifest.variants[str(place[-1])] if place else manifest).file
        what = f"{name} is no ONNX graph that can be loaded: {first_line}"
        return [document.problem((*place, "file"), what, "export it again")]
    problems: list[Problem] = []
    graph_inputs = {node.name: node for node in session.get_inputs()}
    graph_outputs = {node.name: node for node in session.get_outputs()}
    for index, part in enumerate(manifest.inputs):
        if what := _input_mistake(manifest, part, graph_inputs):
            problems.append(document.problem(("inputs", index), what, "make manifest and graph agree"))
    if left_over := sorted(set(graph_inputs) - {part.name for part in manifest.inputs}):
        what = f"the graph also asks for {', '.join(left_over)}"
        problems.append(document.problem(("inputs",), what, "say what they are fed with"))
    for index, output in enumerate(manifest.outputs):
        if what := _output_mistake(output, graph_outputs):
            problems.append(document.problem(("outputs", index), what, "make manifest and graph agree"))
    return problems


def _input_mistake(manifest: Manifest, part: InputPart, graph_inputs: dict[str, Any]) -> str:
    node = graph_inputs.get(part.name)
    if node is None:
        return f"the graph has no input {part.name}; it has {', '.join(sorted(graph_inputs))}"
    if node.type != _GRAPH_TYPES[part.dtype]:
        return f"input {part.name} is {node.type} in the graph, not {part.dtype}"
    if node.shape and isinstance(node.shape[0], int):
        return f"input {part.name} takes batches of {node.shape[0]} only: export it with a dynamic first axis"
    return _shape_mistake(f"input {part.name}", node.shape, input_shape(manifest, part))


def _output_mistake(output: OutputPart, graph_outputs: dict[str, Any]) -> str:
    node = graph_outputs.get(output.name)
    if node is None:
        return f"the graph has no output {output.name}; it has {', '.join(sorted(graph_outputs))}"
    if node.type not in {"tensor(float)", "tensor(float16)"}:
        return f"output {output.name} is {node.type} in the graph, not a float tensor"
    if len(output.labels) == 1 and len(node.shape) == 1:
        return _shape_mistake(f"output {output.name}", node.shape, [None])
    return _shape_mistake(f"output {output.name}", node.shape, [None, len(output.labels)])


def _shape_mistake(name: str, actual: Sequence[object], wanted: Sequence[int | None]) -> str:
    fits = len(actual) == len(wanted) and all(
        not isinstance(have, int) or want is None or have == want for have, want in zip(actual, wanted, strict=True)
    )
    if fits:
        return ""
    shown = ["batch" if size is None else size for size in wanted]
    return f"{name} has shape {list(actual)} in the graph, where the manifest means {shown}"


def input_shape(manifest: Manifest, part: InputPart) -> list[int | None]:
    """Return the shape that the manifest means for an input; None stands for the number of clips."""
    size = part.size or manifest.clip
    pairs = part.kind in FLOWS or part.kind == "spacing"
    extents: dict[str, int | None] = {
        "N": None,
        "T": manifest.frames_per_row - pairs,
        "H": size.height,
        "W": size.width,
        "C": CHANNELS[part.kind],
    }
    return [extents[letter] for letter in part.layout]
