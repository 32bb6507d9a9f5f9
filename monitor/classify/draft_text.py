"""Writes a drafted package to disk: manifest.yaml with comments for whoever finishes it, the model, and its self-test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from monitor.classify.drafting import HARMLESS, Draft, DraftInput, DraftOutput, golden_clips
from monitor.classify.inspection import UNDECIDED
from monitor.classify.manifest import MANIFEST_NAME
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import clip_spec_of, load_package, read_manifest
from monitor.classify.self_test import stored_clips
from monitor.errors import ModelPackageError

SELF_TEST_NAME: Final = "self_test.npz"

_SPACING_S: Final = 0.0667
_STILL_SPACING_S: Final = 1.0
_AXES: Final = {"T": "frames", "H": "height", "W": "width"}


def write_draft(draft: Draft, model: Path, folder: Path) -> None:
    """Write the package into `folder`.

    Raises:
        ModelPackageError: the draft does not fit its own graph.
        ClassifierError: the graph does not run, or gives no probabilities.
        OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / draft.file).resolve() != model.resolve():
        shutil.copyfile(model, folder / draft.file)
    (folder / MANIFEST_NAME).write_text(manifest_text(draft), encoding="utf-8")
    record_self_test(folder)


def record_self_test(folder: Path) -> None:
    """Have the package score made-up clips, and store what comes out as what must come out from now on.

    Raises:
        ModelPackageError: the package does not fit its graph, or is remote.
        ClassifierError: the graph does not run, or gives no probabilities.
        OSError: the file cannot be written.
    """
    manifest, document = read_manifest(folder)
    if manifest.remote is not None:
        what, mend = "a remote model cannot be run here", "take the self-test of a package that holds the ONNX file"
        raise ModelPackageError([document.problem(("remote",), what, mend)])
    frames, times_s = golden_clips(clip_spec_of(manifest))
    path, blank = folder / manifest.self_test.file, np.zeros((len(frames), len(manifest.labels)), np.float32)
    np.savez_compressed(path, frames=frames, times_s=times_s, scores=blank)
    package = load_package(folder)
    clips, _ = stored_clips(package)
    scores = OnnxClassifier.untested(package).classify(clips)
    np.savez_compressed(path, frames=frames, times_s=times_s, scores=scores)


def manifest_text(draft: Draft) -> str:
    """Return manifest.yaml; lines that a person must look at say so in a comment."""
    return "\n".join(_lines(draft)) + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    decide = f"{UNDECIDED}:"
    yield f"# Drafted from the graph. Search for {UNDECIDED}, write what only you know, then: livecordon models check ."
    yield "manifest_version: 1"
    yield f"name: {draft.name}"
    yield "version: 0.1.0"
    yield f'summary: "{decide} one sentence that says what it sees"'
    yield f'licence: "{decide} licence of the weights"'
    yield f"file: {draft.file}"
    yield f"sha256: {draft.sha256}"
    yield "clip:"
    yield f"  frames: {draft.frames}" + _open(draft, "T")
    if draft.frames == 1:
        yield f"  spacing_s: {_STILL_SPACING_S}"
    else:
        yield f"  spacing_s: {_SPACING_S}  # {decide} seconds between two frames in training (0.0667: 15 frames a second)"
    yield f"  width: {draft.width}" + _open(draft, "W")
    yield f"  height: {draft.height}" + _open(draft, "H")
    yield f"  fit: stretch  # {decide} stretch, crop (keeps the middle) or letterbox (black bars), as in training"
    yield "inputs:"
    for part in draft.inputs:
        yield from _input_lines(part)
    yield "outputs:"
    if draft.ignored:
        yield f"# The graph has outputs that are no scores and are not read: {', '.join(draft.ignored)}"
    for output in draft.outputs:
        yield from _output_lines(output)
    yield from _points_lines(draft)
    yield f'training_data: "{decide} what it was trained on, and under which licences"'
    yield f'limits: "{decide} what it cannot do, and must not be used for"'
    yield "self_test:"
    yield f"  file: {SELF_TEST_NAME}  # made-up clips; they show that the model is the same, not that it is good"
    yield "  tolerance: 0.01"


def _open(draft: Draft, letter: str) -> str:
    return f"  # {UNDECIDED}: the graph takes any {_AXES[letter]}" if letter in draft.open_sizes else ""


def _input_lines(part: DraftInput) -> Iterator[str]:
    yield f"- name: {json.dumps(part.name)}"
    yield f"  kind: {part.kind}" + ("  # or farneback_flow" if part.kind == "dis_flow" else "")
    yield f"  layout: {part.layout}"
    yield f"  dtype: {part.dtype}"
    if part.kind == "frames":
        yield f"  colour: rgb  # {UNDECIDED}: bgr if it was trained on pictures as OpenCV reads them"
    if part.kind in {"frames", "luma"} and part.dtype != "uint8":
        yield f"  scaling:  # {UNDECIDED}: (value / divide_by - mean) / std, as in training"
        yield "    divide_by: 255"
        if part.kind == "frames":
            yield "    # often: mean: [0.485, 0.456, 0.406] and std: [0.229, 0.224, 0.225]"


def _output_lines(output: DraftOutput) -> Iterator[str]:
    yield f"- name: {json.dumps(output.name)}"
    numbered = any(label.startswith(("class-", "output-")) for label in output.labels)
    yield "  labels:" + (f"  # {UNDECIDED}: what each column means, in order" if numbered else "")
    yield from (f"  - {json.dumps(label)}" for label in output.labels)
    yield f"  activation: {output.activation}  # {output.why}"


def _points_lines(draft: Draft) -> Iterator[str]:
    labels = [label for output in draft.outputs for label in output.labels]
    left_out = [label for label in labels if label not in draft.reported]
    yield f"operating_points:  # {UNDECIDED}: the scores that count; labels without any are not reported"
    for label in draft.reported:
        yield f"  {json.dumps(label)}:"
        yield "    review: 0.5"
        yield "    act: 0.9"
        yield f'    rule: "{UNDECIDED}: how the two were chosen; these are made up"'
    if left_out and not set(left_out) <= HARMLESS:
        yield f"# {len(left_out)} more labels are not reported."
