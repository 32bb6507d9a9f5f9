"""Clips scored as live streams are, by models that saw nothing of their fold."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.training.clips import Labelled
from models.training.fitting import HeldOut, fit_without
from models.training.packaging import LABEL, build_graph, write_package
from models.training.workshop import Arrays
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import load_package
from monitor.errors import SourceError
from monitor.evaluation.scoring import score_file
from monitor.vocabulary import Posture

POSTURES = (Posture.CALM, Posture.CLOSE)

_WORDS = {"name": "held-out", "version": "0.0.0", "summary": "-", "licence": "-", "training_data": "-", "limits": "-"}
_POINTS = {"review": 0.5, "act": 0.9, "rule": "none", "measured": []}


def score_fold_as_live(held_out: HeldOut, clips: Sequence[Labelled], data_dir: Path) -> Arrays:
    """Return the windows of the fold's clips: rows of clip, posture, start, end and uncalibrated score; and lengths.

    Args:
        held_out: The fold.
        clips: As listed.
        data_dir: Where they lie.
    """
    head, _ = fit_without(held_out)
    rows: list[tuple[float, ...]] = []
    lengths_s: list[tuple[float, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_package(Path(folder), build_graph(head), {**_WORDS, "operating_points": {LABEL: _POINTS}})
        classifier = OnnxClassifier.untested(load_package(Path(folder)))
        for index in np.flatnonzero(held_out.fold_of_video == held_out.fold).tolist():
            try:
                found = score_file(data_dir / clips[index].path, classifier, POSTURES)
            except SourceError:  # too short for a window
                continue
            lengths_s.append((index, found.track.length_s))
            rows += [
                (index, number, window.start_s, window.end_s, window.scores[LABEL])
                for number, posture in enumerate(POSTURES)
                for window in found.track.windows[posture]
            ]
    return {"windows": np.array(rows), "lengths": np.array(lengths_s)}
