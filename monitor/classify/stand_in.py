"""A local model in the place of a remote one: fed from the remote one's clips, its scores on the remote one's scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from monitor.classify.adaptation import FedFrom, why_clips_do_not_do
from monitor.classify.manifest import MANIFEST_NAME, OperatingPoints
from monitor.classify.onnx_classifier import OnnxClassifier
from monitor.classify.package import ModelPackage
from monitor.classify.port import Classifier
from monitor.errors import ModelPackageError, Problem
from monitor.video.clip import Clip, ClipSpec


class StandIn(Classifier):
    """Scores another model's clips. Not thread-safe: one thread calls it.

    Detection rules hold the other model's thresholds. So that `review` and `act` keep their meaning, each score is
    moved to where the other model's operating points are: linearly between 0, `review`, `act` and 1.
    """

    def __init__(self, package: ModelPackage, of: ModelPackage, provider: str = "cpu") -> None:
        """Load `package` and see whether it can stand in.

        Args:
            package: The local model.
            of: The model whose place it takes.
            provider: As `OnnxClassifier` takes it.

        Raises:
            ModelPackageError: its labels or its clip do not allow that, or its self-test fails.
            ClassifierError: the provider cannot be used.
        """
        self._spec = of.clip_spec
        if what := why_it_cannot_stand_in(package, of):
            file = str(package.folder / MANIFEST_NAME)
            mend = f"choose another fallback for {of.name}, or none"
            raise ModelPackageError([Problem(file, "", what, mend)])
        self._local = FedFrom(OnnxClassifier(package, provider), of.clip_spec)
        self._labels = of.manifest.labels
        own = package.manifest
        self._columns = [own.labels.index(label) for label in self._labels]
        self._points = [(own.operating_points[label], of.manifest.operating_points[label]) for label in self._labels]

    @property
    @override
    def name(self) -> str:
        """The local model's ``name@version``."""
        return self._local.name

    @property
    @override
    def labels(self) -> tuple[str, ...]:
        """The labels of the model whose place it takes."""
        return self._labels

    @property
    @override
    def clip_spec(self) -> ClipSpec:
        """The clips of the model whose place it takes."""
        return self._spec

    @override
    def classify(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        """Score `clips`.

        Returns:
            float32, shape ``(len(clips), len(labels))``, each in [0, 1].

        Raises:
            ClassifierError: as `OnnxClassifier.classify`.
        """
        scores = self._local.classify(clips)[:, self._columns]
        for index, (own, other) in enumerate(self._points):
            scores[:, index] = _moved(scores[:, index], own, other)
        return scores


def why_it_cannot_stand_in(package: ModelPackage, of: ModelPackage) -> str:
    """Return why `package` cannot take the place of `of`, for people; empty if it can."""
    if package.manifest.remote is not None:
        return "a fallback must run here, and this model is remote too"
    if missing := [label for label in of.manifest.labels if label not in package.manifest.labels]:
        return f"{package.name} has no scores for {', '.join(missing)}"
    return why_clips_do_not_do(package.name, package.clip_spec, of.clip_spec)


def _moved(scores: NDArray[np.float32], own: OperatingPoints, other: OperatingPoints) -> NDArray[np.float32]:
    below = scores * (other.review / own.review)
    above = other.act + (scores - own.act) * ((1 - other.act) / (1 - own.act))
    width = own.act - own.review
    between = other.review + (scores - own.review) * ((other.act - other.review) / width if width else 0.0)
    return np.asarray(
        np.clip(np.where(scores >= own.act, above, np.where(scores >= own.review, between, below)), 0, 1), np.float32
    )
