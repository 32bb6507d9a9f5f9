"""From a model's outputs to scores: activation, calibration, the labels that are reported, and what must never pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from monitor.classify.manifest import Manifest, OutputPart
from monitor.classify.port import Classifier
from monitor.errors import ClassifierError
from monitor.video.clip import Clip

_ROUNDING: Final = 1e-4
"""How far outside [0, 1] a probability may lie through rounding; it is then clipped."""

_SUREST: Final = 1e-7
"""Nearest that a probability comes to 0 or 1 before its logit is taken."""


def check_clips(classifier: Classifier, clips: Sequence[Clip]) -> None:
    """Raise `ClassifierError` unless every clip is as the classifier's `clip_spec` says."""
    spec = classifier.clip_spec
    wanted = (spec.frames, spec.height, spec.width, 3)
    for clip in clips:
        if clip.frames.shape != wanted or clip.frames.dtype != np.uint8 or len(clip.times_s) != spec.frames:
            raise ClassifierError(f"{classifier.name} wants frames of shape {wanted}, uint8; got {clip.frames.shape}")


def scores_of(manifest: Manifest, results: Sequence[Any], clips: int, model: str) -> NDArray[np.float32]:
    """Return one row of scores per clip, in the order of the manifest's reported labels.

    Args:
        manifest: What the outputs mean.
        results: An array for each of the manifest's outputs.
        clips: How many clips were fed.
        model: Name for complaints.

    Returns:
        float32, shape ``(clips, len(manifest.labels))``, each in [0, 1].

    Raises:
        ClassifierError: an output has the wrong shape, or holds NaN or values outside [0, 1].
    """
    columns = [_probabilities(output, raw) for output, raw in zip(manifest.outputs, results, strict=True)]
    per_clip = manifest.clip.frames // manifest.frames_per_row
    for output, column in zip(manifest.outputs, columns, strict=True):
        if len(column) != clips * per_clip:
            of_what = "frames" if per_clip > 1 else "clips"
            raise ClassifierError(f"{model} gave {len(column)} rows of {output.name} for {clips * per_clip} {of_what}")
    reported = [
        index
        for index, label in enumerate(label for output in manifest.outputs for label in output.labels)
        if label in manifest.operating_points
    ]
    scores = np.concatenate(columns, axis=1)[:, reported].reshape(clips, per_clip, len(reported))
    # Written so that NaN, which compares false to everything, fails as well.
    if not np.all((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)):
        raise ClassifierError(f"{model} gave a score that is no probability")
    combined = scores.max(axis=1) if manifest.clip.combine == "max" else scores.mean(axis=1)
    return np.asarray(_calibrated(manifest, np.clip(combined, 0, 1)), np.float32)


def _probabilities(output: OutputPart, raw: Any) -> NDArray[np.float32]:
    values = np.asarray(raw, np.float32)
    if values.ndim == 1 and len(output.labels) == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] != len(output.labels):
        raise ClassifierError(f"output {output.name} has shape {values.shape}, not one column per label")
    match output.activation:
        case "none":
            return values
        case "sigmoid":
            # This form does not overflow for large negative values.
            return np.asarray(0.5 * (1 + np.tanh(values / (2 * output.temperature))), np.float32)
        case "softmax":
            exponentials = np.exp((values - values.max(axis=1, keepdims=True)) / output.temperature)
            return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), np.float32)


def _calibrated(manifest: Manifest, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    for output in manifest.outputs:
        for label, platt in output.calibration.items():
            if label in manifest.labels:
                index = manifest.labels.index(label)
                sure = np.clip(scores[:, index].astype(np.float64), _SUREST, 1 - _SUREST)
                logits = np.log(sure) - np.log1p(-sure)
                scores[:, index] = 0.5 * (1 + np.tanh((platt.slope * logits + platt.offset) / 2))
    return scores
