"""Everything that can be wrong with a model package, all of it at once, and what it costs to run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from monitor.classify.manifest import MANIFEST_NAME, Manifest
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.onnx_file import read_onnx
from monitor.classify.package import ModelPackage, load_package, read_manifest
from monitor.classify.self_test import run_self_test, stored_clips
from monitor.errors import ClassifierError, ModelPackageError, Problem
from monitor.video.clip import Clip
from monitor.yaml_source import YamlDocument

UNDECIDED: Final = "DECIDE"
"""Word with which a drafted manifest marks what a person must write."""

OLDEST_OPSET: Final = 7
"""ONNX Runtime promises nothing for older ones."""

_MEASURE_S: Final = 1.0
_FEWEST_RUNS: Final = 5


@dataclass(frozen=True, slots=True)
class Cost:
    """What one clip costs on one core of this machine.

    Attributes:
        cpu_ms: Milliseconds of processor time, preparation included; the least of several runs.
        memory_mib: What this process grew by when it loaded the model and ran it, in MiB.
    """

    cpu_ms: float
    memory_mib: float

    @property
    def clips_per_s(self) -> float:
        """How many clips one core scores in a second."""
        return 1000 / self.cpu_ms


@dataclass(slots=True)
class Inspection:
    """What was found.

    Attributes:
        manifest: The manifest, if it could be read.
        problems: What keeps the package from being used.
        warnings: What works, but deserves a second look.
        opset: Version of the graph's operators, if it is told.
        checked: What was found to be right, one line each.
        costs: By variant; the main file's under an empty name.
    """

    manifest: Manifest | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    opset: int | None = None
    checked: list[str] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)


def inspect_package(folder: Path, *, measure: bool = True) -> Inspection:
    """Look at everything in a package; never raises for what is wrong with it.

    Args:
        folder: The package's folder.
        measure: Also run the model for about a second for each variant.
    """
    found = Inspection()
    try:
        manifest, document = read_manifest(folder)
    except ModelPackageError as error:
        found.problems += error.problems
        return found
    found.manifest = manifest
    found.checked.append(f"{MANIFEST_NAME}: {len(manifest.inputs)} inputs, {len(manifest.labels)} labels reported")
    found.warnings += _undecided(manifest, document)
    if folder.resolve().name != manifest.name:
        what = f"the folder is called {folder.resolve().name}"
        found.warnings.append(document.problem(("name",), what, "give both the same name"))
    clips = _clips(found, folder, manifest)
    if manifest.remote is not None:
        what = "the server was not asked"
        found.warnings.append(document.problem(("remote",), what, "`livecordon check` asks the one in watch.remote"))
        return found
    for variant in (None, *manifest.variants):
        _look_at_graph(found, folder, variant, clips, document, measure=measure)
    return found


def newest_opset() -> int | None:
    """Return the newest opset that the installed ONNX Runtime knows, or None if it does not tell."""
    try:
        from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415 - no public module

        return max(int(schema.since_version) for schema in state.get_all_operator_schema() if not schema.domain)
    except (ImportError, AttributeError, ValueError):
        return None


def _clips(found: Inspection, folder: Path, manifest: Manifest) -> list[Clip]:
    if not (folder / manifest.self_test.file).is_file():
        return []  # `load_package` says so
    try:
        clips, scores = stored_clips(ModelPackage(folder=folder, manifest=manifest, model=b""))
    except ModelPackageError as error:
        found.problems += error.problems
        return []
    found.checked.append(
        f"{manifest.self_test.file}: {len(clips)} clips, scores {scores.min():.3f} to {scores.max():.3f}"
    )
    if len(clips) < 2:
        file = str(folder / MANIFEST_NAME)
        what = "a single stored clip cannot show whether the graph mixes the clips of a batch"
        found.warnings.append(Problem(file, "self_test", what, "store two or more"))
    elif float((scores.max(axis=0) - scores.min(axis=0)).max()) <= 2 * manifest.self_test.tolerance:
        file = str(folder / MANIFEST_NAME)
        what = "all stored clips score the same, so the test would not notice wrong inputs"
        found.warnings.append(Problem(file, "self_test", what, "store clips that differ"))
    return clips


def _look_at_graph(
    found: Inspection, folder: Path, variant: str | None, clips: list[Clip], document: YamlDocument, *, measure: bool
) -> None:
    try:
        package = load_package(folder, variant)
    except ModelPackageError as error:
        found.problems += [problem for problem in error.problems if problem not in found.problems]
        return
    graph = package.manifest if variant is None else package.manifest.variants[variant]
    name = str(graph.file)
    opset = read_onnx(package.model, ()).opset
    if variant is None:
        found.opset = opset
    newest = newest_opset()
    shown = "unknown" if opset is None else str(opset)
    if opset is not None and not OLDEST_OPSET <= opset <= (newest or opset):
        what = f"{name} uses opset {opset}; this ONNX Runtime knows {OLDEST_OPSET} to {newest}"
        found.warnings.append(document.problem(("file",), what, "export it with an opset in that range"))
    found.checked.append(f"{name}: digest, inputs, outputs and free batch size agree; opset {shown}")
    if not clips:
        return
    before = _resident_bytes()
    try:
        classifier = OnnxClassifier.untested(package)
        run_self_test(classifier, package)
    except ModelPackageError as error:
        found.problems += error.problems
        return
    except ClassifierError as error:
        found.problems.append(document.problem(("file",), str(error), "export it again"))
        return
    found.checked.append(f"{name}: the stored scores come out, together and one by one")
    if measure:
        cpu_ms = _least_cpu_ms(lambda: classifier.classify(clips[:1]))
        found.costs[variant or ""] = Cost(cpu_ms, max(0, _resident_bytes() - before) / 2**20)


def _least_cpu_ms(run: Callable[[], object]) -> float:
    least_s, ends_s, runs = float("inf"), time.monotonic() + _MEASURE_S, 0
    while runs < _FEWEST_RUNS or time.monotonic() < ends_s:
        started_s = time.process_time()
        run()
        least_s = min(least_s, time.process_time() - started_s)
        runs += 1
    return max(least_s, 1e-6) * 1000


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _undecided(manifest: Manifest, document: YamlDocument) -> list[Problem]:
    places: list[tuple[str, Sequence[str | int]]] = [
        (manifest.summary, ("summary",)),
        (manifest.licence, ("licence",)),
        (manifest.training_data, ("training_data",)),
        (manifest.limits, ("limits",)),
        *((points.rule, ("operating_points", label, "rule")) for label, points in manifest.operating_points.items()),
    ]
    warnings = [
        document.problem(tuple(place), "nobody has written this yet", "replace the draft")
        for text, place in places
        if text.startswith(UNDECIDED)
    ]
    for label, points in manifest.operating_points.items():
        if not points.measured:
            what = "no rates stand behind these thresholds"
            mend = "measure them on ordinary streams, and write them under measured"
            warnings.append(document.problem(("operating_points", label), what, mend))
    return warnings
